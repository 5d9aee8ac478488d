"""Socket activation: the listening sockets that systemd opened and hands over (sd_listen_fds(3)).

They are systemd's: it keeps them open over our restarts, so what waits in their queues is the next one's to answer. LISTEN_PID
says for whom the variables are; they are taken out of the environment, so that no child takes the descriptors for its own.
"""

import os
import socket
from collections.abc import MutableMapping, Sequence
from typing import Final, NamedTuple

from flaskd.errors import BindError
from flaskd.listening.listeners import parse
from flaskd.settings.schema import FIELDS

FIRST: Final = 3
"""SD_LISTEN_FDS_START."""

VARIABLES: Final = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")


class Handed(NamedTuple):
    """A descriptor that we were given, and its FileDescriptorName= (default: the name of the socket unit)."""

    descriptor: int
    name: str


def take(environ: MutableMapping[str, str], pid: int) -> list[Handed]:
    """Return what was handed to the process `pid`, none of it inherited by children any more; removes the variables.

    Raises BindError for a descriptor that is no listening stream socket.
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
    """Return the addresses that we have to bind ourselves: --bind without what was handed over.

    Where something was, the default of --bind is none: it is for who names no address at all.
    """
    if not handed:
        return list(bind)
    if bind == FIELDS["bind"].default:
        return []
    there = {_address(each.descriptor) for each in handed}
    return [address for address in bind if parse(address) not in there]


def _check(handed: Handed) -> None:
    """Raise BindError unless we can accept HTTP connections from it."""
    said = f"systemd handed over descriptor {handed.descriptor} ({handed.name!r}), which is"
    try:
        sock = socket.socket(fileno=os.dup(handed.descriptor))
    except OSError as error:
        raise BindError(f"{said} no socket ({error.strerror})", hint="look at the socket unit") from None
    with sock:
        kind = sock.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE)
        if sock.family not in {socket.AF_INET, socket.AF_INET6, socket.AF_UNIX} or kind != socket.SOCK_STREAM:
            raise BindError(f"{said} no stream socket", hint="use ListenStream= in the socket unit")
        if not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            raise BindError(
                f"{said} not listening", hint="leave Accept= out of the socket unit: it has to be no"
            )


def _address(descriptor: int) -> str | tuple[str, int]:
    """Return the address as `parse` writes it."""
    with socket.socket(fileno=os.dup(descriptor)) as sock:
        if sock.family == socket.AF_UNIX:
            return os.fsdecode(sock.getsockname())
        host, port = sock.getsockname()[:2]
        return str(host), int(port)
