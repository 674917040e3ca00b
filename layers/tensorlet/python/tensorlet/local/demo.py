"""The whole system on one machine, told as a story: train, publish, serve, predict, and a file in a bucket.

S3 and SQS are moto's, in this process; training and the server are processes of their own, which end with it.
"""

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from statistics import quantiles
from time import perf_counter
from typing import Any, NamedTuple
from urllib.request import urlopen

import numpy as np

from tensorlet.cli.models import describe_model, version_table
from tensorlet.cli.text import size, status_line, style, table
from tensorlet.errors import TensorletError
from tensorlet.local.clients import Array, Client
from tensorlet.local.functions import Handler, find_functions, load_handler
from tensorlet.local.processes import ended, running_server
from tensorlet.local.pump import drain
from tensorlet.local.standin import Stack, stand_in
from tensorlet.publish.convert import convert_python
from tensorlet.registry.manifest import Manifest
from tensorlet.registry.registry import Registry

MODEL = "digits"
FRAMEWORKS = {"torch": "PyTorch", "keras": "Keras"}
NEEDED = ("tensorlet", "torch", "keras", "tensorflow", "sklearn", "litert_torch", "tf2onnx")
KEY = f"{MODEL}/scans.csv"
WARM_UP, REQUESTS = 20, 200
SHOWN_DIGITS = (2, 4, 7)
SPOILED_ROW = 7  # in the file for batch: what a bad row looks like
MARKS = {(False, False): " ", (True, False): "▀", (False, True): "▄", (True, True): "█"}


class DemoFailed(TensorletError):
    """A step of the demo did not do what it should; the message says where to look."""


class Scans(NamedTuple):
    """The test part of the handwritten digits, which no training has seen."""

    images: Array  # (N, 784) float32
    labels: Any  # (N,) int


def run_demo(folder: Path, quick: bool) -> None:
    """Tell the story; everything it makes is in `folder`, which is emptied first.

    Raises:
        DemoFailed: training, or an answer that is not what it should be.
        InvalidSetting: something that is needed is not installed.
    """
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "logs").mkdir(parents=True)
    with stop_on_sigterm(), stand_in() as stack:
        tell(
            f"A model on its way to production, on this machine only. S3 and SQS are stand-ins at {stack.endpoint};",
            f"everything is kept in {shown(folder)}.",
        )
        train(stack, folder, quick)
        scans = load_scans(folder)
        show_registry(stack)
        serve(stack, folder, scans)
        batch(stack, folder, scans)
        keep(stack, folder)
        invite(folder)


# -- 1. train and publish ------------------------------------------------------------------------------------


def train(stack: Stack, folder: Path, quick: bool) -> None:
    """One version from each framework; the first one is `live`."""
    step(1, "Train on handwritten digits, export to ONNX and TFLite, check, publish")
    check_frameworks()
    took = []
    for framework, title in FRAMEWORKS.items():
        arguments = ["-m", f"training.train_{framework}", "--name", MODEL, "--registry", stack.registry]
        arguments += ["--epochs", "2"] if quick else []
        arguments += ["--alias", "live"] if framework == "torch" else []
        command(f"python {' '.join(arguments)}")
        arguments += ["--output", str((folder / framework).absolute())]
        took.append(run_quietly(f"training in {title}", arguments, folder / "logs" / f"{framework}.log"))
    registry = Registry.open(stack.registry)
    manifests = [registry.release(MODEL, version).manifest for version in registry.versions(MODEL)]
    rows = [training_row(manifest, seconds) for manifest, seconds in zip(manifests, took, strict=True)]
    tell("", table(("version", "framework", "model", "epochs", "test accuracy", "took"), rows), "")
    tell(
        "Each artifact ran in the runtime that serves it, and was compared with the model it was made from:",
        "",
    )
    rows = [row for manifest in manifests for row in artifact_rows(manifest)]
    tell(table(("version", "artifact", "size", "largest difference", "allowed"), rows))


