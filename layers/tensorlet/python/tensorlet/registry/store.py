"""All object storage behind one small interface: `s3://bucket/prefix`, `file:///folder`, and memory in tests.

obstore does the work; its errors are translated here and nowhere else. Reading a 0.4 MB model from a fresh
process takes it a tenth of boto3's time, which is why boto3 is never imported on the predict path.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from tensorlet.errors import Conflict, InvalidSetting, ObjectNotFound, PayloadTooLarge, StorageUnavailable

if TYPE_CHECKING:
    from tensorlet.registry.upload import Upload

CHUNK_BYTES = 4 << 20
RETRIES = 3  # obstore's default of ten keeps a request waiting for seconds when storage is down


class StoredObject(NamedTuple):
    """An object's bytes (a buffer, not copied) and the ETag they were read under."""

    data: Any
    etag: str


class ObjectInfo(NamedTuple):
    """What is known of an object; only `head` asks for `metadata`, what its writer said of it.

    `modified` is in seconds of Unix time, and only known from `walk`.
    """

    key: str
    size_bytes: int
    etag: str
    metadata: Mapping[str, str] = {}
    modified: float = 0.0


class Folder(NamedTuple):
    """What lies directly under a prefix: the names of its folders, and its objects."""

    folders: list[str]
    objects: list[ObjectInfo]


