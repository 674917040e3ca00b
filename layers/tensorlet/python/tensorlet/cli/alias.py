"""`tensorlet alias`: move an alias, for a release or a rollback."""

from argparse import Namespace

from tensorlet.cli.registries import writable_store
from tensorlet.registry.writer import set_alias


def run(arguments: Namespace) -> int:
    set_alias(writable_store(arguments), arguments.name, arguments.alias, arguments.version)
    print(f"{arguments.name}@{arguments.alias} → {arguments.version}")
    return 0
