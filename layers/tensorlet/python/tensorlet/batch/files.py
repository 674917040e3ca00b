"""One file from the command line: no queue, no plan; what was written before is replaced."""

from collections.abc import Mapping
from pathlib import Path
from time import monotonic

from tensorlet.batch.keys import file_type, outputs, plain_etag
from tensorlet.batch.options import Options, choose, read_options, texts_to_values
from tensorlet.batch.report import Output, Report
from tensorlet.batch.rows import UnreadableFile
from tensorlet.batch.run import ProgressCallback, predict_file
from tensorlet.batch.source import Source
from tensorlet.registry.store import Store, open_store
from tensorlet.serving.service import ModelService


def run_file(
    service: ModelService,
    input: str,
    model: str,
    selector: str | None = None,
    output: str | None = None,
    progress: ProgressCallback | None = None,
    flags: Mapping[str, str] | None = None,
) -> Report:
    """Predict every row of `input` into `output` (default: INPUT.out), failed rows and report beside it.

    Both are a local path or an `s3://` URI. Options are those of the file (see `read_options`) but for those in
    `flags`, by name and as text. A file that cannot be read gives a report with a `reason`.

    Raises:
        ModelNotFound, VersionNotFound, AliasNotFound, PrecisionNotFound, ModelUnavailable: no such model to run.
        ObjectNotFound: there is no such file.
        StorageUnavailable, Conflict: the storage failed, or the file changed while it was read.
    """
    started = monotonic()
    inputs, key = split_location(input)
    results, base = split_location((output or f"{input}.out").removesuffix(".out"))
    names = outputs(base)
    names = names._replace(out=split_location(output)[1] if output else names.out)
    info = inputs.head(key)
    report = Report(key, plain_etag(info.etag))
    out, err = results.upload(names.out), results.upload(names.err)
    try:
        options = read_options(inputs, info, Options(batch_rows=service.settings.batch_rows))
        options = choose(texts_to_values(flags or {}), options, "flags")
        loaded = service.model(model, selector, options.precision)
        report = report._replace(
            model=loaded.manifest.model,
            model_version=loaded.manifest.version,
            artifact=loaded.artifact.id,
            artifact_sha256=loaded.artifact.files[0].sha256,
        )
        kind = file_type(key)
        source = Source(inputs, info, kind.gzipped)
        counts, head = predict_file(loaded, source, kind.format, options, out, err, progress)
        written = [Output(out.key, out.size_bytes, plain_etag(out.commit(None, head)))]
        if counts.rows_failed:
            written.append(Output(err.key, err.size_bytes, plain_etag(err.commit(None))))
        else:
            results.delete(names.err)
        report = report._replace(
            rows_in=counts.rows_in,
            rows_out=counts.rows_in - counts.rows_failed,
            rows_failed=counts.rows_failed,
            outputs=tuple(written),
        )
    except UnreadableFile as error:
        results.delete(names.out)
        results.delete(names.err)
        report = report._replace(reason=str(error))
    finally:
        out.abort()
        err.abort()
    report = report._replace(seconds=round(monotonic() - started, 3))
    results.put(names.report, report.to_json())
    return report


def split_location(location: str) -> tuple[Store, str]:
    """The folder or bucket of a path or URI as a store, and the key in it."""
    if location.startswith("s3://"):
        bucket, _, key = location.removeprefix("s3://").partition("/")
        return open_store(f"s3://{bucket}"), key
    path = Path(location.removeprefix("file://")).absolute()
    return open_store(str(path.parent)), path.name
