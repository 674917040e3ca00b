"""Run one event through `sam local invoke`: `make invoke EVENT=events/predict-v2.json`.

    python -m tests.sam.invoke EVENT [FILE]

Models come from the local registry (`$TENSORLET_REGISTRY` if it is a folder, else ./.tensorlet/registry), copied
into an S3 stand-in which the container reads. A batch event's file is FILE, else the sample that
events/generate.py announces; the outputs are printed below the function's return value.
"""

import json
import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import unquote_plus

from events import generate
from tests.sam import lambda_local
from tests.sam.lambda_local import ROOT, Stack, Unavailable


def main(event_path: Path, file: Path | None = None) -> None:
    registry = registry_folder()
    try:
        lambda_local.prepare()
    except Unavailable as missing:
        sys.exit(str(missing))
    with TemporaryDirectory() as folder, lambda_local.stack(Path(folder)) as stack:
        print(json.dumps(run(event_path, registry, stack, file), indent=2))
        print_outputs(stack)


def run(event_path: Path, registry: Path, stack: Stack, file: Path | None = None) -> Any:
    """The return value of the function that the event is for."""
    event = json.loads(event_path.read_text())
    copy_registry(registry, stack)
    content = file.read_bytes() if file else generate.batch_csv()
    for bucket, key in announced_objects(event):
        put(stack, bucket, key, content)
    function = "BatchFunction" if "Records" in event else "PredictFunction"
    return lambda_local.invoke(function, event_path, stack.env_file)


def registry_folder() -> Path:
    """Raises SystemExit when there is no model yet."""
    setting = os.environ.get("TENSORLET_REGISTRY", "")
    folder = Path(setting.removeprefix("file://") or ROOT / ".tensorlet/registry")
    if not folder.is_dir():
        sys.exit(f"no registry at {folder}: publish a model first (`make demo` publishes some)")
    return folder


def copy_registry(folder: Path, stack: Stack) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            put(stack, stack.registry, path.relative_to(folder).as_posix(), path.read_bytes())


def announced_objects(event: dict[str, Any]) -> list[tuple[str, str]]:
    """Bucket and key of every object in the S3 notifications of an SQS event; none for an HTTP event."""
    notifications = [json.loads(message["body"]) for message in event.get("Records", [])]
    records = [record["s3"] for notification in notifications for record in notification.get("Records", [])]
    return [(s3["bucket"]["name"], unquote_plus(s3["object"]["key"])) for s3 in records]


def put(stack: Stack, bucket: str, key: str, content: bytes) -> None:
    client = stack.client()
    client.create_bucket(Bucket=bucket)  # no error if it is there and ours
    client.put_object(Bucket=bucket, Key=key, Body=content)


def print_outputs(stack: Stack) -> None:
    """What the function wrote, but for its own bookkeeping."""
    client = stack.client()
    for found in client.list_objects_v2(Bucket=stack.output).get("Contents", []):
        if not found["Key"].startswith(".tensorlet/"):
            body = client.get_object(Bucket=stack.output, Key=found["Key"])["Body"].read()
            print(f"\ns3://{stack.output}/{found['Key']}\n{body.decode(errors='replace')}")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
