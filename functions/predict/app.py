"""API Gateway or Function URL event in, prediction out.

Everything at module scope runs during the cold start: settings are read, the registry's address is parsed, and a
thread loads the runtime meanwhile. The first request reads the manifest and loads the model, unless
TENSORLET_PRELOAD names it.
"""

import os
from _thread import start_new_thread  # `threading` would bring nothing but its import

from tensorlet.runtimes import load_runtime
from tensorlet.settings import Settings

settings = Settings.from_environ(os.environ)
start_new_thread(load_runtime, (settings.runtime or "onnx",))

from tensorlet.http.app import App  # noqa: E402  # imported while the thread is at work
from tensorlet.http.aws import make_handler  # noqa: E402
from tensorlet.serving.service import ModelService  # noqa: E402
from tensorlet.serving.snapstart import prepare  # noqa: E402
from tensorlet.telemetry import log_cold_start, log_metrics  # noqa: E402

service = ModelService.from_settings(settings)
prepare(service, os.environ)
handler = log_cold_start(log_metrics(make_handler(App(service)), service, settings.metrics_interval_s))
