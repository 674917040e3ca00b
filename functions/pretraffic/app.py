"""Pre-traffic hook of a code release: CodeDeploy waits for its verdict before the new version gets its first request.

The verdict is on the version named by NEW_VERSION: it must answer the golden inputs of every model in the registry
as the model's manifest says.
"""

import json
import os
from typing import Any

import boto3
from tensorlet.monitoring.golden import Question, failures
from tensorlet.registry.registry import Registry
from tensorlet.telemetry import log_cold_start, logger

SUCCEEDED, FAILED = "Succeeded", "Failed"


@log_cold_start
def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Tell CodeDeploy `Succeeded` or `Failed`; the reasons are in the log and returned.

    Source: AWS CodeDeploy user guide, "AppSpec 'hooks' section for an AWS Lambda deployment".
    """
    reasons = ["the check itself failed; its log says more"]
    try:
        reasons = failures(Registry.open(os.environ["TENSORLET_REGISTRY"]), ask)
    except Exception:
        logger().exception("the new version could not be checked")  # and FAILED says so to CodeDeploy
    for reason in reasons:
        logger().error("golden predictions", extra={"reason": reason, "version": os.environ["NEW_VERSION"]})
    status = FAILED if reasons else SUCCEEDED
    boto3.client("codedeploy").put_lifecycle_event_hook_execution_status(
        deploymentId=event["DeploymentId"],
        lifecycleEventHookExecutionId=event["LifecycleEventHookExecutionId"],
        status=status,
    )
    return {"status": status, "reasons": reasons}


def ask(question: Question) -> dict[str, Any]:
    """The new version's reply to an HTTP API event, format 2.0."""
    http = {"method": "POST", "path": question.path, "sourceIp": "127.0.0.1", "protocol": "HTTP/1.1"}
    event = {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": question.path,
        "rawQueryString": "",
        "headers": {"content-type": "application/json"},
        "requestContext": {"http": http, "requestId": "pre-traffic", "stage": "$default"},
        "body": question.body,
        "isBase64Encoded": False,
    }
    reply = boto3.client("lambda").invoke(
        FunctionName=os.environ["NEW_VERSION"], Payload=json.dumps(event).encode()
    )
    return dict(json.loads(reply["Payload"].read()))
