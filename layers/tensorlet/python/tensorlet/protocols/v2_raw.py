"""Raw requests: the body is the one input. Source: Triton, extension_binary_data.md, "Raw Binary Request"."""

from math import prod

from tensorlet.errors import SignatureMismatch
from tensorlet.protocols.binary_tensor import decode_binary
from tensorlet.signature import DYNAMIC, Signature, TensorSpec
from tensorlet.tensors import DATATYPES, Tensor


def decode_raw(body: memoryview, signature: Signature) -> dict[str, Tensor]:
    """The one input over `body`, its shape deduced from the signature and the length.

    Raises:
        SignatureMismatch: several inputs, or a shape that cannot be deduced.
        InvalidTensor: a length that fills no such shape.
    """
    if len(signature.inputs) != 1:
        raise SignatureMismatch(
            "Raw request must only have 1 input (found 1) to be deduced but got"
            f" {len(signature.inputs)} inputs in the model's signature"
        )
    spec = signature.inputs[0]
    return {spec.name: _raw_tensor(body, spec)}


def _raw_tensor(body: memoryview, spec: TensorSpec) -> Tensor:
    shape = list(spec.shape)
    if len(shape) > 1 and shape[0] == DYNAMIC and DYNAMIC in shape[1:]:
        shape[0] = 1  # a batch of one is assumed where another dimension varies too
    if spec.datatype == "BYTES":
        if [dim for dim in shape if dim != DYNAMIC] not in ([], [1]) or len(shape) > 2:
            raise SignatureMismatch(
                f"For BYTE datatype raw input {spec.name!r}, the model must have input shape [1]"
            )
        return Tensor("BYTES", (1,) * len(shape), [bytes(body)])
    if shape.count(DYNAMIC) > 1:
        raise SignatureMismatch(
            f"The shape of the raw input {spec.name!r} can not be deduced because there are more than one"
            " variable-sized dimension"
        )
    known = prod(dim for dim in shape if dim != DYNAMIC) * DATATYPES[spec.datatype].size_bytes
    if DYNAMIC in shape:
        shape[shape.index(DYNAMIC)] = body.nbytes // known if known else 0
    return decode_binary(body, spec.datatype, tuple(shape), f"raw input {spec.name!r}")
