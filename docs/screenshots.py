"""Draw what `flaskd_ctl top` and the page of `flaskd_ctl web` show, for the documentation: a real instance under load.

python docs/screenshots.py [DIRECTORY]        # default: docs/images
"""

import asyncio
import contextlib
import functools
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from typing import Final

import requests
from textual.pilot import Pilot

from flaskd_ctl import Client
from flaskd_ctl.discovery.instances import Instances
from flaskd_ctl.live.source import Source
from flaskd_ctl.top.app import Top

HERE: Final = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))  # for what the tests have too

import screenshots_web  # noqa: E402

SMALL: Final = (80, 24)
WIDE: Final = (160, 45)
PATIENCE: Final = 60.0

SHOP: Final = """
import logging, time
from flask import Flask
app = Flask(__name__)
@app.get("/")
def front(): return "welcome"
@app.get("/search")
def search():
    time.sleep(0.03)
    return "found"
@app.get("/reports/<int:year>")
def report(year):
    return str(add_up(orders_of(year)))
def orders_of(year):
    time.sleep(1.2)
    return range(year)
def add_up(orders):
    until, total = time.monotonic() + 0.3, 0
    while time.monotonic() < until:
        total += sum(map(price, orders))
    return total
def price(order):
    return order * 3 % 100
@app.post("/orders")
def order():
    logging.getLogger("shop").warning("stock is low")
    raise ValueError("no tea left")
"""

PATHS: Final = (
    ("GET", "/"),
    ("GET", "/search"),
    ("GET", "/search"),
    ("POST", "/orders"),
    ("GET", "/no-such-page"),
)


def main() -> None:
    """Draw all screens."""
    images = sys.argv[1] if len(sys.argv) > 1 else os.path.join(HERE, "images")
    os.makedirs(images, exist_ok=True)
    with _shop() as (runtime_dir, shop, url), _load(url):
        for theme in ("dark", "light"):
            asyncio.run(_draw(Instances(runtime_dir), shop, images, theme=theme))
        screenshots_web.draw(runtime_dir, images, happens=functools.partial(_make_events, shop))


async def _draw(instances: Instances, shop: Client, images: str, *, theme: str) -> None:
    for size, keys, name in ((WIDE, (), "wide"), (SMALL, ("3",), "endpoints")):
        top = Top([Source("shop", lambda: instances.target("shop"), timeout=PATIENCE)], interval=0.5)
        async with top.run_test(size=size) as pilot:
            top.theme = f"textual-{theme}"
            await asyncio.to_thread(_make_events, shop)
            await _until(pilot, functools.partial(_worth_seeing, top))
            await pilot.press(*keys)
            await pilot.pause(0.7)  # the next look draws what fits
            top.save_screenshot(f"top-{name}-{theme}.svg", images)


def _make_events(shop: Client) -> None:
    """Take the instance out of rotation and back, and replace a worker."""
    shop.drain()
    shop.resume()
    shop.restart_worker(shop.workers()[0].id)


def _worth_seeing(top: Top) -> bool:
    """Tell whether there is a history of rates, and a slow request in flight that will stay for a moment."""
    in_flight = top.chosen.seen.answers.get("requests", {}).get("requests") or []
    return len(top.chosen.seen.rates) > 8 and any(
        one.get("endpoint") == "report" and one.get("age") < 0.8 for one in in_flight
    )


async def _until(pilot: Pilot[None], so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not so():
        if time.monotonic() > deadline:
            raise TimeoutError("the screen did not come to show what was waited for")
        await pilot.pause(0.05)


@contextlib.contextmanager
def _shop() -> Iterator[tuple[str, Client, str]]:
    """Run an instance of its own, on a port that the kernel chooses."""
    with tempfile.TemporaryDirectory(prefix="fd-", dir="/tmp") as directory:
        with open(os.path.join(directory, "shop.py"), "w", encoding="utf-8") as file:
            file.write(SHOP)
        runtime = os.path.join(directory, "r")
        os.mkdir(runtime, mode=0o700)
        options = ["--bind", "127.0.0.1:0", "--workers", "2", "--threads", "8", "--engine", "waitress"]
        daemon = subprocess.Popen(
            [sys.executable, "-m", "flaskd", "run", "shop:app", *options],
            cwd=directory,
            env={**os.environ, "FLASKD_RUNTIME_DIR": runtime, "XDG_STATE_HOME": directory},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            with Client("shop", runtime_dir=runtime) as client:
                status = client.wait("ready", timeout=PATIENCE)
                assert status is not None
                yield runtime, client, status.listeners[0]
                client.shutdown(grace=5)
        finally:
            daemon.kill()
            daemon.wait()


@contextlib.contextmanager
def _load(url: str) -> Iterator[None]:
    """Have six clients ask, until the end."""
    over = threading.Event()

    def ask(number: int) -> None:
        paths = [("GET", "/reports/2026")] if number < 2 else PATHS
        for turn in range(10_000):
            if over.wait(0.02):
                return
            method, path = paths[turn % len(paths)]
            with contextlib.suppress(requests.RequestException):
                requests.request(method, f"{url}{path}", timeout=PATIENCE)

    clients = [threading.Thread(target=ask, args=(number,)) for number in range(6)]
    for client in clients:
        client.start()
    try:
        yield
    finally:
        over.set()
        for client in clients:
            client.join()


if __name__ == "__main__":
    main()
