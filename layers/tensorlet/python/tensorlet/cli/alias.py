"""`tensorlet alias`: move an alias, for a release, a part of one or a rollback, and see how it moved."""

import json
from argparse import Namespace
from collections.abc import Mapping
from typing import Any

from tensorlet.cli.registries import open_registry, signer_of, writable_store
from tensorlet.cli.text import table
from tensorlet.errors import AliasNotFound
from tensorlet.monitoring.limits import Limits
from tensorlet.registry.attestation import Signer
from tensorlet.registry.registry import Registry
from tensorlet.registry.rollout import describe
from tensorlet.registry.store import Store
from tensorlet.registry.writer import configure_alias, roll_back, set_alias


def run(arguments: Namespace) -> int:
    name, alias, precision = arguments.name, arguments.alias, arguments.precision
    if arguments.history:
        print(history_table(open_registry(arguments), name, alias))
        return 0
    store, signer = writable_store(arguments), signer_of(arguments)
    if arguments.shadow is not None or arguments.limits:
        print(_configure(store, arguments, signer))
        return 0
    if arguments.rollback:
        weights = roll_back(store, name, alias, signer=signer)
    else:
        weights = set_alias(store, name, alias, arguments.version, precision, arguments.weight, signer)
    print(f"{name}@{alias} → {describe(weights)}{f' in {precision}' if precision else ''}")
    return 0


def _configure(store: Store, arguments: Namespace, signer: Signer | None) -> str:
    """Set the shadow or the limits of an alias; returns what to say about it."""
    name, alias, shadow = arguments.name, arguments.alias, arguments.shadow
    if shadow is None:
        limits = Limits.from_json(dict(arguments.limits))
        configure_alias(store, name, alias, {"limits": dict(arguments.limits)}, signer)
        return f"{name}@{alias} limits: {', '.join(f'{key}={value:g}' for key, value in limits._asdict().items())}"
    if shadow:
        Registry([store]).release(name, shadow)
    configure_alias(store, name, alias, {"shadow": shadow or None}, signer)
    return f"{name}@{alias} shadow: {shadow or 'none'}"


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
    if "settings" in change:
        why = json.dumps(change["settings"])
    return change.get("time", ""), before, after, change.get("reason") or why
