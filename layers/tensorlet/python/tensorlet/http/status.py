"""The status code of every error: the only place that knows both."""

from tensorlet import errors

STATUS: dict[type[errors.TensorletError], int] = {
    errors.InvalidRequest: 400,
    errors.NotFound: 404,
    errors.MethodNotAllowed: 405,
    errors.Conflict: 409,
    errors.PayloadTooLarge: 413,
    errors.UnsupportedEncoding: 415,
    errors.InvalidSetting: 500,
    errors.PublishError: 500,
    errors.UnsupportedFeature: 501,
    errors.ModelUnavailable: 503,
    errors.StorageUnavailable: 503,
}
RETRY_AFTER_S = {503: "5", 429: "1"}


def status_of(error: errors.TensorletError) -> int:
    """The status of the nearest class in the error's ancestry."""
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)
