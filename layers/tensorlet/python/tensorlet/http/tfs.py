"""The routes of the TensorFlow Serving REST API.

Source: tensorflow/serving, api_rest.md, http_rest_api_handler.cc, get_model_status.proto.
"""

from typing import Any

from tensorlet.errors import AliasNotFound, InvalidRequest, ModelNotFound, VersionNotFound
from tensorlet.http.inference import infer as run
from tensorlet.http.inference import requested
from tensorlet.http.message import JSON, Request, Response, json_response
from tensorlet.protocols import tfs, tfs_reply
from tensorlet.registry.manifest import Manifest
from tensorlet.serving.service import LoadedModel, ModelService
from tensorlet.signature import TensorSpec, quote
from tensorlet.tensors import DATATYPES

MAX_INT64 = 2**63 - 1
# Our states as ModelVersionStatus has them, and the code of a version that ended in an error.
STATES = {"READY": "AVAILABLE", "LOADING": "LOADING", "UNAVAILABLE": "END"}


def predict(
    service: ModelService, request: Request, model: str, version: str | None, label: str | None
) -> Response:
    loaded = servable(service, request, model, version, label)
    signature = loaded.signature
    body, headers = run(
        loaded,
        request,
        lambda: tfs.decode_predict(bytes(request.body), signature, service.settings),
        lambda call, outputs: tfs_reply.encode_predict(call, outputs, signature),
    )
    return Response(200, {**headers, "content-type": JSON}, body)


def classify(
    service: ModelService, request: Request, model: str, version: str | None, label: str | None
) -> Response:
    return _examples(service, request, "classify", servable(service, request, model, version, label))


def regress(
    service: ModelService, request: Request, model: str, version: str | None, label: str | None
) -> Response:
    return _examples(service, request, "regress", servable(service, request, model, version, label))


def status(
    service: ModelService, request: Request, model: str, version: str | None, label: str | None
) -> Response:
    """All versions, newest first; with a version or label only that one."""
    selector = _selector(request, version, label)
    if service.settings.kserve_v1 and selector is None:
        return json_response(
            {"name": model, "ready": _is_ready(service, _release(service, model, None, None))}
        )
    versions = (
        [_release(service, model, selector, label).version]
        if selector
        else service.registry.versions(model)[::-1]
    )
    if not versions:
        raise ModelNotFound(f"Could not find any versions of model {model}")
    return json_response(
        {"model_version_status": [_version_status(service, model, number) for number in versions]}
    )


def metadata(
    service: ModelService, request: Request, model: str, version: str | None, label: str | None
) -> Response:
    manifest = _release(service, model, _selector(request, version, label), label)
    return json_response(
        {
            "model_spec": {"name": manifest.model, "signature_name": "", "version": str(manifest.version)},
            # The doubled key is what TensorFlow Serving's SignatureDefMap message prints as.
            "metadata": {"signature_def": {"signature_def": _signature_defs(manifest)}},
        }
    )


def models(service: ModelService, request: Request) -> Response:
    """KServe V1's list; TensorFlow Serving knows no such route."""
    if not service.settings.kserve_v1:
        raise InvalidRequest("Missing model name in request.")
    return json_response({"models": service.registry.models()})


def _examples(service: ModelService, request: Request, method: str, loaded: LoadedModel) -> Response:
    from tensorlet.protocols import tfs_examples  # few models need it

    document = loaded.manifest.document
    body, headers = run(
        loaded,
        request,
        lambda: tfs_examples.decode_examples(
            bytes(request.body), method, document, loaded.signature, service.settings
        ),
        lambda call, outputs: tfs_examples.encode_results(call, outputs, document.get("labels") or ()),
    )
    return Response(200, {**headers, "content-type": JSON}, body)


def servable(
    service: ModelService, request: Request, model: str, version: str | None, label: str | None
) -> LoadedModel:
    """The model to run; errors in TensorFlow Serving's words."""
    selector = _selector(request, version, label)
    try:
        return requested(service, request, model, selector)
    except (ModelNotFound, VersionNotFound):
        wanted = f"Specific({model}, {selector})" if version else f"Latest({model})"
        raise ModelNotFound(f"Servable not found for request: {wanted}") from None
    except AliasNotFound:
        raise _unknown_label(label) from None


def _selector(request: Request, version: str | None, label: str | None) -> str | None:
    """The version digits or the label; a version of other characters is no path of this protocol."""
    if version is None:
        return label
    if not version.isascii() or not version.isdecimal():
        raise InvalidRequest(f"Malformed request: {request.method} {request.path}")
    if len(version) > 19 or int(version) > MAX_INT64:
        raise InvalidRequest(f"Failed to convert version: {version} to numeric.")
    return version


def _release(service: ModelService, model: str, selector: str | None, label: str | None) -> Manifest:
    try:
        return service.release(model, selector).manifest
    except ModelNotFound:
        raise ModelNotFound(f"Could not find any versions of model {model}") from None
    except VersionNotFound:
        raise VersionNotFound(f"Could not find version {selector} of model {model}") from None
    except AliasNotFound:
        raise _unknown_label(label) from None


def _unknown_label(label: str | None) -> InvalidRequest:
    return InvalidRequest(f"Unrecognized servable version label: {quote(label or '')[1:-1]}")


def _version_status(service: ModelService, model: str, version: int) -> dict[str, Any]:
    state = service.state(model, version)
    error_code = "FAILED_PRECONDITION" if state.reason else "OK"
    return {
        "version": str(version),
        "state": STATES[state.name],
        "status": {"error_code": error_code, "error_message": state.reason},
    }


def _is_ready(service: ModelService, manifest: Manifest) -> bool:
    return service.state(manifest.model, manifest.version).name == "READY"


def _signature_defs(manifest: Manifest) -> dict[str, Any]:
    from tensorlet.protocols.tfs_examples import find_roles

    defs: dict[str, Any] = {tfs.DEFAULT_SIGNATURE: _predict_def(manifest)}
    for name, role in find_roles(manifest.document).items():
        if name == tfs.DEFAULT_SIGNATURE:  # predict and this method answer under the same name
            continue
        outputs = {"classes": role.classes, "scores": role.scores, "outputs": role.values}
        specs = {spec.name: spec for spec in manifest.signature.outputs}
        defs[name] = {
            "inputs": {"inputs": _tensor_info(TensorSpec("inputs", "BYTES", (-1,)))},
            "outputs": {part: _tensor_info(specs[output]) for part, output in outputs.items() if output},
            "method_name": f"tensorflow/serving/{role.method}",
            "defaults": {},
        }
    return defs


def _predict_def(manifest: Manifest) -> dict[str, Any]:
    return {
        "inputs": {spec.name: _tensor_info(spec) for spec in manifest.signature.inputs},
        "outputs": {spec.name: _tensor_info(spec) for spec in manifest.signature.outputs},
        "method_name": "tensorflow/serving/predict",
        "defaults": {},
    }


def _tensor_info(spec: TensorSpec) -> dict[str, Any]:
    """A TensorInfo message as protobuf's JSON prints it: dimension sizes are strings."""
    return {
        "dtype": DATATYPES[spec.datatype].tensorflow,
        "tensor_shape": {
            "dim": [{"size": str(dim), "name": ""} for dim in spec.shape],
            "unknown_rank": False,
        },
        "name": f"{spec.name}:0",
    }
