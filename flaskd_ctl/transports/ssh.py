"""The ssh transport: the user's own ssh carries the lines to and from `flaskd_ctl dial-stdio` on the instance's host.

The user's configuration, agent and known hosts apply, and no port is opened. The client's configuration file may say which
ssh to run, and where flaskd_ctl is on the other host (`targets`). What ssh writes to stderr is kept to explain a failure; ssh
asks for a password on the terminal itself. `remote` describes what the other end says.
"""

from __future__ import annotations

import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from typing import Final, Self

from flaskd_ctl.contract.endpoint import Remote, Target, parse_remote
from flaskd_ctl.contract.times import span
from flaskd_ctl.errors import ConnectionLost, ControlError, NotPermitted, TimedOut, Unreachable
from flaskd_ctl.transports.backend import Backend
from flaskd_ctl.transports.connection import Connection
from flaskd_ctl.transports.exit_watcher import ExitWatcher
from flaskd_ctl.transports.ssh_protocol import RemoteOutput, ssh_command
from flaskd_ctl.transports.unix_socket import CHUNK, send_all

EXIT_SECONDS: Final = 2.0
"""Seconds that ssh has to exit after our connection has ended; it may still carry others (ControlMaster)."""

SSH_FAILED: Final = 255  # ssh(1), EXIT STATUS
NO_COMMAND: Final = 127  # the shell's


Commands = tuple[tuple[str, ...], tuple[str, ...]]
"""The user's ssh command, and the one to run on the other host."""


