"""`tensorlet publish`: the command in front of `tensorlet.publish`."""

import json
from argparse import Namespace
from pathlib import Path

from tensorlet.cli.registries import signer_of, writable_uri
from tensorlet.errors import InvalidRequest


def run(arguments: Namespace) -> int:
    labels = read_labels(Path(arguments.labels)) if arguments.labels else None
    from tensorlet.publish import publish

    version = publish(
        Path(arguments.path),
        arguments.name,
        writable_uri(arguments),
        aliases=arguments.alias,
        trust_source=arguments.trust_source,
        module=arguments.module,
        architecture=Path(arguments.architecture) if arguments.architecture else None,
        inputs=arguments.inputs,
        classes=arguments.classes,
        scores=arguments.scores,
        labels=labels,
        fast_start=arguments.fast_start,
        profile=Path(arguments.profile) if arguments.profile else None,
        signer=signer_of(arguments),
        report=print,
    )
    print(version)
    return 0


def read_labels(path: Path) -> list[str]:
    """Labels by class index: a JSON list of strings, or text with one a line (a last empty line counts for nothing).

    Raises:
        InvalidRequest: JSON of another shape, text that is not UTF-8, or no label at all.
    """
    try:
        text = path.read_text(encoding="utf-8")
        labels = json.loads(text) if path.suffix == ".json" else text.removesuffix("\n").split("\n")
    except ValueError as error:
        raise InvalidRequest(f"--labels {path}: {error}") from None
    if (
        not isinstance(labels, list)
        or not labels
        or not all(isinstance(label, str) and label for label in labels)
    ):
        raise InvalidRequest(
            f"--labels {path}: expected a label for each class, one a line or a JSON list of strings"
        )
    return [label.strip() for label in labels]
