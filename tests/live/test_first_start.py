"""A worker is lost while the first workers are still loading."""

from pathlib import Path

import pytest

from tests.support.balancers import free_ports
from tests.support.caller import Caller
from tests.support.daemons import StartDaemon
from tests.support.operating import client

pytestmark = pytest.mark.live

APP = """
import fcntl, os, socket, threading, flask

def poison():
    with socket.create_connection(("127.0.0.1", int(os.environ["PORT"]))) as sock:
        sock.sendall(b"GET /die HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n")
        sock.recv(1)

first = open("first", "w")
try:
    fcntl.flock(first, fcntl.LOCK_EX | fcntl.LOCK_NB)
except OSError:  # the second worker loads until the first one has died
    fcntl.flock(first, fcntl.LOCK_EX)
if os.path.exists("died"):
    first.close()
else:  # once the first accepts, it gets a request that kills it
    threading.Thread(target=poison, daemon=True).start()

app = flask.Flask(__name__)
@app.get("/")
def index():
    return "ok"
@app.get("/die")
def die():
    open("died", "w").close()
    os._exit(3)
"""


@pytest.mark.parametrize("engine", ["waitress", "granian"])
def test_a_request_that_kills_its_worker_during_the_first_start_ends_nobody_else(
    start_daemon: StartDaemon, tmp_path: Path, engine: str
) -> None:
    """It is a crash, and the worker is replaced."""
    (tmp_path / "shop.py").write_text(APP)
    port = free_ports("127.0.0.1", 1)[0]
    options = ("--workers", "2", "--engine", engine, "--bind", f"127.0.0.1:{port}")
    daemon = start_daemon("shop:app", *options, cwd=tmp_path, environ={"PORT": str(port)})
    with client(daemon) as shop:
        incident = shop.incidents()[0]
        assert (incident.kind, incident.reason) == ("crash", "exit code 3")
        assert [request.path for request in shop.incidents(incident.id)[0].requests] == ["/die"]
        assert shop.status().restarts == 1
    with Caller(daemon.url) as caller:
        assert caller.get("/").text() == "ok"
