"""The model service: what every edge (HTTP, batch, command line) calls to get a model and run it."""

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from tensorlet.errors import ArtifactRefused, DigestMismatch, NotFound, StorageUnavailable
from tensorlet.registry.manifest import Artifact, ArtifactFile, Manifest
from tensorlet.registry.registry import (
    DEFAULT_ALIAS,
    NO_ALIASES,
    Aliases,
    Registry,
    Release,
    check_model_name,
)
from tensorlet.registry.store import open_store
from tensorlet.runtimes import InferenceSession, load_session, onnx_runtime_version
from tensorlet.serving.cache import ByteLRU
from tensorlet.serving.statistics import Statistics, merged
from tensorlet.settings import Settings
from tensorlet.signature import Signature
from tensorlet.tensors import Shape, Tensor

if TYPE_CHECKING:
    from tensorlet.monitoring.recorder import Recorder

DEFAULT = ""  # stands for the id of the artifact that is served when nobody says which
REMEMBERED_KINDS = 64  # of inputs, by model: their shapes are the callers' choice
LARGE_BYTES = 16 << 20  # from here on, files are not read into our memory first


class LoadedModel:
    """One artifact of one version in its runtime."""

    __slots__ = (
        "_accepted",
        "artifact",
        "batched",
        "headers",
        "load_ns",
        "manifest",
        "name",
        "recorder",
        "session",
        "signature",
        "statistics",
        "version",
    )

    def __init__(
        self,
        manifest: Manifest,
        artifact: Artifact,
        session: InferenceSession,
        statistics: Statistics | None = None,
        recorder: "Recorder | None" = None,
        load_ns: int = 0,
    ):
        self.manifest = manifest
        self.name = manifest.name  # NAME/VERSION
        self.version = (manifest.model, manifest.version)
        self.recorder = recorder
        self.load_ns = load_ns  # 0 once the request that waited for it has said so
        self.artifact = artifact
        # Every reply says which version and which file of it answered.
        self.headers = {"tensorlet-model": self.name, "tensorlet-artifact": artifact.files[0].path}
        self.session = session
        self.signature: Signature = manifest.signature
        self.batched = manifest.signature.batched
        self.statistics = statistics or Statistics()
        self._accepted: set[tuple[tuple[str, str, Shape], ...]] = (
            set()
        )  # inputs that the signature has let pass

    def infer(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """All outputs for `inputs`, which are checked against the signature first.

        Raises:
            SignatureMismatch, InferenceFailed.
        """
        kinds = tuple([(name, datatype, shape) for name, (datatype, shape, _) in inputs.items()])
        if kinds not in self._accepted:
            self.signature.check(inputs, self.manifest.model)
            if len(self._accepted) >= REMEMBERED_KINDS:
                self._accepted.clear()
            self._accepted.add(kinds)
        return self.session.infer(inputs)


class State(NamedTuple):
    """READY (loaded, or will be by the first request), LOADING, or UNAVAILABLE with the reason."""

    name: str
    reason: str = ""


class Counts(NamedTuple):
    """Statistics by (model, version, file), requests by (model, alias), and what the cache of models has done."""

    statistics: Mapping[tuple[str, int, str], Statistics]
    selected: Mapping[tuple[str, str], int]
    loads: int
    evictions: int


class Choice(NamedTuple):
    """What a selector means: the version, until when that is trusted, and the precision that its alias prefers.

    While several versions share an alias, `pick` says which one a caller gets; `version` is the one of most requests.
    """

    version: int
    until: float
    precision: str
    pick: Callable[[str], int] | None = None


class ModelService:
    """Models of a registry, loaded on first use and kept up to a byte budget; safe for several threads."""

    def __init__(self, registry: Registry, settings: Settings, clock: Callable[[], float] = time.monotonic):
        self.registry = registry
        self.settings = settings
        self._clock = clock
        self._releases: dict[tuple[str, int], Release] = {}  # manifests never change
        self._choices: dict[tuple[str, str | None], Choice] = {}
        self._aliases: dict[str, Aliases] = {}
        self._loaded: ByteLRU[LoadedModel] = ByteLRU(settings.model_cache_bytes)
        self._statistics: dict[tuple[str, int, str], Statistics] = {}  # by the artifact that answered
        self._selected: dict[tuple[str, str], int] = {}  # requests by alias
        self._refusals: dict[tuple[str, int, str], str] = {}
        self.recorder = _open_recorder(settings) if settings.capture else None

    @classmethod
    def from_settings(cls, settings: Settings) -> "ModelService":
        return cls(_open_registry(settings), settings)

    def reconnect(self) -> None:
        """Open storage anew, with credentials as they are now, and forget what it said; loaded models stay.

        Aliases stay as well, for their serial numbers: they are asked for again under their ETag.
        """
        self.registry = _open_registry(self.settings)
        if self.recorder:
            self.recorder.reopen(open_store(self.settings.capture))
        for known in (self._releases, self._choices):
            known.clear()

    def model(
        self, name: str, selector: str | None = None, precision: str = "", caller: str = ""
    ) -> LoadedModel:
        """The loaded model that `name` and a version, an alias or None mean now.

        The `precision` asked for comes first, then the one of the alias, then the default artifact. While several
        versions share the alias, the same `caller` gets the same one, and nobody in particular any.

        Raises:
            ModelNotFound, VersionNotFound, AliasNotFound, PrecisionNotFound, ArtifactRefused, StorageUnavailable.
        """
        version, until, preferred, pick = self._choice(name, selector)
        if until:  # not digits, which were not looked up
            alias = (name, selector or DEFAULT_ALIAS)
            self._selected[alias] = self._selected.get(alias, 0) + 1
        if pick:
            version = pick(caller)
        wanted = precision or preferred
        key = (name, version, self._variant(name, version, wanted) if wanted else DEFAULT)
        return self._loaded.get(key, self._load)

    def pinned(self, name: str, version: int, artifact_id: str) -> LoadedModel:
        """The loaded model of one artifact of one version, whatever would be chosen by now.

        Raises:
            ModelNotFound, VersionNotFound, ArtifactRefused, StorageUnavailable.
        """
        manifest = self._release(name, version).manifest
        default = fastest(manifest, manifest.artifact(self.settings.runtime))
        key = (name, version, DEFAULT if artifact_id == default.id else artifact_id)
        return self._loaded.get(key, self._load)

    def gradient(self, loaded: LoadedModel, artifact: Artifact) -> InferenceSession:
        """The gradient graph of a model's version, kept like a model. Raises ArtifactRefused, StorageUnavailable."""
        key = (*loaded.version, artifact.id)
        return self._loaded.get(key, lambda _: self._load_gradient(artifact, loaded)).session

    def release(self, name: str, selector: str | None = None) -> Release:
        """The version and its manifest, without loading it. Raises as `model`."""
        return self._release(name, self.version(name, selector))

    def version(self, name: str, selector: str | None = None) -> int:
        """The version that a selector means, remembered for `alias_ttl_s`; digits always mean themselves.

        A choice outlives its time when storage is down: answering from a known version beats an error.
        """
        return self._choice(name, selector).version

    def is_loaded(self, name: str, version: int) -> bool:
        """Whether any artifact of the version is in memory."""
        return any(key[:2] == (name, version) for key in self._loaded.loaded())

    def loaded_bytes(self, name: str, version: int) -> int:
        """Bytes of the artifacts of a version that are in memory."""
        return self._loaded.size_of(lambda key: key[:2] == (name, version))

    def unload(self, name: str, version: int) -> None:
        """Let go of a loaded model in all its precisions; the next request for it loads it again."""
        for key in self._loaded.loaded():
            if key[:2] == (name, version):
                self._loaded.discard(key)

    def state(self, name: str, version: int) -> State:
        """What this process knows of a version that exists: refused when it was last tried, being loaded, or ready.

        It is told by the default artifact; another one that was refused leaves the version serving.
        """
        key = (name, version, DEFAULT)
        if key in self._loaded.making():
            return State("LOADING")
        try:
            self._release(name, version).manifest.artifact(self.settings.runtime)
        except ArtifactRefused as error:
            return State("UNAVAILABLE", str(error))
        reason = self._refusals.get(key)
        return State("UNAVAILABLE", reason) if reason else State("READY")

    def statistics(self, name: str, version: int) -> Statistics:
        """The counters of a version since this process started, all its artifacts together."""
        return merged(counted for key, counted in self._statistics.items() if key[:2] == (name, version))

    def answered(self) -> list[tuple[str, int]]:
        """The versions that this process has loaded since it started."""
        return sorted({key[:2] for key in self._statistics})

    def counts(self) -> Counts:
        """Everything that has been counted since this process started."""
        return Counts(dict(self._statistics), dict(self._selected), self._loaded.made, self._loaded.evicted)

    def _choice(self, name: str, selector: str | None) -> Choice:
        if selector is not None and selector.isdecimal():
            return Choice(self.registry.choose(name, selector, NO_ALIASES), 0.0, "")
        key = (name, selector)
        known = self._choices.get(key)
        now = self._clock()
        if known is not None and now < known.until:
            return known
        until = now + self.settings.alias_ttl_s
        try:
            choice = self._choose(name, selector, until)
        except (ArtifactRefused, StorageUnavailable) as error:
            if known is None:
                raise
            choice = known._replace(until=until)
            from tensorlet.telemetry import logger  # imported when a line is really written: 30 ms

            logger().error("aliases not renewed", extra={"model": name, "reason": str(error)})
        except NotFound:
            self._choices.pop(key, None)
            raise
        self._choices[key] = choice
        return choice

    def _choose(self, name: str, selector: str | None, until: float) -> Choice:
        check_model_name(name)
        aliases = self.registry.aliases(name, self._aliases.get(name, NO_ALIASES))
        version = self.registry.choose(name, selector, aliases)
        self._aliases[name] = aliases  # only of models that exist, so that no caller can fill the memory
        alias = selector or DEFAULT_ALIAS
        return Choice(version, until, aliases.precision(alias), _picker(aliases.weights.get(alias, {})))

    def _variant(self, name: str, version: int, precision: str) -> str:
        """The id of the artifact of a precision; DEFAULT for the default, which is then not loaded twice."""
        manifest = self._release(name, version).manifest
        artifact = manifest.artifact(self.settings.runtime, precision)
        return DEFAULT if artifact == manifest.artifact(self.settings.runtime) else artifact.id

    def _release(self, name: str, version: int) -> Release:
        key = (name, version)
        release = self._releases.get(key)
        if release is None:
            release = self._releases[key] = self.registry.release(name, version)
        return release

    def _load(self, key: tuple[str, int, str]) -> tuple[LoadedModel, int]:
        start = time.perf_counter_ns()
        try:
            release, artifact, session = self._open(key)
        except ArtifactRefused as error:
            self._refusals[key] = str(error)
            if self.recorder:
                self.recorder.failed(key[:2], "", error)
            raise
        self._refusals.pop(key, None)
        # Kept here and not with the model: they outlive its eviction.
        statistics = self._statistics.setdefault((*key[:2], artifact.files[0].path), Statistics())
        load_ns = time.perf_counter_ns() - start
        model = LoadedModel(release.manifest, artifact, session, statistics, self.recorder, load_ns)
        return model, artifact.size_bytes

    def _load_gradient(self, artifact: Artifact, loaded: LoadedModel) -> tuple[LoadedModel, int]:
        release = self._release(*loaded.version)
        self._loaded.make_room(artifact.size_bytes)
        model = release.read(artifact.files[0])
        # Its signature is its own: it takes the inputs and gives their gradients.
        session = load_session(artifact.format, model, None, self.settings.threads)
        return LoadedModel(release.manifest, artifact, session), artifact.size_bytes

    def _open(self, key: tuple[str, int, str]) -> tuple[Release, Artifact, InferenceSession]:
        name, version, artifact_id = key
        release = self._release(name, version)
        manifest = release.manifest
        artifact = (
            manifest.by_id(artifact_id)
            if artifact_id
            else fastest(manifest, manifest.artifact(self.settings.runtime))
        )
        if key not in self._refusals:  # one that was refused before will not push out others again and again
            self._loaded.make_room(artifact.size_bytes)
        return release, artifact, open_artifact(release, artifact, self.settings.threads)


def _open_recorder(settings: Settings) -> "Recorder":
    from tensorlet.monitoring.recorder import Recorder, Rules  # only where something is captured

    rules = Rules(settings.capture_rate, settings.capture_redact, settings.capture_interval_s)
    return Recorder(open_store(settings.capture), rules)


def _picker(weights: Mapping[str, float]) -> Callable[[str], int] | None:
    """Who gets which version, where there is more than one."""
    if len(weights) < 2:
        return None
    from tensorlet.registry.rollout import picker  # few aliases are shared

    return picker(weights)


def _open_registry(settings: Settings) -> Registry:
    return Registry.open(settings.registry, settings.trusted_keys, settings.alias_serials)


def open_artifact(release: Release, artifact: Artifact, threads: int) -> InferenceSession:
    """Read the artifact's files, check their digests and open it in its runtime.

    Raises:
        ArtifactRefused: naming the version and the file.
        StorageUnavailable: storage does not answer, or there is no room for the files on the way.
    """
    try:
        if len(artifact.files) == 1 and not _goes_by_path(artifact):
            model = release.read(artifact.files[0])
            return load_session(artifact.format, model, release.manifest.signature, threads)
        folder = release.local_folder(artifact.files)
        if folder is not None:
            return _open_in(folder, release, artifact, threads)
        # The runtime has read or mapped the files when it is open; a mapped file lives on without its name.
        with temporary_folder(artifact.files) as folder:
            for file in artifact.files:
                release.save(file, f"{folder}/{file.path}")
            return _open_in(folder, release, artifact, threads)
    except DigestMismatch:
        raise  # it says where
    except ArtifactRefused as error:
        where = f"{release.name}/{artifact.files[0].path}"
        text = str(error)
        raise ArtifactRefused(text if text.startswith(release.name) else f"{where}: {text}") from error


def _goes_by_path(artifact: Artifact) -> bool:
    """A runtime reads a large file itself with half the memory, if there is room to keep it for that moment."""
    if artifact.size_bytes < LARGE_BYTES:
        return False
    disk = os.statvfs(_scratch())
    return artifact.size_bytes < disk.f_bavail * disk.f_frsize


def fastest(manifest: Manifest, artifact: Artifact) -> Artifact:
    """The fast-start variant of `artifact` where it was made for the runtime that serves here, else `artifact`."""
    variant = manifest.fast_start(artifact)
    if variant is None or variant.fast_start is None:
        return artifact
    return variant if variant.fast_start.runtime_version == onnx_runtime_version() else artifact


def _open_in(folder: str, release: Release, artifact: Artifact, threads: int) -> InferenceSession:
    """Open an artifact by path: the model file finds its weights beside it."""
    return load_session(
        artifact.format,
        f"{folder}/{artifact.files[0].path}",
        release.manifest.signature,
        threads,
        prepack=artifact.fast_start is None,
    )


@contextmanager
def temporary_folder(files: Sequence[ArtifactFile]) -> Iterator[str]:
    """A folder of our own, with room for `files`, until the end of a `with`.

    `tempfile` would do it after 40 ms of imports.
    """
    root = f"{_scratch()}/tensorlet-{os.urandom(8).hex()}"
    paths = [f"{root}/{file.path}" for file in files]
    folders = sorted({root, *(path.rpartition("/")[0] for path in paths)})  # a folder before those inside it
    try:
        for folder in folders:
            os.makedirs(folder, mode=0o700, exist_ok=True)  # noqa: PTH103  # no pathlib on the cold path
        yield root
    except OSError as error:
        raise StorageUnavailable(
            f"{root}: {error.strerror}; the model needs its size in {_scratch()}"
        ) from error
    finally:
        for path in paths:
            if os.path.exists(path):  # noqa: PTH110
                os.remove(path)  # noqa: PTH107
        for folder in filter(os.path.isdir, reversed(folders)):
            os.rmdir(folder)  # noqa: PTH106


def _scratch() -> str:
    return os.environ.get("TMPDIR") or "/tmp"
