"""Files dropped at once, with storage failing and messages repeated, all end in reports (docs/reliability.md)."""

import pytest

from tests.batch.load import POISON, run


@pytest.mark.slow
@pytest.mark.stack
def test_files_dropped_at_once_all_end_in_reports_and_none_twice():
    injected, survived = run(files=300, visibility_s=4)

    assert injected.repeated > 50
    assert injected.failed_calls > 5
    assert (survived.reports, survived.right) == (300, 300)
    # Written again only where storage did what was asked, and its answer was lost.
    assert survived.writes.total() - survived.writes[1] <= injected.failed_calls
    assert survived.dead == ["no event"] * POISON
