"""The application of the live tests: its slow request ends when the test says so, not when a clock does."""

import os
from collections.abc import Iterator

from flask import Flask, Response

app = Flask(__name__)


@app.get("/")
def front() -> str:
    """Answer at once, with the process id."""
    return f"{os.getpid()}\n"


@app.get("/held")
def held() -> Response:
    """Begin to answer, then wait for somebody to open the FIFO named by SHOP_GATE for writing."""

    def body() -> Iterator[str]:
        yield "begun\n"
        with open(os.environ.get("SHOP_GATE", "gate"), "rb") as gate:
            gate.read()
        yield "finished\n"

    return Response(body(), mimetype="text/plain")
