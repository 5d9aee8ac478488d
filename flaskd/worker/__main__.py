"""`python -P -m flaskd.worker DESCRIPTOR VERSION [template]`: how a supervisor of this version starts a worker, or a template.

With `early` behind it, the worker is started before the supervisor has anything for it, and waits (see `handover`). `forked`
is the same in a process that was forked from the one that has become the supervisor.

-P keeps the application's directory off sys.path until the application is loaded: a file there that has the name of a module of
Python's would be imported in its place.

flaskd on disk may have been replaced since the supervisor started. A worker of another version, or one that cannot be imported
completely, refuses the first call and exits.
"""

import gc
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


def receive_early() -> None:
    """Wait for what this process has to serve, if it was started before that was known."""
    if sys.argv[3:] in (["early"], ["forked"]):
        from flaskd.worker.handover import receive

        channel, role = receive(int(sys.argv[1]))
        sys.argv[1:] = [str(channel), sys.argv[2], *(["template"] if role == "template" else [])]


gc.disable()  # what is imported here stays: collecting garbage only takes time, and walks through it again and again
if sys.argv[2:3] != [__version__]:
    receive_early()
    supervisor = sys.argv[2] if sys.argv[2:] else "another version"
    refuse(
        f"flaskd {__version__} is installed now, but this instance runs {supervisor}",
        "restart the instance to use the flaskd that is installed now",
    )
try:
    import flask.cli  # noqa: F401 - first, to know what `flask` has imported when it loads an application

    modules = list(sys.modules)
    import flaskd.worker.main
    from flaskd.app import namesakes

    # Here more than Flask was imported before: another process tells, if it matters.
    kept = namesakes.modules_of_flask if sys.argv[3:] == ["forked"] else lambda: modules
except Exception as error:  # noqa: BLE001 - whatever half an installation raises
    receive_early()
    traceback.print_exc()
    refuse(
        f"flaskd cannot be imported: {type(error).__name__}: {error}",
        "install flaskd again, with its dependencies, then try again",
    )
gc.freeze()
gc.enable()
receive_early()
if sys.argv[3:] == ["template"]:
    import flaskd.worker.template

    flaskd.worker.template.main(kept)
else:
    flaskd.worker.main.main(kept)
