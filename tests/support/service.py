"""A machine with flaskd in it as an administrator has it, and a unit of it, operated and looked at."""

import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from tests.support.booted import Machine
from tests.support.daemons import PATIENCE

PROJECT: Final = Path(__file__).parents[2]
UNITS: Final = "/etc/systemd/system"
SITE: Final = "/srv/shop"
BIN: Final = f"{SITE}/.venv/bin"
SOURCE: Final = "/opt/flaskd"
ENVIRONMENT: Final = "/opt/environment"
PAGE: Final = PROJECT / "docs" / "systemd.md"


@contextlib.contextmanager
def machine_with_site(*, layer: Path | None = None) -> Iterator[tuple[Machine, Path]]:
    """Boot; /srv/shop holds the application of the live tests and a .venv; it is a directory of the host."""
    site = Path(tempfile.mkdtemp(prefix="fd-shop-", dir="/tmp"))
    site.chmod(0o755)
    shutil.copy(Path(__file__).with_name("shop.py"), site)
    make_environment(site / ".venv")
    os.mkfifo(site / "gate")
    (site / "gate").chmod(0o644)
    binds = [(str(PROJECT), SOURCE), (sys.prefix, ENVIRONMENT), (str(site), SITE)]
    try:
        with Machine(binds, open_for_all=(sys.base_prefix,), layer=layer) as booted:
            yield booted, site
    finally:
        shutil.rmtree(site)


PROGRAMS: Final = {"flaskd": "flaskd.cli:main", "flaskd_ctl": "flaskd_ctl.cli.main:main"}


def make_environment(directory: Path, programs: Mapping[str, str] = PROGRAMS) -> None:
    """Make what `python3 -m venv` and `pip install` make, out of this environment, which may be anywhere on the host."""
    base = os.path.realpath(sys.executable)
    packages = sysconfig.get_path("purelib", vars={"base": ENVIRONMENT})
    inner = Path(sysconfig.get_path("purelib", vars={"base": str(directory)}))
    inner.mkdir(parents=True)
    (directory / "bin").mkdir()
    (directory / "pyvenv.cfg").write_text(f"home = {os.path.dirname(base)}\n")
    (directory / "bin/python").symlink_to(base)
    # Not its path only: it may have .pth files of its own.
    (inner / "flaskd.pth").write_text(f"{SOURCE}\nimport site; site.addsitedir({packages!r})\n")
    for program, entry in programs.items():
        module, _, function = entry.partition(":")
        script = directory / "bin" / program
        script.write_text(
            f"#!{BIN}/python\nimport sys\nfrom {module} import {function}\n\nsys.exit({function}())\n"
        )
        script.chmod(0o755)


class Connection(http.client.HTTPConnection):
    """An HTTP connection to the machine's own loopback."""

    def __init__(self, machine: Machine, port: int) -> None:
        super().__init__("127.0.0.1", port)
        self._machine = machine

    def connect(self) -> None:
        """Open the socket in the machine's network namespace."""
        self.sock = self._machine.connect(self.host, self.port)


