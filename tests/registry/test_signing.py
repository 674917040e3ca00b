"""Keys and signatures: ours are those of any other implementation, and what is no key says so."""

import base64
import json
import subprocess
import sys

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    PublicFormat,
    load_der_public_key,
    load_pem_private_key,
)
from hypothesis import given
from hypothesis import strategies as st
from tensorlet.errors import InvalidRequest, InvalidSetting
from tensorlet.registry import libcrypto
from tensorlet.registry.attestation import Subject, attest, pre_authentication_encoding, verify
from tensorlet.registry.keys import parse_keys, public_key
from tensorlet.registry.signing import open_signer

from tests.keys import KINDS, make_keys

SUBJECT = Subject("digits/7/manifest.json", b"{}", "urn:test", {"version": 7})


@pytest.fixture(scope="module", params=KINDS)
def keys(request, tmp_path_factory):
    return make_keys(tmp_path_factory.mktemp("keys"), kind=request.param)


def judge(key, signature: bytes, message: bytes) -> bool:
    """What the cryptography package says."""
    other = load_der_public_key(key.der)
    hashed = [ec.ECDSA(SHA256())] if key.algorithm.hashed else []
    try:
        other.verify(signature, message, *hashed)
    except InvalidSignature:
        return False
    return True


@given(message=st.binary(max_size=300))
def test_what_we_sign_others_verify(keys, message):
    signer = keys.signer

    signature = signer.sign(message)

    assert judge(signer.key, signature, message)
    assert signer.key.verifies(message, signature)


@given(message=st.binary(min_size=1, max_size=300), place=st.integers(min_value=0), bit=st.integers(0, 7))
def test_one_bit_of_a_signature_or_a_message_is_enough(keys, message, place, bit):
    """And any other implementation says the same: encodings are as strict."""
    signer = keys.signer
    signature = signer.sign(message)
    changed, forged = flip(message, place, bit), flip(signature, place, bit)

    assert not signer.key.verifies(changed, signature)
    assert not signer.key.verifies(message, forged)
    assert not judge(signer.key, forged, message)


@given(signature=st.binary(max_size=100))
def test_arbitrary_bytes_are_no_signature(keys, signature):
    assert not keys.signer.key.verifies(b"message", signature)


def test_a_statement_is_an_in_toto_statement_in_a_dsse_envelope(keys):
    """Source: in-toto Attestation Framework, spec/v1; DSSE protocol.md, "Signature Definition"."""
    envelope = attest(SUBJECT, [keys.signer])

    payload = base64.b64decode(envelope["payload"])
    [signature] = envelope["signatures"]
    assert envelope["payloadType"] == "application/vnd.in-toto+json"
    assert json.loads(payload) == {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [
            {
                "name": "digits/7/manifest.json",
                "digest": {"sha256": "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"},
            }
        ],
        "predicateType": "urn:test",
        "predicate": {"version": 7},
    }
    message = b"DSSEv1 28 application/vnd.in-toto+json %d %s" % (len(payload), payload)
    assert pre_authentication_encoding(payload) == message
    assert judge(keys.signer.key, base64.b64decode(signature["sig"]), message)


def test_a_statement_has_any_number_of_signers_and_needs_one_that_is_trusted(keys, tmp_path):
    other = make_keys(tmp_path)
    envelope = attest(SUBJECT, [other.signer, keys.signer])

    verified = verify(envelope, [keys.signer.key], SUBJECT.name, SUBJECT.data, SUBJECT.predicate_type)

    assert verified.key == keys.signer.key
    assert verified.predicate == {"version": 7}


def test_a_key_is_written_as_pem_as_base64_or_as_a_file(keys):
    pem = keys.public.read_text()
    text = "".join(pem.splitlines()[1:-1])
    in_one_line = pem.strip().replace("\n", "\\n")

    for written in (pem, in_one_line, text, str(keys.public), f" {text} , "):
        assert parse_keys(written) == (keys.signer.key,)


def test_several_keys_are_separated_by_commas_or_in_one_file(keys, tmp_path):
    other = make_keys(tmp_path)
    both = tmp_path / "both.pub"
    both.write_text(keys.public.read_text() + other.public.read_text())
    expected = (keys.signer.key, other.signer.key)

    assert parse_keys(f"{keys.public.read_text()},{other.public}") == expected
    assert parse_keys(str(both)) == expected


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(",", id="nothing"),
        pytest.param("/nowhere/key.pub", id="no such file"),
        pytest.param("AAAA", id="base64 of something else"),
        pytest.param("-----BEGIN PUBLIC KEY-----\n!\n-----END PUBLIC KEY-----", id="not base64"),
        pytest.param(__file__, id="a file without keys"),
        pytest.param(sys.executable, id="a file that is no text"),
    ],
)
def test_what_is_no_key_says_what_is_expected(text):
    with pytest.raises(InvalidSetting, match="expected"):
        parse_keys(text)


