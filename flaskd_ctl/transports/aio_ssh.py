"""The ssh transport for asyncio: `ssh` with the loop's own socket calls."""

import asyncio
import threading
from typing import Self

from flaskd_ctl.contract.endpoint import Target
from flaskd_ctl.transports.ssh import Commands, Ssh, SshDeparture
from flaskd_ctl.transports.unix_socket import CHUNK


class AsyncSshConnection:
    """A connection to an instance on another host; raises EOFError when the peer is gone."""

    def __init__(self, ssh: Ssh, path: str) -> None:
        ssh.socket.setblocking(False)
        self._ssh = ssh
        self._watched = False
        self.path = path
        self.pid = ssh.hearing.pid

    @classmethod
    async def open(cls, target: Target, commands: Commands, *, deadline: float) -> Self:
        """Connect, in a thread: ssh takes its time; raise as `ssh.SshConnection` does."""
        ssh = Ssh(target, commands)
        try:
            await asyncio.to_thread(ssh.connect, deadline=deadline)
        except BaseException:
            _close(ssh)
            raise
        return cls(ssh, target.endpoint.path)

    async def send(self, message: bytes) -> None:
        """Send one message."""
        try:
            await asyncio.get_running_loop().sock_sendall(self._ssh.socket, message + b"\n")
        except (BrokenPipeError, ConnectionResetError):
            raise EOFError from None

    async def receive(self) -> bytes:
        """Return the next message."""
        while (message := self._ssh.message()) is None:
            self._ssh.take(await asyncio.get_running_loop().sock_recv(self._ssh.socket, CHUNK))
        return message

    def ended(self) -> bool:
        """Tell, without waiting, whether the peer is gone."""
        return self._ssh.ended()

    def departure(self) -> SshDeparture:
        """Let the far end tell when the instance is gone."""
        self._watched = True
        return SshDeparture(self._ssh, close=lambda: _close(self._ssh))

    def close(self) -> None:
        """Close the connection, unless the end is awaited on it: then its watcher does."""
        if not self._watched:
            _close(self._ssh)


def _close(ssh: Ssh) -> None:
    """Close in a thread: ssh may take a moment to end, which the loop has not."""
    threading.Thread(target=ssh.close).start()
