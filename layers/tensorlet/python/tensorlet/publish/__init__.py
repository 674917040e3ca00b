"""Publishing: from any saved model to a checked version in the registry.

    detect the format -> convert to each target -> run each artifact in the runtime that will serve it, against the
    source model -> write the version -> move aliases

Whatever opens a file of the user's is a process of its own (`convert`, `trial`). Nothing is written before everything
is checked. Left out of the Lambda layer.
"""

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from tensorlet.errors import (
    ArtifactRefused,
    ConversionFailed,
    InferenceFailed,
    InvalidRequest,
    PublishError,
    UntrustedSource,
)
from tensorlet.publish.card import card_maker
from tensorlet.publish.confine import network_open
from tensorlet.publish.convert import DESCRIBE, run_steps
from tensorlet.publish.converters.job import DESCRIPTION_FILE, GIVEN_INPUTS, SIGNATURES_FILE, Job
from tensorlet.publish.golden import FILE, Arrays, Golden, load_golden
from tensorlet.publish.gradient import make_gradient
from tensorlet.publish.provenance import provenance
from tensorlet.publish.roles import find_roles
from tensorlet.publish.sources import ONNX, SourceFormat, detect_source, digest_source, find_architecture
from tensorlet.publish.trial import Request, Trial, try_artifact
from tensorlet.registry.attestation import Signer
from tensorlet.registry.registry import MODEL_NAME
from tensorlet.registry.store import open_store
from tensorlet.registry.writer import check_aliases, check_name, publish_version, set_alias
from tensorlet.signature import Signature, TensorSpec


class Candidate(NamedTuple):
    """One format of the version to be: a file, or the reason why there is none."""

    format: str
    path: Path
    skipped: str = ""
    trial: Trial | None = None


class Description(NamedTuple):
    """The source model: its signature, the file with its golden values, and what it was run with."""

    signature: Signature
    golden_file: Path
    versions: Mapping[str, str]

    @property
    def golden(self) -> Golden:
        return load_golden(self.golden_file)


