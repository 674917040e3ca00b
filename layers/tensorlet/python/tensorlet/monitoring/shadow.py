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
from tensorlet.registry.registry import Registry
from tensorlet.registry.store import Store
from tensorlet.serving.service import ModelService


class Shadow(NamedTuple):
    """A version that runs in the shadow of an alias, and what it did with one file of observations."""

    model: str
    alias: str
    version: int
    summary: Summary


def run_shadows(service: ModelService, observed: Store, since: datetime, until: datetime) -> Iterator[Shadow]:
    """Do every file of the time for every shadow there is, except those that are done."""
    for model, alias, shadow in shadows(service.registry):
        weights = service.registry.aliases(model).weights[alias]
        for version in sorted(int(version) for version in weights if int(version) != shadow):
            for key in keys(observed, model, version, since, until):
                summary = _run(service, observed, f"shadow/{model}/{alias}/{shadow}", key, (model, shadow))
                if summary is not None:
                    yield Shadow(model, alias, shadow, summary)


def shadows(registry: Registry) -> list[tuple[str, str, int]]:
    """(model, alias, version) of every shadow in the registry."""
    return [
        (model, alias, int(settings["shadow"]))
        for model in registry.models()
        for alias, settings in registry.aliases(model).settings.items()
        if settings.get("shadow")
    ]


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
