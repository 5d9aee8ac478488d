"""An application with commands of its own, and streams that end by themselves."""

import os
import signal
import threading
import time
from collections.abc import Generator, Iterator
from typing import Any

import flask
import flask_sock

import flaskd

app = flask.Flask("commanded")
app.config.update(SECRET_KEY="hunter2", DATABASE_URL="postgresql://shop:hunter2@db/shop")

left = threading.Event()


@flaskd.worker_stopping.connect
def leave(sender: object) -> None:
    """Note that this worker leaves, where the test can see it."""
    with open(os.environ.get("LEFT", os.devnull), "a", encoding="utf-8") as file:
        file.write(f"{os.getpid()} {sender is app}\n")


@flaskd.command("whoami", on="each")
def whoami(greeting: str = "hello") -> dict[str, Any]:
    """Tell the process and the application."""
    return {"pid": os.getpid(), "app": flask.current_app.name, "greeting": greeting}


@flaskd.command("count", timeout=20)
def count(to: int) -> Generator[str, None, int]:
    """Count."""
    for number in range(1, to + 1):
        yield f"{number} of {to}"
    return to


@flaskd.command("meet", timeout=20)
def meet(at: str) -> str:
    """Wait until two calls are here, each of which makes a file in the directory `at`."""
    with open(os.path.join(at, f"{threading.get_native_id()}"), "w", encoding="utf-8"):
        pass
    while len(os.listdir(at)) < 2:
        time.sleep(0.01)
    return "met"


@flaskd.command("fail", on="each")
def fail(pid: int = 0, password: str = "") -> str:
    """Raise, in one process or in each."""
    if pid in {0, os.getpid()}:
        raise LookupError("no such \x1b[2J thing")
    return "fine"


@flaskd.command("odd")
def odd() -> object:
    """Return what JSON cannot have."""
    return object()


@flaskd.command("hang", timeout=0.5)
def hang(at: str) -> None:
    """Wait until there is a file `at`."""
    while not os.path.exists(at):
        time.sleep(0.01)


@flaskd.command("die")
def die() -> None:
    """End the process."""
    os.kill(os.getpid(), signal.SIGKILL)


@flaskd.command("wipe", role="admin")
def wipe() -> str:
    """Do what only an admin may."""
    return "wiped"


@app.get("/stream")
def stream() -> flask.Response:
    """Send events until this worker is to leave."""
    stopping = flask.current_app.extensions["flaskd"].stopping

    def body() -> Iterator[str]:
        yield "data: begun\n\n"
        while not stopping.wait(30):
            yield ": still here\n\n"
        yield "event: bye\ndata:\n\n"

    return flask.Response(body(), mimetype="text/event-stream")


@app.get("/leaving")
def leaving() -> str:
    """Tell whether this worker leaves."""
    return str(flask.current_app.extensions["flaskd"].stopping.is_set())


@app.get("/items/<int:item>")
def item(item: int) -> str:
    """Show an item."""
    return str(item)


sock = flask_sock.Sock(app)


@sock.route("/chat")  # type: ignore[untyped-decorator]  # flask-sock has no types
def chat(ws: Any) -> None:
    """Echo messages until this worker is to leave."""
    stopping = flask.current_app.extensions["flaskd"].stopping
    while not stopping.is_set():
        if (message := ws.receive(timeout=0.2)) is not None:
            ws.send(message)