def publish(
    source: Path,
    name: str,
    registry: str,
    *,
    aliases: Sequence[str] = (),
    trust_source: bool = False,
    module: str | None = None,
    architecture: Path | None = None,
    inputs: Sequence[TensorSpec] = (),
    outputs: Sequence[str] = (),
    classes: str | None = None,
    scores: str | None = None,
    labels: Sequence[str] | None = None,
    fast_start: str = "auto",
    details: Mapping[str, Any] | None = None,
    golden: Arrays | None = None,
    profile: Path | None = None,
    keep: Path | None = None,
    attachments: Mapping[str, Path] | None = None,
    signer: Signer | None = None,
    code: Path | None = None,
    report: Callable[[str], None] = lambda line: None,
) -> int:
    """Publish the saved model at `source` as the next version of `name`, and return that version.

    `inputs` and `outputs` name the model's tensors where it does not, or otherwise; `module` is the factory
    that PyTorch weights belong to, `architecture` the file with the to_json() of Keras weights. `classes` and
    `scores` say which output is which for classification, and `labels` name the classes. `details` is added to
    the manifest, `golden` replaces made-up inputs of the check, `profile` is a file of typical rows (see `evaluation`)
    that drift is measured against, `keep` is a folder that gets a copy of every artifact. `signer` signs the version
    and the aliases. `code` is a folder of the checkout that made the model; by default the current one.

    Raises:
        PublishError: no known format, or arguments that do not fit the model.
        UntrustedSource: a source that can run code, without `trust_source`.
        ConversionFailed: no artifact could be made that runs here.
        ParityError: an artifact answers differently from its source; nothing was published.
        InvalidRequest: a name or alias outside the grammar.
    """
    check_name(name, MODEL_NAME, "model name")
    check_aliases(registry, name, aliases, signer)
    form = detect_source(source)
    if form.is_program and not trust_source:
        raise UntrustedSource(
            f"{source}: {form.name} files are programs and can do anything when opened;"
            " add --trust-source if you know where it comes from"
        )

    architecture = find_architecture(source, form, architecture)
    if form.is_program and network_open():
        report(f"the network could not be cut off from the conversion: {network_open()}")
    if fast_start == "always" and ONNX not in form.targets:
        raise PublishError("--fast-start always: only an ONNX artifact has a fast-start variant")

    with TemporaryDirectory(prefix="tensorlet-publish-") as folder:
        job = _job(Path(folder), source, form, module, architecture, inputs, outputs, golden)
        failures = convert(form, job)
        candidates = [_candidate(form, job, target, failures) for target in form.targets]
        candidates += [Candidate(target, Path(), reason) for target, reason in form.impossible.items()]
        source_model = None if _is_served_as_it_is(form) else describe(job, failures)
        checked = check(candidates, job, source_model, form.tolerance, fast_start)
        for line in table(checked):
            report(line)
        made = [candidate for candidate in checked if candidate.trial]
        description = source_model or _itself(checked[0])
        if not made or not description:
            reasons = "; ".join(f"{candidate.format}: {candidate.skipped}" for candidate in checked)
            raise ConversionFailed(f"{source}: no artifact could be made ({reasons})")
        described = Path(job.folder) / DESCRIBE / SIGNATURES_FILE
        roles = find_roles(source, described, description.signature, classes, scores)

        files = {candidate.path.name: candidate.path for candidate in made}
        for path in files.values():
            if keep:
                shutil.copyfile(path, keep / path.name)
        document = manifest(source, architecture, form, description, made)
        for candidate in made:
            files |= _add_variant(candidate, document, report)
        document |= roles | ({"labels": list(labels)} if labels else {}) | dict(details or {})
        if profile:
            document["profile"] = _profile(profile, made[0], description.signature, Path(folder), labels)
        document["provenance"] = provenance(
            code or Path.cwd(),
            {
                "module": module,
                "inputs": [spec.to_json() for spec in inputs],
                "outputs": list(outputs),
                "classes": classes,
                "scores": scores,
                "fast_start": fast_start,
                "trust_source": trust_source,
            },
        )
        files |= _saved_model_files(source, form, Path(folder))
        files |= {FILE: description.golden_file, **(attachments or {})}
        files |= _add_gradient(made, Path(folder), description, document, report)
        store = open_store(registry)
        complete = card_maker(document, files, Path(folder), report)
        version = publish_version(store, name, document, files, signer, complete)
    for alias in aliases:
        set_alias(store, name, alias, version, signer=signer)
    return version


def convert(form: SourceFormat, job: Job) -> dict[str, str]:
    """Run all converters of a source at once; returns step -> why it failed."""
    if not form.converter:
        return {}
    steps = form.targets if _is_served_as_it_is(form) else (DESCRIBE, *form.targets)
    return run_steps(form.converter, job, steps)


def describe(job: Job, failures: Mapping[str, str]) -> Description:
    """What the converter found out about the source model. Raises ConversionFailed if it does not run."""
    if DESCRIBE in failures:
        raise ConversionFailed(f"{job.source}: {failures[DESCRIBE]}")
    folder = Path(job.folder) / DESCRIBE
    document = json.loads((folder / DESCRIPTION_FILE).read_text())
    return Description(Signature.from_json(document["signature"]), folder / FILE, document["versions"])


def check(
    candidates: Sequence[Candidate], job: Job, source: Description | None, tolerance: float, fast_start: str
) -> list[Candidate]:
    """The candidates with their trials, or the reasons why no runtime here runs them.

    Without `source` they are models that are served as they are, and describe themselves.

    Raises:
        ParityError: one answers differently from its source.
        PublishError: arguments that do not fit the model.
    """

    def tried(candidate: Candidate) -> Candidate:
        if candidate.skipped:
            return candidate
        request = Request(
            format=candidate.format,
            path=str(candidate.path),
            signature=source.signature if source else None,
            golden=str(source.golden_file) if source else None,
            inputs=job.inputs,
            golden_inputs=job.golden_inputs,
            tolerance=tolerance,
            fast_start=fast_start if candidate.format == ONNX else "never",
        )
        try:
            return candidate._replace(trial=try_artifact(request, candidate.path.parent))
        except (ArtifactRefused, InferenceFailed) as error:
            return candidate._replace(skipped=str(error))

    with ThreadPoolExecutor() as pool:
        return list(pool.map(tried, candidates))


