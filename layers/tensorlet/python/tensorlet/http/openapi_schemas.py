"""The JSON Schemas of both protocols, in general and for the signature of one model."""

from typing import Any

from tensorlet.registry.registry import ALIAS_NAME, VERSION_NUMBER
from tensorlet.registry.registry import MODEL_NAME as MODEL_PATTERN
from tensorlet.signature import DYNAMIC, Signature, TensorSpec
from tensorlet.tensors import DATATYPES

Schema = dict[str, Any]


def _object(required: str = "", **properties: Any) -> Schema:
    schema: Schema = {"type": "object", "properties": properties}
    return schema | ({"required": required.split()} if required else {})


def _list(items: Any, **more: Any) -> Schema:
    return {"type": "array", "items": items, **more}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


TEXT: Schema = {"type": "string"}
INTEGER: Schema = {"type": "integer"}
COUNT: Schema = {"type": "integer", "minimum": 0}
FLAG: Schema = {"type": "boolean"}
# No type, though it is a number: a model may answer NaN or Infinity, bare tokens which JSON Schema knows nothing of.
ANSWER: Schema = {"description": "A number; NaN and Infinity are bare tokens."}
ANY: Schema = {}
MODEL_NAME: Schema = {"type": "string", "pattern": f"^{MODEL_PATTERN.pattern}$"}
ALIAS: Schema = {"type": "string", "pattern": f"^{ALIAS_NAME.pattern}$"}
VERSION: Schema = {"type": "string", "pattern": f"^{VERSION_NUMBER.pattern}$"}
VERSION_OR_ALIAS: Schema = {"anyOf": [VERSION, ALIAS]}
DATATYPE: Schema = {"type": "string", "enum": list(DATATYPES)}
DURATION = _object("count ns", count=COUNT, ns=COUNT)
B64 = _object("b64", b64={"type": "string", "contentEncoding": "base64"})

