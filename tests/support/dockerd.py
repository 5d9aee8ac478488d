"""A dockerd of our own in new pid, network and mount namespaces: nothing of it outlives the test, or is the host's.

Images are imported and built (`image`), nothing is fetched. Its networks are seen in there only: `popen` runs a program beside
them. The dockerd says READY=1 when it can be asked. Needs root, and the packages docker.io, iptables, iproute2.
"""

import contextlib
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from tests.support.daemons import PATIENCE
from tests.support.image import ENVIRONMENT, write_base
from tests.support.namespace import connect_within

_CLONE_NEWNET: Final = 0x40000000
_BOOT: Final = """
set -e
mount -t tmpfs -o mode=755 tmpfs /run
ip link set lo up
echo 1 >/proc/sys/net/ipv4/ip_forward
dockerd --config-file "$1"
"""
BASE: Final = "base:1"
ENGINE_PATIENCE: Final = 3 * PATIENCE
"""Seconds for what an engine does: each of its steps starts processes, on a machine that others load."""
DOCS: Final = Path(__file__).parents[2] / "docs" / "deploy"

Told = dict[str, Any]


class Engine:
    """A dockerd with the image `base:1`, from `__enter__` to `__exit__`."""

    def __init__(self) -> None:
        self._cleanup = contextlib.ExitStack()

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            self.state = Path(tempfile.mkdtemp(prefix="fd-docker-", dir="/tmp"))
            stack.callback(shutil.rmtree, self.state)
            parent = f"/{self.state.name}"
            stack.callback(_remove_cgroups, self.state.name)
            settings = {
                "data-root": f"{self.state}/root",
                "exec-root": f"{self.state}/exec",
                "pidfile": f"{self.state}/pid",
                "hosts": [self._host],
                "exec-opts": ["native.cgroupdriver=cgroupfs"],
                "cgroup-parent": parent,
            }
            (self.state / "daemon.json").write_text(json.dumps(settings))
            (self.state / "client").mkdir()
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as news:
                news.bind(f"{self.state}/notify")
                self._process = self._boot()
                stack.callback(self._end)
                self._wait_until_ready(news)
            self.pid = _first_child(self._process.pid)
            base = self.state / "base.tar"
            write_base(base)
            changes = [word for line in ENVIRONMENT for word in ("--change", f"ENV {line}")]
            self.docker("import", *changes, str(base), BASE)
            base.unlink()
            self._cleanup = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._cleanup.close()

    def docker(
        self,
        *args: str,
        expect: int = 0,
        environ: Mapping[str, str] | None = None,
    ) -> str:
        """Run `docker` and return what it printed, or on a failure that was expected, what it complained about."""
        done = subprocess.run(
            ["docker", *args],
            env={**self._environ, **(environ or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=ENGINE_PATIENCE,
            check=False,
        )
        told = f"{done.stdout}\n{done.stderr}"  # what a step of a build complained about is on stdout
        assert done.returncode == expect, f"docker {' '.join(args)} exited {done.returncode}:\n{told}"
        return (done.stderr if expect else done.stdout).strip()

    def build(self, tag: str, context: Path) -> None:
        """Build the image of the docs from `context`, upon our own base."""
        args = ["--tag", tag, "--build-arg", f"PYTHON={BASE}", "--file", str(DOCS / "Containerfile")]
        self.docker("build", *args, str(context))

    def inspect(self, thing: str) -> Told:
        """Return what the engine knows of an image, container or service."""
        (found,) = json.loads(self.docker("inspect", thing))
        known: Told = found
        return known

    @contextlib.contextmanager
    def events(self, *filters: str, since: float | None = None) -> Iterator[Iterator[Told]]:
        """What the engine tells from now on (or since a Unix time), as it comes; a wait that takes too long fails."""
        chosen = [word for each in filters for word in ("--filter", each)]
        begin = time.time() if since is None else since
        # `since`: what happens before the client has connected is told, too.
        args = ["docker", "events", "--format", "{{json .}}", "--since", f"{begin:.6f}", *chosen]
        with subprocess.Popen(args, env=self._environ, stdout=subprocess.PIPE) as process:
            try:
                yield _lines(process)
            finally:
                process.kill()

    def popen(self, *command: str) -> subprocess.Popen[str]:
        """Start a program in the engine's network."""
        return subprocess.Popen(
            ["nsenter", "--target", str(self.pid), "--net", *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def connect(self, host: str, port: int) -> socket.socket:
        """Connect to an address of the engine's network; a socket stays where it was made."""
        return connect_within(self.pid, host, port)

    @property
    def _host(self) -> str:
        return f"unix://{self.state}/docker.sock"

    @property
    def _environ(self) -> dict[str, str]:
        """The client's, with no settings of whoever runs the tests; the builder is the one that needs no plugin."""
        ours = {"DOCKER_HOST": self._host, "DOCKER_CONFIG": f"{self.state}/client", "DOCKER_BUILDKIT": "0"}
        return {"PATH": os.environ["PATH"], "HOME": str(self.state), **ours}

    def _boot(self) -> subprocess.Popen[bytes]:
        """Start unshare(1), the parent of the namespaces' process 1, which takes all of them along when it ends."""
        unshare = ["unshare", "--fork", "--kill-child=KILL", "--propagation", "private", "--mount-proc"]
        unshare += [f"--{kind}" for kind in ("pid", "mount", "net")]
        log = os.open(self.state / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            return subprocess.Popen(
                [
                    "setpriv",
                    "--pdeathsig",
                    "KILL",
                    *unshare,
                    "sh",
                    "-c",
                    _BOOT,
                    "sh",
                    f"{self.state}/daemon.json",
                ],
                env={
                    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                    "HOME": str(self.state),
                    "NOTIFY_SOCKET": f"{self.state}/notify",
                },
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        finally:
            os.close(log)

    def _wait_until_ready(self, news: socket.socket) -> None:
        gone = os.pidfd_open(self._process.pid)
        try:
            while True:
                happened, _, _ = select.select([news.fileno(), gone], [], [], ENGINE_PATIENCE)
                if news.fileno() not in happened:
                    log = (self.state / "log").read_text(errors="replace")
                    raise TimeoutError(f"dockerd {'ended' if happened else 'is not ready in time'}:\n{log}")
                if b"READY=1" in news.recv(65536).split(b"\n"):
                    return
        finally:
            os.close(gone)

    def _end(self) -> None:
        """Kill process 1 of the namespace; every process in it is gone before it is (pid_namespaces(7)), its mounts too."""
        with contextlib.suppress(IndexError, ProcessLookupError):
            os.kill(_first_child(self._process.pid), signal.SIGKILL)
        try:
            self._process.wait(PATIENCE)
        finally:
            self._process.kill()
            self._process.wait()


def _lines(process: subprocess.Popen[bytes]) -> Iterator[Told]:
    """Yield what a program prints, a JSON object a line."""
    assert process.stdout is not None
    descriptor, pending = process.stdout.fileno(), b""
    while True:
        line, found, rest = pending.partition(b"\n")
        if found:
            pending = rest
            yield json.loads(line)
        else:
            readable, _, _ = select.select([descriptor], [], [], ENGINE_PATIENCE)
            assert readable, f"the engine told nothing for {ENGINE_PATIENCE:.0f} s"
            more = os.read(descriptor, 65536)
            assert more, f"docker events ended with {process.wait(PATIENCE)}"
            pending += more


def _first_child(pid: int) -> int:
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as children:
        return int(children.read().split()[0])


def _remove_cgroups(name: str) -> None:
    """Remove the containers' control groups, which are empty: nothing else does after a kill."""
    with open("/proc/mounts", encoding="utf-8") as mounts:
        hierarchies = [fields[1] for fields in map(str.split, mounts) if fields[2] in {"cgroup", "cgroup2"}]
    for hierarchy in hierarchies:
        for directory, _, _ in os.walk(os.path.join(hierarchy, name), topdown=False):
            os.rmdir(directory)
