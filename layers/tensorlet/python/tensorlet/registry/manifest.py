"""The manifest of a version: what it is, which files it has, and their digests.

`docs/manifest.schema.json` is its JSON Schema. A version exists if and only if its manifest does.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from tensorlet.errors import ArtifactRefused, PrecisionNotFound
from tensorlet.signature import Signature

SCHEMA_VERSION = 1
MANIFEST = "manifest.json"
LONGEST_PATH, LARGEST_FILE = 1024, 5 << 40  # characters and bytes, as S3's own limits
SIGNATURE = "manifest.sig"  # beside it, see `registry.trust`


class ArtifactFile(NamedTuple):
    """`path` is relative to the version's folder."""

    path: str
    size_bytes: int
    sha256: str


class FastStart(NamedTuple):
    """Says of an artifact that it is another one in a form which starts faster: weights in a file of their own,
    which is mapped and not read, and a graph optimised beforehand by one release of ONNX Runtime for itself."""

    of: str  # the id of the other one
    runtime_version: str


class Artifact(NamedTuple):
    """One servable form of a version: an ONNX or TFLite file, and the files it needs beside it."""

    id: str
    format: str  # onnx or tflite
    precision: str
    files: tuple[ArtifactFile, ...]  # the model file first
    fast_start: FastStart | None = None

    @property
    def size_bytes(self) -> int:
        return sum(file.size_bytes for file in self.files)


class Gradient(NamedTuple):
    """An artifact that gives the gradient of `output` by each of `inputs`, and is served to nobody."""

    artifact: Artifact
    inputs: tuple[str, ...]
    output: str


class Manifest(NamedTuple):
    """The parts of a manifest that serving reads; `document` is the whole of it."""

    model: str
    version: int
    signature: Signature
    artifacts: tuple[Artifact, ...]
    default_artifact: str
    document: Mapping[str, Any]

    @classmethod
    def from_json(cls, document: Any) -> "Manifest":
        """Raises ArtifactRefused for a document that is not a manifest, or one of a later schema."""
        try:
            if document["schema_version"] != SCHEMA_VERSION:
                raise ValueError(f"schema version {document['schema_version']} is not {SCHEMA_VERSION}")
            signature = Signature.from_json(document["signature"])
            _check_roles(document, signature)
            return cls(
                model=str(document["model"]),
                version=int(document["version"]),
                signature=signature,
                artifacts=tuple(map(_artifact, document["artifacts"])),
                default_artifact=str(document["default_artifact"]),
                document=document,
            )
        except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
            raise ArtifactRefused(f"manifest is not valid: {type(error).__name__}: {error}") from error

    @property
    def name(self) -> str:
        """NAME/VERSION, as the `tensorlet-model` header says it."""
        return f"{self.model}/{self.version}"

    def artifact(self, runtime: str = "", precision: str = "") -> Artifact:
        """The artifact to serve: the first one of the format `runtime`, else the default.

        With a `precision`, the artifact of that precision: in the format that would be served without, else in
        any. A model with only one of the two formats is served in that one, whatever `runtime` says. It is never
        a fast-start variant: those come after the artifact they are made of.

        Raises:
            ArtifactRefused: the manifest names a default which it does not have.
            PrecisionNotFound: no artifact has this precision.
        """
        if precision:
            return self._of_precision(precision, self.artifact(runtime).format)
        for artifact in self.artifacts:
            if artifact.format == runtime:
                return artifact
        return self.by_id(self.default_artifact)

    def by_id(self, id: str) -> Artifact:
        """The artifact `id`. Raises ArtifactRefused."""
        for artifact in self.artifacts:
            if artifact.id == id:
                return artifact
        raise ArtifactRefused(f"{self.name}: manifest is not valid: no artifact {id!r}")

    def listed(self) -> tuple[ArtifactFile, ...]:
        """Every file of the version but the manifest and its signature, each once. Raises ArtifactRefused."""
        try:
            others = [parse_file(file) for file in self.document.get("files", [])]
        except (KeyError, OverflowError, TypeError, ValueError) as error:
            raise ArtifactRefused(f"{self.name}: manifest is not valid: {error}") from error
        served = [file for artifact in self.artifacts for file in artifact.files]
        return tuple(dict.fromkeys([*served, *others]))

    def precisions(self) -> list[str]:
        """The precisions there are to choose from, each once, in the order of the artifacts."""
        return list(
            dict.fromkeys(artifact.precision for artifact in self.artifacts if not artifact.fast_start)
        )

    def _of_precision(self, precision: str, format: str) -> Artifact:
        fitting = [
            artifact
            for artifact in self.artifacts
            if artifact.precision == precision and not artifact.fast_start
        ]
        if not fitting:
            raise PrecisionNotFound(
                f"{self.name}: expected a precision of {', '.join(self.precisions())}, got {precision[:64]!r}"
            )
        return next((artifact for artifact in fitting if artifact.format == format), fitting[0])

    def gradient(self) -> Gradient | None:
        """The gradient of the model, which explains its answers; None where it was published without.

        Raises:
            ArtifactRefused: the manifest describes one that cannot be.
        """
        found = self.document.get("explain")
        if not found:
            return None
        try:
            [file] = [file for file in self.document["files"] if file["path"] == found["file"]]
            artifact = Artifact("explain", str(found["format"]), "fp32", (parse_file(file),))
            return Gradient(artifact, tuple(map(str, found["inputs"])), str(found["output"]))
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise ArtifactRefused(f"{self.name}: manifest is not valid: explain: {error}") from error

    def fast_start(self, artifact: Artifact) -> Artifact | None:
        """The variant of `artifact` that starts faster, if it was published with one."""
        for variant in self.artifacts:
            if variant.fast_start and variant.fast_start.of == artifact.id:
                return variant
        return None


