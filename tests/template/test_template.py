"""The promises of template.yaml that no linter checks."""

import re
from typing import Any

import pytest
from tensorlet.settings import SETTINGS

from tests.template.source import ROOT, template

TEMPLATE = template()
RESOURCES: dict[str, Any] = TEMPLATE["Resources"]


def properties(logical_id: str) -> dict[str, Any]:
    return RESOURCES[logical_id]["Properties"]  # type: ignore[no-any-return]


def of_type(kind: str) -> dict[str, Any]:
    return {name: resource for name, resource in RESOURCES.items() if resource["Type"] == kind}


FUNCTIONS = list(of_type("AWS::Serverless::Function"))
BUCKETS = list(of_type("AWS::S3::Bucket"))


def statements(role: str) -> list[dict[str, Any]]:
    return [
        statement
        for policy in properties(role)["Policies"]
        for statement in policy["PolicyDocument"]["Statement"]
    ]


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def attribute(logical_id: str, name: str = "Arn") -> dict[str, Any]:
    return {"Fn::GetAtt": [logical_id, name]}


# ---------------------------------------------------------------- functions


def test_functions_and_handlers_have_the_agreed_names():
    assert {"PredictFunction", "BatchFunction"} <= set(FUNCTIONS)
    for name in FUNCTIONS:
        folder = f"functions/{name.removesuffix('Function').lower()}"
        assert properties(name)["CodeUri"] in (folder, f"{folder}s")
        assert properties(name)["Handler"] == "app.handler"


@pytest.mark.parametrize("name", [*FUNCTIONS, "RuntimeLayer", "ParquetLayer", "TensorletLayer"])
def test_what_is_built_by_make_has_its_target_for_every_architecture(name):
    resource = RESOURCES[name]
    assert resource["Metadata"]["BuildMethod"] == "makefile"
    source = resource["Properties"].get("CodeUri") or resource["Properties"]["ContentUri"]
    context = resource["Metadata"].get("ContextPath", {"Fn::Sub": source})["Fn::Sub"]

    for architecture in TEMPLATE["Parameters"]["Architecture"]["AllowedValues"]:
        makefile = ROOT / context.replace("${Architecture}", architecture) / "Makefile"
        assert f"\nbuild-{name}:\n" in makefile.read_text()


def variables(function: str) -> dict[str, Any]:
    common = TEMPLATE["Globals"]["Function"]["Environment"]["Variables"]
    own = properties(function).get("Environment", {}).get("Variables", {})
    return {**common, **own}


@pytest.mark.parametrize("function", FUNCTIONS)
def test_every_variable_given_to_a_function_is_one_it_reads(function):
    known = {setting.key for setting in SETTINGS.values()}
    assert {name for name in variables(function) if name.startswith("TENSORLET_")} <= known


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize(
    "name",
    [
        "TENSORLET_REGISTRY",
        "TENSORLET_RUNTIME",
        "TENSORLET_MAX_BODY_BYTES",
        "TENSORLET_MODEL_CACHE_BYTES",
        "TENSORLET_ALIAS_TTL_S",
        "AWS_ENDPOINT_URL",
    ],
)
def test_sam_local_can_replace_every_setting(function, name):
    """`sam local --env-vars` drops names that the template does not declare."""
    assert name in variables(function)


def test_batch_reads_parquet_and_predict_does_not_carry_it():
    assert properties("BatchFunction")["Layers"] == [{"Ref": "ParquetLayer"}]
    assert "Layers" not in properties("PredictFunction")
    assert {"Ref": "ParquetLayer"} not in TEMPLATE["Globals"]["Function"]["Layers"]


def test_batch_knows_where_its_output_goes():
    assert variables("BatchFunction")["TENSORLET_OUTPUT"] == {"Fn::Sub": "s3://${OutputBucket}"}


def test_all_functions_log_json_into_groups_that_forget():
    for name in FUNCTIONS:
        role = name.replace("Function", "Role")
        logging = properties(name)["LoggingConfig"]
        assert logging["LogFormat"] == "JSON"
        group = logging["LogGroup"]["Ref"]
        assert properties(group)["RetentionInDays"] == {"Ref": "LogRetentionDays"}
        assert attribute(group) in [statement["Resource"] for statement in statements(role)]


# ---------------------------------------------------------------- the API


def route() -> dict[str, Any]:
    """The one route of the API, which takes every method and path."""
    (operation,) = properties("HttpApi")["DefinitionBody"]["paths"]["$default"].values()
    assert operation["isDefaultRoute"] is True
    return operation  # type: ignore[no-any-return]


