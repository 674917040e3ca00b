"""The address of a Python buffer, for C libraries: read-only ones too, which ctypes alone cannot point into."""

from ctypes import POINTER, Structure, byref, c_char_p, c_int, c_ssize_t, c_void_p, py_object, pythonapi
from types import TracebackType
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
    """`with pointer(buffer) as (address, size_bytes)`: valid until the block ends, or the object is dropped.

    `alignment` in bytes: a buffer that starts elsewhere is copied, because compiled code may assume it, and
    where a tensor starts in a request is the caller's choice.
    """

    __slots__ = ("_held", "_view")

    def __init__(self, buffer: Any, alignment: int = 1):
        self._view = _PyBuffer()
        _get(buffer, byref(self._view), _SIMPLE)
        self._held = True
        if alignment > 1 and (self._view.buf or 0) % alignment:
            copy = bytes(buffer)
            self._drop()
            _get(copy, byref(self._view), _SIMPLE)
            self._held = True

    def __enter__(self) -> tuple[int | None, int]:
        return self._view.buf, self._view.len

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._drop()

    def __del__(self) -> None:
        self._drop()

    def _drop(self) -> None:
        if self._held:
            self._held = False
            _release(byref(self._view))
