"""`python -P -m flaskd.worker DESCRIPTOR`: how a supervisor starts a worker.

-P keeps the application's directory off sys.path until the application is loaded: a file of it that is called as one of
Python's modules would be imported in its place.
"""

import sys

import flask.cli  # noqa: F401 - first, to know what `flask` has imported when it loads an application

FLASK: list[str] = list(sys.modules)

from flaskd.worker.main import main  # noqa: E402

main(FLASK)
