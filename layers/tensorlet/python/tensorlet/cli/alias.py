"""`tensorlet alias`: move an alias, for a release or a rollback."""

from argparse import Namespace

from tensorlet.cli.registries import writable_store
from tensorlet.registry.writer import set_alias


def run(arguments: Namespace) -> int:
    name, alias, version, precision = arguments.name, arguments.alias, arguments.version, arguments.precision
    set_alias(writable_store(arguments), name, alias, version, precision)
    print(f"{name}@{alias} → {version}{f' in {precision}' if precision else ''}")
    return 0