def table(candidates: Sequence[Candidate]) -> list[str]:
    """What became of each format, for people."""
    lines = ["", "  artifact          size    largest difference    tolerance"]
    for candidate in candidates:
        if candidate.trial:
            size = f"{candidate.path.stat().st_size:,}"
            difference, tolerance = candidate.trial.parity
            lines.append(f"  {candidate.path.name:12}{size:>10}    {difference:18.1e}    {tolerance:9.1e}")
        else:
            lines.append(f"  {candidate.format:12}   skipped: {candidate.skipped}")
    return [*lines, ""]


def manifest(
    source: Path,
    architecture: Path | None,
    form: SourceFormat,
    description: Description,
    made: Sequence[Candidate],
) -> dict[str, Any]:
    """The manifest of the version, see docs/manifest.schema.json; the registry adds what it assigns and measures."""
    return {
        "framework": {"name": form.framework, "versions": dict(description.versions)},
        "source": {"format": form.name, **_file(source)}
        | ({"architecture": _file(architecture)} if architecture else {}),
        "signature": description.signature.to_json(),
        "artifacts": [_artifact(candidate) for candidate in made],
        "default_artifact": made[0].format,
    }


def _file(path: Path) -> dict[str, str]:
    return {"file": path.name, "sha256": digest_source(path)}


def _artifact(candidate: Candidate) -> dict[str, Any]:
    return {
        "id": candidate.format,
        "format": candidate.format,
        "precision": "fp32",
        "files": [{"path": candidate.path.name}],
        "parity": candidate.trial.parity._asdict() if candidate.trial else None,
    }


def _add_variant(
    candidate: Candidate, document: dict[str, Any], report: Callable[[str], None]
) -> dict[str, Path]:
    """Add the candidate's fast-start variant to the manifest, if it has one; returns its files."""
    trial = candidate.trial
    if trial and trial.line:
        report(trial.line)
    if not trial or not trial.variant:
        return {}
    document["artifacts"].append(trial.variant.artifact)
    return trial.variant.files


def _add_gradient(
    made: Sequence[Candidate],
    folder: Path,
    description: Description,
    document: dict[str, Any],
    report: Callable[[str], None],
) -> dict[str, Path]:
    """Add the gradient graph of the ONNX artifact to the manifest, if it has one; returns its file."""
    model = next((candidate.path for candidate in made if candidate.format == ONNX), None)
    if model is None:
        return {}
    gradient = make_gradient(model, folder / "gradient", description.signature, description.golden, document)
    if gradient.entry is None:
        report(f"explain: by occlusion and sampling only, {gradient.reason}")
        return {}
    document["explain"] = gradient.entry
    return {gradient.path.name: gradient.path}


def _job(
    folder: Path,
    source: Path,
    form: SourceFormat,
    module: str | None,
    architecture: Path | None,
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
        architecture=str(architecture.absolute()) if architecture else None,
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


def _itself(artifact: Candidate) -> Description | None:
    """The description of a model that is served as it is."""
    if not artifact.trial:
        return None
    return Description(artifact.trial.signature, artifact.path.with_name(FILE), {})


def _profile(
    path: Path, artifact: Candidate, signature: Signature, folder: Path, labels: Sequence[str] | None
) -> Mapping[str, Any]:
    """Histograms of the rows in a file and of the artifact's answers to them. Raises InvalidRequest."""
    from tensorlet.monitoring.drift import profile  # NumPy, as all of these: only where somebody asks
    from tensorlet.publish.evaluation import read_rows
    from tensorlet.publish.measure import Subject, answers

    if not signature.batched:
        raise InvalidRequest(f"{path}: a profile needs a model that takes batches of any size")
    rows = read_rows(path, signature, labels or ()).inputs
    subject = Subject(artifact.format, artifact.format, artifact.path)
    return profile({**rows, **answers(subject, signature, rows, folder / "profile")})


def _saved_model_files(source: Path, form: SourceFormat, folder: Path) -> dict[str, Path]:
    """The SavedModel of a TensorFlow source, so that the version is one TensorFlow Serving can load."""
    saved_model = source if form.name == "saved_model" else folder / DESCRIBE / "saved_model"
    if not saved_model.is_dir():
        return {}
    return {
        path.relative_to(saved_model).as_posix(): path for path in saved_model.rglob("*") if path.is_file()
    }