def test_other_kinds_of_keys_are_refused(tmp_path):
    for key in (
        rsa.generate_private_key(public_exponent=65537, key_size=2048),
        ec.generate_private_key(ec.SECP384R1()),
    ):
        with pytest.raises(ValueError, match="Ed25519 or ECDSA P-256"):
            public_key(key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


def test_a_key_that_is_not_on_the_curve_verifies_nothing(tmp_path):
    key = make_keys(tmp_path, kind="ECDSA P-256").signer
    off_curve = public_key(key.key.der[:-1] + bytes([key.key.der[-1] ^ 1]))

    assert not off_curve.verifies(b"message", key.sign(b"message"))


def test_a_private_key_that_cannot_be_used_is_an_error_of_one_line(tmp_path):
    keys = make_keys(tmp_path)
    locked = tmp_path / "locked.pem"
    locked.write_bytes(
        load_pem_private_key(keys.private.read_bytes(), None).private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")
        )
    )
    for path in (tmp_path / "absent.pem", locked, keys.public):
        with pytest.raises(InvalidRequest, match=f"signing key {path}: ") as refusal:
            open_signer(str(path))
        assert "\n" not in str(refusal.value)


def test_without_libcrypto_nothing_is_verified(monkeypatch, keys):
    key = keys.signer.key
    monkeypatch.setattr(libcrypto.ctypes, "CDLL", lambda name: object())
    libcrypto.load.cache_clear()
    try:
        with pytest.raises(InvalidSetting, match="libcrypto"):
            key.verifies(b"", b"")
    finally:
        libcrypto.load.cache_clear()


def test_openssl_leaves_no_error_for_the_next_connection(keys):
    """OpenSSL keeps errors for each thread, and `ssl` reads the first one there is."""
    keys.signer.key.verifies(b"message", b"no signature")

    crypto = libcrypto.load()
    crypto.ERR_peek_error.restype = libcrypto.ctypes.c_ulong
    assert crypto.ERR_peek_error() == 0


@pytest.fixture
def kms(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    import boto3  # a second, for the tests with KMS alone
    from moto import mock_aws

    with mock_aws():
        yield boto3.client("kms", region_name="eu-central-1")


@pytest.mark.stack
def test_a_key_in_kms_signs(kms):
    arn = kms.create_key(KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY")["KeyMetadata"]["Arn"]

    signer = open_signer(arn)

    signature = signer.sign(b"message")
    assert signer.key.verifies(b"message", signature)
    assert judge(signer.key, signature, b"message")


@pytest.mark.stack
@pytest.mark.parametrize(
    "arn",
    [
        pytest.param("arn:aws:kms:eu-central-1:123456789012:key/absent", id="no such key"),
        pytest.param("arn:", id="no ARN"),
    ],
)
def test_a_key_that_kms_does_not_have_is_an_error_of_ours(kms, arn):
    with pytest.raises(InvalidRequest, match="signing key arn:"):
        open_signer(arn)


@pytest.mark.stack
def test_a_key_of_another_kind_in_kms_is_refused(kms):
    arn = kms.create_key(KeySpec="RSA_2048", KeyUsage="SIGN_VERIFY")["KeyMetadata"]["Arn"]

    with pytest.raises(InvalidRequest, match="Ed25519 or ECDSA P-256"):
        open_signer(arn)


def test_openssl_itself_verifies_a_statement(keys, tmp_path):
    """The commands of docs/trust.md, for those who want to believe no code of ours."""
    envelope = attest(SUBJECT, [keys.signer])
    payload = base64.b64decode(envelope["payload"])
    (tmp_path / "message").write_bytes(pre_authentication_encoding(payload))
    (tmp_path / "signature").write_bytes(base64.b64decode(envelope["signatures"][0]["sig"]))
    hashed = ["-digest", "sha256"] if keys.signer.key.algorithm.hashed else []
    command = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", str(keys.public), "-rawin", *hashed]

    done = subprocess.run(
        [*command, "-in", tmp_path / "message", "-sigfile", tmp_path / "signature"], capture_output=True
    )

    assert b"Signature Verified Successfully" in done.stdout


def flip(data: bytes, place: int, bit: int) -> bytes:
    place %= len(data)
    return data[:place] + bytes([data[place] ^ (1 << bit)]) + data[place + 1 :]
