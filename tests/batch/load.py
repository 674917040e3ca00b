"""Many small files dropped at once, with everything going wrong that may: the queue pump's part of docs/reliability.md.

`python -m tests.batch.load --files 1000` gives the table there; the tests run a part of it.
The input bucket, its events and the queue are moto's, the handler is the function's own, and storage fails under it.
"""

import argparse
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from random import Random
from threading import Lock
from typing import Any, NamedTuple
from unittest.mock import patch

from tensorlet.batch import Job, Worker
from tensorlet.batch.events import notification
from tensorlet.errors import StorageUnavailable, TensorletError
from tensorlet.local.functions import Handler
from tensorlet.local.pump import Queue, pump
from tensorlet.local.standin import MAX_RECEIVES, stand_in
from tensorlet.registry.registry import Registry
from tensorlet.serving.service import ModelService
from tensorlet.settings import Settings

from tests.batch.bench import memory_store
from tests.batch.schedules import DictStore
from tests.models import linear, publish_onnx

WORKERS = 3
REPEATED = 0.3  # of the messages are sent twice
FAILING = 0.005  # of the storage calls fail, half of them after they were carried out
VISIBILITY_S = 10  # of ten files at once; a message that nobody understands is dead after five times as long
POISON = 5  # messages that nobody understands
KINDS = [b"1,2,3,4\n", b"1,2,3,4\nx,2,3,4\n5,6,7,8\n", b"\xff\xff", b"1,2,3,4.0\n" * 20]


class Injected(NamedTuple):
    files: int
    repeated: int
    failed_calls: int
    poison: int


class Survived(NamedTuple):
    """`writes`: how many outputs were written once, twice, ...; `dead`: what messages wait in the dead-letter queue."""

    reports: int
    right: int
    writes: Counter[int]
    deliveries: int
    dead: list[str]
    seconds: float


class FailingStore(DictStore):
    """A store that loses requests and answers, and remembers how often each key was written."""

    def __init__(self, random: Random):
        super().__init__(content_etags=True)
        self.random = random
        self.calm = False
        self.failed = 0
        self.writes: Counter[str] = Counter()
        self._lock = Lock()

    def get(self, key: str) -> Any:
        return self._disturbed(super().get, key)

    def head(self, key: str) -> Any:
        return self._disturbed(super().head, key)

    def create(self, key: str, data: Any) -> str:
        return str(self._disturbed(super().create, key, data))

    def replace(self, key: str, data: bytes, etag: str) -> str:
        return str(self._disturbed(super().replace, key, data, etag))

    def put(self, key: str, data: Any) -> str:
        self.writes[key] += 1
        return super().put(key, data)

    def _disturbed(self, call: Any, *arguments: Any) -> Any:
        with self._lock:
            chance = 1.0 if self.calm else self.random.random()
            self.failed += chance < FAILING
            if chance < FAILING / 2:
                raise StorageUnavailable("the request was lost")
            done = call(*arguments)
            if chance < FAILING:
                raise StorageUnavailable("the answer was lost")
            return done


class OneAtATime:
    """A client whose calls wait for each other: two deletions at once make moto forget one of them."""

    def __init__(self, client: Any):
        self._client = client
        self._lock = Lock()
        self.exceptions = client.exceptions

    def __getattr__(self, name: str) -> Any:
        def call(**arguments: Any) -> Any:
            with self._lock:
                return getattr(self._client, name)(**arguments)

        return call


