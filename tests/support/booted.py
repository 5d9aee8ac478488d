"""A systemd of our own: booted as process 1 of new namespaces, over the host's root file system.

Nothing of the host is written: its root is the lower layer of an overlay whose upper layer is a tmpfs seen by
the new mount namespace only; what is bound in is read-only. /run and /tmp are fresh, the network is `lo`.
Process 1 says READY=1 when it has booted, as a service does (systemd-nspawn's --notify-ready works that way).
Needs root, util-linux, overlayfs and a cgroup2 mount somewhere (beside cgroup v1 will do).
"""

import contextlib
import os
import select
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from tests.support.daemons import PATIENCE
from tests.support.namespace import connect_within

_SCRIPT = Path(__file__).with_name("boot.sh")


class Machine:
    """A booted systemd; `binds` says which directories of the host are seen where, read-only.

    `open_for_all` are directories that every user in there has to reach (a Python under /root, say): they are
    made so in the overlay. `layer` is laid over the host's root file system (a newer systemd, say).
    """

    def __init__(
        self,
        binds: Sequence[tuple[str, str]],
        *,
        open_for_all: tuple[str, ...] = (),
        layer: Path | None = None,
    ) -> None:
        self._binds = binds
        self._layer = layer
        self._open = open_for_all
        self._cleanup = contextlib.ExitStack()

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            state = tempfile.mkdtemp(prefix="fd-boot-", dir="/tmp")
            stack.callback(shutil.rmtree, state)
            for directory in ("host", "scratch"):
                os.mkdir(os.path.join(state, directory))
            self.cgroup = _make_cgroup(os.path.basename(state))
            stack.callback(_remove_cgroup, self.cgroup)
            news = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
            news.bind(os.path.join(state, "host", "notify"))
            console = stack.enter_context(open(os.path.join(state, "console"), "w+b"))
            process = self._boot(state, console.fileno())
            stack.callback(_show, console)
            stack.callback(_end, process)
            try:
                _wait_until_booted(process, news)
            except TimeoutError as error:
                console.seek(0)
                error.add_note(console.read().decode(errors="replace"))
                raise
            # It goes on telling, each unit that comes and goes, and would wait for ever for somebody to read that.
            news.close()
            self.pid = _first_child(process.pid)
            self._cleanup = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._cleanup.close()

    @property
    def root(self) -> Path:
        """The machine's root directory as the host sees it; Unix sockets in it can be connected to."""
        return Path(f"/proc/{self.pid}/root")

    def popen(self, *command: str) -> subprocess.Popen[str]:
        """Start `command` in the machine, as root; both streams go to one pipe."""
        return subprocess.Popen(
            ["nsenter", "--target", str(self.pid), "--all", *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,  # nsenter has a child in there, which a signal to it alone would leave
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"},
        )

    def run(self, *command: str, expect: int = 0) -> str:
        """Run `command` in the machine and return what it printed; it has to exit with `expect`."""
        with self.popen(*command) as process:
            try:
                output, _ = process.communicate(timeout=2 * PATIENCE)
            finally:
                process.kill()
        assert process.returncode == expect, f"{' '.join(command)} exited {process.returncode}:\n{output}"
        return output

    def connect(self, host: str, port: int) -> socket.socket:
        """Connect to an address of the machine's own network; a socket stays where it was made."""
        return connect_within(self.pid, host, port)

    def _boot(self, state: str, console: int) -> subprocess.Popen[bytes]:
        """Start unshare(1), the parent of the machine's process 1, which takes it along when it ends."""
        script = [
            "setpriv",
            "--pdeathsig",
            "KILL",
            "/bin/sh",
            "-c",
            'echo $$ >"$CGROUP/cgroup.procs"; exec "$@"',
            "sh",
        ]
        unshare = ["unshare", "--fork", "--kill-child=KILL", "--propagation", "private"]
        unshare += [f"--{kind}" for kind in ("pid", "mount", "cgroup", "uts", "ipc", "net")]
        return subprocess.Popen(
            [*script, *unshare, "/bin/sh", str(_SCRIPT)],
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=console,
            start_new_session=True,
            env={
                "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                "CGROUP": self.cgroup,
                "STATE": state,
                "BINDS": "\n".join(f"{source}:{target}" for source, target in self._binds),
                "OPEN": "\n".join(self._open),
                "LAYER": str(self._layer or ""),
            },
        )


def _make_cgroup(name: str) -> str:
    with open("/proc/mounts", encoding="utf-8") as mounts:
        mount = next(fields[1] for fields in map(str.split, mounts) if fields[2] == "cgroup2")
    path = os.path.join(mount, name)
    os.mkdir(path)
    return path


def _remove_cgroup(path: str) -> None:
    for directory, _, _ in os.walk(path, topdown=False):
        os.rmdir(directory)


def _first_child(pid: int) -> int:
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as children:
        return int(children.read().split()[0])


def _wait_until_booted(process: subprocess.Popen[bytes], news: socket.socket) -> None:
    gone = os.pidfd_open(process.pid)
    try:
        while True:
            happened, _, _ = select.select([news.fileno(), gone], [], [], PATIENCE)
            if news.fileno() not in happened:
                raise TimeoutError("systemd ended" if happened else "systemd has not booted in time")
            if b"READY=1" in news.recv(65536).split(b"\n"):
                return
    finally:
        os.close(gone)


def _show(console: IO[bytes]) -> None:
    """Print what process 1 said: a systemd that has crashed freezes, and says so there only."""
    console.seek(0)
    if said := console.read().decode(errors="replace").strip():
        print(f"--- the machine's console:\n{said}")


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill process 1; every process of its namespace is gone before it is (pid_namespaces(7))."""
    with contextlib.suppress(IndexError, ProcessLookupError):
        os.kill(_first_child(process.pid), signal.SIGKILL)
    try:
        process.wait(PATIENCE)
    finally:
        process.kill()
        process.wait()
