"""An application whose views fail, hang and take long."""

import time
from collections.abc import Iterator

from flask import Flask, Response, request

app = Flask(__name__)


class OutOfStock(Exception):
    """What the shop raises."""


@app.get("/raise")
def fail() -> str:
    """Raise, with a secret in the message."""
    token = request.args.get("password", "none")
    raise OutOfStock(f"no tea, token={token}")


@app.get("/unavailable")
def unavailable() -> tuple[str, int]:
    """Answer 503 without an exception."""
    return "later\n", 503


@app.get("/quick")
def quick() -> str:
    """Answer at once."""
    return "quick\n"


@app.get("/work")
def work() -> str:
    """Answer after a while."""
    time.sleep(0.3)
    return "done\n"


@app.get("/spin")
def spin() -> str:
    """Never answer: a loop in Python."""
    while True:
        pass


@app.get("/sleep")
def sleep() -> str:
    """Answer after some seconds in C code."""
    time.sleep(2)
    return "slept\n"


@app.get("/endless")
def endless() -> Response:
    """Stream for ever."""

    def body() -> Iterator[str]:
        while True:
            yield "more\n"
            time.sleep(0.05)

    return Response(body(), mimetype="text/plain")
