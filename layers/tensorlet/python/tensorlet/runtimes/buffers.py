"""The address of a Python buffer, for C libraries: read-only ones too, which ctypes alone cannot point into."""

from ctypes import POINTER, Structure, c_char_p, c_int, c_ssize_t, c_void_p, py_object, pythonapi
from typing import Any


class _PyBuffer(Structure):
    """`Py_buffer` of the stable ABI (Python C API, "Buffer Protocol")."""

    _fields_ = [
        ("buf", c_void_p),
        ("obj", c_void_p),
        ("len", c_ssize_t),
        ("itemsize", c_ssize_t),
        ("readonly", c_int),
        ("ndim", c_int),
        ("format", c_char_p),
        ("shape", c_void_p),
        ("strides", c_void_p),
        ("suboffsets", c_void_p),
        ("internal", c_void_p),
    ]


_get = pythonapi.PyObject_GetBuffer
_get.argtypes, _get.restype = [py_object, POINTER(_PyBuffer), c_int], c_int
_release = pythonapi.PyBuffer_Release
_release.argtypes, _release.restype = [POINTER(_PyBuffer)], None
_SIMPLE = 0  # contiguous bytes


class pointer:
    """The `address` of a buffer and its `size_bytes`, valid as long as this object lives.

    `alignment` in bytes: a buffer that starts elsewhere is copied, because compiled code may assume it, and
    where a tensor starts in a request is the caller's choice.
    """

    __slots__ = ("_view", "address", "size_bytes")

    def __init__(self, buffer: Any, alignment: int = 1):
        self._view = _PyBuffer()
        _get(buffer, self._view, _SIMPLE)
        if alignment > 1 and (self._view.buf or 0) % alignment:
            copy = bytes(buffer)
            _release(self._view)
            _get(copy, self._view, _SIMPLE)
        self.address: int | None = self._view.buf
        self.size_bytes: int = self._view.len

    def __del__(self, release: Any = _release) -> None:  # by then the module may have lost its names
        release(self._view)  # a buffer that was never had is no error