class Store:
    """One prefix of object storage. Keys are relative to it and use `/`.

    All methods raise StorageUnavailable when storage does not answer or refuses us.
    """

    def __init__(self, backend: Any, uri: str):
        self.backend = backend  # an obstore store
        self.uri = uri.rstrip("/")

    def get(self, key: str, limit_bytes: int | None = None) -> StoredObject:
        """The object; of one that is larger than `limit_bytes` nothing is read.

        Raises:
            ObjectNotFound, PayloadTooLarge.
        """
        import obstore

        with self.errors(key):
            return self._whole(key, obstore.get(self.backend, key), limit_bytes)

    def chunks(self, key: str) -> Iterator[bytes]:
        """The object in pieces of some megabytes, for one that need not be in memory as a whole.

        Raises ObjectNotFound.
        """
        import obstore

        with self.errors(key):
            yield from obstore.get(self.backend, key).stream(min_chunk_size=CHUNK_BYTES)

    def get_if_changed(self, key: str, etag: str, limit_bytes: int | None = None) -> StoredObject | None:
        """The object, or None while it is still the one read under `etag`. Raises as `get`."""
        import obstore
        from obstore.exceptions import NotModifiedError

        with self.errors(key):
            try:
                result = obstore.get(self.backend, key, options={"if_none_match": etag})
                return self._whole(key, result, limit_bytes)
            except NotModifiedError:
                return None

    def get_range(self, key: str, start: int, end: int) -> Any:
        """Bytes `start` (inclusive) to `end` (exclusive). Raises ObjectNotFound."""
        import obstore

        with self.errors(key):
            return obstore.get_range(self.backend, key, start=start, end=end)

    def read(self, key: str, start: int, end: int, etag: str) -> Any:
        """Bytes `start` to `end` (exclusive) of the object as it was under `etag`.

        Raises:
            ObjectNotFound.
            Conflict: the object is another one by now.
        """
        import obstore
        from obstore.exceptions import PreconditionError

        with self.errors(key):
            try:
                options: Any = {"range": (start, end), "if_match": etag}
                return obstore.get(self.backend, key, options=options).bytes()
            except PreconditionError:
                raise Conflict(f"{self.uri}/{key} was changed by somebody else") from None

    def head(self, key: str) -> ObjectInfo:
        """Raises ObjectNotFound."""
        import obstore

        with self.errors(key):
            found = obstore.get(self.backend, key, options={"head": True})
            metadata = {str(name): str(value) for name, value in found.attributes.items()}
            return ObjectInfo(key, found.meta["size"], found.meta["e_tag"] or "", metadata)

    def put(self, key: str, data: Any) -> str:
        """Write whatever was there before; returns the new ETag. `data` is bytes or a file path."""
        import obstore

        with self.errors(key):
            return obstore.put(self.backend, key, data)["e_tag"] or ""

    def create(self, key: str, data: Any) -> str:
        """Write only if nothing is there; returns the ETag. `data` is bytes or a file path.

        Raises:
            Conflict: the key exists.
        """
        import obstore
        from obstore.exceptions import AlreadyExistsError

        with self.errors(key):
            try:
                return obstore.put(self.backend, key, data, mode="create", use_multipart=False)["e_tag"] or ""
            except AlreadyExistsError:
                raise Conflict(f"{self.uri}/{key} exists already") from None

    def replace(self, key: str, data: bytes, etag: str) -> str:
        """Compare-and-swap: write only over the object read under `etag`; returns the new ETag.

        Raises:
            Conflict: the object has changed, or is gone.
        """
        import obstore
        from obstore.exceptions import PreconditionError

        with self.errors(key):
            if self.uri.startswith("file:"):
                return self._replace_file(key, data, etag)
            try:
                return obstore.put(self.backend, key, data, mode={"e_tag": etag})["e_tag"] or ""
            except (PreconditionError, FileNotFoundError):
                raise Conflict(f"{self.uri}/{key} was changed by somebody else") from None

    def delete(self, key: str) -> None:
        """Remove the object; it is no error if there is none."""
        import obstore

        with self.errors(key):
            try:
                obstore.delete(self.backend, key)
            except FileNotFoundError:
                return

    def remove(self, key: str, etag: str) -> None:
        """Remove the object read under `etag`.

        Raises:
            Conflict: the object is another one by now, or gone.
        """
        with self.errors(key):
            if self.uri.startswith("s3:"):
                from tensorlet.registry.upload import remove_from_s3

                remove_from_s3(self, key, etag)  # obstore has no conditional delete
                return
            with self.locked(key):
                self.expect(key, etag)
                self.delete(key)

    def upload(self, key: str) -> "Upload":
        """A writer for an object of any size, of which nothing is visible before its `commit`."""
        from tensorlet.registry.upload import Upload

        return Upload(self, key)

    def sign(self, method: Literal["GET", "PUT"], key: str, seconds: int) -> str:
        """A URL with which anybody may GET or PUT this object of S3 for so long."""
        from datetime import timedelta

        import obstore

        with self.errors(key):
            return str(obstore.sign(self.backend, method, key, timedelta(seconds=seconds)))

    def path(self, key: str) -> str:
        """The path of a key in a `file:` store."""
        return f"{self.uri.removeprefix('file://')}/{key}"

    def folder(self, prefix: str = "") -> Folder:
        """What lies directly under `prefix`; nothing at all gives an empty folder."""
        import obstore

        with self.errors(prefix):
            try:
                listing = obstore.list_with_delimiter(self.backend, prefix or None)
            except FileNotFoundError:
                return Folder([], [])
            names = [path.rstrip("/").rsplit("/", 1)[-1] for path in listing["common_prefixes"]]
            objects = [ObjectInfo(o["path"], o["size"], o["e_tag"] or "") for o in listing["objects"]]
            return Folder(sorted(names), objects)

    def walk(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """All objects in the folder `prefix` and below, in order of their keys."""
        if self.uri.startswith("s3:"):
            from tensorlet.registry.upload import walk_s3

            yield from walk_s3(self, prefix)  # obstore stops at a key that it cannot name
            return
        import obstore

        with self.errors(prefix):
            pages = list(obstore.list(self.backend, prefix or None))
        infos = [
            ObjectInfo(o["path"], o["size"], o["e_tag"] or "", modified=o["last_modified"].timestamp())
            for page in pages
            for o in page
        ]
        yield from sorted(infos, key=lambda info: info.key)

    def _whole(self, key: str, result: Any, limit_bytes: int | None) -> StoredObject:
        size_bytes = result.meta["size"]
        if limit_bytes is not None and size_bytes > limit_bytes:
            raise PayloadTooLarge(
                f"{self.uri}/{key}: expected at most {limit_bytes:,} bytes, got {size_bytes:,}"
            )
        return StoredObject(result.bytes(), result.meta["e_tag"] or "")

    def _replace_file(self, key: str, data: bytes, etag: str) -> str:
        """Compare-and-swap on a local file, which has no such operation: under a lock beside it."""
        import obstore

        with self.locked(key):
            self.expect(key, etag)
            return obstore.put(self.backend, key, data)["e_tag"] or ""

    def expect(self, key: str, etag: str) -> None:
        """Raises Conflict unless the object is the one read under `etag`."""
        try:
            if self.head(key).etag == etag:
                return
        except ObjectNotFound:
            pass
        raise Conflict(f"{self.uri}/{key} was changed by somebody else")

    @contextmanager
    def locked(self, key: str) -> Iterator[None]:
        """Hold the lock of a local file, which lies beside it; other stores need none."""
        if not self.uri.startswith("file:"):
            yield
            return
        import fcntl
        from pathlib import Path

        path = Path(self.path(key))
        path.parent.mkdir(parents=True, exist_ok=True)
        with (path.parent / f".{path.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    @contextmanager
    def errors(self, key: str) -> Iterator[None]:
        """Translate what obstore raises; its first line says what went wrong, the rest is a debug dump."""
        from obstore.exceptions import BaseError

        try:
            yield
        except FileNotFoundError:
            raise ObjectNotFound(f"{self.uri}/{key} does not exist") from None
        except (BaseError, OSError) as error:
            reason = str(error).partition("\n")[0]
            raise StorageUnavailable(f"{self.uri}/{key}: {reason}") from error


def open_store(uri: str, environ: Mapping[str, str] = os.environ) -> Store:
    """The store for `s3://bucket/prefix`, `file:///folder` or a plain folder path.

    S3 honours AWS_ENDPOINT_URL_S3, then AWS_ENDPOINT_URL (http and path style), AWS_REGION and the usual
    credentials.

    Raises:
        InvalidSetting: a URI of any other form.
    """
    scheme, separator, rest = uri.partition("://")
    if not separator or scheme == "file":
        return _file_store(rest if separator else uri)
    if scheme == "s3" and rest.strip("/"):
        return _s3_store(rest, environ)
    raise InvalidSetting(f"expected s3://bucket/prefix or file:///folder, got {uri!r}")


def _file_store(folder: str) -> Store:
    from obstore.store import LocalStore

    path = os.path.abspath(folder)  # noqa: PTH100  # pathlib is not imported on the cold path
    return Store(LocalStore(path, mkdir=True), f"file://{path}")


def _s3_store(location: str, environ: Mapping[str, str]) -> Store:
    from datetime import timedelta

    from obstore.store import S3Store

    bucket, _, prefix = location.strip("/").partition("/")
    options: dict[str, Any] = {
        "region": environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION") or "us-east-1"
    }
    endpoint = environ.get("AWS_ENDPOINT_URL_S3") or environ.get("AWS_ENDPOINT_URL")
    if endpoint:
        options["endpoint"] = endpoint
        options["virtual_hosted_style_request"] = False
        options["client_options"] = {"allow_http": endpoint.startswith("http:")}
    backend = S3Store(
        bucket,
        prefix=prefix or None,
        retry_config={"max_retries": RETRIES, "retry_timeout": timedelta(seconds=20)},
        **_credentials(environ),
        **options,
    )
    return Store(backend, f"s3://{bucket}/{prefix}")


def _credentials(environ: Mapping[str, str]) -> dict[str, Any]:
    """Credentials in the order of the AWS SDKs: environment, then container endpoint, then profile.

    A function has them in its environment. A restored SnapStart snapshot gets a container endpoint whose
    token is in the environment, which obstore does not read. A laptop has a profile, which only boto3 reads.
    """
    if environ.get("AWS_ACCESS_KEY_ID"):
        return {
            "access_key_id": environ["AWS_ACCESS_KEY_ID"],
            "secret_access_key": environ.get("AWS_SECRET_ACCESS_KEY", ""),
            **({"token": token} if (token := environ.get("AWS_SESSION_TOKEN")) else {}),
        }
    if environ.get("AWS_CONTAINER_CREDENTIALS_FULL_URI"):
        from tensorlet.registry.credentials import container_credentials

        return {"credential_provider": container_credentials(environ)}
    try:
        from obstore.auth.boto3 import Boto3CredentialProvider

        return {"credential_provider": Boto3CredentialProvider()}
    except (ImportError, ValueError):  # no boto3, or no profile: obstore looks for an instance role itself
        return {}
