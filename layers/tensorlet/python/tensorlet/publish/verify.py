"""Whether a published version is what was published: its signature, every digest, and its answers to golden inputs.

Each thing that was looked at is a `Check`; nothing stops at the first one that fails. A file that is not the one in
the manifest is not opened, and what is opened is so in a process of its own.
"""

import zipfile
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from tensorlet.errors import ArtifactRefused, InferenceFailed, ParityError, TensorletError, Untrusted
from tensorlet.publish.golden import FILE, load_golden
from tensorlet.publish.trial import Request, try_artifact
from tensorlet.registry.manifest import MANIFEST, SIGNATURE, Artifact, ArtifactFile
from tensorlet.registry.registry import ALIASES, Registry, Release, read_document, read_signature
from tensorlet.registry.rollout import describe
from tensorlet.registry.trust import Trust
from tensorlet.registry.writer import CLAIM
from tensorlet.runtimes import onnx_runtime_version

PASSED, FAILED, SKIPPED = "passed", "failed", "skipped"
GOLDEN_BYTES = 1 << 30  # most that golden.npz may unpack to
# Of a version, and listed in no manifest; the last is what compare-and-swap of a local file leaves.
OWN_FILES = {MANIFEST, SIGNATURE, CLAIM, f".{SIGNATURE}.lock"}


class Check(NamedTuple):
    """One thing that was looked at: what, how it came out, and what was found."""

    name: str
    result: str
    detail: str


def verify(registry: Registry, release: Release, trust: Trust | None) -> list[Check]:
    """Check one version; with `trust` also its signature, and that of the model's aliases.

    Raises:
        ArtifactRefused: its manifest lists what is no file, so that there is nothing to go by.
    """
    checks = [_aliases(registry, release.manifest.model, trust), _signature(release, trust)]
    with TemporaryDirectory(prefix="tensorlet-verify-") as folder:
        files = release.manifest.listed()
        digests = {file.path: _digest(release, file, Path(folder)) for file in files}
        checks += digests.values()
        good = {path for path, check in digests.items() if check.result == PASSED}
        checks += [_answers(release, artifact, good, Path(folder)) for artifact in release.manifest.artifacts]
    return [*checks, _unlisted(release, {file.path for file in files})]


def _aliases(registry: Registry, model: str, trust: Trust | None) -> Check:
    try:
        aliases = Registry(registry.stores, trust).aliases(model)
    except ArtifactRefused as error:
        return Check(ALIASES, FAILED, str(error))
    pointing = ", ".join(f"{alias} → {describe(weights)}" for alias, weights in aliases.weights.items())
    if trust is None or not pointing:
        return Check(ALIASES, SKIPPED, pointing or "there are none")
    return Check(ALIASES, PASSED, f"{pointing}; serial number {aliases.serial}")


def _signature(release: Release, trust: Trust | None) -> Check:
    store, manifest = release.store, release.manifest
    signature = read_signature(store, release.name)
    if trust is None:
        found = "there is none" if signature is None else "there is one; no --key says whose it should be"
        return Check(SIGNATURE, SKIPPED, found)
    try:
        data = read_document(store, f"{release.name}/{MANIFEST}")
        key = trust.check_manifest(manifest.model, manifest.version, data, signature)
    except Untrusted as error:
        return Check(SIGNATURE, FAILED, str(error))
    return Check(SIGNATURE, PASSED, f"{key.algorithm.name} key {key.id[:16]}")


def _digest(release: Release, file: ArtifactFile, folder: Path) -> Check:
    """Compares a file with its digest, and keeps it in `folder`."""
    target = folder / file.path
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        release.save(file, str(target))
    except TensorletError as error:
        target.unlink(missing_ok=True)
        return Check(file.path, FAILED, str(error))
    return Check(file.path, PASSED, f"sha256 {file.sha256}")


def _answers(release: Release, artifact: Artifact, good: set[str], folder: Path) -> Check:
    """Runs an artifact on the golden inputs, in a process of its own."""
    name = f"answers of {artifact.id}"
    reason = _why_not_run(release, artifact, good)
    if reason:
        return Check(name, SKIPPED, reason)
    parity = _document(release, artifact)["parity"]
    request = Request(
        format=artifact.format,
        path=str(folder / artifact.files[0].path),
        signature=release.manifest.signature,
        golden=str(folder / FILE),
        inputs=(),
        golden_inputs=None,
        tolerance=0.0,
        fast_start="never",
    )
    try:
        scale = largest_answer(folder / FILE)
        trial = try_artifact(request._replace(tolerance=parity["tolerance"] / max(1.0, scale)), folder)
    except (ArtifactRefused, InferenceFailed, ParityError) as error:
        return Check(name, FAILED, str(error).removesuffix("; nothing was published"))
    found, allowed = trial.parity
    return Check(name, PASSED, f"differ from the source model's by {found:.1e}, allowed {allowed:.1e}")


def _why_not_run(release: Release, artifact: Artifact, good: set[str]) -> str:
    missing = [path for path in (FILE, *(file.path for file in artifact.files)) if path not in good]
    if missing:
        return f"{missing[0]} is not the file that was published, or not listed"
    if not _document(release, artifact).get("parity"):
        return "the manifest does not say how far they may be from the source model's"
    if artifact.fast_start and artifact.fast_start.runtime_version != onnx_runtime_version():
        return f"made for ONNX Runtime {artifact.fast_start.runtime_version}, and here is another one"
    return ""


def _document(release: Release, artifact: Artifact) -> Mapping[str, Any]:
    documents: list[Mapping[str, Any]] = release.manifest.document["artifacts"]
    return next(document for document in documents if document["id"] == artifact.id)


def largest_answer(path: Path) -> float:
    """The largest absolute value among the finite golden outputs, which a tolerance is relative to.

    Raises:
        ArtifactRefused: the file is no golden.npz, or unpacks to more than `GOLDEN_BYTES`.
    """
    import numpy as np

    try:
        with zipfile.ZipFile(path) as archive:
            size_bytes = sum(member.file_size for member in archive.infolist())
        if size_bytes > GOLDEN_BYTES:
            raise ArtifactRefused(
                f"{FILE}: expected at most {GOLDEN_BYTES:,} bytes unpacked, got {size_bytes:,}"
            )
        outputs = load_golden(path).outputs.values()
    except (EOFError, KeyError, MemoryError, OSError, ValueError, zipfile.BadZipFile) as error:
        raise ArtifactRefused(f"{FILE} is not valid: {type(error).__name__}: {error}") from error
    numbers = [np.abs(array[np.isfinite(array)]) for array in outputs if array.dtype.kind in "fiu"]
    return max((float(array.max(initial=0)) for array in numbers), default=0.0)


def _unlisted(release: Release, listed: set[str]) -> Check:
    """Files that no digest protects: another engine might read them."""
    prefix = f"{release.name}/"
    found = sorted(
        path
        for info in release.store.walk(release.name)
        if (path := info.key.removeprefix(prefix)) not in listed | OWN_FILES
    )
    if found:
        more = f" and {len(found) - 3} more" if len(found) > 3 else ""
        return Check("other files", FAILED, f"in no manifest: {', '.join(found[:3])}{more}")
    return Check("other files", PASSED, "none")
