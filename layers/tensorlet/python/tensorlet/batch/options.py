"""What a user may choose for a file; pinned in the plan of a run, so that every retry makes the same choices."""

from typing import NamedTuple


class Options(NamedTuple):
    """`header`: whether a CSV file has one; None finds out. `batch_rows`: rows predicted at once."""

    batch_rows: int = 512
    header: bool | None = None
    delimiter: str = ","
