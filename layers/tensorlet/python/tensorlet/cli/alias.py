"""`tensorlet alias`: move an alias, for a release, a part of one or a rollback, and see how it moved."""

from argparse import Namespace
from collections.abc import Mapping
from typing import Any

from tensorlet.cli.registries import registry_uri, signer_of, writable_store
from tensorlet.cli.text import table
from tensorlet.errors import AliasNotFound
from tensorlet.registry.registry import Registry
from tensorlet.registry.rollout import describe
from tensorlet.registry.writer import roll_back, set_alias


def run(arguments: Namespace) -> int:
    name, alias, precision = arguments.name, arguments.alias, arguments.precision
    if arguments.history:
        print(history_table(Registry.open(registry_uri(arguments)), name, alias))
        return 0
    store = writable_store(arguments)
    if arguments.rollback:
        weights = roll_back(store, name, alias, signer=signer_of(arguments))
    else:
        version, weight, signer = arguments.version, arguments.weight, signer_of(arguments)
        weights = set_alias(store, name, alias, version, precision, weight, signer)
    print(f"{name}@{alias} → {describe(weights)}{f' in {precision}' if precision else ''}")
    return 0


def history_table(registry: Registry, name: str, alias: str) -> str:
    """Every change of an alias, newest first. Raises AliasNotFound."""
    changes = [change for change in registry.aliases(name).history if change.get("alias") == alias]
    if not changes:
        raise AliasNotFound(f"model {name!r} has no alias {alias!r}")
    return table(("time", "from", "to", "why"), [_row(change) for change in reversed(changes)])


def _row(change: Mapping[str, Any]) -> tuple[str, ...]:
    before = describe(change["from"]) if change.get("from") else "-"
    after = describe(change["to"]) + (f" in {change['precision']}" if "precision" in change else "")
    why = "rollback" if change.get("rollback") else ""
    return change.get("time", ""), before, after, change.get("reason") or why