COMPONENTS: dict[str, Schema] = {
    "Error": _object("error", error=TEXT),
    "Empty": {"type": "object"},
    "OpenApi": _object("openapi info paths", openapi=TEXT, info={"type": "object"}, paths={"type": "object"}),
    "Page": TEXT,
    "EventStream": _object("data", data=TEXT),
    "ServerMetadata": _object("name version extensions", name=TEXT, version=TEXT, extensions=_list(TEXT)),
    "Live": _object("live", live=FLAG),
    "Ready": _object("live ready", live=FLAG, ready=FLAG),
    "Models": _object("models", models=_list(TEXT)),
    "Tensor": _object("name datatype shape", name=TEXT, datatype=DATATYPE, shape=_list(INTEGER)),
    "ModelMetadata": _object(
        "name versions platform inputs outputs",
        name=TEXT,
        versions=_list(TEXT),
        platform=TEXT,
        inputs=_list(_ref("Tensor")),
        outputs=_list(_ref("Tensor")),
        properties={"type": "object", "additionalProperties": TEXT},
    ),
    "ModelReady": _object("name ready", name=TEXT, ready=FLAG),
    "Parameters": {"type": "object", "additionalProperties": {"type": ["string", "number", "boolean"]}},
    "InferRequest": _object(
        "inputs",
        id=TEXT,
        parameters=_ref("Parameters"),
        inputs=_list(_ref("RequestInput")),
        outputs=_list(_ref("RequestOutput")),
    ),
    "RequestInput": _object(
        "name datatype shape",
        name=TEXT,
        datatype=DATATYPE,
        shape=_list(COUNT),
        parameters=_object(binary_data_size=COUNT),
        data=ANY,
    ),
    "RequestOutput": _object("name", name=TEXT, parameters=_object(binary_data=FLAG, classification=COUNT)),
    "InferReply": _object(
        "model_name model_version outputs",
        id=TEXT,
        model_name=TEXT,
        model_version=TEXT,
        outputs=_list(_ref("ReplyOutput")),
    ),
    "ReplyOutput": _object(
        "name datatype shape",
        name=TEXT,
        datatype=DATATYPE,
        shape=_list(COUNT),
        parameters=_object(binary_data_size=COUNT),
        data={"type": "array"},
    ),
    "GenerateRequest": _object(id=TEXT),
    "GenerateReply": _object("model_name model_version", id=TEXT, model_name=TEXT, model_version=TEXT),
    "IndexRequest": _object(ready=FLAG),
    "Index": _list(
        _object(
            "name version state reason",
            name=TEXT,
            version=TEXT,
            state={"enum": ["READY", "LOADING", "UNAVAILABLE"]},
            reason=TEXT,
        )
    ),
    "JobRequest": _object(
        format={"type": "string", "enum": ["csv", "csv.gz", "jsonl", "jsonl.gz", "npy", "npz", "parquet"]},
        options={"type": "object"},
    ),
    "NewJob": _object(
        "id state job upload",
        id=TEXT,
        state=TEXT,
        job=TEXT,
        upload=_object("method url expires_in_s", method={"const": "PUT"}, url=TEXT, expires_in_s=COUNT),
    ),
    "Job": _object(
        "id state",
        id=TEXT,
        state={"enum": ["waiting_for_upload", "queued", "running", "done", "failed"]},
        model=TEXT,
        model_version={"type": ["integer", "null"]},
        rows_in=COUNT,
        rows_out=COUNT,
        rows_failed=COUNT,
        seconds={"type": "number"},
        estimated_usd={"type": ["number", "null"]},
        reason=TEXT,
        links=_object("report", result=TEXT, errors=TEXT, report=TEXT),
        links_expire_in_s=COUNT,
    ),
    "LoadRequest": _object(parameters={"type": "object"}),
    "Statistics": _object("model_stats", model_stats=_list(_ref("ModelStatistics"))),
    "ModelStatistics": _object(
        "name version last_inference inference_count execution_count inference_stats batch_stats memory_usage",
        name=TEXT,
        version=TEXT,
        last_inference=COUNT,
        inference_count=COUNT,
        execution_count=COUNT,
        inference_stats={"type": "object", "additionalProperties": DURATION},
        batch_stats=_list(
            _object(
                "batch_size compute_input compute_infer compute_output",
                batch_size=COUNT,
                compute_input=DURATION,
                compute_infer=DURATION,
                compute_output=DURATION,
            )
        ),
        memory_usage=_list(_object("type id byte_size", type=TEXT, id=COUNT, byte_size=COUNT)),
    ),
    "Config": _object(
        "name platform backend max_batch_size input output",
        name=TEXT,
        platform=TEXT,
        backend=TEXT,
        max_batch_size=COUNT,
        input=_list(_ref("ConfigTensor")),
        output=_list(_ref("ConfigTensor")),
    ),
    "ConfigTensor": _object("name data_type dims", name=TEXT, data_type=TEXT, dims=_list(INTEGER)),
    "PredictRequest": {
        "type": "object",
        "properties": {"signature_name": TEXT},
        "oneOf": [
            _object("instances", instances=_list(ANY, minItems=1)),
            _object("inputs", inputs=ANY),
        ],
    },
    "PredictReply": {
        "oneOf": [_object("predictions", predictions={"type": "array"}), _object("outputs", outputs=ANY)]
    },
    "ExamplesRequest": _object(
        "examples",
        signature_name=TEXT,
        context={"type": "object"},
        examples=_list({"type": "object"}, minItems=1),
    ),
    "Results": _object("results", results={"type": "array"}),
    "ModelStatus": _object(
        "model_version_status",
        model_version_status=_list(
            _object(
                "version state status",
                version=TEXT,
                state={"enum": ["AVAILABLE", "LOADING", "END"]},
                status=_object("error_code error_message", error_code=TEXT, error_message=TEXT),
            )
        ),
    ),
    "SignatureMetadata": _object(
        "model_spec metadata",
        model_spec=_object("name version", name=TEXT, version=TEXT),
        metadata={"type": "object"},
    ),
    "InvocationRequest": {
        "oneOf": [
            _object("instances", instances=_list(ANY, minItems=1)),
            _object("inputs", inputs=ANY),
            _object(
                "dataframe_split",
                dataframe_split=_object(
                    "data", columns=_list(TEXT), data=_list({"type": "array"}, minItems=1)
                ),
            ),
            _object("dataframe_records", dataframe_records=_list({"type": "object"}, minItems=1)),
        ]
    },
    "ExplainParameters": _object(
        method={"enum": ["occlusion", "shap", "integrated_gradients"]},
        output=TEXT,
        target={"type": ["integer", "string"]},
        baseline={"type": "number"},
        window={"type": "integer", "minimum": 1},
        samples={"type": "integer", "minimum": 1},
        steps={"type": "integer", "minimum": 1},
        seed=COUNT,
    ),
    "ExplainRequest": {"allOf": [_ref("InferRequest"), _object(parameters=_ref("ExplainParameters"))]},
    "ExplainReply": _object(
        "model_name model_version outputs",
        model_name=TEXT,
        model_version=TEXT,
        id=TEXT,
        outputs=_list(_ref("Tensor")),
    ),
    "ExplainRowsRequest": {"allOf": [_ref("PredictRequest"), _object(parameters=_ref("ExplainParameters"))]},
    "Explanations": _object(
        "predictions explanations method output",
        predictions=_list(ANSWER),
        explanations=_list(
            _object(
                "attributions target value base_value",
                attributions=ANY,
                target=INTEGER,
                label=TEXT,
                value=ANSWER,
                base_value=ANSWER,
            )
        ),
        method=TEXT,
        output=TEXT,
    ),
    "Predictions": _object("predictions", predictions={"type": "array"}),
}


