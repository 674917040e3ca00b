"""The inputs of the architectures in PyTorch, as on the command line: NAME:DATATYPE:SHAPE."""

INPUTS = {
    "mlp": ["x:FP32:-1,4"],
    "cnn": ["x:FP32:-1,1,8,8"],
    "lstm": ["x:FP32:-1,6,4"],
    "gru": ["x:FP32:-1,6,4"],
    "bidirectional": ["x:FP32:-1,6,4"],
    "two_in_two_out": ["x:FP32:-1,4", "y:FP32:-1,2"],
    "embedding": ["ids:INT64:-1,6"],
    "any_length": ["x:FP32:-1,-1,4"],
}
