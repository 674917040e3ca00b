"""Ready-made requests out of a version's golden.npz: the inputs it was checked with when it was published."""

import zipfile
from ast import literal_eval
from io import BytesIO
from math import prod
from typing import Any

from tensorlet.errors import ObjectNotFound
from tensorlet.protocols.tfs_reply import json_value
from tensorlet.registry.registry import Release
from tensorlet.signature import TensorSpec
from tensorlet.tensors import DATATYPES, Tensor

GOLDEN = "golden.npz"
MAX_ELEMENTS = 4096  # a larger example helps nobody who reads it
MAGIC = b"\x93NUMPY"


def golden_examples(release: Release) -> dict[str, dict[str, Any]]:
    """Request bodies by operation: the first golden row; none where the version has no golden inputs for JSON."""
    try:
        archive = zipfile.ZipFile(BytesIO(bytes(release.store.get(f"{release.name}/{GOLDEN}").data)))
    except (ObjectNotFound, zipfile.BadZipFile):
        return {}
    values: dict[str, Any] = {}
    inputs = []
    for spec in release.manifest.signature.inputs:
        tensor = first_row(archive, spec)
        if tensor is None:
            return {}
        value = json_value(tensor, "")
        values[spec.name] = value
        inputs.append(
            {"name": spec.name, "datatype": spec.datatype, "shape": list(tensor.shape), "data": value}
        )
    examples: dict[str, dict[str, Any]] = {"infer": {"inputs": inputs}}
    if all(spec.shape for spec in release.manifest.signature.inputs):
        rows = [dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)]
        examples["predict"] = {"instances": rows}
        examples["invoke"] = {"instances": rows}
    return examples


def first_row(archive: zipfile.ZipFile, spec: TensorSpec) -> Tensor | None:
    """The first row of one input, or None where JSON or this reader cannot carry it.

    Source: numpy.lib.format, version 1.0 and 2.0 headers.
    """
    try:
        raw = archive.read(f"input:{spec.name}.npy")
    except KeyError:
        return None
    if not raw.startswith(MAGIC) or spec.datatype in ("FP16", "BF16", "BYTES"):
        return None
    length_bytes = 2 if raw[6] == 1 else 4
    start = 8 + length_bytes
    end = start + int.from_bytes(raw[8:start], "little")
    header = literal_eval(raw[start:end].decode("latin-1"))
    shape = tuple(header["shape"])
    if header["fortran_order"] or header["descr"][:1] == ">":
        return None
    shape = (min(1, shape[0]), *shape[1:]) if shape and spec.shape[:1] == (-1,) else shape
    count = prod(shape)
    size = count * DATATYPES[spec.datatype].size_bytes
    if not 0 < count <= MAX_ELEMENTS or not spec.accepts(shape) or len(raw) < end + size:
        return None
    return Tensor(spec.datatype, shape, raw[end : end + size])
