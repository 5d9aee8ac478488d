"""A shop that misbehaves on purpose: docs/my-site-is-slow.md looks for what is wrong with it."""

import threading
import time

from flask import Flask

app = Flask(__name__)
lock = threading.Lock()
kept: list[bytes] = []


@app.get("/")
def front() -> str:
    """Answer at once."""
    return "welcome"


@app.get("/search")
def search() -> str:
    """Answer soon."""
    return "found " + ", ".join(sorted(str(number) for number in range(2000)))[:20]


@app.get("/report")
def report() -> str:
    """Take one second, one request after the other: each waits for the lock."""
    with lock:
        return total()


def total() -> str:
    """Add up the orders."""
    until, orders = time.monotonic() + 1, 0
    while time.monotonic() < until:
        orders += sum(range(1000))
    return str(orders)


@app.post("/order/<article>")
def order(article: str) -> str:
    """Fail for what is not in stock, and keep a megabyte of each order."""
    kept.append(b"x" * 1024 * 1024)
    return f"{reserve(article)} left"


def reserve(article: str) -> int:
    """Take one of the article from the stock."""
    return {"tea": 12, "coffee": 3}[article]
