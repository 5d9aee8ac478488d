"""An application whose requests end when the test says so: each waits at a gate, a Unix socket that the test serves.

Served by its path, so it imports nothing from the tests.
"""

import ctypes
import multiprocessing
import os
import socket
from collections.abc import Iterator

from flask import Flask, Response, request

app = Flask(__name__)


def hold(label: str) -> None:
    """Tell the test who waits here, and wait until it lets us go."""
    with socket.socket(socket.AF_UNIX) as gate:
        gate.connect(os.environ["GATE"])
        gate.sendall(f"{label} {os.getpid()}\n".encode())
        gate.recv(1)


@app.get("/")
def front() -> str:
    """Answer at once."""
    return "front\n"


@app.get("/held")
def held() -> str:
    """Answer when let go."""
    hold("held")
    return "let go\n"


@app.get("/stream")
def stream() -> Response:
    """Send a part, wait, send the rest."""

    def parts() -> Iterator[str]:
        yield "first part\n"
        hold("stream")
        yield "last part\n"

    return Response(parts(), mimetype="text/plain")


@app.post("/upload")
def upload() -> str:
    """Say that the request is here, then read its body."""
    hold("upload")
    return f"{len(request.get_data())} bytes\n"


@app.get("/bytes/<int:size>")
def large(size: int) -> Response:
    """Send so many bytes."""
    return Response(b"x" * size, mimetype="application/octet-stream")


@app.post("/fork")
def fork() -> str:
    """Leave a child behind that has inherited everything this process had open."""
    child = os.fork()
    if not child:
        hold("child")
        os._exit(0)
    return f"{child}\n"


@app.post("/fork-in-c")
def fork_unseen() -> str:
    """Do the same without Python's knowledge, as a C library may: no at-fork hook runs."""
    child: int = ctypes.PyDLL(None).fork()
    if not child:
        hold("child")
        os._exit(0)
    return f"{child}\n"


@app.post("/multiprocessing")
def fork_by_library() -> str:
    """Do the same by the standard library's way."""
    child = multiprocessing.get_context("fork").Process(target=hold, args=("child",))
    child.start()
    return f"{child.pid}\n"
