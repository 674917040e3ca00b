"""Signatures: the named, typed inputs and outputs of a model, and the check of tensors against them."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from tensorlet.errors import SignatureMismatch
from tensorlet.tensors import DATATYPES, Shape, Tensor

DYNAMIC = -1


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
        return cls(str(name), datatype, tuple(int(dim) for dim in shape))

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "datatype": self.datatype, "shape": list(self.shape)}

    def accepts(self, shape: Shape) -> bool:
        """Whether a tensor of `shape` fits: the same rank, and the same length in each dimension that has one."""
        return len(shape) == len(self.shape) and all(
            want in (DYNAMIC, got) for want, got in zip(self.shape, shape, strict=True)
        )


class Signature(NamedTuple):
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

    def input(self, name: str) -> TensorSpec:
        """Raises SignatureMismatch for a name the model does not take."""
        for spec in self.inputs:
            if spec.name == name:
                return spec
        raise SignatureMismatch(f"unexpected inference input {name!r}, expected {_names(self.inputs)}")

    def output(self, name: str) -> TensorSpec:
        """Raises SignatureMismatch for a name the model does not give."""
        for spec in self.outputs:
            if spec.name == name:
                return spec
        raise SignatureMismatch(f"unexpected inference output {name!r}, expected {_names(self.outputs)}")

    @property
    def batched(self) -> bool:
        """Whether the first dimension of every input and output is a batch of any size."""
        specs = self.inputs + self.outputs
        return all(spec.shape[:1] == (DYNAMIC,) for spec in specs)

    def check(self, tensors: Mapping[str, Tensor]) -> None:
        """Refuse tensors the model does not take, before a runtime sees them.

        Raises:
            SignatureMismatch: a missing or unknown input, another datatype, a shape that does not fit, or
                inputs of different batch sizes.
        """
        for name in tensors:
            self.input(name)
        missing = [spec.name for spec in self.inputs if spec.name not in tensors]
        if missing:
            raise SignatureMismatch(
                f"expected {len(self.inputs)} inputs but got {len(tensors)}. Got input(s) {sorted(tensors)},"
                f" but missing required input(s) {missing}"
            )
        for spec in self.inputs:
            tensor = tensors[spec.name]
            if tensor.datatype != spec.datatype:
                raise SignatureMismatch(
                    f"inference input {spec.name!r} data-type is {tensor.datatype!r}, but the model expects"
                    f" {spec.datatype!r}"
                )
            if not spec.accepts(tensor.shape):
                raise SignatureMismatch(
                    f"unexpected shape for input {spec.name!r}. Expected {list(spec.shape)},"
                    f" got {list(tensor.shape)}"
                )
        if self.batched and len({tensors[spec.name].shape[0] for spec in self.inputs}) > 1:
            sizes = {spec.name: tensors[spec.name].shape[0] for spec in self.inputs}
            raise SignatureMismatch(f"inputs have different batch sizes: {sizes}")


def _names(specs: tuple[TensorSpec, ...]) -> str:
    return ", ".join(repr(spec.name) for spec in specs)
