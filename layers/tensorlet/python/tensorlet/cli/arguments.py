"""The grammar of the command line: every command with its arguments, and nothing else.

Only the standard library and plain values are imported here, because this runs before anything else does.
"""

import re
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, NoReturn

from tensorlet import __version__
from tensorlet.errors import InvalidRequest, TensorletError
from tensorlet.signature import TensorSpec
from tensorlet.tensors import DATATYPES


class ModelReference(NamedTuple):
    """NAME[@VERSION|ALIAS]; without a selector the registry chooses (alias `live`, else the newest version)."""

    name: str
    selector: str | None

    def __str__(self) -> str:
        return f"{self.name}@{self.selector}" if self.selector else self.name


def parse(argv: Sequence[str] | None = None) -> Namespace:
    """The command line as a namespace whose `command` names the module that runs it."""
    return _parser().parse_args(argv)


def parse_model_reference(text: str) -> ModelReference:
    """`NAME`, `NAME@7` or `NAME@live`. Raises InvalidRequest for an empty part."""
    name, at, selector = text.partition("@")
    if not name or (at and not selector):
        raise InvalidRequest(f"expected NAME, NAME@VERSION or NAME@ALIAS, got {text!r}")
    return ModelReference(name, selector or None)


def parse_tensor_spec(text: str) -> TensorSpec:
    """`NAME:DATATYPE:SHAPE`, for example `image:FP32:-1,784`; -1 is any length and an empty shape a scalar.

    The name may have colons itself, as TensorFlow's do.

    Raises:
        InvalidRequest: naming the part that is wrong, what was expected and what came.
    """
    name, datatype, shape = text.rsplit(":", 2) if text.count(":") > 1 else ("", "", "")
    if not name:
        raise InvalidRequest(f"expected NAME:DATATYPE:SHAPE (image:FP32:-1,784, say), got {text!r}")
    if datatype.upper() not in DATATYPES:
        raise InvalidRequest(
            f"datatype of {name!r}: expected one of {', '.join(DATATYPES)}, got {datatype!r}"
        )
    dims = re.split("[,x]", shape.strip("[] ")) if shape.strip("[] ") else []
    if not all(re.fullmatch(r"\s*(-1|[0-9]{1,18})\s*", dim) for dim in dims):
        raise InvalidRequest(f"shape of {name!r}: expected integers separated by commas, got {shape!r}")
    return TensorSpec(name, datatype.upper(), tuple(map(int, dims)))


