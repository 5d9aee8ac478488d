"""Handshakes with a listener that are under way: the client's SYN is here, its last ACK is not (Linux; elsewhere none is seen).

The kernel is asked over netlink (sock_diag(7)), which looks for the port and state itself: 0.2 ms where reading and searching
/proc/net/tcp takes 4 ms and more. Where netlink may not be used (RestrictAddressFamilies= of systemd) the file is read.
"""

import re
import socket
import struct
import sys
from typing import Final

SYN_RECV: Final = 3  # include/net/tcp_states.h
NEW_SYN_RECV: Final = 12  # what the kernel has for it inside
NETLINK_SOCK_DIAG: Final = 4  # linux/netlink.h
SOCK_DIAG_BY_FAMILY: Final = 20  # linux/sock_diag.h
REQUEST_DUMP: Final = 0x301  # NLM_F_REQUEST | NLM_F_DUMP
ANY_COOKIE: Final = 0xFFFFFFFF


def under_way(family: int, port: int) -> bool:
    """Tell whether a handshake with the listener on `port` is under way."""
    if sys.platform != "linux":
        return False
    try:
        return _asked(family, port)
    except OSError:
        return _read(family, port)


def _asked(family: int, port: int) -> bool:
    # struct inet_diag_req_v2: family, protocol, extensions, padding, states, then struct inet_diag_sockid
    states = 1 << SYN_RECV | 1 << NEW_SYN_RECV
    request = struct.pack("=BBBBI", family, socket.IPPROTO_TCP, 0, 0, states)
    request += struct.pack(">HH32s", port, 0, b"") + struct.pack("=III", 0, ANY_COOKIE, ANY_COOKIE)
    header = struct.pack("=IHHII", 16 + len(request), SOCK_DIAG_BY_FAMILY, REQUEST_DUMP, 1, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, NETLINK_SOCK_DIAG) as netlink:
        netlink.settimeout(1)
        netlink.send(header + request)
        kind: int = struct.unpack_from("=IH", netlink.recv(65536))[1]
    if kind == 2:  # NLMSG_ERROR
        raise OSError("sock_diag refused")
    return kind == SOCK_DIAG_BY_FAMILY  # else NLMSG_DONE: none


def _read(family: int, port: int) -> bool:
    table = "/proc/self/net/tcp6" if family == socket.AF_INET6 else "/proc/self/net/tcp"
    # Thousands of rows in TIME_WAIT are usual: no Python for each.
    row = rb":%04X [0-9A-F]+:[0-9A-F]{4} %02X " % (port, SYN_RECV)
    try:
        with open(table, "rb") as rows:
            return re.search(row, rows.read()) is not None
    except OSError:  # no /proc here, or no descriptor to open it with
        return False
