from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from tensorlet.registry.store import Store
from tensorlet.serving.service import ModelService

from tests.batch.bench import Bench, memory_store
from tests.models import half_plus_two, linear, publish_onnx


@pytest.fixture
def bench(service: ModelService, store: Store) -> Bench:
    """Two models: `linear` takes `image` (4 numbers) and gives `scores` (3), `half` takes `x` and gives `y`."""
    publish_onnx(store, "linear", linear())
    publish_onnx(store, "half", half_plus_two())
    return Bench(service, memory_store("inputs"), memory_store("results"))


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """The URL of an S3 server on this machine."""
    import logging

    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel("ERROR")  # a line for each request
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    yield "http://{}:{}".format(*server.get_host_and_port())
    server.stop()


@pytest.fixture
def s3(s3_server, monkeypatch) -> Any:
    """boto3's client for that server, to which the environment points."""
    import boto3

    for key, value in {
        "AWS_ENDPOINT_URL": s3_server,
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(key, value)
    return boto3.client("s3", region_name="us-east-1")


@pytest.fixture
def bucket(s3) -> str:
    """An empty bucket."""
    name = f"bucket-{uuid4().hex}"
    s3.create_bucket(Bucket=name)
    return name
