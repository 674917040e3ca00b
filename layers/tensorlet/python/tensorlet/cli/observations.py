"""Where captured requests are, and which time is meant: what the commands that read them share."""

import os
from argparse import Namespace
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from tensorlet.cli.registries import working_uri
from tensorlet.registry.store import Store, open_store


class Window(NamedTuple):
    """A store of observations, and the time to look at."""

    store: Store
    since: datetime
    until: datetime


def window_of(arguments: Namespace) -> Window:
    """`--captures` or $TENSORLET_CAPTURE or ./.tensorlet/captures, and the last `--hours`."""
    uri = arguments.captures or os.environ.get("TENSORLET_CAPTURE") or working_uri("captures")
    until = datetime.now(UTC)
    return Window(open_store(uri), until - timedelta(hours=arguments.hours), until)
