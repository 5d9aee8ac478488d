"""The page "My site is slow": each of its commands, in its order, on the shop that misbehaves on purpose."""

import itertools
import re
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.daemons import PATIENCE, Daemon, StartDaemon
from tests.support.operating import client, ctl

pytestmark = pytest.mark.live

PAGE = Path(__file__).parents[2] / "docs" / "my-site-is-slow.md"
BLOCK = re.compile(r"```console\n\$ flaskd_ctl (.*?)\n(.*?)```", re.DOTALL)
HEAD = re.compile(r"^ *(?:[A-Z0-9][A-Za-z0-9/ ]*? {2,})+[A-Z][A-Za-z0-9/ ]*$", re.MULTILINE)

FOUND = {
    "requests --older 1s": r"GET +/report",
    "stats": r"1 h\n +report +/report (.|\n)* order +/order/<article>",  # the first takes most, the others hardly any
    "stats --endpoint report": r"report +/report",
    "requests --endpoint report --stacks": r"with lock:",
    "profile --seconds 4 --endpoint report": r"% +total at ",
    "errors": r"KeyError: 'milk' .*, in reserve +POST /order/milk",
    "slow --limit 3": r"GET +/report +report",
    "workers": r"serving",
    "history --limit 3": r"drain .*done(.|\n)*resume .*done",
}
"""What a reader of the page is to find in the output of each command."""

ARTICLES = ("tea", "coffee", "milk")


def ask(url: str, *, method: str = "GET") -> None:
    request = urllib.request.Request(url, method=method)
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE) as response:
            response.read()
    except urllib.error.HTTPError as error:
        error.close()


def keep_asking(over: threading.Event, urls: list[str], method: str, pause: float) -> None:
    for url in itertools.cycle(urls):
        if over.wait(pause):
            return
        ask(url, method=method)


@pytest.fixture
def troubled(start_daemon: StartDaemon) -> Iterator[Daemon]:
    """The shop under load, for as long as the test runs."""
    daemon = start_daemon("tests.support.troubled:app", "--workers", "2", "--threads", "8")
    over = threading.Event()
    orders = [f"{daemon.url}/order/{article}" for article in ARTICLES]
    loads = [
        ([f"{daemon.url}/", f"{daemon.url}/search"], "GET", 0.05),
        (orders, "POST", 0.2),
        *[([f"{daemon.url}/report"], "GET", 0.1)] * 6,
    ]
    threads = [threading.Thread(target=keep_asking, args=(over, *load)) for load in loads]
    for thread in threads:
        thread.start()
    yield daemon
    over.set()
    for thread in threads:
        thread.join(PATIENCE)


def heads(text: str) -> set[tuple[str, ...]]:
    """Return the heads of the tables, as words."""
    return {tuple(line.split()) for line in HEAD.findall(text)}


@pytest.mark.timeout(150)
def test_each_command_of_the_page_shows_what_the_page_says(troubled: Daemon) -> None:
    """With the same tables; nobody has to know another command to find the four faults."""
    with client(troubled) as shop:
        while not (errors := shop.errors()) or errors[0].count < 2 or len(shop.slow()) < 3:
            threading.Event().wait(0.1)
        while not any(request.age > 1 for request in shop.requests()):
            pass
        shop.drain()
        shop.resume()
    shown = BLOCK.findall(PAGE.read_text(encoding="utf-8"))

    assert [command for command, _ in shown] == list(FOUND)
    for command, output in shown:
        wanted = re.compile(FOUND[command])
        for _ in range(50):  # a request may have ended just now
            done = ctl(troubled.name, *command.split())
            if done.returncode or wanted.search(done.stdout):
                break
        assert done.returncode == 0, f"{command}: {done.stderr}"
        assert wanted.search(done.stdout), f"{command}: {done.stdout}"
        assert heads(output), command
        assert heads(output) <= heads(done.stdout), command
