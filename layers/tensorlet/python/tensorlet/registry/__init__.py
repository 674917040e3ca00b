"""Where models live: names, versions, aliases and files in object storage.

`store` is the one adapter for object storage, `manifest` describes a version, `registry` reads,
`writer` publishes. The layout is a TensorFlow Serving base path and a Triton model repository.
"""
