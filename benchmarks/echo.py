"""A bare echo on a ZeroMQ ROUTER and on a Unix stream: the least that a round trip can cost.

    python -m benchmarks.echo DIRECTORY

serves DIRECTORY/zmq and DIRECTORY/sock until it is killed, and prints a line when both are open.
"""

import os
import socket
import sys
import threading

import zmq


def echo_stream(listener: socket.socket) -> None:
    """Send each line of one connection back, then accept the next."""
    while True:
        connection, _ = listener.accept()
        with connection, connection.makefile("rb") as lines:
            while line := lines.readline():
                connection.sendall(line)


def main() -> None:
    """Echo on both."""
    directory = sys.argv[1]
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(os.path.join(directory, "sock"))
    listener.listen()
    threading.Thread(target=echo_stream, args=(listener,), daemon=True).start()
    router: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.ROUTER)
    router.bind(f"ipc://{os.path.join(directory, 'zmq')}")
    print("open", flush=True)
    while True:
        router.send_multipart(router.recv_multipart())


if __name__ == "__main__":
    main()
