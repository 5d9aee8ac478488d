"""`python -P -m flaskd.worker DESCRIPTOR VERSION`: how a supervisor of this version starts a worker.

-P keeps the application's directory off sys.path until the application is loaded: a file there that has the name of a module of
Python's would be imported in its place.

flaskd on disk may have been replaced since the supervisor started. A worker of another version, or one that cannot be imported
completely, refuses the first call and exits.
"""

import json
import socket
import sys
import traceback
from typing import NoReturn

from flaskd.version import __version__


def refuse(message: str, hint: str) -> NoReturn:
    """Refuse the first call and exit. It needs none of the modules that may be missing (see `channel.messages.Refused`)."""
    line = json.dumps({"type": "refused", "number": 1, "message": message, "hint": hint})
    with socket.socket(fileno=int(sys.argv[1])) as channel:
        channel.sendall(f"{line}\n".encode())
    sys.exit(1)


if sys.argv[2:] != [__version__]:
    supervisor = sys.argv[2] if sys.argv[2:] else "another version"
    refuse(
        f"flaskd {__version__} is installed now, but this instance runs {supervisor}",
        "restart the instance to use the flaskd that is installed now",
    )
try:
    import flask.cli  # noqa: F401 - first, to know what `flask` has imported when it loads an application

    modules_of_flask = list(sys.modules)
    from flaskd.worker.main import main
except Exception as error:  # noqa: BLE001 - whatever half an installation raises
    traceback.print_exc()
    refuse(
        f"flaskd cannot be imported: {type(error).__name__}: {error}",
        "install flaskd again, with its dependencies, then try again",
    )
main(modules_of_flask)
