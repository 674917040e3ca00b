"""Publishing: from any saved model to a checked version in the registry.

    detect the format -> convert to each target, in processes of their own -> run each artifact in the runtime that
    will serve it, against the source model -> write the version -> move aliases

Nothing is written before everything is checked. Left out of the Lambda layer.
"""

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from tensorlet.errors import ArtifactRefused, ConversionFailed, InferenceFailed, PublishError, UntrustedSource
from tensorlet.publish.convert import DESCRIBE, run_steps
from tensorlet.publish.converters.job import DESCRIPTION_FILE, GIVEN_INPUTS, SIGNATURES_FILE, Job
from tensorlet.publish.fast_start import Variant, make_variant
from tensorlet.publish.gate import Parity, check_artifact, source_golden
from tensorlet.publish.golden import FILE, Arrays, Golden, golden_inputs, load_golden, save_golden
from tensorlet.publish.roles import find_roles
from tensorlet.publish.sources import SourceFormat, detect_source, digest_source
from tensorlet.registry.registry import ALIAS_NAME, MODEL_NAME
from tensorlet.registry.store import open_store
from tensorlet.registry.writer import check_name, publish_version, set_alias
from tensorlet.runtimes import load_session
from tensorlet.signature import DYNAMIC, Signature, TensorSpec


class Candidate(NamedTuple):
    """One format of the version to be: a file, or the reason why there is none."""

    format: str
    path: Path
    skipped: str = ""
    parity: Parity | None = None


class Description(NamedTuple):
    signature: Signature
    golden: Golden
    versions: Mapping[str, str]


def publish(
    source: Path,
    name: str,
    registry: str,
    *,
    aliases: Sequence[str] = (),
    trust_source: bool = False,
    module: str | None = None,
    inputs: Sequence[TensorSpec] = (),
    outputs: Sequence[str] = (),
    classes: str | None = None,
    scores: str | None = None,
    labels: Sequence[str] | None = None,
    fast_start: str = "auto",
    details: Mapping[str, Any] | None = None,
    golden: Arrays | None = None,
    keep: Path | None = None,
    report: Callable[[str], None] = lambda line: None,
) -> int:
    """Publish the saved model at `source` as the next version of `name`, and return that version.

    `inputs` and `outputs` name the model's tensors where it does not, or otherwise; `module` is the factory
    that PyTorch weights belong to. `classes` and `scores` say which output is which for classification, and
    `labels` name the classes. `details` is added to the manifest, `golden` replaces made-up inputs of the
    check, `keep` is a folder that gets a copy of every artifact.

    Raises:
        PublishError: no known format, or arguments that do not fit the model.
        UntrustedSource: a source that can run code, without `trust_source`.
        ConversionFailed: no artifact could be made that runs here.
        ParityError: an artifact answers differently from its source; nothing was published.
        InvalidRequest: a name or alias outside the grammar.
    """
    check_name(name, MODEL_NAME, "model name")
    for alias in aliases:
        check_name(alias, ALIAS_NAME, "alias")
    form = detect_source(source)
    if form.is_program and not trust_source:
        raise UntrustedSource(
            f"{source}: {form.name} files are programs and can do anything when opened;"
            " add --trust-source if you know where it comes from"
        )

    with TemporaryDirectory(prefix="tensorlet-publish-") as folder:
        job = _job(Path(folder), source, form, module, inputs, outputs, golden)
        failures = convert(form, job)
        candidates = [_candidate(form, job, target, failures) for target in form.targets]
        candidates += [Candidate(target, Path(), reason) for target, reason in form.impossible.items()]
        description = describe(form, job, candidates, failures)
        described = Path(job.folder) / DESCRIBE / SIGNATURES_FILE
        roles = find_roles(source, described, description.signature, classes, scores)
        checked = [check(candidate, description, form.tolerance) for candidate in candidates]
        for line in table(checked):
            report(line)
        made = [candidate for candidate in checked if candidate.parity]
        if not made:
            reasons = "; ".join(f"{candidate.format}: {candidate.skipped}" for candidate in checked)
            raise ConversionFailed(f"{source}: no artifact could be made ({reasons})")

        files = {candidate.path.name: candidate.path for candidate in made}
        for path in files.values():
            if keep:
                shutil.copyfile(path, keep / path.name)
        document = manifest(source, form, description, made)
        variant = _fast_start(made, Path(folder), description, form.tolerance, fast_start, report)
        if variant:
            document["artifacts"].append(variant.artifact)
            files |= variant.files
        document |= roles | ({"labels": list(labels)} if labels else {}) | dict(details or {})
        files |= _saved_model_files(source, form, Path(folder))
        golden_file = Path(folder) / FILE
        save_golden(golden_file, description.golden)
        files[FILE] = golden_file
        store = open_store(registry)
        version = publish_version(store, name, document, files)
    for alias in aliases:
        set_alias(store, name, alias, version)
    return version


