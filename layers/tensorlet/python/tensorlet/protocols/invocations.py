"""`/invocations`, as SageMaker's and MLflow's scoring servers take it: tables and TensorFlow Serving's two forms.

JSON with `instances`, `inputs`, `dataframe_split` or `dataframe_records`, or CSV. The reply is `{"predictions": ...}`
for every form, or CSV where the caller accepts only that.

Source: MLflow, "Inference Server Specification" (mlflow.org/docs/latest/ml/deployment/deploy-model-locally).
"""

from collections.abc import Callable, Mapping
from math import prod
from typing import Any, NamedTuple

from tensorlet.errors import InvalidRequest, InvalidTensor
from tensorlet.protocols.json_tensor import shorten, tensor_from_json
from tensorlet.protocols.tfs import decode_predict, decode_values, parse_object
from tensorlet.protocols.tfs_reply import json_value
from tensorlet.settings import Settings
from tensorlet.signature import Signature, TensorSpec
from tensorlet.tensors import DATATYPES, Tensor

BOOLEANS = {"true": True, "1": True, "false": False, "0": False}
# The text of a cell as a value of each kind of datatype.
PARSERS: dict[str, Callable[[str], Any]] = {
    "int": int,
    "float": float,
    "bytes": str,
    "bool": lambda text: BOOLEANS[text.strip().lower()],
}


class Table(NamedTuple):
    """Column names, None where there are none, and rows of equal length."""

    columns: list[str] | None
    rows: list[list[Any]]


class InvocationRequest(NamedTuple):
    inputs: dict[str, Tensor]


def decode_invocation(body: bytes, is_csv: bool, signature: Signature, limits: Settings) -> InvocationRequest:
    """Raises InvalidJson, InvalidRequest, InvalidTensor, PayloadTooLarge."""
    if is_csv:
        return InvocationRequest(_table_inputs(_read_csv(body), signature, is_text=True))
    if b'"dataframe_' in body:
        document = parse_object(body, limits)
        if "dataframe_split" in document:
            return InvocationRequest(_table_inputs(_read_split(document["dataframe_split"]), signature))
        if "dataframe_records" in document:
            return InvocationRequest(_table_inputs(_read_records(document["dataframe_records"]), signature))
    return InvocationRequest(decode_predict(body, signature, limits).inputs)


def encode_csv(outputs: Mapping[str, Tensor], signature: Signature) -> bytes:
    """A line for each row, the elements of all outputs after one another, without a header.

    Raises:
        InvalidTensor: outputs that are not rows.
    """
    import csv
    from io import StringIO

    columns: list[list[list[Any]]] = []
    for spec in signature.outputs:
        tensor = outputs[spec.name]
        if not tensor.shape:
            raise InvalidTensor(f"output {spec.name!r} has no rows")
        flat = tensor._replace(shape=(tensor.shape[0], prod(tensor.shape[1:])))
        columns.append(json_value(flat, spec.name.removesuffix("_bytes")))
    if len({len(rows) for rows in columns}) > 1:
        raise InvalidTensor(f"outputs have different numbers of rows: {[len(rows) for rows in columns]}")
    text = StringIO()
    csv.writer(text, lineterminator="\n").writerows(
        [value for part in row for value in part] for row in zip(*columns, strict=True)
    )
    return text.getvalue().encode()


def _read_csv(body: bytes) -> Table:
    """A header exists if and only if a cell of the first line is not a number."""
    import csv
    from io import StringIO

    try:
        lines = [line for line in csv.reader(StringIO(body.decode(), newline="")) if line]
    except (UnicodeDecodeError, csv.Error) as error:
        raise InvalidRequest(f"body is not CSV: {error}") from None
    if not lines:
        raise InvalidRequest("body: expected CSV rows, got none")
    header = not all(map(_is_number, lines[0]))
    return _checked(Table(lines[0], list(lines[1:])) if header else Table(None, list(lines)))


def _read_split(split: Any) -> Table:
    if not isinstance(split, dict) or not isinstance(split.get("data"), list):
        raise InvalidRequest(
            f"dataframe_split: expected an object with 'columns' and 'data', got {shorten(split)}"
        )
    columns = split.get("columns")
    if columns is not None and not (
        isinstance(columns, list) and all(isinstance(name, str) for name in columns)
    ):
        raise InvalidRequest(f"dataframe_split.columns: expected a list of strings, got {shorten(columns)}")
    return _checked(Table(columns, split["data"]))


def _read_records(records: Any) -> Table:
    if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
        raise InvalidRequest(f"dataframe_records: expected a list of objects, got {shorten(records)}")
    columns = list(records[0]) if records else []
    for index, record in enumerate(records):
        if record.keys() != set(columns):
            raise InvalidRequest(
                f"dataframe_records[{index}]: expected the members {shorten(columns)}, got {shorten(list(record))}"
            )
    return _checked(Table(columns, [[record[name] for name in columns] for record in records]))


def _checked(table: Table) -> Table:
    if not table.rows:
        raise InvalidRequest("table: expected rows, got none")
    if table.columns is not None:
        width = len(table.columns)
    else:
        width = len(table.rows[0]) if isinstance(table.rows[0], list) else 0
    for index, row in enumerate(table.rows):
        if not isinstance(row, list) or len(row) != width:
            got = len(row) if isinstance(row, list) else shorten(row)
            raise InvalidRequest(f"row {index}: expected {width} values, got {got}")
    return table


def _table_inputs(table: Table, signature: Signature, is_text: bool = False) -> dict[str, Tensor]:
    """Columns named like the inputs are the inputs; else all columns together are the one input."""
    columns = table.columns or []
    if signature.inputs and {spec.name for spec in signature.inputs} <= set(columns):
        return {
            spec.name: _column(table, columns.index(spec.name), spec, is_text) for spec in signature.inputs
        }
    if len(signature.inputs) != 1:
        raise InvalidRequest(
            f"table: expected the columns {[spec.name for spec in signature.inputs]}, got {shorten(columns)}"
        )
    spec = signature.inputs[0]
    values = [value for row in table.rows for value in row]
    shape = (len(table.rows), *spec.shape[1:]) if -1 not in spec.shape[1:] else None
    width = len(table.rows[0])
    if shape is None or prod(shape) != len(values):
        shape = (len(table.rows), width)
    return {spec.name: _tensor(values, spec, shape, is_text)}


def _column(table: Table, index: int, spec: TensorSpec, is_text: bool) -> Tensor:
    values = [row[index] for row in table.rows]
    if any(isinstance(value, list) for value in values):
        return decode_values(values, spec)
    shape = (len(values), 1) if len(spec.shape) == 2 else (len(values),)
    return _tensor(values, spec, shape, is_text)


def _tensor(values: list[Any], spec: TensorSpec, shape: tuple[int, ...], is_text: bool) -> Tensor:
    where = f"input {spec.name!r}"
    if is_text:
        parse = PARSERS[DATATYPES[spec.datatype].kind]
        try:
            values = [parse(text) for text in values]
        except (KeyError, ValueError) as error:
            raise InvalidTensor(f"{where}: expected values of {spec.datatype}: {error}") from None
    return tensor_from_json(values, spec.datatype, shape, where)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
