"""`tensorlet verify`: whether a version is what was published."""

import json
import os
from argparse import Namespace

from tensorlet.cli.registries import registry_uri
from tensorlet.cli.text import style, table
from tensorlet.registry.keys import parse_keys, read_keys
from tensorlet.registry.registry import Registry
from tensorlet.registry.trust import Trust

COLOURS = {"passed": "green", "failed": "red", "skipped": "dim"}


def run(arguments: Namespace) -> int:
    trust = trusted(arguments.keys, os.environ.get("TENSORLET_TRUSTED_KEYS", ""))
    registry = Registry.open(
        registry_uri(arguments)
    )  # without trust: what is wrong becomes a line of the table
    name, selector = arguments.model
    version = registry.choose(name, selector, registry.aliases(name))
    from tensorlet.publish.verify import FAILED, verify

    checks = verify(registry, name, version, trust)
    failed = [check for check in checks if check.result == FAILED]
    if arguments.json:
        outcome = "failed" if failed else "passed"
        document = {
            "model": name,
            "version": version,
            "result": outcome,
            "checks": [check._asdict() for check in checks],
        }
        print(json.dumps(document, indent=2))
    else:
        lines = table(("check", "result", "found"), checks).splitlines()
        print(f"{name}/{version}", lines[0], sep="\n")
        for check, line in zip(checks, lines[1:], strict=True):
            print(line.replace(check.result, style(check.result, COLOURS[check.result]), 1))
    return 1 if failed else 0


def trusted(files: list[str], setting: str) -> Trust | None:
    """The keys of `--key`, else those of TENSORLET_TRUSTED_KEYS; None where nobody says. Raises InvalidSetting."""
    keys = [key for file in files for key in read_keys(file)]
    if not keys and setting:
        keys = list(parse_keys(setting))
    return Trust(tuple(keys), {}) if keys else None