class Service:
    """The unit `name` in the machine, and ways to look at it."""

    def __init__(self, machine: Machine, site: Path, *, name: str = "shop", port: int = 8000) -> None:
        self.machine = machine
        self.site = site
        self.name = name
        self.port = port

    def make(self, *args: str, app: str = "shop:app") -> None:
        """Have `flaskd systemd unit` write the units of this service, in place of those that there were."""
        self.machine.run(
            f"{BIN}/flaskd", "systemd", "unit", app, "--name", self.name, "--directory", SITE,
            "--output", UNITS, *args,
        )  # fmt: skip
        self.systemctl("daemon-reload")

    def remove(self) -> None:
        """Stop it, whatever it is doing, and remove its units."""
        self.machine.run("sh", "-c", f"systemctl kill --signal KILL {self.name} || :")  # where it still runs
        self.machine.run("sh", "-c", f"systemctl stop {self.name}.socket {self.name} || :")
        print(self.journal())
        directory = self.machine.root / UNITS[1:]
        for kind in ("service", "socket"):
            (directory / f"{self.name}.{kind}").unlink(missing_ok=True)
            shutil.rmtree(directory / f"{self.name}.{kind}.d", ignore_errors=True)
        self.machine.run("sh", "-c", f"systemctl reset-failed {self.name} || :")
        self.systemctl("daemon-reload")

    def systemctl(self, *args: str, expect: int = 0) -> str:
        """Run `systemctl` in the machine."""
        return self.machine.run("systemctl", *args, expect=expect)

    def property(self, name: str) -> str:
        """Return a property of the unit."""
        return self.systemctl("show", "--value", "--property", name, self.name).strip()

    def control(self, *args: str, expect: int = 0) -> str:
        """Run `flaskd_ctl` for this instance, as root."""
        return self.machine.run(f"{BIN}/flaskd_ctl", "--name", self.name, *args, expect=expect)

    def journal(self, *args: str) -> str:
        """Return what the journal has of the unit."""
        self.machine.run("journalctl", "--sync")
        return self.machine.run("journalctl", "--no-pager", "--unit", self.name, "--output", "cat", *args)

    def processes(self) -> list[str]:
        """Every process of the unit's cgroup."""
        path = os.path.join(self.machine.cgroup, "system.slice", f"{self.name}.service", "cgroup.procs")
        with contextlib.suppress(FileNotFoundError), open(path, encoding="ascii") as processes:
            return processes.read().split()
        return []

    def get(self, path: str) -> tuple[int, bytes]:
        """GET `path`: status and body."""
        with contextlib.closing(Connection(self.machine, self.port)) as connection:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read()

    @contextlib.contextmanager
    def held(self) -> Iterator[http.client.HTTPResponse]:
        """A request that is in the application, its answer begun; `release` lets it go on."""
        with contextlib.closing(Connection(self.machine, self.port)) as connection:
            connection.request("GET", "/held")
            response = connection.getresponse()
            assert (response.status, response.readline()) == (200, b"begun\n")
            yield response

    def release(self) -> None:
        """Open the gate on which the held request waits."""
        with open(self.site / "gate", "wb"):
            pass

    @contextlib.contextmanager
    def events(self) -> Iterator[Iterator[dict[str, Any]]]:
        """What the instance tells a subscriber of its plain socket."""
        with socket.socket(socket.AF_UNIX) as peer:
            peer.settimeout(PATIENCE)
            peer.connect(str(self.machine.root / f"run/flaskd/{self.name}/sock"))
            peer.sendall(b'{"jsonrpc":"2.0","id":1,"method":"events"}\n')
            with peer.makefile("rb") as lines:
                messages = map(json.loads, lines)
                assert "result" in next(messages)
                yield (message["params"]["event"] for message in messages)

    @contextlib.contextmanager
    def journal_follows(self) -> Iterator[Iterator[str]]:
        """What the journal gets about the unit from now on, the manager's own words included."""
        shown = self.machine.run("journalctl", "--no-pager", "--lines", "0", "--show-cursor")
        cursor = shown.partition("cursor: ")[2].strip()
        follow = self.machine.popen(
            *("journalctl", "--follow", "--no-pager", "--output", "cat"),
            *("--after-cursor", cursor, "--unit", self.name),
        )
        try:
            assert follow.stdout is not None
            yield iter(follow.stdout)
        finally:
            os.killpg(follow.pid, signal.SIGKILL)
            follow.communicate()

    @contextlib.contextmanager
    def told(self, what: str) -> Iterator[Iterator[str]]:
        """The values of `what` (STATUS, WATCHDOG) in the daemon's messages from now on: the manager logs them when asked to."""
        self.systemctl("log-level", "debug")
        pattern = re.compile(rf"Got notification message .*[(\s]{what}=(.*?)(?:, [A-Z_]+=.*)?\)")
        try:
            with self.journal_follows() as lines:
                yield (found[1] for found in map(pattern.search, lines) if found)
        finally:
            self.systemctl("log-level", "info")

    @contextlib.contextmanager
    def broken(self) -> Iterator[None]:
        """Have the application not import any more, for a while."""
        source = self.site / "shop.py"
        good = source.read_text()
        source.write_text(good + "\nraise RuntimeError('the database is down')\n")
        try:
            yield
        finally:
            source.write_text(good)

    def drop_in(self, text: str) -> None:
        """Add `text` to the unit, as an administrator does."""
        directory = self.machine.root / UNITS[1:] / f"{self.name}.service.d"
        directory.mkdir()
        (directory / "test.conf").write_text(text)
        self.systemctl("daemon-reload")


class Load:
    """The classifying client in the machine, from `with` to `end`, which returns its report."""

    def __init__(self, machine: Machine, target: str, *args: str) -> None:
        command = [f"{BIN}/python", "-m", "tests.support.load", target, "--until-eof", "--seconds", "280"]
        command += ["--count", "200000", *args]
        self._process = subprocess.Popen(
            ["nsenter", "--target", str(machine.pid), "--all", *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env={"PATH": "/usr/bin:/bin"},
        )

    def __enter__(self) -> "Load":
        assert self._process.stdout is not None
        assert "warm" in json.loads(self._process.stdout.readline())
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.communicate()

    def end(self) -> dict[str, Any]:
        """Send nothing new, and return what became of every request."""
        output, _ = self._process.communicate(timeout=2 * PATIENCE)
        report: dict[str, Any] = json.loads(output)
        return report
