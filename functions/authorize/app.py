"""Lambda authorizer of the HTTP API: lets requests with a known API key through, each key at its own rate.

API Gateway asks for each request (format 2.0, simple responses) and caches nothing, so that rates can be counted and
a key that was removed is refused within a minute.
"""

import os
import time
from typing import Any

from tensorlet.http.api_keys import ApiKey, Buckets, find_key, load_keys, presented_key
from tensorlet.telemetry import log_cold_start, logger

TTL_S = 60.0  # how long the kept keys are trusted

buckets = Buckets()
known: tuple[float, dict[str, ApiKey]] = (float("-inf"), {})  # when they were read, and the keys


@log_cold_start
def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """`{"isAuthorized": ...}`; API Gateway answers 403 where it is false.

    Source: API Gateway developer guide, "Control access to HTTP APIs with AWS Lambda authorizers".
    """
    keys = current_keys(time.monotonic())
    key_id = find_key(keys, presented_key(event.get("headers") or {}))
    if key_id is None:
        return {"isAuthorized": False}
    if not buckets.take(key_id, keys[key_id], time.monotonic()):
        logger().warning("over its rate", extra={"key": key_id, "key_name": keys[key_id].name})
        return {"isAuthorized": False}
    return {"isAuthorized": True, "context": {"key": key_id, "name": keys[key_id].name}}


def current_keys(now_s: float) -> dict[str, ApiKey]:
    """The kept keys, read again after TTL_S; those already known serve on while Secrets Manager does not answer."""
    global known
    read_s, keys = known
    if now_s - read_s < TTL_S:
        return keys
    try:
        keys = load_keys(read_secret())
    except Exception:
        if read_s == float("-inf"):
            raise  # nobody is known: API Gateway refuses everybody with 500
        logger().exception("API keys could not be read again")
    known = (now_s, keys)
    return keys


def read_secret() -> str:
    import boto3  # a part of Lambda's runtime; imported when the keys are really read

    secrets = boto3.client("secretsmanager")
    found = secrets.get_secret_value(SecretId=os.environ["API_KEYS_SECRET"], VersionStage="AWSCURRENT")
    return str(found["SecretString"])
