"""Everything Tensorlet can explain to its caller, as one tree; it knows nothing of HTTP.

TensorletError
├── InvalidRequest          the caller can mend it
│   ├── InvalidJson         the body is not the JSON it should be
│   ├── InvalidTensor       a tensor does not fit its own description
│   ├── SignatureMismatch   a tensor does not fit the model's signature
│   └── InferenceFailed     the runtime refused these values
├── NotFound
│   ├── RouteNotFound
│   ├── ModelNotFound
│   ├── VersionNotFound
│   ├── AliasNotFound
│   ├── PrecisionNotFound
│   └── ObjectNotFound      object storage has nothing under this key
├── MethodNotAllowed
├── PayloadTooLarge
├── UnsupportedEncoding
├── UnsupportedFeature
├── ModelUnavailable        the version exists and must not be served
│   └── ArtifactRefused     its bytes are not the ones published, or no runtime opens them
│       ├── DigestMismatch      a file is not the one its manifest lists
│       └── Untrusted           no trusted key vouches for a manifest, or for aliases
│           ├── Unsigned            there is no signature
│           ├── UnknownSigner       the keys that signed are not trusted
│           ├── InvalidSignature    the signature is not one by the key it names
│           ├── SignedForAnother    the signature belongs to another model, version or file
│           ├── ChangedAfterSigning the bytes are not those that were signed
│           └── Replayed            an older state of the aliases was put back
├── StorageUnavailable      object storage did not answer
├── Conflict                somebody else changed it first
├── InvalidSetting          an environment variable has a value we cannot use
└── PublishError            a model cannot be published
    ├── UntrustedSource     the source is a program; --trust-source is missing
    ├── ConversionFailed    no artifact could be made
    └── ParityError         an artifact does not answer like its source

The status code of each is in `tensorlet.http.status`.
"""


class TensorletError(Exception):
    """Something Tensorlet can explain to its caller: where, what was expected, what came."""


class InvalidRequest(TensorletError):
    """The request cannot be understood; the caller can mend it."""


class InvalidJson(InvalidRequest):
    """The body is not JSON, or not the JSON document this route takes."""


class InvalidTensor(InvalidRequest):
    """A tensor contradicts itself: unknown datatype, data that does not fill its shape, ragged lists."""


class SignatureMismatch(InvalidRequest):
    """Tensors that do not fit the model's signature: names, datatypes or shapes."""


class InferenceFailed(InvalidRequest):
    """The runtime refused values which the signature allows (an index out of range, say)."""


class NotFound(TensorletError):
    """There is no such thing."""


class RouteNotFound(NotFound):
    """No route has this path."""


class ModelNotFound(NotFound):
    """The registry has no model of this name."""


class VersionNotFound(NotFound):
    """The model has no such version."""


class AliasNotFound(NotFound):
    """The model has no such alias."""


class PrecisionNotFound(NotFound):
    """The version has no artifact of this precision."""


class ObjectNotFound(NotFound):
    """Object storage has nothing under this key."""


class MethodNotAllowed(TensorletError):
    """The path exists, the method does not; `allowed` are the methods that do."""

    def __init__(self, message: str, allowed: tuple[str, ...] = ()):
        super().__init__(message)
        self.allowed = allowed


class PayloadTooLarge(TensorletError):
    """A body, a tensor or a reply is over its limit."""


class UnsupportedEncoding(TensorletError):
    """A Content-Encoding other than gzip, deflate or identity."""


class UnsupportedFeature(TensorletError):
    """The protocol names it, this server does not do it."""


class ModelUnavailable(TensorletError):
    """The version exists and is not served now; the message says why."""


class ArtifactRefused(ModelUnavailable):
    """The stored bytes are not the ones published, or no runtime here can open them."""


class DigestMismatch(ArtifactRefused):
    """A file is not the one its manifest lists: changed, swapped, cut short or gone."""


class Untrusted(ArtifactRefused):
    """TENSORLET_TRUSTED_KEYS is set, and none of those keys vouches for these bytes."""


class Unsigned(Untrusted):
    """There is no signature."""


class UnknownSigner(Untrusted):
    """It is signed, by keys that are not trusted here."""


class InvalidSignature(Untrusted):
    """What should be the signature is not one by the key it names."""


class SignedForAnother(Untrusted):
    """A good signature, of another model, another version or another file."""


class ChangedAfterSigning(Untrusted):
    """A good signature, of other bytes under the same name."""


class Replayed(Untrusted):
    """A signed state of the aliases that has been replaced by a later one."""


class StorageUnavailable(TensorletError):
    """Object storage did not answer, or refused us."""


class Conflict(TensorletError):
    """A durable change lost against somebody else's; nothing was changed."""


class InvalidSetting(TensorletError):
    """A setting has a value that cannot be used; the message names its key."""


class PublishError(TensorletError):
    """A model cannot be published; nothing was written."""


class UntrustedSource(PublishError):
    """The source format can run code and the caller did not say that it may."""


class ConversionFailed(PublishError):
    """No artifact could be made from the source."""


class ParityError(PublishError):
    """An artifact answers differently from its source model."""
