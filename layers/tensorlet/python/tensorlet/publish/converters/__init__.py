"""Converters: one module for each family of sources, run as `python -m ... STEP FOLDER`, never imported.

STEP is `describe` (run the source model: `description.json`, `golden.npz`), `onnx` or `tflite`.
"""