def training_row(manifest: Manifest, seconds: float) -> tuple[object, ...]:
    training, framework = manifest.document["training"], manifest.document["framework"]["name"]
    return (
        manifest.version,
        FRAMEWORKS[framework],
        training["knobs"]["arch"],
        training["knobs"]["epochs"],
        f"{training['metrics']['test']['accuracy']:.1%}",
        f"{seconds:.0f} s",
    )


def artifact_rows(manifest: Manifest) -> Iterator[tuple[object, ...]]:
    for artifact, document in zip(manifest.artifacts, manifest.document["artifacts"], strict=True):
        parity = document["parity"]
        yield (
            manifest.version,
            artifact.files[0].path,
            size(artifact.size_bytes),
            f"{parity['max_abs_diff']:.0e}",
            f"{parity['tolerance']:.0e}",
        )


def check_frameworks() -> None:
    """Raises DemoFailed naming what the training environment lacks."""
    script = (
        "import sys\nfrom importlib.util import find_spec\n"
        f"print(', '.join(name for name in {NEEDED} if find_spec(name) is None))"
    )
    python = convert_python()
    missing = subprocess.run(
        [python, "-c", script], capture_output=True, text=True, check=True
    ).stdout.strip()
    if missing:
        raise DemoFailed(f"{python} lacks {missing}; `make setup` makes an environment for training")


def run_quietly(what: str, arguments: list[str], log: Path) -> float:
    """Run Python of the training environment in the checkout, its output in `log`; returns the seconds it took.

    Raises:
        DemoFailed: with the last line of the log.
    """
    started = perf_counter()
    with log.open("w") as output:
        options = {
            "stdin": subprocess.DEVNULL,
            "stdout": output,
            "stderr": output,
            "cwd": find_functions().parent,
        }
        with ended([convert_python(), *arguments], **options) as process:
            while not has_ended(process):
                status_line(f"  {what} ... {perf_counter() - started:.0f} s")
    status_line("")
    if process.returncode:
        lines = log.read_text(errors="replace").strip().splitlines()
        raise DemoFailed(f"{what} failed: {lines[-1] if lines else process.returncode}; see {shown(log)}")
    return perf_counter() - started


def has_ended(process: subprocess.Popen[str]) -> bool:
    """Whether it has, after waiting for as long as a status line may stand still."""
    try:
        process.wait(0.2)
    except subprocess.TimeoutExpired:
        return False
    return True


def load_scans(folder: Path) -> Scans:
    """The test part, made by the training environment, which has scikit-learn."""
    script = (
        "import sys, numpy; from training.data import as_input, load_dataset\n"
        "test = load_dataset('digits').test\n"
        "numpy.savez(sys.argv[1], images=as_input(test.images, 'mlp'), labels=test.labels)"
    )
    file = folder / "scans.npz"
    run_quietly("loading the digits", ["-c", script, str(file.absolute())], folder / "logs" / "scans.log")
    with np.load(file) as arrays:
        return Scans(arrays["images"], arrays["labels"])


# -- 2. the registry -----------------------------------------------------------------------------------------


def show_registry(stack: Stack) -> None:
    step(2, "The registry: immutable versions, and an alias to move")
    command(f"tensorlet models {MODEL} --registry {stack.registry}")
    tell(version_table(describe_model(Registry.open(stack.registry), MODEL)))
    tell("", f"A release or a rollback is one command: tensorlet alias {MODEL} live VERSION")


# -- 3. HTTP -------------------------------------------------------------------------------------------------