def test_requests_must_be_signed_unless_told_otherwise():
    assert TEMPLATE["Parameters"]["ApiAuth"]["Default"] == "IAM"
    assert TEMPLATE["Parameters"]["ApiAuth"]["AllowedValues"] == ["IAM", "JWT", "API_KEY", "NONE"]


def test_every_request_reaches_the_predict_function_as_payload_2_0():
    integration = route()["x-amazon-apigateway-integration"]

    assert "/functions/${PredictFunction.Arn}:live/invocations" in integration["uri"]["Fn::Sub"]
    assert integration["payloadFormatVersion"] == "2.0"
    assert properties("HttpApiPermission")["FunctionName"] == {"Ref": "PredictFunction.Alias"}
    assert properties("PredictFunction")["AutoPublishAlias"] == "live"


def test_the_predict_function_gives_up_before_the_gateway_does():
    """API Gateway developer guide: an HTTP API's integration has 30 seconds."""
    assert properties("PredictFunction")["Timeout"] < 30


# ---------------------------------------------------------------- the queue


def test_a_message_stays_hidden_for_six_times_the_functions_timeout():
    """Lambda developer guide, "Configuring an Amazon SQS queue to use with Lambda"."""
    assert properties("InputQueue")["VisibilityTimeout"] >= 6 * properties("BatchFunction")["Timeout"]


def test_a_message_that_keeps_failing_goes_to_the_dead_letter_queue():
    redrive = properties("InputQueue")["RedrivePolicy"]
    assert redrive["deadLetterTargetArn"] == attribute("DeadLetterQueue")
    assert redrive["maxReceiveCount"] >= 5


def test_no_more_files_are_taken_than_the_reserved_concurrency_can_run():
    """Messages taken beyond it are throttled, counted as received, and end in the dead-letter queue unread."""
    taken = properties("DroppedFiles")["ScalingConfig"]["MaximumConcurrency"]
    reserved = properties("BatchFunction")["ReservedConcurrentExecutions"]["Fn::If"][1]
    assert taken == reserved == {"Ref": "BatchConcurrency"}


def test_one_failed_file_does_not_bring_back_the_others():
    assert properties("DroppedFiles")["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert properties("DroppedFiles")["EventSourceArn"] == attribute("InputQueue")


def test_only_the_input_bucket_of_this_account_may_send_to_the_queue():
    allowed, denied = properties("QueuePolicy")["PolicyDocument"]["Statement"]
    condition = allowed["Condition"]
    bucket_name = properties("InputBucket")["BucketName"]["Fn::Sub"]

    assert condition["StringEquals"] == {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}
    source = {"Fn::Sub": f"arn:${{AWS::Partition}}:s3:::{bucket_name}"}
    assert condition["ArnEquals"] == {"aws:SourceArn": source}
    assert (denied["Effect"], denied["Condition"]) == ("Deny", {"Bool": {"aws:SecureTransport": "false"}})


# ---------------------------------------------------------------- the buckets


def test_nothing_the_batch_function_writes_can_start_it_again():
    notified = [name for name in BUCKETS if "NotificationConfiguration" in properties(name)]
    assert notified == ["InputBucket"]

    writes = [s for s in statements("BatchRole") if any("Put" in action for action in s["Action"])]
    assert [s["Resource"] for s in writes if "logs" not in s["Action"][0]] == [
        {"Fn::Sub": "${OutputBucket.Arn}/*"}
    ]


def test_bucket_names_differ_and_fit_into_63_characters():
    names = [properties(name)["BucketName"]["Fn::Sub"] for name in BUCKETS]
    longest = max(
        int(n) for n in re.findall(r"\{1,(\d+)\}", TEMPLATE["Parameters"]["BucketPrefix"]["AllowedPattern"])
    )
    values = {
        "BucketPrefix": "x" * (longest + 2),
        "AWS::AccountId": "1" * 12,
        "AWS::Region": "ap-southeast-1",
    }

    assert len(set(names)) == len(BUCKETS)
    for name in names:
        for key, value in values.items():
            name = name.replace(f"${{{key}}}", value)
        assert len(name) <= 63
        assert "$" not in name


@pytest.mark.parametrize("name", BUCKETS)
def test_buckets_are_encrypted_closed_to_the_public_and_kept(name):
    bucket = properties(name)
    (encryption,) = bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    _, with_a_key, without = encryption["ServerSideEncryptionByDefault"]["Fn::If"]
    assert (with_a_key["SSEAlgorithm"], without["SSEAlgorithm"]) == ("aws:kms", "AES256")
    assert set(bucket["PublicAccessBlockConfiguration"].values()) == {True}
    assert len(bucket["PublicAccessBlockConfiguration"]) == 4
    assert RESOURCES[name]["DeletionPolicy"] == "RetainExceptOnCreate"
    assert any("AbortIncompleteMultipartUpload" in rule for rule in bucket["LifecycleConfiguration"]["Rules"])


@pytest.mark.parametrize("name", BUCKETS)
def test_buckets_refuse_what_does_not_come_over_tls(name):
    (policy,) = [
        p["Properties"]
        for p in of_type("AWS::S3::BucketPolicy").values()
        if p["Properties"]["Bucket"] == {"Ref": name}
    ]
    (statement,) = policy["PolicyDocument"]["Statement"]
    assert (statement["Effect"], statement["Principal"], statement["Action"]) == ("Deny", "*", "s3:*")
    assert statement["Resource"] == [attribute(name), {"Fn::Sub": f"${{{name}.Arn}}/*"}]
    assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}


