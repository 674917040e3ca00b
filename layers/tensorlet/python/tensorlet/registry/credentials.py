"""Credentials from the container endpoint that Lambda offers a function restored from a snapshot.

Source: AWS SDKs and Tools Reference Guide, "Container credential provider".
"""

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any
from urllib.request import Request, urlopen


def container_credentials(environ: Mapping[str, str]) -> Callable[[], dict[str, Any]]:
    """A credential provider for obstore, called again by it when the credentials expire."""

    def fetch() -> dict[str, Any]:
        headers = {"Authorization": environ.get("AWS_CONTAINER_AUTHORIZATION_TOKEN", "")}
        request = Request(environ["AWS_CONTAINER_CREDENTIALS_FULL_URI"], headers=headers)
        with urlopen(request, timeout=5) as reply:
            document = json.load(reply)
        return {
            "access_key_id": document["AccessKeyId"],
            "secret_access_key": document["SecretAccessKey"],
            "token": document["Token"],
            "expires_at": datetime.fromisoformat(document["Expiration"]),
        }

    return fetch
