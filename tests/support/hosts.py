"""Hosts for tests: network namespaces joined by veth, each with an sshd of its own on port 22, seen from a third namespace.

The file system and the users are this machine's; what makes a host is its addresses and its runtime directory, which sshd hands
to every session. Nothing of it is in this machine's own network, so two tests at once do not meet. Needs root.
"""

import contextlib
import json
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from flaskd_ctl.contract.endpoint import Place
from tests.support.daemons import PATIENCE, Daemon, flaskd_run, spawn

SSHD: Final = "/usr/sbin/sshd"
PRIVILEGE_SEPARATION: Final = "/run/sshd"
"""sshd(8) wants it to exist, empty; where sshd runs as a service, it does."""

BIN: Final = os.path.dirname(sys.executable)
PROJECT: Final = Path(__file__).parents[2]
PORT: Final = 8000


class Host:
    """One of the hosts: its address, its instances, and how to run something in its network."""

    def __init__(self, name: str, namespace: str, address: str, base: Path) -> None:
        self.name = name
        self.namespace = namespace
        self.address = address
        self.base = base
        self.runtime_dir = base / "r"
        self.runtime_dir.mkdir(mode=0o700)
        self.prefix = ["ip", "netns", "exec", namespace]
        self._daemons: list[Daemon] = []

    @property
    def url(self) -> str:
        """Where its application is, seen from the controller."""
        return f"http://{self.address}:{PORT}"

    def place(self, name: str) -> Place:
        """Return the directory of an instance here."""
        return Place(str(self.runtime_dir / name))

    def start(self, target: str, *args: str, name: str = "shop", cwd: Path | None = None) -> Daemon:
        """Start a daemon here that serves the host's address; return when it serves."""
        where = cwd or self.base
        command = flaskd_run(target, self.place(name), *args, "--bind", f"{self.address}:{PORT}")
        daemon = spawn(
            [*self.prefix, *command],
            self.place(name),
            log=self.base / f"{name}-{len(self._daemons)}.log",
            cwd=where,
            environ={
                **os.environ,
                "PWD": str(where),  # as a shell says it, for those who follow a symbolic link
                "XDG_STATE_HOME": str(self.base / "s"),
                "PYTHONDONTWRITEBYTECODE": "1",
            },
        )
        self._daemons.append(daemon)
        return daemon

    def end(self) -> None:
        """End what runs here."""
        for daemon in self._daemons:
            daemon.end()
            print(f"--- {self.name}/{daemon.name}, exit {daemon.process.returncode}:\n{daemon.output()}")


class Load:
    """A load client of the controller's."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def line(self) -> dict[str, Any]:
        """Return the next thing it says."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the load client ended"
        said: dict[str, Any] = json.loads(line)
        return said

    def report(self) -> dict[str, Any]:
        """End it and return what became of all requests."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        report = self.line()
        self._process.wait(PATIENCE)
        return report


class Network:
    """The controller's side: its namespace, and the ssh command that knows the hosts."""

    def __init__(self, namespace: str, base: Path) -> None:
        self.prefix = ["ip", "netns", "exec", namespace]
        self.ssh_config = base / "ssh_config"
        self.hosts: list[Host] = []

    @property
    def ssh(self) -> list[str]:
        """The ssh command of these tests."""
        return [*self.prefix, "ssh", "-F", str(self.ssh_config)]

    @contextlib.contextmanager
    def load(self, host: Host, *args: str) -> Iterator["Load"]:
        """Ask this host's application from the controller until the report is wanted; begin when some is answered."""
        command = [*self.prefix, sys.executable, "-m", "tests.support.load", host.url]
        command += ["--seconds", "100", "--until-eof", "--warm", "10", *args]
        with subprocess.Popen(
            command, cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as process:
            try:
                load = Load(process)
                assert load.line() == {"warm": 10}
                yield load
            finally:
                process.kill()

    def write_ssh_config(self, base: Path) -> None:
        """Write down the hosts by their names, with the keys for them."""
        hosts = "".join(f"Host {host.name}\n  HostName {host.address}\n" for host in self.hosts)
        known = "".join(f"{host.address} {(host.base / 'host_key.pub').read_text()}" for host in self.hosts)
        (base / "known_hosts").write_text(known)
        self.ssh_config.write_text(
            f"{hosts}Host *\n  User root\n  IdentityFile {base}/key\n  IdentitiesOnly yes\n  BatchMode yes\n"
            f"  UserKnownHostsFile {base}/known_hosts\n  GlobalKnownHostsFile /dev/null\n  StrictHostKeyChecking yes\n"
        )


@contextlib.contextmanager
def network(base: Path, names: Sequence[str] = ("web1", "web2")) -> Iterator[Network]:
    """Make a controller and hosts with these names; all is ended and removed afterwards."""
    os.makedirs(PRIVILEGE_SEPARATION, mode=0o755, exist_ok=True)
    mark = secrets.token_hex(4)
    controller = f"fd{mark}c"
    with contextlib.ExitStack() as stack:
        _namespace(stack, controller)
        made = Network(controller, base)
        _keygen(base / "key")
        for number, name in enumerate(names, 1):
            namespace = f"fd{mark}h{number}"
            _namespace(stack, namespace)
            _ip(
                "-n",
                controller,
                "link",
                "add",
                f"v{number}",
                "type",
                "veth",
                "peer",
                "eth0",
                "netns",
                namespace,
            )
            for where, link, end in ((controller, f"v{number}", 1), (namespace, "eth0", 2)):
                _ip("-n", where, "address", "add", f"10.99.{number}.{end}/24", "dev", link)
                _ip("-n", where, "link", "set", link, "up")
            (base / name).mkdir()
            host = Host(name, namespace, f"10.99.{number}.2", base / name)
            made.hosts.append(host)
            stack.enter_context(_sshd(host, authorized=base / "key.pub"))
            stack.callback(host.end)
        made.write_ssh_config(base)
        yield made


@contextlib.contextmanager
def _sshd(host: Host, *, authorized: Path) -> Iterator[None]:
    _keygen(host.base / "host_key")
    config = host.base / "sshd_config"
    config.write_text(
        f"HostKey {host.base}/host_key\nAuthorizedKeysFile {authorized}\nPidFile none\nStrictModes no\nUsePAM no\n"
        "PermitRootLogin prohibit-password\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n"
        f"SetEnv FLASKD_RUNTIME_DIR={host.runtime_dir} XDG_STATE_HOME={host.base}/s\n"
    )
    command = [*host.prefix, SSHD, "-D", "-e", "-f", str(config)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            said: list[str] = []
            while "listening" not in (line := process.stderr.readline()):
                assert line, f"sshd did not start: {said}"
                said.append(line)
            # What it says later goes nowhere: a full pipe must not hold it up.
            with subprocess.Popen(["cat"], stdin=process.stderr, stdout=subprocess.DEVNULL) as reader:
                try:
                    yield
                    process.terminate()
                    process.wait(PATIENCE)
                finally:
                    reader.kill()
        finally:
            process.kill()


def _namespace(stack: contextlib.ExitStack, name: str) -> None:
    _ip("netns", "add", name)
    stack.callback(_ip, "netns", "delete", name)
    _ip("-n", name, "link", "set", "lo", "up")


def _keygen(path: Path) -> None:
    _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(path))


def _ip(*arguments: str) -> None:
    _run("ip", *arguments)


def _run(*command: str) -> None:
    ran = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE)
    assert ran.returncode == 0, (command, ran.stderr)