@pytest.mark.parametrize("name", ["RegistryBucket", "InputBucket"])
def test_what_people_put_into_buckets_can_be_restored(name):
    assert properties(name)["VersioningConfiguration"] == {"Status": "Enabled"}


# ---------------------------------------------------------------- roles


# Objects of one bucket, perhaps of one kind, and executions of one state machine: what no ARN names one by one.
WIDE = r"\$\{\w+Bucket\.Arn\}/[\w./*]+|arn:.*:execution:\$\{AWS::StackName\}-\w+:\*"


@pytest.mark.parametrize("role", of_type("AWS::IAM::Role"))
def test_roles_name_what_they_may_do_and_where(role):
    """No managed policy, no wildcard in an action, and in a resource only where it has no name."""
    assert "ManagedPolicyArns" not in properties(role)
    for statement in statements(role):
        assert statement["Effect"] == "Allow"
        assert not any("*" in action for action in as_list(statement["Action"]))
        for resource in as_list(statement["Resource"]):
            text = resource.get("Fn::Sub", "")
            assert "*" not in text or re.fullmatch(WIDE, text)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_each_function_has_a_role_of_its_own(function):
    """With a role given, SAM adds no policy of its own."""
    assert properties(function)["Role"] == attribute(function.replace("Function", "Role"))
    assert "Policies" not in properties(function)


def test_predict_may_only_read_the_registry_and_write_files_of_jobs():
    """The second because a link to upload to can do no more than who signed it."""
    allowed = {action for s in statements("PredictRole") for action in as_list(s["Action"])}
    assert allowed == {
        "s3:GetObject",
        "s3:PutObject",
        "s3:ListBucket",
        "logs:CreateLogStream",
        "logs:PutLogEvents",
    }
    writes = [s for s in statements("PredictRole") if "s3:PutObject" in s["Action"]]
    assert [s["Resource"] for s in writes] == [{"Fn::Sub": "${InputBucket.Arn}/*/jobs/*"}]


# ---------------------------------------------------------------- alarms and words


@pytest.mark.parametrize(
    ("metric", "source"),
    [
        ("ApproximateNumberOfMessagesVisible", attribute("DeadLetterQueue", "QueueName")),
        ("ApproximateAgeOfOldestMessage", attribute("InputQueue", "QueueName")),
        ("5xx", {"Ref": "HttpApi"}),
        ("Latency", {"Ref": "HttpApi"}),
        ("Errors", {"Ref": "PredictFunction"}),
        ("Errors", {"Ref": "BatchFunction"}),
        ("Throttles", {"Ref": "PredictFunction"}),
        ("Throttles", {"Ref": "BatchFunction"}),
    ],
)
def test_there_is_an_alarm(metric, source):
    alarms = [alarm["Properties"] for alarm in of_type("AWS::CloudWatch::Alarm").values()]
    (alarm,) = [
        a
        for a in alarms
        if a["MetricName"] == metric and [found["Value"] for found in a["Dimensions"]] == [source]
    ]

    assert alarm["AlarmDescription"]
    assert alarm["AlarmActions"] == {
        "Fn::If": ["TellsTopic", [{"Ref": "AlarmTopic"}], {"Ref": "AWS::NoValue"}]
    }
    assert alarm["TreatMissingData"] == "notBreaching"


@pytest.mark.parametrize("section", ["Parameters", "Outputs"])
def test_everything_an_operator_sees_is_described(section):
    for name, entry in TEMPLATE[section].items():
        assert entry["Description"], name
