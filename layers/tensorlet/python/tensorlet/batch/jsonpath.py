"""Which part of a row goes in and which comes out: the JSONPath that SageMaker's Batch Transform takes.

    $    .name    ['name', ...]    [number, ...]    [start:end]    *    (in place of a name or number)

Negative numbers count from the end. `end` is exclusive, as in JsonPath, to which SageMaker's guide refers for its
operators, and as in Python; one sentence of the guide says inclusive, so write `$[1:]` or `$[0,1]` to be safe.
Source: Amazon SageMaker AI Developer Guide, "Associate Prediction Results with Input Records", "Supported JSONPath
Operators".
"""

import re
from typing import Any, NamedTuple

from tensorlet.batch.rows import RowError

Selector = str | int | slice | None  # None: every member
Step = tuple[Selector, ...]  # what stands between two brackets

QUOTED = r"'[^']*'|\"[^\"]*\""
SELECTOR = rf"(?:{QUOTED}|-?[0-9]{{1,9}}?:-?[0-9]{{0,9}}|:-?[0-9]{{0,9}}|-?[0-9]{{1,9}}|\*)"
STEP = re.compile(rf"\.([^.\[\]'\"*\s,:]+|\*)|\.?\[\s*({SELECTOR}(?:\s*,\s*{SELECTOR})*)\s*\]")
EXPECTED = "a path such as $, $[1:], $[0,-1], $.features or $['id','SageMakerOutput']"
LONGEST = 1000


class Path(NamedTuple):
    """A parsed path; `steps` lead from a row to the part of it."""

    text: str
    steps: tuple[Step, ...]

    @property
    def whole(self) -> bool:
        return not self.steps

    @property
    def by_index(self) -> bool:
        """Whether it selects from a flat list, which is what a row of CSV is."""
        return len(self.steps) <= 1 and not any(isinstance(s, str) for step in self.steps for s in step)

    def select(self, value: Any) -> Any:
        """The part of a JSON value: one member, an object of the members named, or a list of those found.

        Raises:
            RowError: there is no such part.
        """
        values, many = [value], False
        for step in self.steps:
            if isinstance(step[0], str) and len(step) > 1:
                values = [{name: self._children(value, name)[0] for name in step} for value in values]
                continue
            values = [
                child for value in values for selector in step for child in self._children(value, selector)
            ]
            many = many or len(step) > 1 or not isinstance(step[0], str | int)
        return values if many else values[0]

    def positions(self, width: int) -> list[int]:
        """The cells it selects from a row of `width`, in its order. Raises RowError."""
        found = self.select(list(range(width)))
        return found if isinstance(found, list) else [found]

    def _children(self, value: Any, selector: Selector) -> list[Any]:
        if selector is None and isinstance(value, dict | list):
            return list(value.values()) if isinstance(value, dict) else value
        if isinstance(selector, slice) and isinstance(value, list):
            return value[selector]
        if isinstance(selector, int) and isinstance(value, list) and -len(value) <= selector < len(value):
            return [value[selector]]
        if isinstance(selector, str) and isinstance(value, dict) and selector in value:
            return [value[selector]]
        raise RowError(f"{self.text} finds nothing in {_describe(value)}")


WHOLE = Path("$", ())


def parse_path(text: Any) -> Path:
    """Raises ValueError for a text that is no path of this subset."""
    if not isinstance(text, str) or not text.startswith("$") or len(text) > LONGEST:
        raise ValueError
    steps, position = [], 1
    while position < len(text):
        match = STEP.match(text, position)
        if match is None:
            raise ValueError
        steps.append(_step(match))
        position = match.end()
    return Path(text, tuple(steps))


def _step(match: "re.Match[str]") -> Step:
    name, bracket = match.groups()
    if name is not None:
        return (None,) if name == "*" else (name,)
    step = tuple(_selector(text) for text in re.findall(SELECTOR, bracket))
    if len({isinstance(selector, str) for selector in step}) > 1 or (None in step and len(step) > 1):
        raise ValueError  # names and numbers in one list
    return step


def _selector(text: str) -> Selector:
    if text == "*":
        return None
    if text[0] in "'\"":
        return text[1:-1]
    if ":" in text:
        start, _, end = text.partition(":")
        return slice(int(start) if start else None, int(end) if end else None)
    return int(text)


def _describe(value: Any) -> str:
    if isinstance(value, dict):
        return f"an object with {', '.join(map(repr, list(value)[:10])) or 'no members'}"
    return f"a list of {len(value)}" if isinstance(value, list) else repr(value)[:64]