class SshConnection(Connection):
    """A running ssh, and the instance at its other end."""

    def __init__(self, backend: Backend, target: Target, commands: Commands) -> None:
        super().__init__(backend, target.endpoint.path, None)
        self._began = time.monotonic()
        self.name = target.name
        self.remote: Remote = parse_remote(target.endpoint.path)
        self.output = RemoteOutput()
        self._watched = False
        ssh, self._there = commands
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `end`
        self._socket, theirs = socket.socketpair()
        self._socket.setblocking(False)
        with theirs:
            try:
                self._process = subprocess.Popen(
                    ssh_command(self.remote, ssh=ssh, there=self._there),
                    stdin=theirs.fileno(),
                    stdout=theirs.fileno(),
                    stderr=self._stderr,
                )
            except OSError as error:
                self._stderr.close()
                self._socket.close()
                raise Unreachable(
                    f"cannot reach {self.name}: {ssh[0]} cannot be run ({error.strerror})",
                    hint="install an OpenSSH client, or set ssh_command in the client's configuration file",
                ) from None

    @classmethod
    async def open(cls, backend: Backend, target: Target, commands: Commands, *, deadline: float) -> Self:
        """Connect; raise NotRunning, NotPermitted, Unreachable or TimedOut, or what the other end refuses with."""
        connection = cls(backend, target, commands)
        try:
            await connection._connect(deadline)
        except BaseException:
            connection.end()
            raise
        connection.pid = connection.output.pid
        return connection

    async def _connect(self, deadline: float) -> None:
        """Wait until the other end is connected to the instance."""
        try:
            while self.output.connected is None:
                if self.output.refused is not None:
                    raise self._from_there(self.output.refused)
                await self.read_more(deadline=deadline)
        except TimeoutError:
            raise TimedOut(
                f"cannot reach {self.name}: no connection through ssh in {span(time.monotonic() - self._began)}",
                hint=f"try `ssh {self.remote.destination}` by hand, or a longer --timeout",
            ) from None
        except EOFError:
            raise self._unconnected() from None

    async def send(self, message: bytes, *, deadline: float) -> None:
        """Send one message."""
        await send_all(self.backend, self._socket, message + b"\n", deadline=deadline)

    def read(self) -> bytes | None:
        """Return the next message if it has arrived; raise EOFError when there will be none."""
        if not self.output.messages and self.output.ended is None:
            self._take()
        if self.output.messages:
            return self.output.messages.popleft()
        if self.output.ended is not None:
            raise EOFError(self.output.ended)
        return None

    def descriptors(self) -> Sequence[int]:
        """Return the descriptor of what ssh writes."""
        return (self._socket.fileno(),)

    def ended(self) -> bool:
        """Tell, without waiting, whether a connection without open calls is of no more use."""
        try:
            self._socket.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return self.output.ended is not None
        except OSError:
            pass
        return True  # nobody has asked anything, so whatever comes reports the end

    def watch_exit(self) -> SshExit:
        """Let the other end report when the instance has gone."""
        self._watched = True
        return SshExit(self)

    def close(self) -> None:
        """Close the connection, unless its watcher still needs it: then that closes it."""
        if not self._watched:
            self.end()

    def end(self) -> None:
        """Hang up, which ends ssh; that takes it a moment."""
        self._socket.close()
        self.backend.finish(self._end)

    async def read_more(self, *, deadline: float) -> None:
        """Wait for more and take it; raise TimeoutError, or EOFError when ssh has ended."""
        if not self._take():
            if not await self.backend.wait(*self.descriptors(), deadline=deadline):
                raise TimeoutError
            self._take()

    def _take(self) -> bool:
        """Take what has come, if anything; raise EOFError when ssh has ended, with its reason where it gave one."""
        try:
            data = self._socket.recv(CHUNK)
        except BlockingIOError:
            return False
        except ConnectionResetError:  # it has ended before it read all that it was sent
            data = b""
        if not data:
            self._code()
            said = self._last_words()
            raise EOFError(f"ssh says: {said}" if said else "ssh has ended")
        self.output.feed(data)
        return True

    def _end(self) -> None:
        if self._code() is None:
            self._process.terminate()
            self._process.wait()
        self._stderr.close()

    def _code(self) -> int | None:
        """Return ssh's exit code; None if it has not exited in time."""
        try:
            return self._process.wait(EXIT_SECONDS)
        except subprocess.TimeoutExpired:
            return None

    def _from_there(self, error: ControlError) -> ControlError:
        return type(error)(f"on {self.remote.host}: {error}", hint=error.hint)

    def _unconnected(self) -> ControlError:
        """Make the error for an ssh, or a command on the other host, that ended before there was a connection."""
        code, said = self._code(), self._last_words()
        cannot = f"cannot reach {self.name}"
        by_hand = f"try `ssh {self.remote.destination}` by hand: the same configuration, agent and known hosts apply"
        if code == NO_COMMAND or "command not found" in said:
            return Unreachable(
                f"{cannot}: {self.remote.host} has no {self._there[0]}",
                hint="install flaskd there, or set remote_command in the client's configuration file",
            )
        if code == SSH_FAILED:
            kind = NotPermitted if "Permission denied" in said else Unreachable
            return kind(f"{cannot}: ssh says {said or 'nothing'}", hint=by_hand)
        if "dial-stdio" in said:
            return Unreachable(
                f"{cannot}: the {self._there[0]} of {self.remote.host} is too old",
                hint="upgrade flaskd there",
            )
        return Unreachable(
            f"{cannot}: {self._there[0]} on {self.remote.host} ended with {code}, saying {said or 'nothing'}",
            hint=by_hand,
        )

    def _last_words(self) -> str:
        """Return the last line on stderr that is not empty."""
        size = os.fstat(self._stderr.fileno()).st_size
        said = os.pread(self._stderr.fileno(), 4096, max(0, size - 4096)).decode(errors="replace")
        last = next((line.strip() for line in reversed(said.splitlines()) if line.strip()), "")
        return last.removeprefix("ssh: ")


class SshExit(ExitWatcher):
    """Watch through ssh for the end of an instance; the connection is closed with it."""

    def __init__(self, connection: SshConnection) -> None:
        sees_process = connection.output.sees_process
        subject = f"pid {connection.pid}" if sees_process else "what listens there"
        super().__init__(
            f"{subject} on {connection.remote.host}", pid=connection.pid, sees_process=sees_process
        )
        self._connection = connection

    def close(self) -> None:
        """Close the connection."""
        self._connection.end()

    async def wait(self, *, process_exits: bool, deadline: float) -> bool:
        """Wait until the other end says that the instance has gone; raise ConnectionLost if ssh ends before."""
        while not self._connection.output.is_over(process_exits=process_exits):
            try:
                await self._connection.read_more(deadline=deadline)
            except TimeoutError:
                return False
            except EOFError as end:
                raise ConnectionLost(
                    f"the connection to {self._connection.remote.host} broke off before {self._connection.name} was "
                    f"seen to be gone ({end})",
                    hint="whether its process has ended is not known; try `flaskd_ctl status`",
                ) from None
        return True
