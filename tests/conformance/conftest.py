"""The server under test: `--base-url`, or our own, started here over the models of the suite."""

import json
from collections.abc import Iterator
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from tests.conformance.models import publish_all
from tests.servers import serve_in_thread


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--base-url", default="", help="conformance: the server to check instead of our own")
    parser.addoption(
        "--all-levels", action="store_true", help="conformance: check our own choices on another server too"
    )


@pytest.fixture(scope="session")
def base_url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    given = request.config.getoption("--base-url", default="")
    if given:
        yield given.rstrip("/")
        return
    with serve_in_thread(publish_all, tmp_path_factory.mktemp("registry")) as url:
        yield url


@pytest.fixture(scope="session")
def version(base_url: str) -> str:
    """The version of `half_plus_two`, which the cases write as {version}, by whichever protocol there is."""
    try:
        with urlopen(f"{base_url}/v1/models/half_plus_two") as reply:
            return str(json.load(reply)["model_version_status"][0]["version"])
    except HTTPError:
        with urlopen(f"{base_url}/v2/models/half_plus_two") as reply:
            return str(json.load(reply)["versions"][-1])
