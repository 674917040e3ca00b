"""Smaller and faster variants of a published model, measured, and kept where they are as good.

    read the version -> make each variant from its float32 artifacts -> measure size, latency, accuracy, agreement
    -> refuse the worse ones by name -> publish a new version with all files of the old one and the variants

Versions never change, so the variants are a new version that says which one it is derived from. Left out of the layer.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from tensorlet.errors import ArtifactRefused, InvalidRequest, PublishError
from tensorlet.publish.card import card_maker
from tensorlet.publish.convert import run_steps
from tensorlet.publish.converters.job import Job
from tensorlet.publish.evaluation import FILE as EVALUATION_FILE
from tensorlet.publish.evaluation import Evaluation, load_evaluation, read_rows
from tensorlet.publish.golden import FILE as GOLDEN_FILE
from tensorlet.publish.golden import Arrays, load_golden, save_arrays
from tensorlet.publish.measure import Quality, Subject, answers, is_classifier, judge, latencies
from tensorlet.registry.attestation import Signer
from tensorlet.registry.manifest import MANIFEST, Artifact, Manifest
from tensorlet.registry.registry import Registry, Release
from tensorlet.registry.store import open_store
from tensorlet.registry.trust import Trust
from tensorlet.registry.writer import check_aliases, publish_version, set_alias

# Target -> the precision that a request asks for. Of two with one precision that are good enough, the smaller stays.
TARGETS = {"fp16": "fp16", "int8-dynamic": "int8", "int8-static": "int8"}
CALIBRATED = "int8-static"
ORIGINAL = "fp32"
MAX_ACCURACY_DROP = 0.01
NOT_COPIED = ("card.html",)
ASSIGNED = ("schema_version", "model", "version", "created", "files")  # by the registry, anew


class Variant(NamedTuple):
    """One form of the model with what was measured; `reason` says why it is not published, if it is not."""

    id: str
    format: str
    of: str  # the id of the float32 artifact it is made of; its own for that one
    target: str  # ORIGINAL or one of TARGETS
    path: Path
    size_bytes: int = 0
    quality: Quality | None = None
    latency_ms: Mapping[str, float] = {}  # by batch size; never changed
    reason: str = ""

    @property
    def precision(self) -> str:
        return TARGETS.get(self.target, ORIGINAL)


def optimize(
    name: str,
    selector: str | None,
    registry: str,
    targets: Sequence[str],
    *,
    calibration: Path | None = None,
    test: Path | None = None,
    max_accuracy_drop: float = MAX_ACCURACY_DROP,
    aliases: Sequence[str] = (),
    plot: Path | None = None,
    trust: Trust | None = None,
    signer: Signer | None = None,
    report: Callable[[str], None] = lambda line: None,
) -> int:
    """Publish a version with variants of `name`@`selector`, and return it.

    `test` and `calibration` are files of rows (`evaluation`); by default they are those that training left in the
    version. A variant whose accuracy on the test rows is more than `max_accuracy_drop` below the original's is
    refused; without labels that is said of its agreement with the original. `plot` gets accuracy against size and
    latency, as SVG. With `trust` the original must be signed; `signer` signs the new version and the aliases.

    Raises:
        ModelNotFound, VersionNotFound, AliasNotFound: there is no such version.
        ArtifactRefused: it is not the version that was published, or not one that is trusted.
        InvalidRequest: targets, names or files of rows that cannot be used.
        PublishError: no variant is left; nothing was published.
    """
    check_aliases(registry, name, aliases, signer)
    if unknown := [target for target in targets if target not in TARGETS]:
        raise InvalidRequest(f"target: expected {', '.join(TARGETS)}, got {', '.join(unknown)}")
    store = open_store(registry)
    release = Registry([store], trust).resolve(name, selector)
    with TemporaryDirectory(prefix="tensorlet-optimize-") as folder:
        work = Path(folder)
        files = download(release, work / "version")
        rows = find_rows(release.manifest, files, test, calibration)
        variants = measure(
            make(release.manifest, files, targets, rows.calibration, work), release, rows, work
        )
        judged = gate(variants, max_accuracy_drop)
        for line in table(judged, rows.test):
            report(line)
        if plot:
            from tensorlet.publish.charts import variants_plot

            plot.write_text(variants_plot([row(variant) for variant in judged]))
        kept = [variant for variant in judged if variant.target != ORIGINAL and not variant.reason]
        if not kept:
            reasons = "; ".join(
                f"{variant.path.name}: {variant.reason}" for variant in judged if variant.reason
            )
            raise PublishError(f"{release.name}: no variant is left ({reasons}); nothing was published")
        document = manifest(release, [variant for variant in judged if not variant.reason])
        files |= {variant.path.name: variant.path for variant in kept}
        complete = card_maker(document, files, work, report)
        version = publish_version(store, name, document, files, signer, complete)
    for alias in aliases:
        set_alias(store, name, alias, version, signer=signer)
    return version


class Rows(NamedTuple):
    """What variants are judged by and calibrated with; None where there are no rows to calibrate with."""

    test: Evaluation
    calibration: Arrays | None


def download(release: Release, folder: Path) -> dict[str, Path]:
    """Every file that a version lists, checked, by its path there. Raises ArtifactRefused."""
    found = {}
    for file in release.manifest.listed():
        if file.path not in NOT_COPIED:
            target = found[file.path] = folder / file.path
            target.parent.mkdir(parents=True, exist_ok=True)
            release.save(file, str(target))
    return found


def find_rows(
    manifest: Manifest, files: Mapping[str, Path], test: Path | None, calibration: Path | None
) -> Rows:
    """The rows that were given, else those that training left, else the golden ones, which have no labels.

    Raises:
        InvalidRequest: a file that does not fit the model.
    """
    signature, labels = manifest.signature, manifest.document.get("labels") or ()
    stored: tuple[Evaluation, Arrays] | None = None
    if EVALUATION_FILE in files:
        stored = load_evaluation(files[EVALUATION_FILE])
    judged: Evaluation | None = read_rows(test, signature, labels) if test else stored and stored[0]
    if judged is None:
        if GOLDEN_FILE not in files:
            raise InvalidRequest(f"{manifest.name}: has no rows to compare with: add --test FILE")
        judged = Evaluation(load_golden(files[GOLDEN_FILE]).inputs, None)
    if calibration:
        return Rows(judged, read_rows(calibration, signature, labels).inputs)
    return Rows(judged, (stored[1] or None) if stored else None)


def make(
    manifest: Manifest,
    files: Mapping[str, Path],
    targets: Sequence[str],
    calibration: Arrays | None,
    work: Path,
) -> list[Variant]:
    """The float32 artifacts and their variants; one that cannot be made has the reason."""
    given = work / "calibration.npz"
    if calibration:
        save_arrays(given, calibration)
    originals = [
        artifact
        for artifact in manifest.artifacts
        if artifact.precision == ORIGINAL and not artifact.fast_start
    ]
    if not originals:
        raise InvalidRequest(f"{manifest.name}: expected an artifact of precision {ORIGINAL}, there is none")
    variants = []
    for artifact in originals:
        source = files[artifact.files[0].path]
        folder = work / artifact.id
        folder.mkdir()
        job = Job(
            str(source), artifact.format, str(folder), golden_inputs=str(given) if calibration else None
        )
        steps = [target for target in dict.fromkeys(targets) if target != CALIBRATED or calibration]
        failures = run_steps(f"variants_{artifact.format}", job, steps)
        failures |= dict.fromkeys(
            set(targets) - set(steps), "needs rows of real inputs to calibrate with: add --calibration FILE"
        )
        id = artifact.id
        variants.append(Variant(id, artifact.format, id, ORIGINAL, source, artifact.size_bytes))
        variants += [
            _made(artifact, target, folder / target, failures.get(target, ""))
            for target in dict.fromkeys(targets)
        ]
    return variants


def measure(variants: Sequence[Variant], release: Release, rows: Rows, work: Path) -> list[Variant]:
    """The variants with quality and latency; one that no runtime here runs has the reason.

    Raises:
        PublishError: an original itself does not run here.
    """
    signature, test = release.manifest.signature, rows.test
    expected: dict[str, Arrays] = {}  # of the originals, by format
    found = []
    for index, variant in enumerate(variants):
        if variant.reason:
            found.append(variant)
            continue
        try:
            got = answers(_subject(variant, index), signature, test.inputs, work / f"answer-{index}")
        except ArtifactRefused as error:
            if variant.target == ORIGINAL:
                raise PublishError(str(error)) from error
            found.append(variant._replace(reason=str(error)))
            continue
        if variant.target == ORIGINAL:
            expected[variant.format] = got
        output = judged_output(release.manifest, got)
        quality = judge(got, expected[variant.format], output, test.labels)
        found.append(variant._replace(quality=quality))
    running = {str(index): variant for index, variant in enumerate(found) if variant.quality}
    subjects = [_subject(variant, int(index)) for index, variant in running.items()]
    times = latencies(subjects, signature, test.inputs, work / "latency")
    return [variant._replace(latency_ms=times.get(str(index), {})) for index, variant in enumerate(found)]


def judged_output(manifest: Manifest, answers: Arrays) -> str:
    """The output whose classes or values are compared: the scores, else the first that classifies, else the first."""
    scores = manifest.document.get("roles", {}).get("scores")
    classifying = [name for name, values in answers.items() if is_classifier(values)]
    return str(scores or next(iter([*classifying, *answers])))


def gate(variants: Sequence[Variant], max_accuracy_drop: float) -> list[Variant]:
    """The variants, those that are not as good with the reason: too far from the original, or beaten by another."""
    originals = {variant.format: variant for variant in variants if variant.target == ORIGINAL}
    judged = [_gated(variant, originals[variant.format], max_accuracy_drop) for variant in variants]
    best: dict[tuple[str, str], Variant] = {}
    for variant in judged:
        key = (variant.format, variant.precision)
        if not variant.reason and (key not in best or variant.size_bytes < best[key].size_bytes):
            best[key] = variant
    return [
        variant
        if variant.reason or (winner := best[variant.format, variant.precision]) is variant
        else variant._replace(reason=f"{winner.target} is the smaller {variant.precision}")
        for variant in judged
    ]


def table(variants: Sequence[Variant], test: Evaluation) -> list[str]:
    """All variants for people: what was measured, and what became of each."""
    from tensorlet.cli.text import size
    from tensorlet.cli.text import table as aligned

    headers = ("variant", "size", "of fp32", "p50, 1 row", "32 rows", "accuracy", "agreement", "")
    rows = []
    originals = {variant.format: variant for variant in variants if variant.target == ORIGINAL}
    for variant in variants:
        latency = [f"{ms:.3f} ms" if (ms := variant.latency_ms.get(batch)) else "-" for batch in ("1", "32")]
        quality = variant.quality
        accuracy = "-" if not quality or quality.accuracy is None else f"{quality.accuracy:.2%}"
        rows.append(
            (
                f"{variant.format} {variant.target}",
                size(variant.size_bytes) if variant.size_bytes else "-",
                f"{variant.size_bytes / originals[variant.format].size_bytes:.2f}×" if quality else "-",
                *latency,
                accuracy,
                f"{quality.agreement:.2%}" if quality else "-",
                f"refused: {variant.reason}" if variant.reason else "",
            )
        )
    by = "labelled rows" if test.labels is not None else "rows without labels"
    count = next(variant.quality.rows for variant in variants if variant.quality)
    return ["", *aligned(headers, rows).splitlines(), "", f"measured on {count:,} {by}", ""]


def manifest(release: Release, kept: Iterable[Variant]) -> dict[str, Any]:
    """The manifest of the new version: the old one's, with the variants and what was measured of all."""
    document = {key: value for key, value in release.manifest.document.items() if key not in ASSIGNED}
    kept = list(kept)
    new = {(variant.format, variant.precision): variant for variant in kept if variant.target != ORIGINAL}
    measured = {variant.id: variant for variant in kept if variant.target == ORIGINAL}
    artifacts = [
        artifact | ({"metrics": metrics(measured[artifact["id"]])} if artifact["id"] in measured else {})
        for artifact in document["artifacts"]
        if (artifact["format"], artifact["precision"]) not in new
    ]
    artifacts += [
        {
            "id": variant.id,
            "format": variant.format,
            "precision": variant.precision,
            "variant": {"of": variant.of, "target": variant.target},
            "files": [{"path": variant.path.name}],
            "metrics": metrics(variant),
        }
        for variant in new.values()
    ]
    digest = hashlib.sha256(bytes(release.store.get(f"{release.name}/{MANIFEST}").data)).hexdigest()
    return {
        **document,
        "artifacts": artifacts,
        "derived_from": {"version": release.manifest.version, "manifest_sha256": digest},
    }


