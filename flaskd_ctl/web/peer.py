"""Which user of this host is at the other end of a connection (Linux; elsewhere nobody can tell).

Both ends of a loopback connection are sockets of this kernel, and sock_diag(7) names the owner of any TCP socket. So the
server knows who asks, as a control socket does from SO_PEERCRED.
"""

import os
import socket
import struct
import sys
from collections.abc import Mapping
from typing import Final

Address = tuple[str, int]

NETLINK_SOCK_DIAG: Final = 4  # linux/netlink.h
SOCK_DIAG_BY_FAMILY: Final = 20  # linux/sock_diag.h
NLM_F_REQUEST: Final = 1  # linux/netlink.h: one socket, not a dump of all that match
ESTABLISHED: Final = 1  # include/net/tcp_states.h
ANY_STATE: Final = 0xFFFFFFFF
ANY_COOKIE: Final = 0xFFFFFFFF

HEADER: Final = struct.Struct("=IHHII")
"""struct nlmsghdr: length, type, flags, sequence, pid."""

ANSWER: Final = struct.Struct("=BBBB48xIIIII")
"""struct inet_diag_msg: family, state, timer, retransmissions, (id), expiry, two queues, user, inode; linux/inet_diag.h."""


def user_of(client: Address, server: Address) -> int | None:
    """Return the user who owns the socket at `client` of an open connection to `server`; None if there is no such socket.

    Raises OSError if the kernel does not tell.
    """
    # struct inet_diag_req_v2: family, protocol, extensions, padding, states, then struct inet_diag_sockid
    request = struct.pack("=BBBBI", socket.AF_INET, socket.IPPROTO_TCP, 0, 0, ANY_STATE)
    request += struct.pack(">HH", client[1], server[1])
    request += struct.pack("4s12x4s12x", socket.inet_aton(client[0]), socket.inet_aton(server[0]))
    request += struct.pack("=III", 0, ANY_COOKIE, ANY_COOKIE)
    header = HEADER.pack(HEADER.size + len(request), SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST, 1, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, NETLINK_SOCK_DIAG) as netlink:
        netlink.settimeout(1)
        netlink.send(header + request)
        data = netlink.recv(4096)
    if HEADER.unpack_from(data)[1] != SOCK_DIAG_BY_FAMILY:
        return None
    _, state, _, _, _, _, _, user, inode = ANSWER.unpack_from(data, HEADER.size)
    # Without an open connection the kernel answers with a socket that listens on that port, or with what is left of one that
    # was closed, whose user is always 0.
    return int(user) if state == ESTABLISHED and inode else None


def can_tell(server: Address) -> bool:
    """Tell whether the kernel says who is connected to `server`, where we listen ourselves."""
    if sys.platform != "linux":
        return False
    try:
        with socket.create_connection(server, timeout=1) as ours:
            return user_of(ours.getsockname(), server) == os.geteuid()
    except OSError:
        return False


def own_users(environ: Mapping[str, str]) -> frozenset[int]:
    """Return the users who may connect: this process's, who has become it by sudo(8), and root."""
    users = {os.geteuid(), os.getuid(), 0}
    if (invoker := environ.get("SUDO_UID", "")).isdecimal():
        users.add(int(invoker))
    return frozenset(users)
