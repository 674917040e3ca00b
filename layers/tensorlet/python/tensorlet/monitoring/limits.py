"""The limits of a release, as an alias keeps them."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from tensorlet.errors import InvalidRequest


class Limits(NamedTuple):
    """What a challenger may do before it is taken back; each is checked once it has answered `min_requests`."""

    error_rate: float = 0.01  # part of its requests that fail beyond the part of the incumbent's
    latency_ratio: float = 2.0  # its 95th percentile in the runtime to the incumbent's
    drift: float = 0.25  # greatest population stability index of an output against the incumbent's
    min_requests: int = 100

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "Limits":
        """Raises InvalidRequest naming the limit, what was expected and what came."""
        if not isinstance(document, dict):
            raise InvalidRequest(f"limits: expected an object, got {document!r}")
        for name, value in document.items():
            if name not in cls._fields:
                raise InvalidRequest(f"limits: expected one of {', '.join(cls._fields)}, got {name!r}")
            if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0:
                raise InvalidRequest(f"limits: {name}: expected a number, 0 or more, got {value!r}")
        return cls(**document)