def convert(form: SourceFormat, job: Job) -> dict[str, str]:
    """Run all converters of a source at once; returns step -> why it failed."""
    if not form.converter:
        return {}
    steps = form.targets if _is_served_as_it_is(form) else (DESCRIBE, *form.targets)
    return run_steps(form.converter, job, steps)


def describe(
    form: SourceFormat, job: Job, candidates: Sequence[Candidate], failures: Mapping[str, str]
) -> Description:
    """The source model's signature and golden values.

    Raises:
        ConversionFailed: the source model does not run.
    """
    if _is_served_as_it_is(form):
        return _describe_artifact(job, candidates[0])
    if DESCRIBE in failures:
        raise ConversionFailed(f"{job.source}: {failures[DESCRIBE]}")
    folder = Path(job.folder) / DESCRIBE
    document = json.loads((folder / DESCRIPTION_FILE).read_text())
    return Description(
        Signature.from_json(document["signature"]), load_golden(folder / FILE), document["versions"]
    )


def check(candidate: Candidate, description: Description, tolerance: float) -> Candidate:
    """The candidate with its parity, or with the reason why no runtime here runs it. Raises ParityError."""
    if candidate.skipped:
        return candidate
    try:
        parity = check_artifact(
            candidate.format, candidate.path, description.signature, description.golden, tolerance
        )
    except (ArtifactRefused, InferenceFailed) as error:
        return candidate._replace(skipped=str(error))
    return candidate._replace(parity=parity)


def table(candidates: Sequence[Candidate]) -> list[str]:
    """What became of each format, for people."""
    lines = ["", "  artifact          size    largest difference    tolerance"]
    for candidate in candidates:
        if candidate.parity:
            size = f"{candidate.path.stat().st_size:,}"
            difference, tolerance = candidate.parity
            lines.append(f"  {candidate.path.name:12}{size:>10}    {difference:18.1e}    {tolerance:9.1e}")
        else:
            lines.append(f"  {candidate.format:12}   skipped: {candidate.skipped}")
    return [*lines, ""]


def manifest(
    source: Path, form: SourceFormat, description: Description, made: Sequence[Candidate]
) -> dict[str, Any]:
    """The manifest of the version, see docs/manifest.schema.json; the registry adds what it assigns and measures."""
    return {
        "framework": {"name": form.framework, "versions": dict(description.versions)},
        "source": {"format": form.name, "file": source.name, "sha256": digest_source(source)},
        "signature": description.signature.to_json(),
        "artifacts": [_artifact(candidate) for candidate in made],
        "default_artifact": made[0].format,
    }


def _artifact(candidate: Candidate) -> dict[str, Any]:
    return {
        "id": candidate.format,
        "format": candidate.format,
        "precision": "fp32",
        "files": [{"path": candidate.path.name}],
        "parity": candidate.parity._asdict() if candidate.parity else None,
    }


