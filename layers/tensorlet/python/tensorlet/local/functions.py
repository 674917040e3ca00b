"""The Lambda functions of the checkout, called as Lambda calls them: in their environment, with a context."""

import os
import sys
import time
from collections.abc import Callable
from importlib import util
from pathlib import Path
from typing import Any
from uuid import uuid4

from tensorlet.errors import InvalidSetting

Handler = Callable[[Any, Any], Any]

MEMORY_MB = 1769  # one virtual CPU
TIMEOUT_S = 30
REGION = "us-east-1"


class LambdaContext:
    """The context object of the Python runtime.

    Source: AWS Lambda developer guide, "Using the Lambda context object to retrieve Python function information".
    """

    identity = None
    client_context = None
    function_version = "$LATEST"
    memory_limit_in_mb = str(MEMORY_MB)  # the runtime gives text

    def __init__(self, function_name: str, timeout_s: float = TIMEOUT_S):
        self.function_name = function_name
        self.invoked_function_arn = f"arn:aws:lambda:{REGION}:123456789012:function:{function_name}"
        self.aws_request_id = str(uuid4())
        self.log_group_name = f"/aws/lambda/{function_name}"
        self.log_stream_name = f"{time.strftime('%Y/%m/%d')}/[$LATEST]{uuid4().hex}"
        self._deadline = time.monotonic() + timeout_s

    def get_remaining_time_in_millis(self) -> int:
        return max(0, round(1000 * (self._deadline - time.monotonic())))


def load_handler(name: str, registry: str, output: str) -> Handler:
    """The handler of functions/NAME/app.py, in the environment that the template gives the function.

    `registry` and `output` are URIs; what the environment already says about anything else is respected.

    Raises:
        InvalidSetting: there is no checkout here.
    """
    file = find_functions() / name / "app.py"
    os.environ.update(TENSORLET_REGISTRY=registry, TENSORLET_OUTPUT=output)
    for key, value in environment(name).items():
        os.environ.setdefault(key, value)
    sys.path.insert(0, str(file.parent))  # Lambda has the function's folder on the path
    spec = util.spec_from_file_location(f"tensorlet_function_{name}", file)
    if spec is None or spec.loader is None:
        raise InvalidSetting(f"{file} is not a Python file")
    module = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    handler: Handler = module.handler
    return handler


def environment(name: str) -> dict[str, str]:
    """What Lambda and the template put into the environment of function `name`."""
    return {
        "AWS_LAMBDA_FUNCTION_NAME": name,
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(MEMORY_MB),
        "AWS_DEFAULT_REGION": REGION,
        "POWERTOOLS_SERVICE_NAME": "tensorlet",
        "POWERTOOLS_METRICS_NAMESPACE": "Tensorlet",
    }


def find_functions() -> Path:
    """The folder `functions` of the checkout: the current folder's, else the one this package was installed from.

    Raises:
        InvalidSetting: naming both places.
    """
    places = [Path.cwd(), Path(__file__).resolve().parents[5]]
    for place in places:
        if (place / "functions" / "predict" / "app.py").is_file():
            return place / "functions"
    raise InvalidSetting(
        f"no functions/predict/app.py in {' or '.join(map(str, places))}; run this in a checkout of Tensorlet"
    )