def of_model(signature: Signature) -> dict[str, Schema]:
    """The schemas that a model's signature makes narrower."""
    inputs = signature.inputs
    row = _object(" ".join(spec.name for spec in inputs)) | {
        "required": [spec.name for spec in inputs],
        "properties": {spec.name: nested(spec, spec.shape[1:]) for spec in inputs},
    }
    columns = {
        "type": "object",
        "required": [spec.name for spec in inputs],
        "properties": {spec.name: nested(spec, spec.shape) for spec in inputs},
    }
    single = len(inputs) == 1
    instance = {"anyOf": [nested(inputs[0], inputs[0].shape[1:]), row]} if single else row
    column = {"anyOf": [nested(inputs[0], inputs[0].shape), columns]} if single else columns
    forms = [_object("instances", instances=_list(instance, minItems=1)), _object("inputs", inputs=column)]
    names = [spec.name for spec in signature.outputs]
    return {
        "RequestInput": {"anyOf": [_input(spec) for spec in inputs]},
        "RequestOutput": _object(
            "name", name={"enum": names}, parameters=_object(binary_data=FLAG, classification=COUNT)
        ),
        "InferRequest": _object(
            "inputs",
            id=TEXT,
            parameters=_ref("Parameters"),
            inputs=_list(_ref("RequestInput"), minItems=len(inputs), maxItems=len(inputs)),
            outputs=_list(_ref("RequestOutput"), maxItems=len(names)),
        ),
        "PredictRequest": {
            "type": "object",
            "properties": {"signature_name": {"enum": ["serving_default"]}},
            "oneOf": forms,
        },
        "GenerateRequest": {
            "type": "object",
            "required": [spec.name for spec in inputs],
            "properties": {spec.name: ANY for spec in inputs},
        },
    }


def nested(spec: TensorSpec, shape: tuple[int, ...]) -> Schema:
    """JSON values of the input, nested in `shape`."""
    schema = element(spec.datatype)
    for dim in reversed(shape):
        size = {} if dim == DYNAMIC else {"minItems": dim, "maxItems": dim}
        schema = _list(schema, **size)
    return schema


def element(datatype: str) -> Schema:
    kind = DATATYPES[datatype]
    if kind.kind == "int":
        bits = 8 * kind.size_bytes
        signed = not datatype.startswith("U")
        low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
        return {"type": "integer", "minimum": low, "maximum": high}
    return {"bool": FLAG, "float": {"type": "number"}, "bytes": {"anyOf": [TEXT, B64]}}[kind.kind]


def _input(spec: TensorSpec) -> Schema:
    value = {"type": "string"} if spec.datatype == "BYTES" else element(spec.datatype)
    dims = [COUNT if dim == DYNAMIC else {"const": dim} for dim in spec.shape]
    return _object(
        "name datatype shape",
        name={"const": spec.name},
        datatype={"const": spec.datatype},
        shape={"type": "array", "prefixItems": dims, "minItems": len(dims), "maxItems": len(dims)},
        parameters=_object(binary_data_size=COUNT),
        data={"anyOf": [_list(value), nested(spec, spec.shape)]},
    )
