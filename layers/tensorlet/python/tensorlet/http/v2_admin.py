"""What Triton's clients ask beside inference: repository, statistics and configuration.

Sources: Triton's extension_model_repository.md, extension_statistics.md, extension_model_configuration.md.
"""

from typing import Any

from tensorlet.errors import InvalidRequest
from tensorlet.http.message import Request, Response, json_response
from tensorlet.http.v2 import model_header, platform
from tensorlet.protocols.json_body import parse_json
from tensorlet.protocols.json_tensor import shorten
from tensorlet.serving.service import ModelService
from tensorlet.serving.statistics import Statistics
from tensorlet.signature import TensorSpec, quote

BACKENDS = {"onnx": "onnxruntime", "tflite": "tflite"}
# A function has many processes, and each counts for itself.
THIS_PROCESS = {"tensorlet-statistics": "of the answering process since it started"}


def repository_index(service: ModelService, request: Request) -> Response:
    """All versions of all models and their state; `{"ready": true}` leaves out those that are not READY."""
    only_ready = _optional_object(service, request).get("ready", False)
    if type(only_ready) is not bool:
        raise InvalidRequest(f"ready: expected true or false, got {shorten(only_ready)}")
    index = []
    for name in service.registry.models():
        for version in service.registry.versions(name):
            state = service.state(name, version)
            if state.name == "READY" or not only_ready:
                entry = {"name": name, "version": str(version), "state": state.name, "reason": state.reason}
                index.append(entry)
    return json_response(index)


def load(service: ModelService, request: Request, model: str) -> Response:
    """A hint: this process loads the model now and not at the first request. Versions never change."""
    for name in _load_parameters(service, request):
        if name == "config" or name.startswith("file:"):
            raise InvalidRequest(f"parameter {quote(name)}: published versions cannot be overridden")
    service.model(model)
    return Response(200, {})


def unload(service: ModelService, request: Request, model: str) -> Response:
    """A hint: this process lets go of the model's memory; the next request for it loads it again."""
    _load_parameters(service, request)
    service.release(model)
    for version in service.registry.versions(model):
        service.unload(model, version)
    return Response(200, {})


def all_statistics(service: ModelService, request: Request) -> Response:
    return json_response(_statistics(service, service.answered()), THIS_PROCESS)


def model_statistics(service: ModelService, request: Request, model: str, version: str | None) -> Response:
    chosen = service.release(model, version).manifest.version
    versions = [chosen] if version else service.registry.versions(model)
    return json_response(_statistics(service, [(model, number) for number in versions]), THIS_PROCESS)


def config(service: ModelService, request: Request, model: str, version: str | None) -> Response:
    """The model as Triton's ModelConfig: `max_batch_size` 0 says that the dims hold the batch dimension too."""
    manifest = service.release(model, version).manifest
    artifact = manifest.artifact(service.settings.runtime)
    return json_response(
        {
            "name": manifest.model,
            "platform": platform(artifact.format, model),
            "backend": BACKENDS[artifact.format],
            "version_policy": {"specific": {"versions": [manifest.version]}},
            "max_batch_size": 0,
            "input": [_config_tensor(spec) for spec in manifest.signature.inputs],
            "output": [_config_tensor(spec) for spec in manifest.signature.outputs],
            "default_model_filename": artifact.files[0].path,
        },
        model_header(manifest),
    )


def _optional_object(service: ModelService, request: Request) -> dict[str, Any]:
    """The body's JSON object; no body is an empty one. Raises InvalidJson, InvalidRequest."""
    if not len(request.body):
        return {}
    document = parse_json(bytes(request.body), service.settings)
    if not isinstance(document, dict):
        raise InvalidRequest(f"body: expected a JSON object, got {shorten(document)}")
    return document


def _load_parameters(service: ModelService, request: Request) -> dict[str, Any]:
    parameters = _optional_object(service, request).get("parameters", {})
    if not isinstance(parameters, dict):
        raise InvalidRequest(f"parameters: expected an object, got {shorten(parameters)}")
    return parameters


def _config_tensor(spec: TensorSpec) -> dict[str, Any]:
    kind = "STRING" if spec.datatype == "BYTES" else spec.datatype
    return {"name": spec.name, "data_type": f"TYPE_{kind}", "dims": spec.shape}


def _statistics(service: ModelService, versions: list[tuple[str, int]]) -> dict[str, Any]:
    return {"model_stats": [_model_stats(service, name, version) for name, version in versions]}


def _model_stats(service: ModelService, name: str, version: int) -> dict[str, Any]:
    counted = service.statistics(name, version)
    size_bytes = service.loaded_bytes(name, version)
    memory = [{"type": "CPU", "id": 0, "byte_size": size_bytes}] if size_bytes else []
    return {
        "name": name,
        "version": str(version),
        "last_inference": counted.last_inference_ms,
        "inference_count": counted.rows,
        "execution_count": counted.executions,
        "inference_stats": _inference_stats(counted),
        "response_stats": {},
        "batch_stats": [
            {
                "batch_size": rows,
                "compute_input": _duration(count, input_ns),
                "compute_infer": _duration(count, infer_ns),
                "compute_output": _duration(count, output_ns),
            }
            for rows, (count, input_ns, infer_ns, output_ns) in sorted(counted.batches.items())
        ],
        "memory_usage": memory,
    }


def _inference_stats(counted: Statistics) -> dict[str, Any]:
    """Nothing waits in a queue here and no answer is cached: those are 0."""
    count = counted.executions
    total_ns = counted.input_ns + counted.infer_ns + counted.output_ns
    return {
        "success": _duration(count, total_ns),
        "fail": _duration(counted.failures, counted.fail_ns),
        "queue": _duration(count, 0),
        "compute_input": _duration(count, counted.input_ns),
        "compute_infer": _duration(count, counted.infer_ns),
        "compute_output": _duration(count, counted.output_ns),
        "cache_hit": _duration(0, 0),
        "cache_miss": _duration(0, 0),
    }


def _duration(count: int, ns: int) -> dict[str, int]:
    return {"count": count, "ns": ns}