def _fast_start(
    made: Sequence[Candidate],
    folder: Path,
    description: Description,
    tolerance: float,
    mode: str,
    report: Callable[[str], None],
) -> Variant | None:
    """The fast-start variant of the ONNX artifact, see `publish.fast_start`. Raises PublishError with `always`."""
    model = next((candidate.path for candidate in made if candidate.format == "onnx"), None)
    if model is None and mode == "always":
        raise PublishError("--fast-start always: only an ONNX artifact has a fast-start variant")
    if model is None:
        return None
    variant, line = make_variant(model, folder, description.signature, description.golden, tolerance, mode)
    if line:
        report(line)
    return variant


def _job(
    folder: Path,
    source: Path,
    form: SourceFormat,
    module: str | None,
    inputs: Sequence[TensorSpec],
    outputs: Sequence[str],
    golden: Mapping[str, Any] | None,
) -> Job:
    given = None
    if golden is not None:
        import numpy as np

        given = folder / GIVEN_INPUTS
        np.savez(given, **golden)
    return Job(
        source=str(source.absolute()),
        format=form.name,
        folder=str(folder),
        module=module,
        inputs=tuple(inputs),
        outputs=tuple(outputs),
        golden_inputs=str(given) if given else None,
    )


def _candidate(form: SourceFormat, job: Job, target: str, failures: Mapping[str, str]) -> Candidate:
    path = Path(job.folder) / target / f"model.{target}"
    if not form.converter:
        path.parent.mkdir()
        shutil.copyfile(job.source, path)
    return Candidate(target, path, failures.get(target, ""))


def _is_served_as_it_is(form: SourceFormat) -> bool:
    return form.framework in form.targets


def _describe_artifact(job: Job, artifact: Candidate) -> Description:
    """A model that is served as it is describes itself; `inputs` may say that a fixed batch is any batch.

    Raises:
        ConversionFailed: no runtime here opens it, or runs it.
    """
    if artifact.skipped:
        raise ConversionFailed(f"{job.source}: {artifact.skipped}")
    try:
        return _run_artifact(job, artifact)
    except (ArtifactRefused, InferenceFailed) as error:
        raise ConversionFailed(f"{job.source}: {error}") from error


def _run_artifact(job: Job, artifact: Candidate) -> Description:
    found = load_session(artifact.format, str(artifact.path)).signature
    signature = _viewed(found, job.inputs)
    given = load_given(Path(job.golden_inputs)) if job.golden_inputs else None
    values = golden_inputs(signature.inputs, given)
    return Description(signature, source_golden(artifact.format, artifact.path, signature, values), {})


def load_given(path: Path) -> dict[str, Any]:
    import numpy as np

    with np.load(path, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


def _viewed(found: Signature, inputs: Sequence[TensorSpec]) -> Signature:
    """The signature with the caller's `inputs`. Raises PublishError where they contradict the file."""
    if not inputs:
        return found
    own = {spec.name: spec for spec in found.inputs}
    for spec in inputs:
        mine = own.get(spec.name)
        if not mine or mine.datatype != spec.datatype or len(mine.shape) != len(spec.shape):
            raise PublishError(
                f"--input {spec.name}: the file has {', '.join(map(_described, found.inputs))}"
            )
    wanted = {spec.name: spec for spec in inputs}
    viewed = tuple(wanted.get(spec.name, spec) for spec in found.inputs)
    outputs = found.outputs
    if all(spec.shape[:1] == (DYNAMIC,) for spec in viewed):
        outputs = tuple(spec._replace(shape=(DYNAMIC, *spec.shape[1:])) for spec in outputs)
    return Signature(viewed, outputs)


def _described(spec: TensorSpec) -> str:
    return f"{spec.name}:{spec.datatype}:{'x'.join(map(str, spec.shape))}"


def _saved_model_files(source: Path, form: SourceFormat, folder: Path) -> dict[str, Path]:
    """The SavedModel of a TensorFlow source, so that the version is one TensorFlow Serving can load."""
    saved_model = source if form.name == "saved_model" else folder / DESCRIBE / "saved_model"
    if not saved_model.is_dir():
        return {}
    return {
        path.relative_to(saved_model).as_posix(): path for path in saved_model.rglob("*") if path.is_file()
    }
