"""`tensorlet replay`: captured requests, asked of another version before anybody else has to."""

import json
import os
from argparse import Namespace
from pathlib import Path

from tensorlet.cli.observations import window_of
from tensorlet.cli.registries import open_registry
from tensorlet.errors import NotFound
from tensorlet.monitoring.observations import read, total
from tensorlet.monitoring.replay import replay, summarise
from tensorlet.serving.service import ModelService
from tensorlet.settings import Settings


def run(arguments: Namespace) -> int:
    name, selector = arguments.model
    service = ModelService(open_registry(arguments), Settings.from_environ(os.environ))
    model = service.model(name, selector)
    asked = arguments.of or service.version(name)
    store, since, until = window_of(arguments)
    sample = total(read(store, name, asked, since, until)).sample
    if not sample:
        raise NotFound(
            f"{store.uri}: no requests of {name}/{asked} were captured in the last {arguments.hours:g} hours"
        )
    comparisons = list(replay(model, sample))
    if arguments.output:
        lines = "".join(json.dumps(comparison._asdict()) + "\n" for comparison in comparisons)
        Path(arguments.output).write_text(lines)
    summary = summarise(comparisons)
    if arguments.json:
        print(json.dumps({"model": model.name, "of": f"{name}/{asked}", **summary._asdict()}))
        return 0
    print(
        f"{model.name} was asked {summary.requests} requests of {name}/{asked}: {summary.agreeing} answers agree,"
        f" {summary.failed} failed, greatest difference {summary.max_abs_diff:g}"
    )
    return 0
