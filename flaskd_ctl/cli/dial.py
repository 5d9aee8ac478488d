"""`flaskd_ctl dial-stdio`: the other end of `ssh://`, on the instance's host (`ssh_protocol` describes what it writes).

It relays lines between its standard streams and the instance's plain socket, as the user who logged in: the kernel tells the
instance who that is, as for any other client. It opens the pidfd of the process before anything is asked, and runs until the
process has ended or the client leaves.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import threading
import time
from typing import Final

from flaskd_ctl.client.session import RESPONSE_TIMEOUT
from flaskd_ctl.contract.conversation import Lines
from flaskd_ctl.contract.endpoint import Target
from flaskd_ctl.errors import BadPlace, ControlError
from flaskd_ctl.transports.backend import BLOCKING, run
from flaskd_ctl.transports.process_exit import ProcessExit
from flaskd_ctl.transports.ssh_protocol import line
from flaskd_ctl.transports.unix_socket import CHUNK, connect, peer_pid

STDIN: Final = 0
STDOUT: Final = 1


def dial(target: Target) -> None:
    """Connect the standard streams to the instance until it has gone or the client leaves; raise as `connect` does."""
    if target.endpoint.scheme != "unix":
        raise BadPlace(
            f"{target.name} has no plain socket to connect to the standard streams",
            hint="name an instance of this host, or a unix:// endpoint",
        )
    path = target.endpoint.path
    link = connect(path, deadline=time.monotonic() + RESPONSE_TIMEOUT)
    with (
        contextlib.suppress(BrokenPipeError),  # the client has left
        link,
        ProcessExit(BLOCKING, path, peer_pid(link)) as exit_,
    ):
        _write(line("connected", name=target.name, pid=exit_.pid, sees_process=exit_.sees_process))
        cut_off = _relay(link)
        if cut_off is not None:
            _write(line("ended", detail=cut_off))
            _report_end(exit_)


def refuse(error: ControlError) -> None:
    """Report that there is no connection, and why."""
    _write(line("refused", name=error.name, message=str(error), hint=error.hint))


def _relay(link: socket.socket) -> str | None:
    """Relay both ways; return what the instance left unfinished ("" for nothing), or None if the client left first."""
    lines = Lines()
    poller = select.poll()
    poller.register(STDIN, select.POLLIN)
    poller.register(link, select.POLLIN)
    while True:
        ready = dict(poller.poll())
        if link.fileno() in ready:
            data = _received(link)
            if not data:
                return lines.cut_off
            for message in lines.feed(data):
                _write(message + b"\n")
        if STDIN in ready:
            asked = os.read(STDIN, CHUNK)
            if not asked:
                return None
            with contextlib.suppress(
                OSError
            ):  # then the instance has hung up: what it said before is still read
                link.sendall(asked)


def _report_end(exit_: ProcessExit) -> None:
    """Report that nothing listens any more, then that the process has ended; return then, or when the client leaves."""
    ended, reporter = socket.socketpair()

    def wait() -> None:
        run(exit_.wait_for_socket(deadline=float("inf")))
        with contextlib.suppress(OSError):
            reporter.send(b"!")

    with ended, reporter:
        threading.Thread(target=wait, daemon=True).start()
        poller = select.poll()
        poller.register(STDIN, select.POLLIN)
        poller.register(ended, select.POLLIN)
        if exit_.pidfd is not None:
            poller.register(exit_.pidfd, select.POLLIN)
        while True:
            ready = dict(poller.poll())
            if exit_.pidfd in ready:
                _write(line("gone"))
                return
            if ended.fileno() in ready:
                poller.unregister(ended)
                _write(line("silent"))
                if exit_.pidfd is None:
                    return
            if STDIN in ready and not os.read(STDIN, CHUNK):
                return


def _received(link: socket.socket) -> bytes:
    try:
        return link.recv(CHUNK)
    except OSError:
        return b""


def _write(data: bytes) -> None:
    while data:
        data = data[os.write(STDOUT, data) :]
