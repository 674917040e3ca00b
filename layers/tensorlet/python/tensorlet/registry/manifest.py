"""The manifest of a version: what it is, which files it has, and their digests.

`docs/manifest.schema.json` is its JSON Schema. A version exists if and only if its manifest does.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from tensorlet.errors import ArtifactRefused, PrecisionNotFound
from tensorlet.signature import Signature

SCHEMA_VERSION = 1
MANIFEST = "manifest.json"
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
            return cls(
                model=str(document["model"]),
                version=int(document["version"]),
                signature=Signature.from_json(document["signature"]),
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

    def fast_start(self, artifact: Artifact) -> Artifact | None:
        """The variant of `artifact` that starts faster, if it was published with one."""
        for variant in self.artifacts:
            if variant.fast_start and variant.fast_start.of == artifact.id:
                return variant
        return None


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
    path = str(document["path"])
    if path.startswith("/") or "\\" in path or {"", ".", ".."} & set(path.split("/")):
        raise ValueError(f"file path {path!r} leaves the version's folder")
    return ArtifactFile(path, int(document["size_bytes"]), str(document["sha256"]))
