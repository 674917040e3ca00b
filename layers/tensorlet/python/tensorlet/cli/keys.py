"""`tensorlet keys`: the API keys of a deployed API, kept in AWS Secrets Manager."""

import sys
from argparse import Namespace
from collections.abc import Callable
from typing import Any

from tensorlet.cli.text import table
from tensorlet.errors import Conflict, InvalidRequest, StorageUnavailable
from tensorlet.http.api_keys import EMPTY, ApiKey, dump_keys, load_keys, make_key

Keys = dict[str, ApiKey]
ATTEMPTS = 5


def run(arguments: Namespace) -> int:
    secret = Secret(arguments.secret)
    if arguments.action == "add":
        key, key_id, kept = make_key(_name(arguments), arguments.rate, arguments.burst)
        secret.change(lambda keys: {**keys, key_id: kept})
        print(f"{kept.name}: the key is shown this once; the API takes it within a minute", file=sys.stderr)
        print(key)
    elif arguments.action == "remove":
        secret.change(lambda keys: _without(keys, _name(arguments)))
        print(f"{arguments.name}: the API refuses it within a minute")
    else:
        print(_table(secret.read()[0]))
    return 0


def _name(arguments: Namespace) -> str:
    if not arguments.name:
        raise InvalidRequest(f"keys {arguments.action}: expected the NAME of a key, got nothing")
    return str(arguments.name)


def _without(keys: Keys, name: str) -> Keys:
    """All keys but those with this name or id. Raises InvalidRequest: there is none."""
    kept = {key_id: key for key_id, key in keys.items() if name not in (key_id, key.name)}
    if len(kept) == len(keys):
        raise InvalidRequest(f"no API key is called {name!r}; `tensorlet keys list` lists them")
    return kept


def _table(keys: Keys) -> str:
    rows = [
        (key_id, key.name, key.created, f"{key.rate:g}/s, {key.burst:g} at once" if key.rate else "any")
        for key_id, key in sorted(keys.items(), key=lambda item: item[1].name)
    ]
    return table(("id", "name", "created", "rate"), rows) if rows else "no keys: the API refuses everybody"


class Secret:
    """The document of keys in Secrets Manager, changed by compare-and-swap on its current version."""

    def __init__(self, secret_id: str):
        import boto3  # for this command; the functions' hot path does without it

        self._id = secret_id
        self._client = boto3.client("secretsmanager")

    def read(self) -> tuple[Keys, str]:
        """The keys, and the version they are.

        Raises:
            StorageUnavailable: no such secret, not ours to read, or no answer.
            InvalidSetting: it holds something else.
        """
        found = _translated(
            lambda: self._client.get_secret_value(SecretId=self._id, VersionStage="AWSCURRENT")
        )
        return load_keys(found["SecretString"] or EMPTY), found["VersionId"]

    def change(self, edit: Callable[[Keys], Keys]) -> None:
        """Replace the keys by `edit(keys)`, again if somebody else was faster.

        Raises:
            Conflict: others were faster ATTEMPTS times.
        """
        for _ in range(ATTEMPTS):
            keys, version = self.read()
            document = dump_keys(edit(keys))
            if self._swap(document, version):
                return
        raise Conflict(f"{self._id}: changed by others {ATTEMPTS} times in a row; try again")

    def _swap(self, document: str, version: str) -> bool:
        """Put a version without a stage, then move AWSCURRENT to it, which is refused if it is not on `version`.

        Source: AWS Secrets Manager API reference, UpdateSecretVersionStage, `RemoveFromVersionId`.
        """
        put = _translated(
            lambda: self._client.put_secret_value(
                SecretId=self._id, SecretString=document, VersionStages=["TENSORLET_PENDING"]
            )
        )
        try:
            self._client.update_secret_version_stage(
                SecretId=self._id,
                VersionStage="AWSCURRENT",
                MoveToVersionId=put["VersionId"],
                RemoveFromVersionId=version,
            )
        except self._client.exceptions.InvalidParameterException:
            return False
        return True


def _translated(call: Callable[[], Any]) -> Any:
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        return call()
    except (BotoCoreError, ClientError) as error:
        raise StorageUnavailable(f"Secrets Manager: {error}") from error
