"""Socket activation: listening sockets that systemd opens and passes to the service (sd_listen_fds(3)).

systemd keeps them open when the service restarts, so the next process answers the connections that wait in their queues.
LISTEN_PID names the process that the variables are for. They are removed from the environment, so that no child uses them.
"""

import os
import socket
from collections.abc import MutableMapping, Sequence
from typing import Final, NamedTuple

from flaskd.errors import BindError
from flaskd.listening.addresses import parse
from flaskd.settings.schema import FIELDS

FIRST: Final = 3
"""SD_LISTEN_FDS_START."""

VARIABLES: Final = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")


class Handed(NamedTuple):
    """A descriptor from systemd, and its FileDescriptorName= (default: the name of the socket unit)."""

    descriptor: int
    name: str


def take(environ: MutableMapping[str, str], pid: int) -> list[Handed]:
    """Return the descriptors that were passed to the process `pid`, and remove the variables. Children do not inherit them.

    Raises BindError for a descriptor that is not a listening stream socket.
    """
    meant, count, names = (environ.pop(variable, "") for variable in VARIABLES)
    if meant != str(pid) or not (count.isascii() and count.isdigit()):
        return []
    named = names.split(":") if names else []
    handed = [
        Handed(FIRST + index, named[index] if index < len(named) else "unknown")
        for index in range(int(count))
    ]
    for each in handed:
        _check(each)
        os.set_inheritable(each.descriptor, False)
    return handed


def still_to_bind(bind: Sequence[str], handed: Sequence[Handed]) -> list[str]:
    """Return the addresses that flaskd has to bind itself: those of --bind that systemd did not pass.

    With any socket from systemd, the default address of --bind does not count.
    """
    if not handed:
        return list(bind)
    if bind == FIELDS["bind"].default:
        return []
    there = {_address(each.descriptor) for each in handed}
    return [address for address in bind if parse(address) not in there]


def _check(handed: Handed) -> None:
    """Raise BindError unless it can accept HTTP connections."""
    what = f"systemd passed descriptor {handed.descriptor} ({handed.name!r}), which is"
    try:
        sock = socket.socket(fileno=os.dup(handed.descriptor))
    except OSError as error:
        raise BindError(f"{what} not a socket ({error.strerror})", hint="check the socket unit") from None
    with sock:
        kind = sock.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE)
        if sock.family not in {socket.AF_INET, socket.AF_INET6, socket.AF_UNIX} or kind != socket.SOCK_STREAM:
            raise BindError(f"{what} not a stream socket", hint="use ListenStream= in the socket unit")
        if not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            raise BindError(
                f"{what} not listening", hint="remove Accept= from the socket unit: it has to be no"
            )


def _address(descriptor: int) -> str | tuple[str, int]:
    """Return the address of a socket, as `parse` does."""
    with socket.socket(fileno=os.dup(descriptor)) as sock:
        if sock.family == socket.AF_UNIX:
            return os.fsdecode(sock.getsockname())
        host, port = sock.getsockname()[:2]
        return str(host), int(port)
