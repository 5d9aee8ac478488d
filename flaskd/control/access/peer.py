"""Identify the peer of a connection: by the kernel, never by what it sends.

On Linux, SO_PEERCRED returns the uid, gid and pid that the peer had when it connected (unix(7)). macOS has LOCAL_PEERCRED,
without the pid (sys/ucred.h). If the credentials cannot be read, the Actor has no uid, and the policy refuses it.
"""

import socket
import struct
import sys
from typing import Final

from flaskd_ctl.protocol import Actor

SOL_LOCAL: Final = 0
LOCAL_PEERCRED: Final = 1
XUCRED_SIZE: Final = 76  # u_int version, uid_t uid, short ngroups, gid_t groups[16]
SO_PEERGROUPS: Final = 59  # asm-generic/socket.h, Linux 4.13
NO_UID: Final = 0xFFFFFFFF  # (uid_t)-1, of a socket without a peer
LONGEST_OPTION: Final = 1024  # bytes that Python's getsockopt reads: 256 groups


def of_socket(sock: socket.socket) -> Actor:
    """Return the peer of a Unix socket."""
    try:
        if sys.platform == "darwin":
            credentials = sock.getsockopt(SOL_LOCAL, LOCAL_PEERCRED, XUCRED_SIZE)
            return Actor(via="control", uid=struct.unpack_from("=I", credentials, 4)[0])
        pid, uid, gid = struct.unpack("iII", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        return _actor(uid, gid, pid)
    except (OSError, struct.error):
        return Actor(via="control")


def groups_of_socket(sock: socket.socket) -> frozenset[int] | None:
    """Return the supplementary groups that the peer of a Unix socket had when it connected.

    Return None if they are not available: on other systems than Linux, and for more groups than fit (ERANGE).
    """
    if sys.platform != "linux":
        return None
    try:
        groups = sock.getsockopt(socket.SOL_SOCKET, SO_PEERGROUPS, LONGEST_OPTION)
    except OSError:
        return None
    return frozenset(struct.unpack(f"{len(groups) // 4}I", groups))


def _actor(uid: int, gid: int, pid: int) -> Actor:
    return Actor(via="control") if uid == NO_UID else Actor(via="control", uid=uid, gid=gid, pid=pid)