def serve(stack: Stack, folder: Path, scans: Scans) -> None:
    """Ask the server in each protocol, and compare."""
    step(3, "Answer HTTP requests, in the protocols clients have already")
    command(f"tensorlet serve --registry {stack.registry}")
    signature = Registry.open(stack.registry).release(MODEL, 1).manifest.signature
    some = scans.images[[list(scans.labels).index(digit) for digit in SHOWN_DIGITS]]
    started = perf_counter()
    with running_server("--registry", stack.registry) as server:
        ready_s = perf_counter() - started
        with closing(
            Client(server.url, MODEL, signature.inputs[0].name, signature.outputs[0].name)
        ) as client:
            started = perf_counter()
            answers = client.tensorflow_serving(some)
            first_ms = 1000 * (perf_counter() - started)
            tell(
                f"listening on {server.url} after {ready_s:.1f} s; the first answer, with loading the model from S3,"
                f" took {first_ms:.0f} ms:"
            )
            tell("", *pictures(some, answers), "")
            tell(latency_table(client, scans), "")
        request = folder / "request.json"
        request.write_text(json.dumps({"instances": scans.images[:1].round(3).tolist()}))
        url = f"{server.url}/v1/models/{MODEL}:predict"
        command(f"curl -d @{shown(request)} {url}")
        with urlopen(url, request.read_bytes(), timeout=60) as reply:
            tell(clipped(reply.read().decode()), f"tensorlet-model: {reply.headers['tensorlet-model']}")


def latency_table(client: Client, scans: Scans) -> str:
    """Time every protocol, after a check that they give the same numbers. Raises DemoFailed."""
    protocols: dict[str, Callable[[Array], Array]] = {
        "TensorFlow Serving, JSON": client.tensorflow_serving,
        "V2 (Triton, KServe), JSON": client.v2_json,
        "V2, binary tensors": client.v2_binary,
    }
    expected = client.v2_binary(scans.images)
    right = f"{(expected.argmax(axis=1) == scans.labels).mean():.1%}"
    rows = []
    for name, ask in protocols.items():
        if not np.allclose(ask(scans.images), expected, atol=1e-6):
            raise DemoFailed(f"{name}: other numbers than in binary tensors")
        rows.append((name, f"{len(scans.labels)} scans, {right} right", *latencies(ask, scans.images[:1])))
    return table(("protocol", "same answers", "p50 ms", "p99 ms"), rows)


def latencies(ask: Callable[[Array], Array], image: Array) -> tuple[str, str]:
    """Median and 99th percentile of one scan at a time, in ms."""
    seconds = []
    for _ in range(WARM_UP + REQUESTS):
        started = perf_counter()
        ask(image)
        seconds.append(perf_counter() - started)
    cuts = quantiles(seconds[WARM_UP:], n=100)
    return f"{1000 * cuts[49]:.2f}", f"{1000 * cuts[98]:.2f}"


def pictures(images: Array, answers: Array) -> list[str]:
    """Scans side by side, two pixels in a character, and what the model says about each."""
    drawings = []
    for image, answer in zip(images.reshape(-1, 28, 28) > 0.55, answers, strict=True):
        upper, lower = image[0::2], image[1::2]
        lines = [
            "".join(MARKS[bool(a), bool(b)] for a, b in zip(*row, strict=True))
            for row in zip(upper, lower, strict=True)
        ]
        caption = f"a {answer.argmax()}, {answer.max():.1%} sure"
        drawings.append([*lines, caption.center(28)])
    return ["  ".join(line).rstrip() for line in zip(*drawings, strict=True)]


# -- 4. a file in a bucket -----------------------------------------------------------------------------------


def batch(stack: Stack, folder: Path, scans: Scans) -> None:
    """Drop a CSV file into the input bucket; S3 tells the queue, and the queue the function."""
    step(4, "Drop a CSV file into a bucket, find the predictions in another")
    file = folder / "scans.csv"
    write_csv(file, scans.images)
    s3 = stack.queue.s3
    s3.put_object(Bucket=stack.input_bucket, Key=KEY, Body=file.read_bytes())
    command(f"aws s3 cp {shown(file)} s3://{stack.input_bucket}/{KEY}")
    tell(
        f"{len(scans.labels)} rows of 784 pixels, {size(file.stat().st_size)}; row {SPOILED_ROW} is spoiled on purpose"
    )
    run_batch_function(stack, folder / "logs" / "batch.log")

    outputs = {end: folder / f"scans.csv{end}" for end in (".out", ".err.jsonl", ".report.json")}
    for end, path in outputs.items():
        s3.download_file("output", f"{KEY}{end}", str(path))
    lines = outputs[".out"].read_text().splitlines()
    tell("", f"{stack.output}/{KEY}.out", *map(clipped, lines[:4]), "...")
    tell("", f"{stack.output}/{KEY}.err.jsonl", clipped(outputs[".err.jsonl"].read_text()))
    report = json.loads(outputs[".report.json"].read_text())
    right = count_right(lines[1:], scans.labels)
    tell(
        "",
        f"{report['rows_in']} rows in {report['seconds']:.2f} s by {report['model']}/{report['model_version']},"
        f" {report['rows_failed']} failed; of the {report['rows_out']} predictions {right / report['rows_out']:.1%} are"
        " right",
    )