class _Parser(ArgumentParser):
    """Wrong usage is one line, like every other error of ours."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"tensorlet: {' '.join(message.split())}; see `{self.prog} --help`\n")


def _parser() -> ArgumentParser:
    parser = _Parser(
        prog="tensorlet",
        description="Take a PyTorch or Keras model to a verified endpoint on AWS Lambda.",
        epilog="`tensorlet COMMAND --help` describes one command.",
    )
    parser.add_argument("--version", action="version", version=f"tensorlet {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, (summary, add_arguments) in COMMANDS.items():
        add_arguments(
            commands.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.")
        )
    return parser


def _publish(parser: ArgumentParser) -> None:
    parser.add_argument(
        "path",
        metavar="PATH",
        help=".keras, .h5, .weights.h5 with its .json, SavedModel folder, .pth or .safetensors with --module,"
        " .pt2, TorchScript .pt, .onnx or .tflite",
    )
    parser.add_argument("--name", required=True, help="name of the model in the registry")
    _add_registry(parser)
    _add_aliases(parser)
    parser.add_argument(
        "--trust-source",
        action="store_true",
        help="allow formats that can run code (SavedModel, TorchScript, .pt2); only for files you trust",
    )
    parser.add_argument(
        "--module", metavar="PKG.MOD:FACTORY", help="what makes the module for a .pth state_dict"
    )
    parser.add_argument(
        "--architecture",
        metavar="FILE",
        help="the to_json() of Keras weights (default: NAME.json beside NAME.weights.h5)",
    )
    parser.add_argument(
        "--input",
        action="append",
        default=[],
        type=_typed(parse_tensor_spec),
        dest="inputs",
        metavar="NAME:DATATYPE:SHAPE",
        help="an input the file does not describe, such as image:FP32:-1,784; may be repeated",
    )
    parser.add_argument("--classes", metavar="OUTPUT", help="the output that holds classes, for :classify")
    parser.add_argument(
        "--scores", metavar="OUTPUT", help="the output that holds scores, for :classify and :regress"
    )
    parser.add_argument(
        "--labels", metavar="FILE", help="class labels: a text file with one a line, or a JSON list"
    )
    parser.add_argument(
        "--profile",
        metavar="FILE",
        help=".npz or .csv with typical inputs, which `tensorlet drift` compares requests with",
    )
    parser.add_argument(
        "--fast-start",
        choices=("auto", "always", "never"),
        default="auto",
        help="also write the variant that loads fastest: where it wins, always or never (default: auto)",
    )
    _add_sign(parser, "sign the version, and the aliases")


def _optimize(parser: ArgumentParser) -> None:
    _add_model(parser, "model")
    parser.add_argument(
        "--target",
        action="append",
        required=True,
        choices=("fp16", "int8-dynamic", "int8-static"),
        help="a variant to make of each float32 artifact; may be repeated",
    )
    parser.add_argument(
        "--calibration",
        metavar="FILE",
        help=".npz or .csv with inputs whose ranges int8-static takes (default: those kept by training)",
    )
    parser.add_argument(
        "--test",
        metavar="FILE",
        help=".npz or .csv with inputs and `label` to judge by (default: those kept by training)",
    )
    parser.add_argument(
        "--max-accuracy-drop",
        type=_typed(_share),
        default=0.01,
        metavar="SHARE",
        help="refuse variants whose accuracy is lower by more than this (default: %(default)s)",
    )
    parser.add_argument("--plot", metavar="FILE.svg", help="write accuracy against size and latency")
    _add_sign(parser, "sign the new version, and the aliases")
    _add_registry(parser)
    _add_aliases(parser)


def _replay(parser: ArgumentParser) -> None:
    _add_model(parser, "model")
    parser.add_argument(
        "--of",
        metavar="VERSION",
        type=_typed(_version),
        help="whose requests (default: those of alias `live`)",
    )
    _add_observations(parser)
    parser.add_argument("-o", "--output", metavar="FILE", help="write each comparison as a line of JSON")
    parser.add_argument("--json", action="store_true", help="for scripts: one JSON document")


def _drift(parser: ArgumentParser) -> None:
    _add_model(parser, "model")
    _add_observations(parser)
    parser.add_argument("--plot", metavar="FILE", help="draw the features that moved most, as SVG")
    parser.add_argument("--json", action="store_true", help="for scripts: one JSON document")


def _add_observations(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--captures", metavar="URI", help="where captured requests are (default: $TENSORLET_CAPTURE)"
    )
    parser.add_argument(
        "--hours",
        type=_typed(_hours),
        default=24.0,
        metavar="N",
        help="how far to look back (default: 24)",
    )
    _add_registry(parser)


def _inspect(parser: ArgumentParser) -> None:
    parser.add_argument(
        "target", metavar="PATH|NAME[@VERSION|ALIAS]", help="a saved model, or one of a registry"
    )
    parser.add_argument("--graph", metavar="FILE.svg", help="draw the graph of an ONNX or TFLite model")
    parser.add_argument("--json", action="store_true", help="for scripts: one JSON document")
    _add_registry(parser)


def _pull(parser: ArgumentParser) -> None:
    _add_model(parser, "model")
    _add_registry(parser)
    parser.add_argument(
        "--format", choices=("onnx", "tflite"), help="default: the version's default artifact"
    )
    parser.add_argument("-o", "--output", required=True, metavar="FILE", help="where to write the artifact")


def _models(parser: ArgumentParser) -> None:
    parser.add_argument(
        "name", nargs="?", metavar="NAME", help="only this model, with a line for each version"
    )
    _add_registry(parser)
    parser.add_argument("--json", action="store_true", help="for scripts: one JSON document")


def _alias(parser: ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="name of the model")
    parser.add_argument("alias", metavar="ALIAS", help="`live` is the one that unversioned requests mean")
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("version", metavar="VERSION", type=_typed(_version), nargs="?")
    action.add_argument(
        "--rollback", action="store_true", help="point it at what it was before its last change"
    )
    action.add_argument("--history", action="store_true", help="show every change, newest first")
    action.add_argument(
        "--shadow",
        type=_typed(_version_or_none),
        metavar="VERSION",
        help="let VERSION answer captured requests of this alias unheard; 0 ends it",
    )
    action.add_argument(
        "--limit",
        action="append",
        default=[],
        dest="limits",
        type=_typed(_named_number),
        metavar="NAME=NUMBER",
        help="when the guard takes a release back: error_rate, latency_ratio, drift, min_requests; may be repeated",
    )
    parser.add_argument(
        "--weight",
        type=_typed(_share),
        default=1.0,
        metavar="SHARE",
        help="give VERSION this part of the requests, from 0 to 1; those before it keep the rest (default: 1)",
    )
    parser.add_argument(
        "--precision", default="", help="answer this alias in that precision of the version (int8, say)"
    )
    _add_sign(parser, "sign the aliases")
    _add_registry(parser)


def _sign(parser: ArgumentParser) -> None:
    _add_model(parser, "model")
    parser.add_argument("--key", required=True, metavar="KEY", help=f"{PRIVATE_KEY}, to sign with")
    parser.add_argument(
        "--aliases", action="store_true", help="sign the aliases of the model as they are, not a version"
    )
    _add_registry(parser)


def _verify(parser: ArgumentParser) -> None:
    _add_model(parser, "model")
    parser.add_argument(
        "--key",
        action="append",
        default=[],
        dest="keys",
        metavar="FILE",
        help="public key (PEM) that should have signed; may be repeated (default: $TENSORLET_TRUSTED_KEYS)",
    )
    _add_registry(parser)
    parser.add_argument("--json", action="store_true", help="for scripts: one JSON document")


def _serve(parser: ArgumentParser) -> None:
    _add_registry(parser)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument(
        "--port", type=_typed(_port), default=8080, help="0 takes a free one (default: %(default)s)"
    )
    parser.add_argument(
        "--workers", type=_typed(_count), default=1, metavar="N", help="processes that answer (default: 1)"
    )


def _proxy(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--url", required=True, metavar="API_URL", help="the deployed API, as `sam deploy` says"
    )
    parser.add_argument(
        "--region", help="its region, where the URL does not say it (default: that of AWS_REGION)"
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument(
        "--port", type=_typed(_port), default=8080, help="0 takes a free one (default: %(default)s)"
    )


def _keys(parser: ArgumentParser) -> None:
    parser.add_argument("action", choices=("add", "list", "remove"))
    parser.add_argument(
        "name", nargs="?", default="", metavar="NAME", help="of the key; remove takes its id too"
    )
    parser.add_argument(
        "--secret", required=True, metavar="NAME|ARN", help="where they are kept, as `sam deploy` says"
    )
    parser.add_argument(
        "--rate", type=_typed(_rate), default=0.0, metavar="N", help="requests a second (default: any)"
    )
    parser.add_argument(
        "--burst", type=_typed(_rate), default=0.0, metavar="N", help="requests at once (default: RATE)"
    )


def _invoke(parser: ArgumentParser) -> None:
    parser.add_argument("function", choices=("predict", "batch", "monitor"))
    parser.add_argument(
        "--event", required=True, metavar="FILE", help="the event as JSON; `-` reads it from stdin"
    )
    _add_registry(parser)


def _batch(parser: ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="local file or s3:// URI: .csv, .jsonl, .npy, ...")
    _add_model(parser, "--model", required=True)
    _add_registry(parser)
    parser.add_argument("--output", metavar="FILE", help="local file or s3:// URI (default: FILE.out)")
    options = parser.add_argument_group(
        "how rows are read and written", "as in a _batch.json beside the file, which these override"
    )
    for name, (value, help) in BATCH_OPTIONS.items():
        options.add_argument(f"--{name.replace('_', '-')}", metavar=value, help=help)


# Their values are checked where those of `_batch.json` are.
BATCH_OPTIONS = {
    "input_filter": ("PATH", "what goes into the model: $[1:] for CSV, $.features for JSON Lines"),
    "join": ("none|input", "`input` puts the input before (CSV) or around (JSON Lines) each prediction"),
    "output_filter": ("PATH", "what is written of that: $[0,-1], $['id','SageMakerOutput']"),
    "format": ("FORMAT", "of the output: csv, jsonl, npy, npz or parquet (default: the file's)"),
    "precision": ("NAME", "of the artifact that predicts, such as int8 (default: the default artifact)"),
    "top_k": ("K", "write the K best classes and their scores, with the model's labels"),
    "batch_rows": ("N", "rows predicted at once"),
    "header": ("true|false", "whether a CSV file has a header (default: found out)"),
    "delimiter": ("CHARACTER", "between the cells of CSV; `tab` is one (default: ,)"),
}


def _cost(parser: ArgumentParser) -> None:
    work = parser.add_mutually_exclusive_group()
    work.add_argument(
        "--ms",
        type=_typed(_milliseconds),
        help="time of a request with a whole virtual CPU, which is 1,769 MB (default: 1)",
    )
    work.add_argument(
        "--file", metavar="SIZE|PATH", help="a batch file instead of requests: 2GB, or rows.csv"
    )
    parser.add_argument(
        "--requests",
        type=_typed(_many),
        metavar="N",
        help="how many requests (default: 1000000), or files (default: 1)",
    )
    parser.add_argument(
        "--memory", type=_typed(_memory), metavar="MB", help="of the function (default: 512, 1769 and 3538)"
    )
    parser.add_argument(
        "--architecture", choices=("x86_64", "arm64"), default="x86_64", help="default: %(default)s"
    )
    parser.add_argument("--json", action="store_true", help="for scripts: one JSON document")


def _jobs(parser: ArgumentParser) -> None:
    parser.add_argument(
        "key", nargs="?", default="", metavar="KEY", help="only this input key, or those below it"
    )
    parser.add_argument("--input", metavar="URI", help="also those not done yet (default: $TENSORLET_INPUT)")
    parser.add_argument(
        "--output",
        metavar="URI",
        help="where the reports are (default: $TENSORLET_OUTPUT, else ./.tensorlet/output)",
    )
    parser.add_argument("--queue", metavar="URL", help="queue of the input files (default: $TENSORLET_QUEUE)")
    parser.add_argument(
        "--dead-letters", metavar="URL", help="queue of what has failed (default: $TENSORLET_DEAD_LETTERS)"
    )
    parser.add_argument("--json", action="store_true", help="for scripts: one JSON document")
    action = parser.add_mutually_exclusive_group()
    action.add_argument("--redrive", action="store_true", help="send what has failed to the queue again")
    action.add_argument(
        "--reconcile", action="store_true", help="send the events of input files that have no report"
    )


def _demo(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--quick", action="store_true", help="train for two epochs only: a minute less, and worse models"
    )


COMMANDS: dict[str, tuple[str, Callable[[ArgumentParser], None]]] = {
    "publish": ("convert a model, check it against its source and publish a version of it", _publish),
    "optimize": ("add smaller variants, measured against the original, in a new version", _optimize),
    "inspect": ("say what a saved model or a version is, and draw its graph, without running it", _inspect),
    "models": ("list the models of a registry, their versions and aliases", _models),
    "alias": ("point an alias of a model at one of its versions", _alias),
    "sign": ("sign a version that was published without, or the aliases of a model", _sign),
    "verify": ("check a version's signature, digests and answers", _verify),
    "replay": ("ask a version what others were asked, and compare the answers", _replay),
    "drift": ("compare what a version sees and answers with its training", _drift),
    "pull": ("download an artifact whose digest has been checked", _pull),
    "serve": ("answer HTTP requests for all models of a registry", _serve),
    "proxy": ("sign requests of local clients for a deployed API", _proxy),
    "keys": ("make, list and remove the API keys of a deployed API", _keys),
    "batch": ("predict every row of a file", _batch),
    "jobs": ("list batch runs, and try again what was lost or has failed", _jobs),
    "invoke": ("call a Lambda function's handler with an event, without Docker", _invoke),
    "cost": ("estimate what requests or files cost on AWS", _cost),
    "demo": ("show everything on this machine: train, publish, serve, batch", _demo),
}


def _add_model(parser: ArgumentParser, flag: str, **options: Any) -> None:
    reference = _typed(parse_model_reference)
    parser.add_argument(flag, metavar="NAME[@VERSION|ALIAS]", type=reference, help="the model", **options)


PRIVATE_KEY = "a private key (PEM file, Ed25519 or ECDSA P-256) or the ARN of a KMS key"


def _add_sign(parser: ArgumentParser, what: str) -> None:
    parser.add_argument("--sign", metavar="KEY", help=f"{what} with {PRIVATE_KEY}")


def _add_aliases(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--alias",
        action="append",
        default=[],
        metavar="NAME",
        help="point this alias at the new version; may be repeated",
    )


def _add_registry(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--registry",
        metavar="URI",
        help="s3://bucket/prefix or a folder (default: $TENSORLET_REGISTRY, else ./.tensorlet/registry)",
    )


def _typed(parse: Callable[[str], Any]) -> Callable[[str], Any]:
    """`parse` as an argparse type: what it refuses with a typed error is wrong usage."""

    def convert(text: str) -> Any:
        try:
            return parse(text)
        except TensorletError as error:
            raise ArgumentTypeError(str(error)) from None

    return convert


def _version(text: str) -> int:
    return _integer(text, 1, 10**18 - 1, "a version (1, 2, ...)")


def _version_or_none(text: str) -> int:
    return _integer(text, 0, 10**18 - 1, "a version (1, 2, ...), or 0 for none")


def _hours(text: str) -> float:
    return _number(text, "a number of hours")


def _named_number(text: str) -> tuple[str, float]:
    name, _, number = text.partition("=")
    return name, _number(number, f"NAME=NUMBER for {name!r}")


def _rate(text: str) -> float:
    return _number(text, "a number of requests")


def _port(text: str) -> int:
    return _integer(text, 0, 65535, "a port from 0 to 65535")


def _many(text: str) -> int:
    return _integer(text, 1, 10**15, "a positive number")


def _memory(text: str) -> int:
    return _integer(text, 128, 10240, "megabytes from 128 to 10240")


def _milliseconds(text: str) -> float:
    if not re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,6})?", text) or not 0 < float(text) <= 900_000:
        raise InvalidRequest(f"expected milliseconds, more than 0 and at most 900000, got {text!r}")
    return float(text)


def _count(text: str) -> int:
    return _integer(text, 1, 1024, "a number from 1 to 1024")


def _share(text: str) -> float:
    share = _number(text, "a number from 0 to 1")
    if share > 1:
        raise InvalidRequest(f"expected a number from 0 to 1, got {text!r}")
    return share


def _number(text: str, expected: str) -> float:
    if not re.fullmatch(r"[0-9]*\.?[0-9]+", text):
        raise InvalidRequest(f"expected {expected}, got {text!r}")
    return float(text)


def _integer(text: str, least: int, most: int, expected: str) -> int:
    if not re.fullmatch("[0-9]{1,18}", text) or not least <= int(text) <= most:
        raise InvalidRequest(f"expected {expected}, got {text!r}")
    return int(text)
