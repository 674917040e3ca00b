"""Write the sample events: `python events/generate.py`.

Each has the shape AWS sends: HTTP API payload 2.0, REST API payload 1.0, Function URL, and S3 notifications in
SQS messages. All ask the model `digits`: one input `image`, FP32, rows of 28×28 = 784 numbers from 0 to 1.

Sources: API Gateway developer guide, "Create AWS Lambda proxy integrations for HTTP APIs" and "Set up Lambda
proxy integrations"; Lambda developer guide, "Function URLs" and "Using Lambda with Amazon SQS"; S3 user guide,
"Event message structure".
"""

import base64
import hashlib
import json
import struct
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

HERE = Path(__file__).parent
SIDE = 28
ACCOUNT, REGION = "123456789012", "us-east-1"
TIME, EPOCH_MS = "2026-11-23T12:00:00.000Z", 1795435200000
REQUEST_ID = "8f2c1e9a-5b0d-4c6e-9d37-2a61f0c4b7e5"
CALLER = {"sourceIp": "192.0.2.1", "userAgent": "curl/8.5.0"}

BATCH_KEY = "digits/2026/new digits.csv"  # a space, which S3 encodes as `+`


def events() -> dict[str, dict[str, Any]]:
    """Every sample event by its file name."""
    return {
        "predict-v2.json": http_event("/v2/models/digits/infer", json_body(v2_request())),
        "predict-tfs.json": http_event("/v1/models/digits:predict", json_body({"instances": [one()]})),
        "predict-rest-v1.json": rest_event("/v2/models/digits/infer", json_body(v2_request())),
        "predict-url.json": url_event("/v2/models/digits/infer", binary_body()),
        "batch-sqs-s3.json": sqs_event(s3_event(BATCH_KEY, batch_csv())),
    }


# ---------------------------------------------------------------- what is asked


def one() -> list[int]:
    """A handwritten-looking 1: a vertical stroke."""
    return drawing(lambda row, column: 4 <= row < 24 and 13 <= column < 16)


def zero() -> list[int]:
    """A 0: a ring."""
    return drawing(lambda row, column: 49 <= (row - 13.5) ** 2 + 1.8 * (column - 13.5) ** 2 < 100)


