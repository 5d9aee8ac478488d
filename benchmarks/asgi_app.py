"""The WSGI application named by BENCHMARK_APP behind a2wsgi, for uvicorn."""

import importlib
import os

from a2wsgi import WSGIMiddleware

_module, _, _attribute = os.environ["BENCHMARK_APP"].partition(":")
app = WSGIMiddleware(getattr(importlib.import_module(_module), _attribute), workers=8)
