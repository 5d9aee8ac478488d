"""The ssh transport: the user's own ssh carries the lines to and from `flaskd_ctl dial-stdio` on the instance's host.

Their configuration, agent and known hosts apply, and no port is opened for it. Which ssh that is, and where flaskd_ctl is on
the other host, the client's configuration file may say (`targets`). What ssh writes to stderr is kept to explain a failure; it
asks for a password on the terminal itself. `far` has what is said, `aio_ssh` is the same for asyncio.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from flaskd_ctl.contract.endpoint import Remote, parse_remote
from flaskd_ctl.contract.times import span
from flaskd_ctl.errors import ConnectionLost, ControlError, NotPermitted, TimedOut, Unreachable
from flaskd_ctl.transports.remote import Hearing, ssh_command
from flaskd_ctl.transports.unix_socket import CHUNK

if TYPE_CHECKING:
    from flaskd_ctl.contract.endpoint import Target

LAST_BREATH: Final = 2.0
"""Seconds that ssh has to end by itself when it has nothing more to carry; it may be carrying others (ControlMaster)."""

SSH_FAILED: Final = 255  # ssh(1), EXIT STATUS
NO_COMMAND: Final = 127  # the shell's


Commands = tuple[tuple[str, ...], tuple[str, ...]]
"""The user's ssh command, and the one to run on the other host."""


class Ssh:
    """A running ssh: one socket for its standard input and output, what has come from it, and what it wrote to stderr."""

    def __init__(self, target: Target, commands: Commands) -> None:
        self._began = time.monotonic()
        self.name = target.name
        self.remote: Remote = parse_remote(target.endpoint.path)
        self.hearing = Hearing()
        ssh, self.there = commands
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `close`
        self.socket, theirs = socket.socketpair()
        with theirs:
            try:
                self._process = subprocess.Popen(
                    ssh_command(self.remote, ssh=ssh, there=self.there),
                    stdin=theirs.fileno(),
                    stdout=theirs.fileno(),
                    stderr=self._said,
                )
            except OSError as error:
                self._said.close()
                self.socket.close()
                raise Unreachable(
                    f"cannot reach {self.name}: {ssh[0]} cannot be run ({error.strerror})",
                    hint="install an OpenSSH client, or set ssh_command in the client's configuration file",
                ) from None

    def connect(self, *, deadline: float) -> None:
        """Wait until the far end is connected to the instance; raise saying what stands between."""
        try:
            while self.hearing.connected is None:
                self.read(deadline=deadline)
                if self.hearing.refused is not None:
                    raise self._from_there(self.hearing.refused)
        except TimeoutError:
            raise TimedOut(
                f"cannot reach {self.name}: no connection through ssh in {span(time.monotonic() - self._began)}",
                hint=f"try `ssh {self.remote.destination}` by hand, or give it longer with --timeout",
            ) from None
        except EOFError:
            raise self._unconnected() from None

    def read(self, *, deadline: float) -> None:
        """Wait for more and take it; raise TimeoutError, or EOFError when ssh has ended."""
        poller = select.poll()
        poller.register(self.socket, select.POLLIN)
        left = deadline - time.monotonic()
        if not poller.poll(None if left == float("inf") else max(0.0, left) * 1000):
            raise TimeoutError
        self.take(self.socket.recv(CHUNK))

    def take(self, data: bytes) -> None:
        """Take what came; raise EOFError when ssh has ended, saying why where it said so."""
        if not data:
            self._code()
            said = self._last_words()
            raise EOFError(f"ssh says: {said}" if said else "ssh has ended")
        self.hearing.feed(data)

    def message(self) -> bytes | None:
        """Return the instance's next message if it is there; raise EOFError when there is none to come."""
        if self.hearing.messages:
            return self.hearing.messages.popleft()
        if self.hearing.ended is not None:
            raise EOFError(self.hearing.ended)
        return None

    def ended(self) -> bool:
        """Tell, without waiting, whether a connection on which nothing is awaited is of no more use."""
        self.socket.setblocking(False)
        try:
            self.socket.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return self.hearing.ended is not None
        except OSError:
            pass
        return True  # nobody has asked anything, so it can only be the end that is told

    def close(self) -> None:
        """Let go of the far end, which ends ssh."""
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)  # also for a thread that reads
        self.socket.close()
        if self._code() is None:
            self._process.terminate()
            self._process.wait()
        self._said.close()

    def _code(self) -> int | None:
        """Return ssh's exit code; None if it does not end though it has nothing more to carry."""
        try:
            return self._process.wait(LAST_BREATH)
        except subprocess.TimeoutExpired:
            return None

    def _from_there(self, error: ControlError) -> ControlError:
        return type(error)(f"on {self.remote.host}: {error}", hint=error.hint)

    def _unconnected(self) -> ControlError:
        """Say why ssh, or the command on the other host, ended before there was a connection."""
        code, said = self._code(), self._last_words()
        cannot = f"cannot reach {self.name}"
        by_hand = f"try `ssh {self.remote.destination}` by hand: the same configuration, agent and known hosts apply"
        if code == NO_COMMAND or "command not found" in said:
            return Unreachable(
                f"{cannot}: {self.remote.host} has no {self.there[0]}",
                hint="install flaskd there, or say where it is: remote_command in the client's configuration file",
            )
        if code == SSH_FAILED:
            kind = NotPermitted if "Permission denied" in said else Unreachable
            return kind(f"{cannot}: ssh says {said or 'nothing'}", hint=by_hand)
        if "dial-stdio" in said:
            return Unreachable(
                f"{cannot}: the {self.there[0]} of {self.remote.host} is too old to be dialled",
                hint="upgrade flaskd there",
            )
        return Unreachable(
            f"{cannot}: {self.there[0]} on {self.remote.host} ended with {code}, saying {said or 'nothing'}",
            hint=by_hand,
        )

    def _last_words(self) -> str:
        """Return the last line on stderr that says something."""
        size = os.fstat(self._said.fileno()).st_size
        said = os.pread(self._said.fileno(), 4096, max(0, size - 4096)).decode(errors="replace")
        last = next((line.strip() for line in reversed(said.splitlines()) if line.strip()), "")
        return last.removeprefix("ssh: ")


