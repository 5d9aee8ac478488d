"""What a worker gets that was started before there was anything to serve: see `flaskd.supervisor.early_worker`."""

import json
import os
import socket
from typing import Final

MOST: Final = 253
"""Descriptors in one message (SCM_MAX_FD, unix(7))."""

SIZE_BYTES: Final = 4


def receive(descriptor: int) -> tuple[int, str]:
    """Wait for the descriptors and the environment of a worker, and have them; returns that of its end of the channel.

    Returns also its role, "worker" or "template". Exits if the supervisor ends before.
    """
    with socket.socket(fileno=descriptor) as sock:
        data, given, _, _ = socket.recv_fds(sock, SIZE_BYTES, MOST)
        size, message = int.from_bytes(data, "big"), b""
        while data and len(message) < size:
            data = sock.recv(size - len(message))
            message += data
    if not data:
        os._exit(1)
    told = json.loads(message)
    numbers: list[int] = told["descriptors"]
    for duplicate, number in zip(given, numbers, strict=True):
        os.dup2(duplicate, number)
        os.close(duplicate)
    os.environ.clear()
    os.environ.update(told["environ"])
    return numbers[0], told["role"]
