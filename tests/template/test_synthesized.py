"""A lint of our own over the synthesized stack: promises between resources, for every choice of parameters."""

import json
import re
from typing import Any

import pytest
from tensorlet.http.app import App
from tensorlet.metrics import Metrics

from tests.http.conftest import ask
from tests.models import linear, publish_onnx
from tests.template.source import ROOT, template
from tests.template.synthesis import synthesize

pytestmark = pytest.mark.slow  # importing the translator takes a second

JWT = {"ApiAuth": "JWT", "JwtIssuer": "https://issuer.example", "JwtAudience": "one,two"}
# Every parameter with listed values, each value in turn, the others at their defaults; and what captures.
CHOICES = [
    {name: str(value)} | (JWT if value == "JWT" else {})
    for name, entry in template()["Parameters"].items()
    for value in entry.get("AllowedValues", [])
    if not (name == "LogRetentionDays" and value != 1)
] + [
    {"CaptureRate": "1"},
    {"CaptureRate": "1", "ApiAuth": "API_KEY", "CodeRelease": "Canary10Percent5Minutes", "Tracing": "on"},
]


def of_type(resources: dict[str, Any], kind: str) -> dict[str, Any]:
    return {name: found["Properties"] for name, found in resources.items() if found["Type"] == kind}


def version_id(**parameters: str) -> str:
    (name,) = [name for name in synthesize(**parameters) if name.startswith("PredictFunctionVersion")]
    return name


@pytest.fixture(scope="module", params=CHOICES, ids=lambda choice: ",".join(map("=".join, choice.items())))
def resources(request):
    return synthesize(**request.param)


def test_the_translator_takes_the_template_and_nothing_is_left_to_decide(resources):
    assert "Fn::" not in str(resources)
    assert len(of_type(resources, "AWS::Lambda::Function")) >= 2


def test_a_message_stays_hidden_for_six_times_its_functions_timeout(resources):
    """Lambda developer guide, "Configuring an Amazon SQS queue to use with Lambda"."""
    functions, queues = of_type(resources, "AWS::Lambda::Function"), of_type(resources, "AWS::SQS::Queue")
    mappings = of_type(resources, "AWS::Lambda::EventSourceMapping").values()
    assert mappings
    for mapping in mappings:
        queue = queues[mapping["EventSourceArn"].rpartition(":")[2]]
        assert queue["VisibilityTimeout"] >= 6 * functions[mapping["FunctionName"]]["Timeout"]


def test_every_queue_that_starts_a_function_has_a_dead_letter_queue(resources):
    queues = of_type(resources, "AWS::SQS::Queue")
    for mapping in of_type(resources, "AWS::Lambda::EventSourceMapping").values():
        redrive = queues[mapping["EventSourceArn"].rpartition(":")[2]]["RedrivePolicy"]
        assert redrive["deadLetterTargetArn"].rpartition(":")[2] in queues
        assert redrive["maxReceiveCount"] >= 5


def test_no_more_messages_are_taken_than_the_reserved_concurrency_can_run(resources):
    functions = of_type(resources, "AWS::Lambda::Function")
    for mapping in of_type(resources, "AWS::Lambda::EventSourceMapping").values():
        reserved = functions[mapping["FunctionName"]].get("ReservedConcurrentExecutions")
        assert reserved is None or int(mapping["ScalingConfig"]["MaximumConcurrency"]) <= int(reserved)


def test_what_batch_writes_cannot_start_it_again(resources):
    """The functions behind the queue write to no bucket that sends to it; whoever may upload, they may not."""
    buckets = of_type(resources, "AWS::S3::Bucket").values()
    notifying = {bucket["BucketName"] for bucket in buckets if "NotificationConfiguration" in bucket}
    assert notifying

    for name, function in of_type(resources, "AWS::Lambda::Function").items():
        if name != "PredictFunction":  # it signs the uploads that clients ask for
            assert notifying.isdisjoint(written_buckets(resources, function)), name


