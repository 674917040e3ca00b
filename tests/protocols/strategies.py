"""Tensors, JSON documents and requests, drawn in the words of the protocols."""

import json
from math import prod

from hypothesis import settings
from hypothesis import strategies as st
from tensorlet.tensors import DATATYPES, Tensor

# What takes long to draw: fewer of them where speed counts, as many as any where thoroughness does.
documents = settings(max_examples=30 if settings().max_examples <= 200 else settings().max_examples)

JSON_DATATYPES = [name for name in DATATYPES if name not in ("FP16", "BF16")]


def shapes(max_dims: int = 4, max_side: int = 4) -> st.SearchStrategy[tuple[int, ...]]:
    """Shapes with 0-d and zero-size ones among them."""
    return st.lists(st.integers(0, max_side), max_size=max_dims).map(tuple)


@st.composite
def tensors(draw: st.DrawFn, datatypes: list[str] | None = None, text: bool = False) -> Tensor:
    """A tensor of any bits; with `text` its BYTES are UTF-8."""
    datatype = draw(st.sampled_from(datatypes or list(DATATYPES)))
    shape = draw(shapes())
    count = prod(shape)
    if datatype == "BYTES":
        element = st.text(max_size=8).map(str.encode) if text else st.binary(max_size=8)
        return Tensor("BYTES", shape, draw(st.lists(element, min_size=count, max_size=count)))
    size = count * DATATYPES[datatype].size_bytes
    raw = draw(st.binary(min_size=size, max_size=size))
    return Tensor(datatype, shape, bytes(b & 1 for b in raw) if datatype == "BOOL" else raw)


def same(left: Tensor, right: Tensor) -> bool:
    """Equal to the bit; the kind of buffer does not count."""
    return (
        left.datatype == right.datatype
        and left.shape == right.shape
        and (left.data == right.data if left.datatype == "BYTES" else bytes(left.data) == bytes(right.data))
    )


numbers = st.one_of(
    st.integers(-3, 3),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.sampled_from([2**31, 2**63, 2**64, -(2**63) - 1, 1e300, -0.0, 16777217]),
)
scalars = st.one_of(
    st.none(), st.booleans(), numbers, st.text(max_size=4), st.just("\ud800"), st.just({"b64": "aGk="})
)


def nested(leaves: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    """Lists of lists, even and ragged, of `leaves`."""
    return st.recursive(leaves, lambda inner: st.lists(inner, max_size=4), max_leaves=12)


anything = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=4), inner, max_size=4)
    ),
    max_leaves=10,
)


@st.composite
def mostly(draw: st.DrawFn, usual: st.SearchStrategy[object]) -> object:
    """`usual` nine times in ten, else anything JSON can hold."""
    return draw(usual) if draw(st.integers(0, 9)) else draw(anything)


def datatypes() -> st.SearchStrategy[object]:
    return st.sampled_from([*DATATYPES, "FP32", "INT64", "FP99"])


def v2_inputs(names: list[str]) -> st.SearchStrategy[object]:
    return mostly(
        st.fixed_dictionaries(
            {
                "name": mostly(st.sampled_from(names)),
                "datatype": mostly(datatypes()),
                "shape": mostly(st.lists(st.integers(-1, 4), max_size=3)),
            },
            optional={
                "data": mostly(nested(numbers)),
                "parameters": mostly(
                    st.dictionaries(
                        st.sampled_from(["binary_data_size", "shared_memory_region", "x"]),
                        mostly(st.integers(-1, 40)),
                    )
                ),
            },
        )
    )


def v2_outputs(names: list[str]) -> st.SearchStrategy[object]:
    parameters = st.fixed_dictionaries(
        {}, optional={"binary_data": mostly(st.booleans()), "classification": mostly(st.integers(-1, 5))}
    )
    return mostly(
        st.fixed_dictionaries(
            {"name": mostly(st.sampled_from(names))}, optional={"parameters": mostly(parameters)}
        )
    )


def v2_documents(inputs: list[str], outputs: list[str]) -> st.SearchStrategy[object]:
    """Inference requests that are almost right."""
    return mostly(
        st.fixed_dictionaries(
            {"inputs": mostly(st.lists(v2_inputs(inputs), max_size=3))},
            optional={
                "id": mostly(st.text(max_size=4)),
                "outputs": mostly(st.lists(v2_outputs(outputs), max_size=3)),
                "parameters": mostly(
                    st.dictionaries(
                        st.sampled_from(["binary_data_output", "priority", "triton_x"]),
                        mostly(st.booleans()),
                        max_size=2,
                    )
                ),
                "extra": anything,
            },
        )
    )


def tfs_documents(names: list[str]) -> st.SearchStrategy[object]:
    """Predict, classify and regress requests that are almost right."""
    values = mostly(nested(st.one_of(numbers, scalars)))
    named = st.dictionaries(st.sampled_from([*names, "b64", "other"]), values, max_size=3)
    forms = mostly(st.one_of(st.lists(values, max_size=3), st.lists(named, max_size=3), named, values))
    return mostly(
        st.dictionaries(
            st.sampled_from(["instances", "inputs", "examples", "context", "signature_name"]),
            forms,
            min_size=1,
            max_size=2,
        )
    )


def to_body(document: object) -> bytes:
    """JSON as a client would write it: lone surrogates escaped, NaN bare."""
    return json.dumps(document).encode()
