"""Real balancers for tests: the configuration that docs/load-balancers.md shows, with addresses of this test in it."""

import csv
import os
import re
import select
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, Self

from tests.support.daemons import PATIENCE

PAGE: Final = Path(__file__).parents[2] / "docs" / "load-balancers.md"


def shown(language: str) -> str:
    """Return the one block of this language on the page."""
    blocks = re.findall(
        rf"^```{language}\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )
    assert len(blocks) == 1
    return str(blocks[0])


def replaced(text: str, others: Mapping[str, str]) -> str:
    """Put something else in the place of each of these, all of which must be there."""
    for there in others:
        assert there in text
    return re.sub("|".join(map(re.escape, others)), lambda found: others[found.group()], text)


def own_address(number: int) -> str:
    """Return a loopback address (`number` 1 to 15) that no other process uses, not even for connections that it makes.

    So a port there is free again when who had it has ended: at 127.0.0.1 any connection may have been given it meanwhile.
    """
    pid = os.getpid()
    return f"127.{pid >> 12 & 255}.{pid >> 4 & 255}.{(pid & 15) << 4 | number}"


def free_ports(host: str, count: int) -> list[int]:
    """Let the kernel choose ports."""
    sockets = [socket.create_server((host, 0)) for _ in range(count)]
    try:
        return [int(each.getsockname()[1]) for each in sockets]
    finally:
        for each in sockets:
            each.close()


class Balancer:
    """A balancer's process, as a context manager; it is ended by its own pid.

    It inherits `listener`, so that clients may connect at once.
    """

    def __init__(
        self,
        command: Sequence[str],
        directory: Path,
        listener: socket.socket,
        *,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self._command = command
        self._log = directory / "balancer.log"
        self._listener = listener
        self._environ = {**os.environ, **(environ or {})}

    @property
    def url(self) -> str:
        """Where it serves."""
        host, port = self._listener.getsockname()
        return f"http://{host}:{port}"

    def __enter__(self) -> Self:
        with open(self._log, "wb") as log:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=[self._listener.fileno()],
                env=self._environ,
            )
        return self

    def __exit__(self, *_: object) -> None:
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(PATIENCE)
        print(f"--- {self._command[0]}:\n{self._log.read_text(errors='replace')}")


def haproxy(directory: Path, listener: socket.socket, addresses: Mapping[str, str]) -> Balancer:
    """Make HAProxy as the page has it; its runtime socket is `admin.sock` in `directory`."""
    others = {":80\n": f" fd@{listener.fileno()}\n", "/run/haproxy/": f"{directory}/", **addresses}
    config = directory / "haproxy.cfg"
    config.write_text(replaced(shown("haproxy"), others))
    return Balancer(["haproxy", "-db", "-f", str(config)], directory, listener)


def nginx(directory: Path, listener: socket.socket, addresses: Mapping[str, str]) -> Balancer:
    """Make nginx as the page has it, with its files in `directory`."""
    host, port = listener.getsockname()
    server = replaced(shown("nginx"), {"listen 80;": f"listen {host}:{port};", **addresses})
    places = "".join(
        f"{kind}_temp_path {directory}/{kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    config = directory / "nginx.conf"
    config.write_text(
        f"daemon off;\npid {directory}/nginx.pid;\nerror_log stderr;\nevents {{}}\n"
        f"http {{\naccess_log off;\n{places}{server}}}\n"
    )
    # As in an upgrade of its binary: nginx takes over the listeners whose numbers are in NGINX.
    environ = {"NGINX": f"{listener.fileno()};"}
    command = ["nginx", "-p", str(directory), "-c", str(config), "-e", "stderr"]
    return Balancer(command, directory, listener, environ=environ)


def wait_until(condition: Callable[[], object]) -> None:
    """Look again and again: a balancer tells nobody what it has learned. Fail if it does not come true."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        select.select([], [], [], 0.05)


def seen(directory: Path, server: str) -> dict[str, str]:
    """Return what HAProxy knows of a server: its row of `show stat`."""
    rows = csv.DictReader(runtime(directory, "show stat").removeprefix("# ").splitlines())
    return next(row for row in rows if row["svname"] == server)


def runtime(directory: Path, command: str) -> str:
    """Give HAProxy an order over its runtime socket; return what it says."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(PATIENCE)
        connection.connect(f"{directory}/admin.sock")
        connection.sendall(f"{command}\n".encode())
        return connection.makefile().read()
