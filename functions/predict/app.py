"""API Gateway or Function URL event in, prediction out.

Everything at module scope runs during the cold start: settings are read and the registry's address is parsed.
The first request reads the manifest and loads the model, unless TENSORLET_PRELOAD names it.
"""

import os

from tensorlet.http.app import App
from tensorlet.http.aws import make_handler
from tensorlet.serving.service import ModelService
from tensorlet.serving.snapstart import prepare
from tensorlet.settings import Settings

service = ModelService.from_settings(Settings.from_environ(os.environ))
prepare(service, os.environ)
handler = make_handler(App(service))
