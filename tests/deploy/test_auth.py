"""Who may call the deployed API, for each choice of ApiAuth."""

import base64
import contextlib
import io
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from tensorlet.cli import main
from tensorlet.local.proxy import Signer

from tests.deploy.cloud import Stack
from tests.sam.lambda_local import HOST, address_for_containers

LIVE = "/v2/health/live"


def test_none_lets_everybody_in(stack: Stack):
    assert stack.configure(ApiAuth="NONE").ask(LIVE).status == 200


class TestIam:
    """The stand-in looks whether a request is signed; tests/local/test_proxy.py, whether the signature is right."""

    def test_who_does_not_sign_is_refused(self, stack):
        answer = stack.configure(ApiAuth="IAM").ask(LIVE)

        assert (answer.status, answer.json()) == (403, {"message": "Forbidden"})

    def test_the_proxy_signs_for_who_cannot(self, stack, monkeypatch):
        for name, value in stack.cloud.environ().items():
            monkeypatch.setenv(name, value)
        secured = stack.configure(ApiAuth="IAM")
        signer = Signer(secured.outputs["ApiUrl"], "us-east-1")

        signed = signer.headers("GET", LIVE, {}, b"")

        assert secured.ask(LIVE, **signed).status == 200


@pytest.fixture(scope="module")
def with_keys(stack: Stack) -> Stack:
    return stack.configure(ApiAuth="API_KEY")


@pytest.fixture(scope="module")
def key(with_keys: Stack) -> Iterator[str]:
    """A key made by the command that docs/operations.md names."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in with_keys.cloud.environ().items():
            patch.setenv(name, value)
        yield new_key(with_keys, "app")


class TestApiKey:
    def test_a_key_opens_the_api_in_either_header(self, with_keys, key):
        assert with_keys.ask(LIVE, x_api_key=key).status == 200
        assert with_keys.ask(LIVE, Authorization=f"Bearer {key}").status == 200

    @pytest.mark.parametrize("wrong", ["", "tl_00000000_guess", "x"])
    def test_without_a_right_key_there_is_no_way_in(self, with_keys, key, wrong):
        assert with_keys.ask(LIVE, x_api_key=wrong).status == 403

    def test_without_any_key_there_is_no_way_in(self, with_keys, key):
        assert with_keys.ask(LIVE).status == 403

    def test_the_secret_holds_no_key(self, with_keys, key):
        found = with_keys.cloud.client("secretsmanager").get_secret_value(
            SecretId=with_keys.outputs["ApiKeysSecret"], VersionStage="AWSCURRENT"
        )

        assert "app" in found["SecretString"]
        assert key.split("_", 2)[2] not in found["SecretString"]


def new_key(stack: Stack, name: str) -> str:
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        assert main(["keys", "add", name, "--secret", stack.outputs["ApiKeysSecret"]]) == 0
    return out.getvalue().strip()


@pytest.fixture(scope="module")
def issuer() -> Iterator["Issuer"]:
    with Issuer.running() as running:
        yield running


@pytest.fixture(scope="module")
def with_tokens(stack: Stack, issuer: "Issuer") -> Stack:
    return stack.configure(ApiAuth="JWT", JwtIssuer=issuer.url, JwtAudience="models")


class TestJwt:
    def test_a_token_of_the_issuer_opens_the_api(self, with_tokens, issuer):
        assert with_tokens.ask(LIVE, Authorization=f"Bearer {issuer.token(aud='models')}").status == 200

    @pytest.mark.parametrize(
        "claims",
        [
            pytest.param({"aud": "somebody else"}, id="for another audience"),
            pytest.param({"aud": "models", "iss": "https://elsewhere"}, id="of another issuer"),
            pytest.param({"aud": "models", "exp": 1}, id="expired"),
        ],
    )
    def test_a_token_that_is_not_for_us_is_refused(self, with_tokens, issuer, claims):
        assert with_tokens.ask(LIVE, Authorization=f"Bearer {issuer.token(**claims)}").status == 401

    def test_without_a_token_there_is_no_way_in(self, with_tokens):
        assert with_tokens.ask(LIVE).status == 401

    def test_a_forged_signature_is_refused(self, with_tokens, issuer):
        head, claims, _ = issuer.token(aud="models").split(".")
        forged = f"{head}.{claims}.{encode(bytes(256))}"

        assert with_tokens.ask(LIVE, Authorization=f"Bearer {forged}").status == 401


class Issuer:
    """An OpenID Connect issuer on this machine, which containers reach: discovery, keys, and tokens."""

    def __init__(self, url: str):
        self.url = url
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)

    @classmethod
    @contextmanager
    def running(cls) -> Iterator["Issuer"]:
        documents: dict[str, object] = {}

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = json.dumps(documents[self.path]).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *values: object) -> None:
                """Quiet."""

        server = ThreadingHTTPServer((address_for_containers(), 0), Handler)
        issuer = cls(f"http://{HOST}:{server.server_address[1]}")
        documents["/.well-known/openid-configuration"] = {
            "issuer": issuer.url,
            "jwks_uri": f"{issuer.url}/keys",
        }
        documents["/keys"] = {"keys": [issuer.public_key()]}
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield issuer
        finally:
            server.shutdown()
            server.server_close()
            thread.join()

    def public_key(self) -> dict[str, str]:
        """RFC 7517."""
        numbers = self._key.public_key().public_numbers()
        n, e = (encode(v.to_bytes((v.bit_length() + 7) // 8, "big")) for v in (numbers.n, numbers.e))
        return {"kty": "RSA", "use": "sig", "alg": "RS256", "kid": "1", "n": n, "e": e}

    def token(self, **claims: object) -> str:
        """RFC 7519, signed by RS256."""
        payload = {"iss": self.url, "sub": "client", "exp": int(time.time()) + 600, **claims}
        head = {"alg": "RS256", "typ": "JWT", "kid": "1"}
        signed = ".".join(encode(json.dumps(part).encode()) for part in (head, payload))
        signature = self._key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())
        return f"{signed}.{encode(signature)}"


def encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
