"""A least-recently-used cache with a byte budget, whose values are made once however many ask at a time."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from threading import Lock
from typing import Any, Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class ByteLRU(Generic[Value]):
    """Values of known size; the least recently used go first when the sum passes `budget_bytes`.

    A value larger than the whole budget is kept alone. An evicted value lives on in the requests that hold it.
    """

    def __init__(self, budget_bytes: int):
        self.budget_bytes = budget_bytes
        self.size_bytes = 0
        self.made = self.evicted = 0  # values, since this process started
        self._values: OrderedDict[Hashable, tuple[Value, int]] = OrderedDict()
        self._lock = Lock()
        self._making: dict[Hashable, Lock] = {}

    def get(self, key: Key, make: Callable[[Key], tuple[Value, int]]) -> Value:
        """The value of `key`; `make(key) -> (value, size_bytes)` is called at most once at a time for each key.

        What `make` raises reaches everybody who waits for it by their own call of it.
        """
        with self._lock:
            if (entry := self._values.get(key)) is not None:
                self._values.move_to_end(key)
                return entry[0]
            making = self._making.setdefault(key, Lock())
        with making:
            with self._lock:
                if (entry := self._values.get(key)) is not None:  # made while we waited
                    return entry[0]
            try:
                value, size_bytes = make(key)
                with self._lock:
                    self._insert(key, value, size_bytes)
                return value
            finally:
                with self._lock:
                    self._making.pop(key, None)

    def make_room(self, size_bytes: int) -> None:
        """Let go of values before one of `size_bytes` is made, so that old and new are not in memory together."""
        with self._lock:
            self._evict(self.budget_bytes - size_bytes, keep=0)

    def loaded(self) -> list[Any]:
        """The keys of all values, least recently used first."""
        with self._lock:
            return list(self._values)

    def size_of(self, wanted: Callable[[Any], bool]) -> int:
        """The sum of the sizes of the values whose key is `wanted`."""
        with self._lock:
            return sum(size_bytes for key, (_, size_bytes) in self._values.items() if wanted(key))

    def making(self) -> list[Any]:
        """The keys of the values that are being made now."""
        with self._lock:
            return list(self._making)

    def discard(self, key: Hashable) -> None:
        """Forget a value; it lives on in the requests that hold it."""
        with self._lock:
            _, freed = self._values.pop(key, (None, 0))
            self.size_bytes -= freed

    def _insert(self, key: Hashable, value: Value, size_bytes: int) -> None:
        self._values[key] = (value, size_bytes)
        self.size_bytes += size_bytes
        self.made += 1
        self._evict(self.budget_bytes, keep=1)

    def _evict(self, limit_bytes: int, keep: int) -> None:
        while self.size_bytes > limit_bytes and len(self._values) > keep:
            _, (_, freed) = self._values.popitem(last=False)
            self.size_bytes -= freed
            self.evicted += 1
