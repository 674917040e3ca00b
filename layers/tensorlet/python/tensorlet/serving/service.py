"""The model service: what every edge (HTTP, batch, command line) calls to get a model and run it."""

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from tensorlet.errors import ArtifactRefused, NotFound, StorageUnavailable
from tensorlet.registry.manifest import Artifact, ArtifactFile, Manifest
from tensorlet.registry.registry import NO_ALIASES, Aliases, Registry, Release, check_model_name
from tensorlet.runtimes import InferenceSession, load_session, onnx_runtime_version
from tensorlet.serving.cache import ByteLRU
from tensorlet.serving.statistics import Statistics
from tensorlet.settings import Settings
from tensorlet.signature import Signature
from tensorlet.tensors import Tensor

LARGE_BYTES = 16 << 20  # from here on, files are not read into our memory first


class LoadedModel:
    """One artifact of one version in its runtime."""

    __slots__ = ("artifact", "batched", "manifest", "session", "signature", "statistics")

    def __init__(
        self,
        manifest: Manifest,
        artifact: Artifact,
        session: InferenceSession,
        statistics: Statistics | None = None,
    ):
        self.manifest = manifest
        self.artifact = artifact
        self.session = session
        self.signature: Signature = manifest.signature
        self.batched = manifest.signature.batched
        self.statistics = statistics or Statistics()

    @property
    def name(self) -> str:
        """NAME/VERSION, as the `tensorlet-model` header says it."""
        return f"{self.manifest.model}/{self.manifest.version}"

    def infer(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """All outputs for `inputs`, which are checked against the signature first.

        Raises:
            SignatureMismatch, InferenceFailed.
        """
        self.signature.check(inputs, self.manifest.model)
        return self.session.infer(inputs)


class State(NamedTuple):
    """READY (loaded, or will be by the first request), LOADING, or UNAVAILABLE with the reason."""

    name: str
    reason: str = ""


class ModelService:
    """Models of a registry, loaded on first use and kept up to a byte budget; safe for several threads."""

    def __init__(self, registry: Registry, settings: Settings, clock: Callable[[], float] = time.monotonic):
        self.registry = registry
        self.settings = settings
        self._clock = clock
        self._releases: dict[tuple[str, int], Release] = {}  # manifests never change
        self._choices: dict[tuple[str, str | None], tuple[int, float]] = {}
        self._aliases: dict[str, Aliases] = {}
        self._loaded: ByteLRU[LoadedModel] = ByteLRU(settings.model_cache_bytes)
        self._statistics: dict[tuple[str, int], Statistics] = {}
        self._refusals: dict[tuple[str, int], str] = {}

    @classmethod
    def from_settings(cls, settings: Settings) -> "ModelService":
        return cls(Registry.open(settings.registry), settings)

    def reconnect(self) -> None:
        """Open storage anew, with credentials as they are now, and forget what it said; loaded models stay."""
        self.registry = Registry.open(self.settings.registry)
        for known in (self._releases, self._choices, self._aliases):
            known.clear()

    def model(self, name: str, selector: str | None = None) -> LoadedModel:
        """The loaded model that `name` and a version, an alias or None mean now.

        Raises:
            ModelNotFound, VersionNotFound, AliasNotFound, ArtifactRefused, StorageUnavailable.
        """
        version = self.version(name, selector)
        return self._loaded.get((name, version), lambda: self._load(name, version))

    def release(self, name: str, selector: str | None = None) -> Release:
        """The version and its manifest, without loading it. Raises as `model`."""
        return self._release(name, self.version(name, selector))

    def version(self, name: str, selector: str | None = None) -> int:
        """The version that a selector means, remembered for `alias_ttl_s`; digits always mean themselves.

        A choice outlives its time when storage is down: answering from a known version beats an error.
        """
        if selector is not None and selector.isdecimal():
            return self.registry.choose(name, selector, NO_ALIASES)
        key = (name, selector)
        known = self._choices.get(key)
        now = self._clock()
        if known is not None and now < known[1]:
            return known[0]
        try:
            version = self._choose(name, selector)
        except StorageUnavailable:
            if known is None:
                raise
            version = known[0]
        except NotFound:
            self._choices.pop(key, None)
            raise
        self._choices[key] = (version, now + self.settings.alias_ttl_s)
        return version

    def is_loaded(self, name: str, version: int) -> bool:
        return (name, version) in self._loaded.loaded()

    def unload(self, name: str, version: int) -> None:
        """Let go of a loaded model; the next request for it loads it again."""
        self._loaded.discard((name, version))

    def state(self, name: str, version: int) -> State:
        """What this process knows of a version that exists: refused when it was last tried, being loaded, or ready."""
        key = (name, version)
        if key in self._loaded.making():
            return State("LOADING")
        try:
            self._release(name, version).manifest.artifact(self.settings.runtime)
        except ArtifactRefused as error:
            return State("UNAVAILABLE", str(error))
        reason = self._refusals.get(key)
        return State("UNAVAILABLE", reason) if reason else State("READY")

    def statistics(self, name: str, version: int) -> Statistics:
        """The counters of a version since this process started."""
        return self._statistics.get((name, version)) or Statistics()

    def answered(self) -> list[tuple[str, int]]:
        """The versions that this process has loaded since it started."""
        return sorted(self._statistics)

    def _choose(self, name: str, selector: str | None) -> int:
        check_model_name(name)
        aliases = self.registry.aliases(name, self._aliases.get(name, NO_ALIASES))
        version = self.registry.choose(name, selector, aliases)
        self._aliases[name] = aliases  # only of models that exist, so that no caller can fill the memory
        return version

    def _release(self, name: str, version: int) -> Release:
        key = (name, version)
        release = self._releases.get(key)
        if release is None:
            release = self._releases[key] = self.registry.release(name, version)
        return release

    def _load(self, name: str, version: int) -> tuple[LoadedModel, int]:
        key = (name, version)
        release = self._release(name, version)
        artifact = fastest(release.manifest, release.manifest.artifact(self.settings.runtime))
        try:
            if (
                key not in self._refusals
            ):  # one that was refused before will not push out others again and again
                self._loaded.make_room(artifact.size_bytes)
            session = open_artifact(release, artifact, self.settings.threads)
        except ArtifactRefused as error:
            self._refusals[key] = str(error)
            raise
        self._refusals.pop(key, None)
        # Kept here and not with the model: they outlive its eviction.
        statistics = self._statistics.setdefault(key, Statistics())
        return LoadedModel(release.manifest, artifact, session, statistics), artifact.size_bytes


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
