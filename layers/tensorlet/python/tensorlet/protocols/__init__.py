"""The protocols as codecs: bytes to tensors and back. They know nothing of HTTP, of AWS or of a runtime."""
