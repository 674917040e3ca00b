"""`tensorlet verify`: whether a version is what was published."""

import json
import os
from argparse import Namespace
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tensorlet.cli.registries import registry_uri
from tensorlet.cli.text import style, table
from tensorlet.registry.keys import read_keys
from tensorlet.registry.registry import Registry
from tensorlet.registry.trust import Trust

if TYPE_CHECKING:
    from tensorlet.publish.verify import Check

COLOURS = {"passed": "green", "failed": "red", "skipped": "dim"}


def run(arguments: Namespace) -> int:
    trust = trusted(arguments.keys, os.environ.get("TENSORLET_TRUSTED_KEYS", ""))
    # The registry itself trusts anybody, so that what is wrong becomes a line of the table.
    registry = Registry.open(registry_uri(arguments))
    release = registry.resolve(*arguments.model)
    from tensorlet.publish.verify import FAILED, verify

    checks = verify(registry, release, trust)
    failed = any(check.result == FAILED for check in checks)
    if arguments.json:
        manifest = release.manifest
        document = {
            "model": manifest.model,
            "version": manifest.version,
            "result": "failed" if failed else "passed",
            "checks": [check._asdict() for check in checks],
        }
        print(json.dumps(document, indent=2))
    else:
        print(release.name, described(checks), sep="\n")
    return 1 if failed else 0


def described(checks: Sequence["Check"]) -> str:
    """A line for each check, its result in colour."""
    header, *lines = table(("check", "result", "found"), checks).splitlines()
    coloured = [
        line.replace(check.result, style(check.result, COLOURS[check.result]), 1)
        for check, line in zip(checks, lines, strict=True)
    ]
    return "\n".join([header, *coloured])


def trusted(files: Sequence[str], setting: str) -> Trust | None:
    """The keys of `--key`, else those of TENSORLET_TRUSTED_KEYS; None where nobody says. Raises InvalidSetting."""
    if files:
        return Trust(tuple(key for file in files for key in read_keys(file)), {})
    return Trust.from_settings(setting) if setting else None
