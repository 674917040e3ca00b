"""Which AWS calls a function makes, as IAM names them, and whether its role allows them.

`Recorder` stands between the function and an AWS stand-in and notes each call; `allows` decides on it by the
synthesized policies. Actions and resources as in the "Service Authorization Reference" of the services in SERVICES.
"""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

from tests.template.synthesis import ACCOUNT, REGION


class Call(NamedTuple):
    """One thing that was asked of AWS: the action, and the ARN of what it was done to."""

    action: str
    resource: str


class Statement(NamedTuple):
    sid: str
    action: str
    resource: str

    def covers(self, call: Call) -> bool:
        return self.action == call.action and fnmatchcase(call.resource, self.resource)


def statements(resources: dict[str, Any], role: str) -> list[Statement]:
    """What a role may do, a row for each action and resource: all of its policies, wherever they are written."""
    inline = resources[role]["Properties"]["Policies"]
    attached = [
        found["Properties"]
        for found in resources.values()
        if found["Type"] == "AWS::IAM::Policy" and role in found["Properties"]["Roles"]
    ]
    return [
        Statement(statement["Sid"], action, resource)
        for policy in [*inline, *attached]
        for statement in policy["PolicyDocument"]["Statement"]
        for action in listed(statement["Action"])
        for resource in listed(statement["Resource"])
    ]


def allows(rows: list[Statement], call: Call) -> bool:
    """An allow is needed, and there are no denials in these policies."""
    return any(row.covers(call) for row in rows)


def listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def calls_of(method: str, target: str, headers: dict[str, str], body: bytes) -> list[Call]:
    """What one HTTP request asks for: S3 and Lambda by path, the services with JSON by their `X-Amz-Target`."""
    if operation := headers.get("x-amz-target"):
        service, _, action = operation.partition(".")
        return [SERVICES[service](action, json.loads(body))]
    if match := re.fullmatch("/2015-03-31/functions/(.+)/invocations", target):
        return [Call("lambda:InvokeFunction", unquote(match[1]))]
    return list(_s3(method, target, headers))


def _sqs(action: str, body: dict[str, Any]) -> Call:
    # A batch of messages is allowed by the action for one.
    name = body["QueueUrl"].rpartition("/")[2]
    return Call(f"sqs:{action.removesuffix('Batch')}", f"arn:aws:sqs:{REGION}:{ACCOUNT}:{name}")


# X-Amz-Target -> the call.
SERVICES = {
    "AmazonSQS": _sqs,
    "AWSStepFunctions": lambda action, body: Call(f"states:{action}", body["stateMachineArn"]),
    "secretsmanager": lambda action, body: Call(f"secretsmanager:{action}", body["SecretId"]),
    "TrentService": lambda action, body: Call(f"kms:{action}", body["KeyId"]),
    # The request names a deployment, the policy the group that it is of.
    "CodeDeploy_20141006": lambda action, body: Call(f"codedeploy:{action}", DEPLOYMENT_GROUP),
}
DEPLOYMENT_GROUP = (
    f"arn:aws:codedeploy:{REGION}:{ACCOUNT}:deploymentgroup:"
    "ServerlessDeploymentApplication/PredictFunctionDeploymentGroup"
)


def calls_of_machine(
    definition: str, substitutions: dict[str, str], name: str, lists: list[str]
) -> list[Call]:
    """What a state machine asks for in the name of its role, by its definition and the ARNs of the lists it reads.

    Source: Step Functions developer guide, "Using Map state in Distributed mode", permissions.
    """
    for key, value in substitutions.items():
        definition = definition.replace(f"${{{key}}}", value)
    calls = []
    for state in _states(json.loads(definition)):
        match state.get("Resource"):
            case "arn:aws:states:::lambda:invoke":
                calls.append(Call("lambda:InvokeFunction", state["Parameters"]["FunctionName"]))
            case "arn:aws:states:::sqs:sendMessage":
                calls.append(_sqs("SendMessage", state["Parameters"]))
        if state["Type"] == "Map":
            assert state["ItemReader"]["Resource"] == "arn:aws:states:::s3:getObject"
            calls += [Call("s3:GetObject", found) for found in lists]
            states = f"arn:aws:states:{REGION}:{ACCOUNT}"
            calls += [
                Call("states:StartExecution", f"{states}:stateMachine:{name}"),
                Call("states:DescribeExecution", f"{states}:execution:{name}:of-a-chunk"),
                Call("states:StopExecution", f"{states}:execution:{name}:of-a-chunk"),
            ]
    return calls


def _states(machine: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """All states, those of maps too."""
    for state in machine["States"].values():
        yield state
        if "ItemProcessor" in state:
            yield from _states(state["ItemProcessor"])


def _s3(method: str, target: str, headers: dict[str, str]) -> Iterator[Call]:
    url = urlsplit(target)
    bucket, _, key = unquote(url.path).lstrip("/").partition("/")
    query = parse_qs(url.query, keep_blank_values=True)
    resource = f"arn:aws:s3:::{bucket}/{key}" if key else f"arn:aws:s3:::{bucket}"
    if source := headers.get("x-amz-copy-source"):
        yield Call("s3:GetObject", f"arn:aws:s3:::{unquote(source).lstrip('/')}")
    if not key:
        yield Call({"GET": "s3:ListBucket", "HEAD": "s3:ListBucket"}[method], resource)
    elif method == "DELETE":
        yield Call("s3:AbortMultipartUpload" if "uploadId" in query else "s3:DeleteObject", resource)
    elif method in ("GET", "HEAD"):
        yield Call("s3:GetObjectVersion" if "versionId" in query else "s3:GetObject", resource)
    else:
        yield Call("s3:PutObject", resource)


Answer = Callable[[Call, bytes], bytes | None]


class Recorder:
    """Passes requests on to `target` (HOST:PORT) and notes what they ask for; `answer` does what is not there."""

    def __init__(self, target: str, answer: Answer = lambda call, body: None):
        self.calls: list[Call] = []
        self.bodies: list[tuple[str, bytes]] = []  # of the services with JSON: target, body
        recorder = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def pass_on(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                headers = {name.lower(): value for name, value in self.headers.items()}
                calls = calls_of(self.command, self.path, headers, body)
                recorder.calls += calls
                recorder.bodies.append((headers.get("x-amz-target", ""), body))
                if own := answer(calls[0], body):
                    self.send_response(200)
                    self.send_header("Content-Length", str(len(own)))
                    self.end_headers()
                    self.wfile.write(own)
                    return
                connection = HTTPConnection(target, timeout=60)
                connection.request(self.command, self.path, body, dict(self.headers.items()))
                response = connection.getresponse()
                content = response.read()
                connection.close()
                self.send_response_only(response.status)
                for name, value in response.getheaders():
                    if name.lower() not in ("transfer-encoding", "connection"):
                        self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = pass_on

            def log_message(self, format: str, *values: object) -> None:
                """Quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @contextmanager
    def running(self) -> Iterator["Recorder"]:
        thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()
            thread.join()
