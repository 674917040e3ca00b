"""Signatures: the named, typed inputs and outputs of a model, and the check of tensors against them."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from tensorlet.errors import SignatureMismatch
from tensorlet.tensors import DATATYPES, Shape, Tensor

DYNAMIC = -1
HIGHEST_RANK, LONGEST_DIM = 64, 1 << 31  # far above what any runtime takes


class TensorSpec(NamedTuple):
    """One input or output: its V2 datatype and a shape in which -1 stands for any length."""

    name: str
    datatype: str
    shape: Shape

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "TensorSpec":
        """Raises ValueError for a document that is not a tensor specification."""
        name, datatype, shape = document["name"], document["datatype"], document["shape"]
        if datatype not in DATATYPES:
            raise ValueError(f"tensor {name!r}: unknown datatype {datatype!r}")
        if len(shape) > HIGHEST_RANK or not all(DYNAMIC <= int(dim) < LONGEST_DIM for dim in shape):
            raise ValueError(f"tensor {name!r}: expected up to {HIGHEST_RANK} dimensions below {LONGEST_DIM}")
        return cls(str(name), datatype, tuple(int(dim) for dim in shape))

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "datatype": self.datatype, "shape": list(self.shape)}

    def accepts(self, shape: Shape) -> bool:
        """Whether a tensor of `shape` fits: the same rank, and the same length in each dimension that has one."""
        return len(shape) == len(self.shape) and all(
            want in (DYNAMIC, got) for want, got in zip(self.shape, shape, strict=True)
        )


class Signature(NamedTuple):
    """What a model takes and gives, by name; names are unique on each side."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "Signature":
        return cls(
            tuple(map(TensorSpec.from_json, document["inputs"])),
            tuple(map(TensorSpec.from_json, document["outputs"])),
        )

    def to_json(self) -> dict[str, Any]:
        return {
            "inputs": [spec.to_json() for spec in self.inputs],
            "outputs": [spec.to_json() for spec in self.outputs],
        }

    @property
    def batched(self) -> bool:
        """Whether the first dimension of every input and output is a batch of any size."""
        specs = self.inputs + self.outputs
        return bool(self.inputs) and all(spec.shape[:1] == (DYNAMIC,) for spec in specs)

    def check(self, tensors: Mapping[str, Tensor], model: str = "") -> None:
        """Refuse tensors the model does not take, before a runtime sees them; the texts are Triton's.

        Raises:
            SignatureMismatch: a missing or unknown input, another datatype, a shape that does not fit, or
                inputs of different batch sizes.
        """
        names = [spec.name for spec in self.inputs]
        if tensors.keys() != set(names):
            unexpected = next((name for name in tensors if name not in names), None)
            if unexpected is not None:
                raise SignatureMismatch(
                    f"unexpected inference input {quote(unexpected)} for model {model!r}, expected"
                    f" {', '.join(map(repr, names)) or 'none'}"
                )
            raise SignatureMismatch(
                f"expected {len(names)} inputs but got {len(tensors)} inputs for model {model!r}. Got input(s)"
                f" {sorted(tensors)}, but missing required input(s) {sorted(set(names) - set(tensors))}."
                " Please provide all required input(s)."
            )
        for spec in self.inputs:
            tensor = tensors[spec.name]
            if tensor.datatype != spec.datatype:
                raise SignatureMismatch(
                    f"inference input {spec.name!r} data-type is {tensor.datatype!r}, but model {model!r}"
                    f" expects {spec.datatype!r}"
                )
            if not spec.accepts(tensor.shape):
                raise SignatureMismatch(
                    f"unexpected shape for input {spec.name!r} for model {model!r}. Expected"
                    f" {_dims(spec.shape)}, got {_dims(tensor.shape)}."
                )
        if len(self.inputs) > 1 and self.batched:
            rows = tensors[names[0]].shape[0]
            for name in names:
                if tensors[name].shape[0] != rows:
                    raise SignatureMismatch(
                        f"input {name!r} batch size does not match other inputs for {model!r}: expected {rows},"
                        f" got {tensors[name].shape[0]}"
                    )


def quote(name: str) -> str:
    """A caller's name for an error text: quoted, escaped and not longer than a name is."""
    return repr(name if len(name) <= 128 else f"{name[:125]}...")


def _dims(shape: Shape) -> str:
    return f"[{','.join(map(str, shape))}]"