def metrics(variant: Variant) -> dict[str, Any]:
    """What the manifest says of a measured artifact."""
    quality = variant.quality
    assert quality is not None  # what is published was measured
    known = {name: value for name, value in quality._asdict().items() if value is not None}
    return {**known, "latency_ms": {batch: round(ms, 4) for batch, ms in variant.latency_ms.items()}}


def row(variant: Variant) -> dict[str, Any]:
    """One variant as the charts take it."""
    measured = metrics(variant) if variant.quality else {}
    return {
        "name": f"{variant.format} {variant.target}",
        "size_bytes": variant.size_bytes,
        "refused": variant.reason,
        **measured,
    }


def _made(artifact: Artifact, target: str, folder: Path, reason: str) -> Variant:
    precision = TARGETS[target]
    path = folder / f"model.{precision}.{artifact.format}"
    if not reason:
        (folder / f"model.{artifact.format}").rename(path)
    return Variant(
        f"{artifact.format}.{precision}",
        artifact.format,
        artifact.id,
        target,
        path,
        0 if reason else path.stat().st_size,
        reason=reason,
    )


def _subject(variant: Variant, index: int) -> Subject:
    return Subject(str(index), variant.format, variant.path)


def _gated(variant: Variant, original: Variant, max_drop: float) -> Variant:
    if variant is original or variant.reason or not variant.quality or not original.quality:
        return variant
    mine, theirs = variant.quality, original.quality
    if mine.accuracy is not None and theirs.accuracy is not None:
        drop, what = theirs.accuracy - mine.accuracy, "lower accuracy"
    else:
        drop, what = 1 - mine.agreement, "of the rows answered otherwise"
    if drop > max_drop + 1e-9:  # a drop of just the limit, as floats subtract
        return variant._replace(reason=f"{drop:.2%} {what}, more than {max_drop:.2%}")
    if variant.size_bytes >= original.size_bytes:
        return variant._replace(reason="no smaller than the original")
    return variant