class SshConnection:
    """A connection to an instance on another host; TimeoutError at a deadline, EOFError when the peer is gone."""

    def __init__(self, target: Target, commands: Commands, *, deadline: float) -> None:
        self._ssh = Ssh(target, commands)
        try:
            self._ssh.connect(deadline=deadline)
        except BaseException:
            self._ssh.close()
            raise
        self._watched = False
        self.path = target.endpoint.path
        self.pid = self._ssh.hearing.pid

    def send(self, message: bytes, *, deadline: float) -> None:
        """Send one message."""
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._ssh.socket.settimeout(None if left == float("inf") else left)
        try:
            self._ssh.socket.sendall(message + b"\n")
        except (BrokenPipeError, ConnectionResetError):
            raise EOFError from None

    def receive(self, *, deadline: float) -> bytes:
        """Return the next message."""
        while (message := self._ssh.message()) is None:
            self._ssh.read(deadline=deadline)
        return message

    def ended(self) -> bool:
        """Tell, without waiting, whether the peer is gone."""
        return self._ssh.ended()

    def departure(self) -> SshDeparture:
        """Let the far end tell when the instance is gone."""
        self._watched = True
        return SshDeparture(self._ssh, close=self._ssh.close)

    def close(self) -> None:
        """Close the connection, unless the end is awaited on it: then its watcher does."""
        if not self._watched:
            self._ssh.close()


class SshDeparture:
    """Watch an instance through the eyes of the far end, on the connection on which its end was asked for."""

    def __init__(self, ssh: Ssh, *, close: Callable[[], None]) -> None:
        self._ssh = ssh
        self._close = close
        self.pid = ssh.hearing.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    @property
    def who(self) -> str:
        """The process on its host."""
        who = f"pid {self.pid}" if self.sees_process else "what listens there"
        return f"{who} on {self._ssh.remote.host}"

    @property
    def sees_process(self) -> bool:
        """Whether the far end has a descriptor for it."""
        return self._ssh.hearing.sees_process

    def watches(self, *, process_exits: bool) -> int | None:
        """Return None: what comes has to be read to be understood."""
        return None

    def wait(self, *, process_exits: bool, deadline: float) -> bool:
        """Block until the far end says that it is gone; raise ConnectionLost if ssh ends before."""
        while not self._ssh.hearing.is_over(process_exits=process_exits):
            try:
                self._ssh.read(deadline=deadline)
            except TimeoutError:
                return False
            except EOFError as end:
                raise ConnectionLost(
                    f"the connection to {self._ssh.remote.host} broke off before {self._ssh.name} was seen to be gone "
                    f"({end})",
                    hint="whether its process has ended is not known; try `flaskd_ctl status`",
                ) from None
        return True