def run(files: int, seed: int = 0, visibility_s: int = VISIBILITY_S) -> tuple[Injected, Survived]:
    """Drop so many files at once, and pump until the queue is empty."""
    random = Random(seed)
    registry = memory_store("registry")
    publish_onnx(registry, "linear", linear())
    service = ModelService(Registry([registry]), Settings.from_environ({}))
    results = FailingStore(random)
    contents = {f"linear/{n % 100:02}/{n}.csv": KINDS[n % len(KINDS)] for n in range(files)}
    # At every call moto asks for the time, in a roundabout way, once or twice for each message in the queue.
    clock = patch("moto.sqs.models.unix_time_millis", lambda: time.time() * 1000)
    with clock, stand_in(visibility_s=visibility_s, max_receives=MAX_RECEIVES) as stack:
        queue = stack.queue._replace(sqs=OneAtATime(stack.queue.sqs))
        repeated = drop(queue, contents, random)
        started = time.monotonic()
        handler = make_handler(Worker(service, results))
        with ThreadPoolExecutor(WORKERS) as pumps:
            deliveries = sum(pumps.map(lambda _: empty(queue, handler), range(WORKERS)))
        seconds = time.monotonic() - started
        dead = bodies(stack.dead_letters)
    results.calm = True
    expected = {content: clean_run(service, content) for content in set(contents.values())}
    right = sum(outputs(results, key) == expected[content] for key, content in contents.items())
    reports = sum(f"{key}.report.json" in results.objects for key in contents)
    written = [count for key, count in results.writes.items() if not key.startswith(".tensorlet/")]
    return (
        Injected(files, repeated, results.failed, POISON),
        Survived(reports, right, Counter(written), deliveries, dead, seconds),
    )


def drop(queue: Queue, contents: dict[str, bytes], random: Random) -> int:
    """Put all files; S3 tells about each, and here about some once more. Returns how many of those there were."""
    for key, data in contents.items():
        queue.s3.put_object(Bucket="input", Key=key, Body=data)
    repeated = [key for key in contents if random.random() < REPEATED]
    messages = [notification("input", key) for key in repeated] + ["no event"] * POISON
    random.shuffle(messages)
    for start in range(0, len(messages), 10):
        entries = [{"Id": str(n), "MessageBody": body} for n, body in enumerate(messages[start : start + 10])]
        queue.sqs.send_message_batch(QueueUrl=queue.url, Entries=entries)
    return len(repeated)


def make_handler(worker: Worker) -> Handler:
    """As functions/batch does it, without its metrics: what fails is delivered again."""

    def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
        failed = []
        for record in event["Records"]:
            try:
                list(worker.process(record["body"]))
            except TensorletError:
                failed.append({"itemIdentifier": record["messageId"]})
        return {"batchItemFailures": failed}

    return handler


def empty(queue: Queue, handler: Handler) -> int:
    """Pump until nothing is visible nor being tried again; returns how many messages were delivered."""
    delivered = 0
    while True:
        delivered += (received := pump(queue, handler).received)
        if not received and not left(queue):
            return delivered
        time.sleep(0 if received else 1)


def left(queue: Queue) -> int:
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    found = queue.sqs.get_queue_attributes(QueueUrl=queue.url, AttributeNames=names)["Attributes"]
    return sum(int(count) for count in found.values())


def bodies(queue: Queue) -> list[str]:
    found = []
    while messages := queue.sqs.receive_message(QueueUrl=queue.url, MaxNumberOfMessages=10).get("Messages"):
        found += [message["Body"] for message in messages]
    return found


def outputs(results: DictStore, key: str) -> tuple[bytes | None, bytes | None]:
    return tuple(results.objects.get(f"{key}{end}", (None,))[0] for end in (".out", ".err.jsonl"))


def clean_run(service: ModelService, content: bytes) -> tuple[bytes | None, bytes | None]:
    """`.out` and `.err.jsonl` of one undisturbed run."""
    inputs, results = DictStore(content_etags=True), DictStore(content_etags=True)
    inputs.put("linear/a.csv", content)
    Job(service, inputs, results, "linear/a.csv").run()
    return outputs(results, "linear/a.csv")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    injected, survived = run(arguments.files, arguments.seed)
    for name, value in {**injected._asdict(), **survived._asdict()}.items():
        print(f"{name:12} {value}")


if __name__ == "__main__":
    main()