def seven() -> list[int]:
    """A 7: a bar and a slanted stroke."""
    return drawing(
        lambda row, column: (
            (4 <= row < 7 and 7 <= column < 21) or (7 <= row < 24 and 0 <= column - 18 + (row - 7) // 2 < 3)
        )
    )


def drawing(ink: Any) -> list[int]:
    """784 pixels, row by row, 1 where `ink(row, column)`."""
    return [int(ink(row, column)) for row in range(SIDE) for column in range(SIDE)]


def v2_request() -> dict[str, Any]:
    image = {"name": "image", "shape": [1, SIDE * SIDE], "datatype": "FP32", "data": one()}
    return {"id": "sample", "inputs": [image]}


def batch_csv() -> bytes:
    """Three rows without a header."""
    return "".join(",".join(map(str, row)) + "\n" for row in (zero(), one(), seven())).encode()


class Body:
    """A request body with the headers that describe it."""

    def __init__(self, data: bytes, headers: dict[str, str]):
        self.data = data
        self.headers = {**headers, "content-length": str(len(data))}
        self.is_text = headers["content-type"] == "application/json"

    def members(self) -> dict[str, Any]:
        """API Gateway passes text as it is and wraps everything else in base64."""
        body = self.data.decode() if self.is_text else base64.b64encode(self.data).decode()
        return {"body": body, "isBase64Encoded": not self.is_text}


def json_body(document: Any) -> Body:
    return Body(json.dumps(document, separators=(",", ":")).encode(), {"content-type": "application/json"})


def binary_body() -> Body:
    """A V2 request with its tensor in raw bytes behind the JSON, two images, and the answer asked for likewise."""
    tensor = struct.pack(f"<{2 * SIDE * SIDE}f", *zero(), *one())
    image = {
        "name": "image",
        "shape": [2, SIDE * SIDE],
        "datatype": "FP32",
        "parameters": {"binary_data_size": len(tensor)},
    }
    header = json.dumps({"inputs": [image], "parameters": {"binary_data_output": True}}).encode()
    headers = {
        "content-type": "application/octet-stream",
        "inference-header-content-length": str(len(header)),
    }
    return Body(header + tensor, headers)


# ---------------------------------------------------------------- how AWS wraps it


def http_event(
    path: str, body: Body, domain: str = f"abc123.execute-api.{REGION}.amazonaws.com"
) -> dict[str, Any]:
    """HTTP API, payload format 2.0."""
    return {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": "",
        "headers": {**body.headers, "host": domain, "accept": "*/*", "user-agent": CALLER["userAgent"]},
        "requestContext": {
            "accountId": ACCOUNT,
            "apiId": domain.partition(".")[0],
            "domainName": domain,
            "domainPrefix": domain.partition(".")[0],
            "http": {"method": "POST", "path": path, "protocol": "HTTP/1.1", **CALLER},
            "requestId": REQUEST_ID,
            "routeKey": "$default",
            "stage": "$default",
            "time": "23/Nov/2026:12:00:00 +0000",
            "timeEpoch": EPOCH_MS,
        },
        **body.members(),
    }


def url_event(path: str, body: Body) -> dict[str, Any]:
    """Function URL: payload format 2.0 from another domain."""
    return http_event(path, body, f"abcdefghijklmnop.lambda-url.{REGION}.on.aws")


def rest_event(path: str, body: Body) -> dict[str, Any]:
    """REST API, payload format 1.0: headers once as text and once as lists."""
    headers = {name.title(): value for name, value in body.headers.items()}
    return {
        "resource": "/{proxy+}",
        "path": path,
        "httpMethod": "POST",
        "headers": headers,
        "multiValueHeaders": {name: [value] for name, value in headers.items()},
        "queryStringParameters": None,
        "multiValueQueryStringParameters": None,
        "pathParameters": {"proxy": path.removeprefix("/")},
        "stageVariables": None,
        "requestContext": {
            "accountId": ACCOUNT,
            "apiId": "abc123",
            "httpMethod": "POST",
            "identity": CALLER,
            "path": f"/prod{path}",
            "protocol": "HTTP/1.1",
            "requestId": REQUEST_ID,
            "requestTimeEpoch": EPOCH_MS,
            "resourcePath": "/{proxy+}",
            "stage": "prod",
        },
        **body.members(),
    }


def s3_event(key: str, content: bytes, bucket: str = f"tensorlet-input-{ACCOUNT}-{REGION}") -> dict[str, Any]:
    """The notification of an object that was put; its key is URL-encoded with `+` for a space."""
    s3_object = {
        "key": quote_plus(key, safe="/"),
        "size": len(content),
        "eTag": hashlib.md5(content, usedforsecurity=False).hexdigest(),
        "versionId": "096fKKXTRTtl3on89fVO.nfljtsv6qko",
        "sequencer": "0055AED6DCD90281E5",
    }
    record = {
        "eventVersion": "2.1",
        "eventSource": "aws:s3",
        "awsRegion": REGION,
        "eventTime": TIME,
        "eventName": "ObjectCreated:Put",
        "userIdentity": {"principalId": "AWS:AIDAEXAMPLE"},
        "requestParameters": {"sourceIPAddress": CALLER["sourceIp"]},
        "responseElements": {"x-amz-request-id": "C3D13FE58DE4C810", "x-amz-id-2": "FMyUVURIY8EXAMPLE"},
        "s3": {
            "s3SchemaVersion": "1.0",
            "configurationId": "DroppedFile",
            "bucket": {
                "name": bucket,
                "ownerIdentity": {"principalId": "A3NL1KOZZKExample"},
                "arn": f"arn:aws:s3:::{bucket}",
            },
            "object": s3_object,
        },
    }
    return {"Records": [record]}


def sqs_event(*messages: dict[str, Any]) -> dict[str, Any]:
    """What Lambda polls from the queue: each message's body is an S3 notification as text."""
    return {"Records": [sqs_record(number, message) for number, message in enumerate(messages)]}


def sqs_record(number: int, message: dict[str, Any]) -> dict[str, Any]:
    body = json.dumps(message)
    return {
        "messageId": f"19dd0b57-b21e-4ac1-bd88-{number:012d}",
        "receiptHandle": "AQEBwJnKyrHigUMZj6rYigCgxlaS3SLy0a",
        "body": body,
        "attributes": {
            "ApproximateReceiveCount": "1",
            "SentTimestamp": str(EPOCH_MS),
            "SenderId": "AIDAJXNJGGKNS7OSV23OI",
            "ApproximateFirstReceiveTimestamp": str(EPOCH_MS + 1),
        },
        "messageAttributes": {},
        "md5OfBody": hashlib.md5(body.encode(), usedforsecurity=False).hexdigest(),
        "eventSource": "aws:sqs",
        "eventSourceARN": f"arn:aws:sqs:{REGION}:{ACCOUNT}:tensorlet-InputQueue",
        "awsRegion": REGION,
    }


def write() -> None:
    for name, event in events().items():
        (HERE / name).write_text(json.dumps(event, indent=2) + "\n")


if __name__ == "__main__":
    write()
