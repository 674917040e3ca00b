"""The models that the conformance suite asks. Publish them for any server that can read the registry's layout:

python -m tests.conformance.models REGISTRY

The registry is a Triton model repository, and each model in it a TensorFlow Serving base path.
"""

import sys
from collections.abc import Sequence

from tensorlet.registry.store import Store, open_store
from tensorlet.registry.writer import set_alias

from tests import models

DATATYPES = (
    *("BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64"),
    *("FP16", "BF16", "FP32", "FP64", "BYTES"),
)
CLASSES = ["cat", "dog", "owl"]
REGRESS_AND_CLASSIFY = {
    "regress_x_to_y": {"method": "regress", "values": "y"},
    "tensorflow/serving/regress": {"method": "regress", "values": "y"},
    "classify_x_to_y": {"method": "classify", "scores": "y"},
}


def publish_all(store: Store) -> None:
    """Each model once; `half_plus_two` has the alias `stable`."""
    for name, number in (("half_plus_two", 2.0), ("half_plus_three", 3.0)):
        models.publish_onnx(store, name, models.half_plus(number), signatures=REGRESS_AND_CLASSIFY)
    set_alias(store, "half_plus_two", "stable", 1)
    models.publish_onnx(store, "simple", models.add_sub())
    models.publish_onnx(store, "FP16OutputModel", models.half_precision())
    models.publish_onnx(store, "first_row", models.first_row())
    identity(
        store, "animals", {"scores": ("FP32", ["batch", 3])}, labels=CLASSES, roles={"scores": "scores_out"}
    )
    identity(store, "numbers", {"x": ("FP32", ["batch", 2])})
    identity(store, "scalar", {"x": ("FP32", [])})
    identity(store, "variable", {"x": ("FP32", ["batch", "columns", "depth"])})
    identity(store, "text", {"text_input": ("BYTES", ["batch", 1])})
    # The row and columnar example of TensorFlow Serving's api_rest.md.
    identity(
        store,
        "signals",
        {
            "tag": ("BYTES", ["batch"]),
            "signal": ("FP32", ["batch", 5]),
            "sensor": ("FP32", ["batch", 2, 2]),
        },
    )
    models.publish_onnx(
        store, "image_strings", models.identity({"strings": ("BYTES", ["batch", "n"])}, suffix="_bytes")
    )
    for datatype in DATATYPES:
        identity(store, f"identity_{datatype.lower()}", {"x": (datatype, ["batch", "n"])})


def identity(
    store: Store, name: str, tensors: dict[str, tuple[str, models.Dims]], **document: object
) -> None:
    models.publish_onnx(store, name, models.identity(tensors), **document)


def main(arguments: Sequence[str]) -> int:
    publish_all(open_store(arguments[0]))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
