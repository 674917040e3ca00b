"""The challenger in the shadow: a version that answers captured requests of an alias, and nobody hears it.

`tensorlet alias NAME ALIAS --shadow VERSION` names it. A scheduled function asks it what the versions behind the alias
were asked, and writes what it answers, and how that differs, under
`shadow/<model>/<alias>/<version>/<file of observations>`. That key makes each file be done once.
"""

import json
from collections.abc import Iterator
from datetime import datetime
from typing import NamedTuple

from tensorlet.errors import Conflict, ObjectNotFound
from tensorlet.monitoring.observations import keys, parse
from tensorlet.monitoring.replay import Summary, replay, summarise
from tensorlet.registry.store import Store
from tensorlet.serving.service import ModelService


class Shadow(NamedTuple):
    """A version that runs in the shadow of an alias, and what it did with one file of observations."""

    model: str
    alias: str
    version: int
    summary: Summary


def run_shadows(
    service: ModelService, model: str, observed: Store, since: datetime, until: datetime
) -> Iterator[Shadow]:
    """Do every file of the time for every shadow of a model, except those that are done."""
    aliases = service.registry.aliases(model)
    for alias, settings in aliases.settings.items():
        shadow = settings.get("shadow")
        if not isinstance(shadow, int):
            continue
        behind = (int(version) for version in aliases.weights.get(alias, {}))
        for version in sorted(version for version in behind if version != shadow):
            for key in keys(observed, model, version, since, until):
                summary = _run(service, observed, f"shadow/{model}/{alias}/{shadow}", key, (model, shadow))
                if summary is not None:
                    yield Shadow(model, alias, shadow, summary)


def _run(
    service: ModelService, observed: Store, folder: str, key: str, version: tuple[str, int]
) -> Summary | None:
    """None for a file that somebody has done."""
    done = f"{folder}/{key}"
    try:
        observed.head(done)
        return None
    except ObjectNotFound:
        pass
    model = service.model(version[0], str(version[1]))
    comparisons = list(replay(model, parse(key, bytes(observed.get(key).data)).sample))
    summary = summarise(comparisons)
    lines = [summary._asdict(), *(comparison._asdict() for comparison in comparisons)]
    try:
        observed.create(done, "".join(json.dumps(line) + "\n" for line in lines).encode())
    except Conflict:
        return None
    return summary