def write_csv(file: Path, images: Array) -> None:
    """A row for each image under a header; one row has a hole where a number should be."""
    with file.open("w") as output:
        print(*(f"pixel{n}" for n in range(images.shape[1])), sep=",", file=output)
        for number, image in enumerate(images):
            pixels = [f"{pixel:.3g}" for pixel in image]
            if number == SPOILED_ROW:
                pixels[300] = "coffee"
            print(*pixels, sep=",", file=output)


def run_batch_function(stack: Stack, log: Path) -> None:
    """Pump the queue into the function, whose log lines go to `log`. Raises DemoFailed."""
    with log.open("w") as output, redirect_stdout(output), redirect_stderr(output):
        handler: Handler = load_handler("batch", stack.registry, stack.output)
        deliveries = drain(stack.queue, handler)
    if any(delivery.failed for delivery in deliveries):
        raise DemoFailed(f"the batch function failed; see {shown(log)}")


def count_right(lines: list[str], labels: Any) -> int:
    """Rows of probabilities whose largest is the label's; a failed row is empty fields."""
    rows = [line.split(",") for line in lines]
    return sum(
        bool(row[0]) and int(np.argmax(list(map(float, row)))) == label
        for row, label in zip(rows, labels, strict=True)
    )


# -- 5. what stays -------------------------------------------------------------------------------------------


def keep(stack: Stack, folder: Path) -> None:
    """Copy the registry from the stand-in, which ends with the demo."""
    bucket, _, prefix = stack.registry.removeprefix("s3://").partition("/")
    for page in stack.queue.s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        for item in page["Contents"]:
            path = folder / "registry" / item["Key"].removeprefix(f"{prefix}/")
            path.parent.mkdir(parents=True, exist_ok=True)
            stack.queue.s3.download_file(bucket, item["Key"], str(path))


def invite(folder: Path) -> None:
    """What to type next."""
    step(5, f"Yours to try: {shown(folder)} has the models, the registry, requests, predictions and logs")
    registry = f"--registry {shown(folder / 'registry')}"
    program = Path(sys.argv[0])
    tensorlet = shown(program) if program.name == "tensorlet" else "tensorlet"
    for arguments in (
        f"models {registry}",
        f"serve {registry}",
        f"batch {shown(folder / 'scans.csv')} --model {MODEL}@2 {registry}",
        f"pull {MODEL}@live --format tflite -o {MODEL}.tflite {registry}",
        f"publish YOUR_MODEL.keras --name mine {registry}",
    ):
        command(f"{tensorlet} {arguments}")
    tell("", "And to AWS: sam build && sam deploy --guided")


# -- how it looks --------------------------------------------------------------------------------------------


def step(number: int, title: str) -> None:
    print(f"\n{style(f'{number}  {title}', 'bold')}\n", flush=True)


def tell(*texts: str) -> None:
    for text in texts:
        for line in text.splitlines() or [""]:
            print(f"   {line}".rstrip(), flush=True)


def command(line: str) -> None:
    """A command as one would type it."""
    print(f"   {style(f'$ {line}', 'cyan')}", flush=True)


def clipped(line: str, width: int = 90) -> str:
    line = line.rstrip()
    return line if len(line) <= width else f"{line[: width - 4]} ..."


def shown(path: Path) -> str:
    """A path as one would type it here."""
    path = path.absolute()
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


@contextmanager
def stop_on_sigterm() -> Iterator[None]:
    """Being told to stop unwinds like Ctrl-C, so that every process we started ends too."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
