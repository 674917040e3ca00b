"""Private keys: a PEM file, or a key that AWS KMS keeps to itself. For developer tools and CI, never for serving."""

from pathlib import Path
from typing import Any

from tensorlet.errors import InvalidRequest
from tensorlet.registry import libcrypto
from tensorlet.registry.attestation import Signer
from tensorlet.registry.keys import public_key

KMS_PREFIX = "arn:"
KMS_ALGORITHM = "ECDSA_SHA_256"  # of a key whose spec is ECC_NIST_P256


def open_signer(key: str) -> Signer:
    """The signer for `key`: the path of a PEM file (Ed25519 or ECDSA P-256), or the ARN of a KMS key (ECC_NIST_P256).

    Raises:
        InvalidRequest: neither of them, or a key of another kind.
    """
    return _kms_signer(key) if key.startswith(KMS_PREFIX) else _file_signer(key)


def _file_signer(path: str) -> Signer:
    try:
        pem = Path(path).read_bytes()
        key = public_key(libcrypto.public_part(pem))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise InvalidRequest(f"signing key {path}: {reason}") from None
    return Signer(key, lambda message: libcrypto.sign(pem, key.algorithm.hashed, message))


def _kms_signer(arn: str) -> Signer:
    """Source: AWS KMS API reference, GetPublicKey and Sign.

    Sign takes messages of up to 4,096 bytes; a statement has some 400.
    """
    import boto3  # only where KMS signs
    from botocore.exceptions import BotoCoreError, ClientError

    region = arn.split(":")[3:4]
    try:
        client: Any = boto3.client("kms", region_name=region[0] if region else None)
        key = public_key(client.get_public_key(KeyId=arn)["PublicKey"])
    except (BotoCoreError, ClientError, ValueError) as error:
        raise InvalidRequest(f"signing key {arn}: {error}") from error

    def sign(message: bytes) -> bytes:
        try:
            signed = client.sign(
                KeyId=arn, Message=message, MessageType="RAW", SigningAlgorithm=KMS_ALGORITHM
            )
        except (BotoCoreError, ClientError) as error:
            raise InvalidRequest(f"signing key {arn}: {error}") from error
        return bytes(signed["Signature"])

    return Signer(key, sign)
