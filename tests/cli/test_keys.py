"""`tensorlet keys`, against a Secrets Manager in memory, and the authorizer that reads what it wrote."""

import json
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import boto3
import pytest
from moto import mock_aws
from tensorlet.cli.keys import Secret
from tensorlet.errors import Conflict, StorageUnavailable
from tensorlet.http.api_keys import EMPTY, make_key

pytestmark = pytest.mark.stack

APP = Path(__file__).parents[2] / "functions/authorize/app.py"


@pytest.fixture
def secret(monkeypatch):
    """The secret as the template creates it."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with mock_aws():
        boto3.client("secretsmanager").create_secret(Name="keys", SecretString=EMPTY)
        yield "keys"


@pytest.fixture
def authorize(secret, monkeypatch):
    """The authorizer's module, as a cold start would import it."""
    monkeypatch.setenv("API_KEYS_SECRET", secret)
    spec = spec_from_file_location("authorize_app", APP)
    module = module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "authorize_app", module)
    spec.loader.exec_module(module)
    return module


def ask(authorize, key):
    return authorize.handler({"headers": {"x-api-key": key}}, None)


def test_a_new_key_is_the_only_line_on_stdout_and_opens_the_api(tensorlet, secret, authorize):
    made = tensorlet("keys", "add", "app", "--secret", secret)

    assert made.status == 0
    answer = ask(authorize, made.out.strip())
    assert answer["isAuthorized"] is True
    assert answer["context"]["name"] == "app"


def test_any_other_key_and_none_are_refused(tensorlet, secret, authorize):
    tensorlet("keys", "add", "app", "--secret", secret)

    assert ask(authorize, make_key("app")[0]) == {"isAuthorized": False}
    assert authorize.handler({"headers": {}}, None) == {"isAuthorized": False}
    assert authorize.handler({}, None) == {"isAuthorized": False}


def test_a_removed_key_is_refused_once_the_keys_are_read_again(tensorlet, secret, authorize, monkeypatch):
    key = tensorlet("keys", "add", "app", "--secret", secret).out.strip()
    assert ask(authorize, key)["isAuthorized"]

    assert tensorlet("keys", "remove", "app", "--secret", secret).status == 0

    assert ask(authorize, key)["isAuthorized"]  # for a minute
    monkeypatch.setattr(authorize, "TTL_S", 0)
    assert not ask(authorize, key)["isAuthorized"]


def test_known_keys_serve_on_while_the_secret_cannot_be_read(tensorlet, secret, authorize, monkeypatch):
    key = tensorlet("keys", "add", "app", "--secret", secret).out.strip()
    assert ask(authorize, key)["isAuthorized"]

    boto3.client("secretsmanager").delete_secret(SecretId=secret, ForceDeleteWithoutRecovery=True)
    monkeypatch.setattr(authorize, "TTL_S", 0)

    assert ask(authorize, key)["isAuthorized"]


def test_without_ever_having_read_the_keys_nobody_is_let_in(authorize, monkeypatch):
    monkeypatch.setenv("API_KEYS_SECRET", "no-such-secret")

    with pytest.raises(Exception, match="ResourceNotFound"):
        ask(authorize, "tl_00_x")


def test_a_key_over_its_rate_is_refused(tensorlet, secret, authorize):
    key = tensorlet("keys", "add", "app", "--secret", secret, "--rate", "0.001", "--burst", "2").out.strip()

    assert [ask(authorize, key)["isAuthorized"] for _ in range(3)] == [True, True, False]


def test_the_list_names_keys_and_rates_and_shows_no_secret(tensorlet, secret):
    key = tensorlet("keys", "add", "app", "--secret", secret, "--rate", "5").out.strip()

    listed = tensorlet("keys", "list", "--secret", secret).out

    assert key.split("_")[1] in listed
    assert "5/s, 5 at once" in listed
    assert key.split("_", 2)[2] not in listed


def test_no_keys_are_said_to_be_none(tensorlet, secret):
    assert "refuses everybody" in tensorlet("keys", "list", "--secret", secret).out


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("add", "--secret", "keys"), "expected the NAME"),
        (("remove", "nobody", "--secret", "keys"), "no API key is called 'nobody'"),
        (("list", "--secret", "elsewhere"), "Secrets Manager"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_line(tensorlet, secret, arguments, reason):
    done = tensorlet("keys", *arguments)

    assert done.status == 1
    assert reason in done.err
    assert done.err.count("\n") == 1


def test_two_who_add_keys_at_once_both_succeed(secret):
    """GIVEN somebody adds a key between our read and our write, THEN ours is added to theirs."""
    ours, theirs = make_key("ours"), make_key("theirs")
    interrupted = []

    def edit(keys):
        if not interrupted:
            interrupted.append(True)
            Secret(secret).change(lambda keys: {**keys, theirs[1]: theirs[2]})
        return {**keys, ours[1]: ours[2]}

    Secret(secret).change(edit)

    assert {key.name for key in Secret(secret).read()[0].values()} == {"ours", "theirs"}


def test_whoever_is_always_too_late_is_told_so(secret):
    def edit(keys):
        Secret(secret).change(lambda keys: keys)
        return keys

    with pytest.raises(Conflict, match="changed by others"):
        Secret(secret).change(edit)


def test_a_secret_that_is_not_there_is_named():
    with (
        mock_aws(),
        pytest.MonkeyPatch.context() as patch,
        pytest.raises(StorageUnavailable, match="Secrets Manager"),
    ):
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        Secret("nowhere").read()


def test_what_is_kept_is_the_document_that_is_described(tensorlet, secret):
    tensorlet("keys", "add", "app", "--secret", secret)

    found = boto3.client("secretsmanager").get_secret_value(SecretId=secret, VersionStage="AWSCURRENT")

    (kept,) = json.loads(found["SecretString"])["keys"].values()
    assert kept.keys() == {"name", "salt", "sha256", "created", "rate", "burst"}
