"""`flaskd_ctl dial-stdio`: the far end of `ssh://`, on the host of the instance (`far` says what it says).

It carries lines between its standard streams and the instance's plain socket, as the user who logged in: the instance sees that
user, from the kernel, as it sees any other. It opens the process' descriptor before anything is asked, and stays until the
process has ended or the client leaves, whichever is first.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import threading
import time
from typing import Final

from flaskd_ctl.client.session import FIRST_WORD
from flaskd_ctl.contract.conversation import Lines
from flaskd_ctl.contract.endpoint import Target
from flaskd_ctl.errors import BadPlace, ControlError
from flaskd_ctl.transports.backend import BLOCKING, run
from flaskd_ctl.transports.process_exit import ProcessExit
from flaskd_ctl.transports.remote import line
from flaskd_ctl.transports.unix_socket import CHUNK, connect, peer_pid

STDIN: Final = 0
STDOUT: Final = 1


def dial(target: Target) -> None:
    """Join the standard streams to the instance until it is gone or the client leaves; raise what `connect` does."""
    if target.endpoint.scheme != "unix":
        raise BadPlace(
            f"{target.name} has no plain socket that could be joined to the standard streams",
            hint="name an instance of this host, or a unix:// endpoint",
        )
    path = target.endpoint.path
    link = connect(path, deadline=time.monotonic() + FIRST_WORD)
    with (
        contextlib.suppress(BrokenPipeError),  # the client has left, and need not be told
        link,
        ProcessExit(BLOCKING, path, peer_pid(link)) as exit_,
    ):
        _say(line("connected", name=target.name, pid=exit_.pid, sees_process=exit_.sees_process))
        cut_off = _carry(link)
        if cut_off is not None:
            _say(line("ended", detail=cut_off))
            _see_gone(exit_)


def refuse(error: ControlError) -> None:
    """Say that there is no connection, and why."""
    _say(line("refused", name=error.name, message=str(error), hint=error.hint))


def _carry(link: socket.socket) -> str | None:
    """Carry both ways; return what the instance left unfinished ("" for nothing), or None where the client was first to go."""
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
                _say(message + b"\n")
        if STDIN in ready:
            asked = os.read(STDIN, CHUNK)
            if not asked:
                return None
            with contextlib.suppress(
                OSError
            ):  # then the instance has hung up: what it said before is still read
                link.sendall(asked)


def _see_gone(exit_: ProcessExit) -> None:
    """Say when nothing listens any more, and when the process has ended; return then, or when the client leaves."""
    news, teller = socket.socketpair()

    def wait() -> None:
        run(exit_.wait_for_socket(deadline=float("inf")))
        with contextlib.suppress(OSError):
            teller.send(b"!")

    with news, teller:
        threading.Thread(target=wait, daemon=True).start()
        poller = select.poll()
        poller.register(STDIN, select.POLLIN)
        poller.register(news, select.POLLIN)
        if exit_.pidfd is not None:
            poller.register(exit_.pidfd, select.POLLIN)
        while True:
            ready = dict(poller.poll())
            if exit_.pidfd in ready:
                _say(line("gone"))
                return
            if news.fileno() in ready:
                poller.unregister(news)
                _say(line("silent"))
                if exit_.pidfd is None:
                    return
            if STDIN in ready and not os.read(STDIN, CHUNK):
                return


def _received(link: socket.socket) -> bytes:
    try:
        return link.recv(CHUNK)
    except OSError:
        return b""


def _say(data: bytes) -> None:
    while data:
        data = data[os.write(STDOUT, data) :]