def _check_roles(document: Mapping[str, Any], signature: Signature) -> None:
    """Refuse labels and roles that no reply could be made of; they are read when one is asked for."""
    labels = document.get("labels") or []
    for names in labels.values() if isinstance(labels, dict) else [labels]:
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ValueError("labels: expected a list of strings, or one for each output")
    outputs = {None, *(spec.name for spec in signature.outputs)}
    for roles in [document.get("roles") or {}, *document.get("signatures", {}).values()]:
        for role in ("classes", "scores", "values"):
            if roles.get(role) not in outputs:
                raise ValueError(f"{role}: the model has no output {str(roles[role])[:64]!r}")
        for name, feature in (roles.get("features") or {}).items():
            if not isinstance(feature, str):
                raise ValueError(f"features: expected the name of a feature for {name[:64]!r}")
    for name, roles in document.get("signatures", {}).items():
        if roles["method"] not in ("classify", "regress"):
            raise ValueError(f"signature {name[:64]!r}: expected the method classify or regress")


def _artifact(document: Mapping[str, Any]) -> Artifact:
    files = tuple(map(parse_file, document["files"]))
    if not files:
        raise ValueError("artifact without files")
    fast_start = document.get("fast_start")
    return Artifact(
        str(document["id"]),
        str(document["format"]),
        str(document["precision"]),
        files,
        FastStart(str(fast_start["of"]), str(fast_start["runtime_version"])) if fast_start else None,
    )


def parse_file(document: Mapping[str, Any]) -> ArtifactFile:
    """An entry of a list of files. Raises KeyError, TypeError, ValueError or OverflowError for another thing."""
    path, size_bytes = str(document["path"]), document["size_bytes"]
    if path.startswith("/") or "\\" in path or {"", ".", ".."} & set(path.split("/")):
        raise ValueError(f"file path {path[:200]!r} leaves the version's folder")
    if len(path) > LONGEST_PATH or not path.isprintable():
        raise ValueError(f"file path {path[:200]!r} is no path")
    if type(size_bytes) is not int or not 0 <= size_bytes <= LARGEST_FILE:
        raise ValueError(f"size of {path!r}: expected bytes, got {str(size_bytes)[:64]}")
    return ArtifactFile(path, size_bytes, str(document["sha256"]))
