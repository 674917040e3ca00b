"""ONNX as it is; weights in files beside it are taken into one file."""

import shutil

from tensorlet.publish.converters.job import Job, Refused, run


def to_onnx(job: Job) -> None:
    """Byte for byte the source, unless it keeps weights in other files.

    `onnx` refuses such files outside the model's own folder: `..`, absolute paths, links.
    """
    try:
        import onnx
    except ImportError:  # then only models in one file can be published: the gate will tell
        shutil.copyfile(job.source, job.path("model.onnx"))
        return
    from tensorlet.publish.converters.onnx_file import messages

    model = onnx.load(job.source, load_external_data=False)
    tensors = (message for message in messages(model) if isinstance(message, onnx.TensorProto))
    if not any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in tensors):
        shutil.copyfile(job.source, job.path("model.onnx"))
        return
    onnx.checker.check_model(job.source)  # by path: checks where the other files lie
    model = onnx.load(job.source)
    if model.ByteSize() > onnx.checker.MAXIMUM_PROTOBUF:
        raise Refused("with its external data the model is over 2 GB, more than one ONNX file can hold")
    onnx.save(model, job.path("model.onnx"))


if __name__ == "__main__":
    run({"onnx": to_onnx})
