"""Every setting of the functions and of the local server, read once from the environment.

`SETTINGS` is the one table: name, default and meaning. docs/settings.md is generated from it.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from tensorlet.errors import InvalidSetting

RUNTIMES = ("onnx", "tflite")  # by the format of the files they open


class Settings(NamedTuple):
    """Settings with their units in the field names; see `SETTINGS` for what each means."""

    registry: str
    output: str
    runtime: str
    max_body_bytes: int
    max_decompressed_bytes: int
    max_tensor_bytes: int
    max_json_depth: int
    max_json_elements: int
    max_response_bytes: int
    model_cache_bytes: int
    alias_ttl_s: float
    batch_rows: int
    batch_split_bytes: int | None
    memory_mb: int
    input: str = ""
    state_machine: str = ""
    queue: str = ""
    dead_letters: str = ""
    model: str = ""
    kserve_v1: bool = False
    max_explain_evaluations: int = 1 << 16
    docs: bool = False
    cors_origin: str = ""
    preload: tuple[tuple[str, str | None], ...] = ()
    trusted_keys: str = ""
    alias_serials: tuple[tuple[str, int], ...] = ()
    signing_key: str = ""
    capture: str = ""
    capture_rate: float = 0.01
    capture_redact: frozenset[str] = frozenset()
    capture_interval_s: float = 10.0
    metrics_interval_s: float = 60.0

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> "Settings":
        """Read all settings from `environ`; an empty value counts as unset.

        Raises:
            InvalidSetting: a value that cannot be read, naming its key.
        """
        settings = cls(**{field: setting.read(environ) for field, setting in SETTINGS.items()})
        if settings.model_cache_bytes:
            return settings
        return settings._replace(model_cache_bytes=settings.memory_mb * MIB // 2)

    @property
    def threads(self) -> int:
        """Intra-op threads: Lambda gives one virtual CPU for each 1,769 MB of memory.

        Source: AWS Lambda developer guide, "Configure Lambda function memory".
        """
        return max(1, round(self.memory_mb / 1769))


class Setting(NamedTuple):
    key: str
    default: str
    parse: Callable[[str], Any]
    meaning: str

    def read(self, environ: Mapping[str, str]) -> Any:
        text = environ.get(self.key) or self.default
        try:
            return self.parse(text)
        except ValueError as error:
            raise InvalidSetting(f"{self.key}: {error}") from None


def _text(text: str) -> str:
    return text


def _positive_int(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise ValueError(f"expected a positive integer, got {text!r}")
    return int(text)


def _positive_int_or_unset(text: str) -> int:
    """0 stands for unset."""
    return _positive_int(text) if text else 0


def _optional_int(text: str) -> int | None:
    return _positive_int(text) if text else None


def _switch(text: str) -> bool:
    if text not in ("on", "off"):
        raise ValueError(f"expected on or off, got {text!r}")
    return text == "on"


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise ValueError(f"expected seconds, 0 or more, got {text!r}")
    return seconds


def _runtime(text: str) -> str:
    if text and text not in RUNTIMES:
        raise ValueError(f"expected one of {', '.join(RUNTIMES)}, got {text!r}")
    return text


def _models(text: str) -> tuple[tuple[str, str | None], ...]:
    """`NAME[@VERSION|ALIAS],...` to (name, selector or None)."""
    models = []
    for model in filter(None, (part.strip() for part in text.split(","))):
        name, at, selector = model.partition("@")
        if not name or (at and not selector):
            raise ValueError(f"expected NAME or NAME@VERSION|ALIAS, by commas, got {text!r}")
        models.append((name, selector or None))
    return tuple(models)


def _serials(text: str) -> tuple[tuple[str, int], ...]:
    """`NAME=NUMBER,...`"""
    pairs = [part.strip().partition("=") for part in text.split(",") if part.strip()]
    if not all(name and number.isdecimal() and len(number) < 19 for name, _, number in pairs):
        raise ValueError(f"expected NAME=NUMBER, by commas, got {text!r}")
    return tuple((name, int(number)) for name, _, number in pairs)


def _names(text: str) -> frozenset[str]:
    return frozenset(filter(None, (name.strip() for name in text.split(","))))


def _fraction(text: str) -> float:
    try:
        fraction = float(text)
    except ValueError:
        fraction = -1.0
    if not 0 <= fraction <= 1:
        raise ValueError(f"expected a number from 0 to 1, got {text!r}")
    return fraction


MIB = 1 << 20

SETTINGS: dict[str, Setting] = {
    "registry": Setting(
        "TENSORLET_REGISTRY",
        "",
        _text,
        "One or more registry URIs, separated by commas, looked up in order (`s3://bucket/prefix`, `file:///path`)."
        " On the command line it defaults to `./.tensorlet/registry`.",
    ),
    "output": Setting(
        "TENSORLET_OUTPUT",
        "",
        _text,
        "URI under which batch writes its outputs, and jobs over HTTP find them.",
    ),
    "runtime": Setting(
        "TENSORLET_RUNTIME",
        "",
        _runtime,
        "`onnx` or `tflite`: serve this format where a version has it. Empty: the manifest's default artifact.",
    ),
    "max_body_bytes": Setting(
        "TENSORLET_MAX_BODY_BYTES",
        str(64 * MIB),
        _positive_int,
        "Largest request body, in bytes as received.",
    ),
    "max_decompressed_bytes": Setting(
        "TENSORLET_MAX_DECOMPRESSED_BYTES",
        str(256 * MIB),
        _positive_int,
        "Largest request body after gzip or deflate, checked while decompressing.",
    ),
    "max_tensor_bytes": Setting(
        "TENSORLET_MAX_TENSOR_BYTES", str(256 * MIB), _positive_int, "Largest single input tensor, in bytes."
    ),
    "max_json_depth": Setting(
        "TENSORLET_MAX_JSON_DEPTH",
        "100",
        _positive_int,
        "Deepest nesting of lists and objects in a JSON body.",
    ),
    "max_json_elements": Setting(
        "TENSORLET_MAX_JSON_ELEMENTS",
        str(16 * MIB),
        _positive_int,
        "Most values in a JSON body: each takes up to 32 bytes of memory once it is parsed.",
    ),
    "max_response_bytes": Setting(
        "TENSORLET_MAX_RESPONSE_BYTES",
        "6291456",
        _positive_int,
        "Largest reply of the Lambda function, base64 counted; Lambda's own limit is 6 MB.",
    ),
    "model_cache_bytes": Setting(
        "TENSORLET_MODEL_CACHE_BYTES",
        "",
        _positive_int_or_unset,
        "Bytes of model files kept loaded; the least recently used model goes first. Empty: half of the function's"
        " memory, for a model being loaded takes up to three times its file.",
    ),
    "alias_ttl_s": Setting(
        "TENSORLET_ALIAS_TTL_S",
        "10",
        _seconds,
        "Seconds for which an alias is trusted before the next request asks the registry again.",
    ),
    "batch_rows": Setting("TENSORLET_BATCH_ROWS", "512", _positive_int, "Rows a batch job predicts at once."),
    "batch_split_bytes": Setting(
        "TENSORLET_BATCH_SPLIT_BYTES",
        "",
        _optional_int,
        "A larger file is split at once, into chunks of about so many bytes. Empty: a file is split if its own first"
        " seconds show that one invocation will not do.",
    ),
    "memory_mb": Setting(
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
        "1769",
        _positive_int,
        "Set by Lambda; the runtimes use one thread for each 1,769 MB.",
    ),
    "input": Setting(
        "TENSORLET_INPUT",
        "",
        _text,
        "URI of the input bucket, into which `POST /v2/models/{model}/jobs` signs uploads.",
    ),
    "state_machine": Setting(
        "TENSORLET_STATE_MACHINE",
        "",
        _text,
        "ARN of the Step Functions state machine that predicts files too long for one invocation. Empty: none, and"
        " every file is predicted in place.",
    ),
    "queue": Setting(
        "TENSORLET_QUEUE",
        "",
        _text,
        "URL of the queue that the input bucket's events go to; for `tensorlet jobs`.",
    ),
    "dead_letters": Setting(
        "TENSORLET_DEAD_LETTERS",
        "",
        _text,
        "URL of the queue of what has failed again and again; for `tensorlet jobs`.",
    ),
    "model": Setting(
        "TENSORLET_MODEL",
        "",
        _text,
        "The model, `NAME`, `NAME@VERSION` or `NAME@ALIAS`, which `POST /invocations` and `GET /ping` stand for.",
    ),
    "kserve_v1": Setting(
        "TENSORLET_KSERVE_V1",
        "off",
        _switch,
        "`on`: `GET /v1/models` and `GET /v1/models/{model}` answer as KServe V1 does, not as TensorFlow Serving.",
    ),
    "max_explain_evaluations": Setting(
        "TENSORLET_MAX_EXPLAIN_EVALUATIONS",
        str(1 << 16),
        _positive_int,
        "Most rows on which one request to explain may run the model.",
    ),
    "docs": Setting(
        "TENSORLET_DOCS",
        "off",
        _switch,
        "`on`: `GET /docs` shows the OpenAPI document as a page. `tensorlet serve` has it on by default.",
    ),
    "cors_origin": Setting(
        "TENSORLET_CORS_ORIGIN",
        "",
        _text,
        "Origin whose pages may call this server, or `*`. Empty: none. API Gateway has its own setting.",
    ),
    "preload": Setting(
        "TENSORLET_PRELOAD",
        "",
        _models,
        "Models (`NAME`, `NAME@VERSION` or `NAME@ALIAS`, by commas) loaded when the function starts, or before its"
        " SnapStart snapshot, and not by the first request for them.",
    ),
    "trusted_keys": Setting(
        "TENSORLET_TRUSTED_KEYS",
        "",
        _text,
        "Public keys (Ed25519 or ECDSA P-256), by commas: PEM, the base64 in it, or a file of PEM. Set: a version is"
        " loaded, and an alias believed, only if one of them signed it; see [trust.md](trust.md).",
    ),
    "alias_serials": Setting(
        "TENSORLET_ALIAS_SERIALS",
        "",
        _serials,
        "`NAME=NUMBER` by commas: the lowest serial number believed of a model's signed aliases, so that no older"
        " ones can be put back.",
    ),
    "signing_key": Setting(
        "TENSORLET_SIGNING_KEY",
        "",
        _text,
        "ARN of the KMS key, or private key file, with which the monitor signs the aliases that its guard rolls back."
        " Empty: signed aliases stay as they are, and the guard only says so.",
    ),
    "capture": Setting(
        "TENSORLET_CAPTURE",
        "",
        _text,
        "URI under which the predict function writes what it was asked and answered; the guard of a release, drift"
        " reports, shadow versions and `tensorlet replay` read it. Empty: nothing is kept.",
    ),
    "capture_rate": Setting(
        "TENSORLET_CAPTURE_RATE",
        "0.01",
        _fraction,
        "Part of the requests that are captured with their tensors, from 0 to 1; all of them are counted.",
    ),
    "capture_redact": Setting(
        "TENSORLET_CAPTURE_REDACT",
        "",
        _names,
        "Inputs and outputs, by commas, whose values are never captured.",
    ),
    "capture_interval_s": Setting(
        "TENSORLET_CAPTURE_INTERVAL_S",
        "10",
        _seconds,
        "Seconds between two writes of captured requests by one process.",
    ),
    "metrics_interval_s": Setting(
        "TENSORLET_METRICS_INTERVAL_S",
        "60",
        _seconds,
        "Seconds between two lines of metrics in the log of one process of the predict function; `0` writes none.",
    ),
}