def written_buckets(resources: dict[str, Any], function: dict[str, Any]) -> set[str]:
    role = resources[function["Role"].rpartition("/")[2]]["Properties"]
    return {
        resource.removeprefix("arn:aws:s3:::").partition("/")[0]
        for policy in role["Policies"]
        for statement in policy["PolicyDocument"]["Statement"]
        if "s3:PutObject" in statement["Action"]
        for resource in listed(statement["Resource"])
    }


def listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def test_snapstart_never_meets_a_tmp_it_does_not_take(resources):
    """Lambda developer guide, "Improving startup performance with Lambda SnapStart": 512 MB at most."""
    for function in of_type(resources, "AWS::Lambda::Function").values():
        if function.get("SnapStart", {}).get("ApplyOn", "None") != "None":
            assert function.get("EphemeralStorage", {"Size": 512})["Size"] <= 512


def test_log_groups_forget(resources):
    groups = of_type(resources, "AWS::Logs::LogGroup")
    assert all(group["RetentionInDays"] for group in groups.values())
    for function in of_type(resources, "AWS::Lambda::Function").values():
        assert function["LoggingConfig"]["LogGroup"] in {group["LogGroupName"] for group in groups.values()}


@pytest.mark.parametrize(("snapstart", "applies"), [("off", "None"), ("on", "PublishedVersions")])
def test_snapstart_is_what_its_parameter_says(snapstart, applies):
    resources = synthesize(SnapStart=snapstart)

    assert resources["PredictFunction"]["Properties"]["SnapStart"] == {"ApplyOn": applies}
    assert "SnapStart" not in resources["BatchFunction"]["Properties"]  # nobody waits for it


@pytest.mark.parametrize(
    ("auth", "scheme"), [("IAM", "AWS_IAM"), ("JWT", "jwt"), ("API_KEY", "api_key"), ("NONE", None)]
)
def test_the_api_asks_for_what_api_auth_says(auth, scheme):
    body = synthesize(**(JWT if auth == "JWT" else {"ApiAuth": auth}))["HttpApi"]["Properties"]["Body"]
    (operation,) = body["paths"]["$default"].values()

    assert operation["security"] == ([{scheme: []}] if scheme else [])
    if scheme:
        assert list(body["components"]["securitySchemes"]) == [scheme]


def test_every_request_with_an_api_key_is_asked_about():
    """A cached answer would let a key through at any rate, and after it was removed."""
    resources = synthesize(ApiAuth="API_KEY")
    body = resources["HttpApi"]["Properties"]["Body"]
    authorizer = body["components"]["securitySchemes"]["api_key"]["x-amazon-apigateway-authorizer"]

    assert authorizer["authorizerResultTtlInSeconds"] == 0
    assert "identitySource" not in authorizer  # either header may carry it
    assert authorizer["authorizerUri"].endswith(":AuthorizeFunction/invocations")
    assert "/authorizers/*" in resources["AuthorizePermission"]["Properties"]["SourceArn"]


def test_a_gradual_release_is_checked_first_and_taken_back_by_alarms():
    resources = synthesize(CodeRelease="Canary10Percent5Minutes")
    update = resources["PredictFunctionAliaslive"]["UpdatePolicy"]["CodeDeployLambdaAliasUpdate"]
    group = resources["PredictFunctionDeploymentGroup"]["Properties"]
    alarm = resources["NewVersionErrorsAlarm"]["Properties"]

    assert update["BeforeAllowTrafficHook"] == "PretrafficFunction"
    assert group["DeploymentConfigName"] == "CodeDeployDefault.LambdaCanary10Percent5Minutes"
    assert {"Name": "NewVersionErrorsAlarm"} in group["AlarmConfiguration"]["Alarms"]
    assert "DEPLOYMENT_STOP_ON_ALARM" in group["AutoRollbackConfiguration"]["Events"]
    assert {d["Name"] for d in alarm["Dimensions"]} == {"FunctionName", "Resource", "ExecutedVersion"}


def test_codedeploy_may_call_the_hook():
    """Its managed policy, AWSCodeDeployRoleForLambda, names functions that begin so."""
    function = synthesize(CodeRelease="Canary10Percent5Minutes")["PretrafficFunction"]["Properties"]
    assert function["FunctionName"].startswith("CodeDeployHook_")


