"""`tensorlet jobs`: the runs of batch, and what to do about files that were lost or have failed."""

import json
import os
import sys
from argparse import Namespace
from typing import Any

from tensorlet.batch import jobs
from tensorlet.batch.jobs import Queue, State
from tensorlet.cli.registries import working_uri
from tensorlet.cli.text import style, table
from tensorlet.errors import InvalidSetting
from tensorlet.registry.store import Store, open_store

STYLES = {jobs.FAILED: "red", jobs.DONE: "green"}
HEADERS = ("key", "state", "model", "rows", "failed", "seconds", "usd")


def run(arguments: Namespace) -> int:
    inputs = open_store(uri) if (uri := arguments.input or os.environ.get("TENSORLET_INPUT")) else None
    results = open_store(arguments.output or os.environ.get("TENSORLET_OUTPUT") or working_uri("output"))
    if arguments.redrive:
        moved = jobs.redrive(queue(arguments, "dead_letters"), queue(arguments, "queue"))
        print(f"{moved:,} messages go back to the queue", file=sys.stderr)
        return 0
    if arguments.reconcile:
        return reconcile(arguments, inputs, results)
    found = list(jobs.states(inputs, results, arguments.key.strip("/")))
    if arguments.json:
        print(json.dumps([document(state) for state in found], indent=2))
    elif found:
        print(listing(found))
    else:
        where = f" under {arguments.key}" if arguments.key else ""
        print(f"no runs{where} in {results.uri}", file=sys.stderr)
    return 0


def reconcile(arguments: Namespace, inputs: Store | None, results: Store) -> int:
    if inputs is None:
        raise InvalidSetting(
            "expected the bucket of the input files; give --input s3://BUCKET or set TENSORLET_INPUT"
        )
    keys = jobs.reconcile(inputs, results, queue(arguments, "queue"), arguments.key.strip("/"))
    for key in keys:
        print(key)
    print(f"{len(keys):,} events sent again", file=sys.stderr)
    return 0


def queue(arguments: Namespace, name: str) -> Queue:
    """The queue that a flag or the environment names. Raises InvalidSetting."""
    url = getattr(arguments, name) or os.environ.get(f"TENSORLET_{name.upper()}")
    if not url:
        flag = name.replace("_", "-")
        raise InvalidSetting(
            f"expected the URL of a queue; give --{flag} URL or set TENSORLET_{name.upper()}"
        )
    import boto3

    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1"
    return Queue(boto3.client("sqs", region_name=region), url)


def document(state: State) -> dict[str, Any]:
    """A run for scripts: its key and state, and its report once there is one."""
    report = json.loads(state.report.to_json()) if state.report else {}
    return {"key": state.key, "state": state.name, **report}


def listing(found: list[State]) -> str:
    """One line for each run, under it the reason if it failed, and the sum of all."""
    lines = table(HEADERS, map(_row, found)).splitlines()
    shown = [lines[0]]
    for state, line in zip(found, lines[1:], strict=True):
        shown.append(line.replace(f" {state.name} ", f" {style(state.name, *_style(state))} ", 1))
        if state.report and state.report.reason:
            shown.append(style(f"  {state.report.reason}", "dim"))
    reports = [state.report for state in found if state.report]
    usd = sum(report.estimated_usd or 0.0 for report in reports)
    rows = sum(report.rows_in for report in reports)
    shown.append(style(f"{len(found):,} runs, {rows:,} rows, about ${usd:,.4f}", "bold"))
    return "\n".join(shown)


def _style(state: State) -> tuple[str, ...]:
    return (STYLES[state.name],) if state.name in STYLES else ()


def _row(state: State) -> tuple[object, ...]:
    report = state.report
    if report is None:
        return (state.key, state.name, "-", "-", "-", "-", "-")
    return (
        state.key,
        state.name,
        f"{report.model}/{report.model_version}" if report.model else "-",
        f"{report.rows_in:,}",
        f"{report.rows_failed:,}",
        f"{report.seconds:,.1f}",
        "-" if report.estimated_usd is None else f"{report.estimated_usd:.6f}",
    )
