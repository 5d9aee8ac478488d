"""A Flask application that takes two seconds to load and waits in each request, as one with a database does."""

import time

from flask import Flask

time.sleep(2)

app = Flask(__name__)


@app.get("/")
def wait() -> str:
    """Answer after a while, in which it needs no CPU."""
    time.sleep(0.1)
    return "hello"