def test_at_once_means_without_codedeploy():
    resources = synthesize()
    assert "UpdatePolicy" not in resources["PredictFunctionAliaslive"]
    assert not [name for name, found in resources.items() if "CodeDeploy" in found["Type"]]


KEY = "arn:aws:kms:eu-central-1:111122223333:key/1234"


def test_a_key_of_ones_own_encrypts_everything_and_every_role_may_use_it():
    resources = synthesize(
        KmsKeyArn=KEY, CaptureRate="1", ApiAuth="API_KEY", CodeRelease="Canary10Percent5Minutes"
    )

    for bucket in of_type(resources, "AWS::S3::Bucket").values():
        (rule,) = bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"]
        assert rule["ServerSideEncryptionByDefault"] == {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": KEY}
    assert {q["KmsMasterKeyId"] for q in of_type(resources, "AWS::SQS::Queue").values()} == {KEY}
    assert {g["KmsKeyId"] for g in of_type(resources, "AWS::Logs::LogGroup").values()} == {KEY}
    (statement,) = resources["KmsPolicy"]["Properties"]["PolicyDocument"]["Statement"]
    assert statement["Resource"] == KEY
    assert set(resources["KmsPolicy"]["Properties"]["Roles"]) == roles_of_functions(resources)


def test_traces_are_off_unless_asked_for_and_then_every_role_may_write_them():
    assert {f["TracingConfig"]["Mode"] for f in of_type(synthesize(), "AWS::Lambda::Function").values()} == {
        "PassThrough"
    }

    resources = synthesize(Tracing="on", CaptureRate="1", ApiAuth="API_KEY", CodeRelease="AllAtOnce")
    assert {f["TracingConfig"]["Mode"] for f in of_type(resources, "AWS::Lambda::Function").values()} == {
        "Active"
    }
    assert set(resources["TracePolicy"]["Properties"]["Roles"]) == roles_of_functions(resources)


def roles_of_functions(resources: dict[str, Any]) -> set[str]:
    functions = of_type(resources, "AWS::Lambda::Function").values()
    return {function["Role"].rpartition("/")[2] for function in functions}


def test_each_function_has_a_role_of_its_own(resources):
    functions = of_type(resources, "AWS::Lambda::Function")
    assert len({function["Role"] for function in functions.values()}) == len(functions)


def test_roles_have_no_wildcards(resources):
    """But for the objects of a bucket under a prefix, and where a service knows no narrower resource."""
    for name, role in of_type(resources, "AWS::IAM::Role").items():
        if name == "CodeDeployServiceRole":  # SAM's, with AWS's managed policy
            continue
        assert "ManagedPolicyArns" not in role
        for policy in role["Policies"]:
            for statement in policy["PolicyDocument"]["Statement"]:
                assert not [action for action in listed(statement["Action"]) if "*" in action]
                for resource in listed(statement["Resource"]):
                    assert resource != "*" or set(listed(statement["Action"])) <= NO_NARROWER, (
                        name,
                        resource,
                    )


# Source: Step Functions developer guide, "Using CloudWatch Logs to log execution history", log delivery permissions.
NO_NARROWER = {
    *("logs:CreateLogDelivery", "logs:GetLogDelivery", "logs:UpdateLogDelivery", "logs:DeleteLogDelivery"),
    *("logs:ListLogDeliveries", "logs:PutResourcePolicy", "logs:DescribeResourcePolicies"),
    "logs:DescribeLogGroups",
}


def widgets(resources: dict[str, Any]) -> list[dict[str, Any]]:
    body = json.loads(resources["Dashboard"]["Properties"]["DashboardBody"])
    return [widget["properties"] for widget in body["widgets"]]


def test_the_dashboard_shows_metrics_of_resources_that_exist(resources):
    names = {*resources, *(found["Properties"].get("QueueName", name) for name, found in resources.items())}

    metrics = [metric for widget in widgets(resources) for metric in widget.get("metrics", [])]
    assert len(metrics) > 15
    for metric in metrics:
        values = [value for value in metric if isinstance(value, str)]
        assert not values or values[-1] in {*names, "batch", "."} or values == ["..."], metric


def test_the_dashboard_shows_every_alarm(resources):
    (shown,) = [widget["alarms"] for widget in widgets(resources) if "alarms" in widget]
    assert sorted(shown) == sorted(f"{alarm}.Arn" for alarm in of_type(resources, "AWS::CloudWatch::Alarm"))


def test_the_dashboard_finds_every_model_by_the_metrics_that_are_written(service, store):
    """A search names the dimensions of a line of the predict function's log, and a metric in it."""
    publish_onnx(store, "digits", linear())
    ask(App(service), "POST /v1/models/digits:predict", {"instances": [[1, 2, 3, 4]]})
    (line,) = [json.loads(line) for line in Metrics(service).lines() if '"artifact"' in line]
    (written,) = line["_aws"]["CloudWatchMetrics"]

    searches = [
        metric[0]["expression"]
        for widget in widgets(synthesize())
        for metric in widget.get("metrics", [])
        if isinstance(metric[0], dict)
    ]

    assert searches
    for search in searches:
        schema, name = re.fullmatch(r"SEARCH\('\{(.+)\} MetricName=\"(\w+)\"', 'Sum', 60\)", search).groups()
        assert schema.split(",") == [written["Namespace"], *written["Dimensions"][0]]
        assert name in {metric["Name"] for metric in written["Metrics"]}


def test_the_api_calls_the_alias_and_may(resources):
    (operation,) = resources["HttpApi"]["Properties"]["Body"]["paths"]["$default"].values()
    (alias,) = of_type(resources, "AWS::Lambda::Alias").values()
    permission = resources["HttpApiPermission"]["Properties"]

    assert (alias["Name"], alias["FunctionName"]) == ("live", "PredictFunction")
    assert operation["x-amazon-apigateway-integration"]["uri"].endswith(":PredictFunction:live/invocations")
    assert permission["FunctionName"] == "PredictFunctionAliaslive"
    assert "HttpApi" in permission["SourceArn"]


@pytest.mark.parametrize(
    "change",
    [
        {"SnapStart": "on"},
        {"PreloadModels": "digits"},
        {"PredictMemory": "3538"},
        {"RuntimeChoice": "tflite"},
    ],
    ids=str,
)
def test_a_changed_parameter_of_predict_publishes_a_version(change):
    """SAM alone would leave the alias on the old one: aws/serverless-application-model#3820."""
    assert version_id(**change) != version_id()


def test_globals_hold_no_parameter_but_the_architecture():
    """AWS::LanguageExtensions knows no Globals; the architecture changes the layers, and so publishes."""
    assert set(re.findall(r"'Ref': '(\w+)'", str(template()["Globals"]))) == {
        "Architecture",
        "RuntimeLayer",
        "TensorletLayer",
    }


def test_another_parameter_publishes_none():
    assert version_id(BatchMemory="3538", LatencyAlarmMs="10") == version_id()


@pytest.mark.parametrize("layer", ["RuntimeLayer", "TensorletLayer"])
def test_a_new_layer_of_predict_publishes_a_version(layer):
    """SAM looks at a function's layers only where they say so."""
    assert template()["Resources"][layer]["Properties"]["PublishLambdaVersion"] is True


def test_predict_is_never_behind_a_version_that_nobody_deletes():
    """A version with a snapshot is paid for until it is deleted."""
    assert template()["Resources"]["PredictFunction"]["Properties"]["VersionDeletionPolicy"] == "Delete"


def test_wheels_of_the_layers_can_only_be_for_the_runtimes_glibc(resources):
    """Amazon Linux 2023, under python3.13, has glibc 2.34; the builder admits no newer wheel."""
    builder = (ROOT / "layers/runtime/build.py").read_text()
    assert re.search(r"^NEWEST_GLIBC_MINOR = 34$", builder, re.MULTILINE)
    assert {f["Runtime"] for f in of_type(resources, "AWS::Lambda::Function").values()} == {"python3.13"}
