"""An application that has been taken over: it attacks the supervisor by everything that a worker is given."""

import contextlib
import json
import mmap
import os
import socket
import stat
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Final

from flask import Flask, Response, request

LINE: Final = int(sys.argv[1]) if len(sys.argv) > 1 and sys.argv[1].isdigit() else -1
"""The descriptor of the private line to the supervisor, as its command line tells."""

TABLES: Final = ("-requests", "-errors", "-slow", "-metrics")
"""What it shares with the supervisor, by the end of its name."""

MIB: Final = 1 << 20

app = Flask(__name__)
calm = threading.Event()


def descriptors() -> Iterator[tuple[int, str]]:
    """Yield this process's descriptors, each with what it is."""
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # the listing's own
            yield int(name), os.readlink(f"/proc/self/fd/{name}")


def in_memory(name: str) -> int:
    return next(number for number, target in descriptors() if f"memfd:flaskd{name}" in target)


def listeners() -> Iterator[int]:
    for number, _ in descriptors():
        if stat.S_ISSOCK(os.fstat(number).st_mode):
            with socket.socket(fileno=os.dup(number)) as sock:
                if sock.family == socket.AF_INET and sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                    yield number


def say(data: bytes) -> None:
    """Write to the line as a worker does, or as none would."""
    with socket.socket(fileno=os.dup(LINE)) as line:
        line.sendall(data)


def event(**event: object) -> bytes:
    return json.dumps(event).encode() + b"\n"


def on_and_on(attack: Callable[[], object]) -> None:
    def go_on() -> None:
        with contextlib.suppress(OSError):  # the supervisor has had enough
            while not calm.is_set():
                attack()

    threading.Thread(target=go_on, daemon=True).start()


def scribble() -> None:
    """Write random bytes over its tables, again and again."""
    numbers = [in_memory(name) for name in TABLES]
    memories = [mmap.mmap(number, os.fstat(number).st_size) for number in numbers]

    def write() -> None:
        for memory in memories:
            memory[:] = os.urandom(len(memory))

    write()
    on_and_on(write)


def fill() -> None:
    """Let each byte of its tables be one that takes the most room in an answer, and the memory for stacks be large."""
    for name in TABLES:
        number = in_memory(name)
        with mmap.mmap(number, os.fstat(number).st_size) as memory:
            memory[:] = b"\1" * len(memory)
    stacks = in_memory("-stacks")
    os.ftruncate(stacks, 1 << 40)
    os.pwrite(stacks, b"\1" * (8 * MIB), 0)


def shrink() -> None:
    """Cut its tables short, so that who reads one gets SIGBUS; their seals must not let us."""
    for name in TABLES:
        try:
            os.ftruncate(in_memory(name), 0)
        except PermissionError:
            continue
        raise AssertionError(f"the table {name} can be cut short")


def order() -> None:
    """Ask for the opposite of the last order, over and over, with words that are no orders between."""
    words = (
        event(type="asked", order="drain"),
        event(type="asked", order="resume"),
        event(type="asked", order="shutdown", params={"grace": "soon", "lame_duck": {}}),
        event(type="progress", phase="\x1b[2J"),
        event(type="loaded"),
        event(type="request_began"),
        event(type="request_rejected"),
    )
    on_and_on(lambda: say(b"".join(words)))


def retire() -> None:
    """Say over and over that its quota is reached, so that it is replaced, and give orders until then."""
    words = (
        event(type="quota_reached"),
        event(type="asked", order="drain"),
        event(type="asked", order="resume"),
    )
    on_and_on(lambda: say(b"".join(words)))


def answer() -> None:
    """Answer what nobody asked, with what no worker says."""
    results: tuple[dict[str, object], ...] = (
        {"type": "done"},
        {"type": "stopped", "cut": [], "connections_cut": 1 << 31},
        {"type": "ready", "versions": {"x" * 9999: "\x1b[2J"}},
        {"type": "refused", "message": "\x1b[2J" * 9999},
    )
    replies = [event(**result, number=number) for number in range(1, 9) for result in results]
    on_and_on(lambda: say(b"".join(replies)))


def hand_over() -> None:
    """Send as many descriptors as a message takes, with each message; and make the standard output one that does not block."""
    several = [os.dup(0) for _ in range(200)]
    os.set_blocking(1, False)

    def send() -> None:
        with socket.socket(fileno=os.dup(LINE)) as line:
            socket.send_fds(line, [event(type="progress", phase="")], several)

    on_and_on(send)


def lie() -> None:
    """Send what is nearly a message."""
    on_and_on(lambda: say(event(type="stopped", number=1, cut="all", connections_cut=-1)))


def babble() -> None:
    """Speak no protocol at all."""
    on_and_on(lambda: say(os.urandom(MIB)))


def never_end() -> None:
    """Begin a message, and never end it."""
    on_and_on(lambda: say(b"[" * MIB))


def half() -> None:
    """Begin a message, and leave it at that."""
    say(b'{"type": "progress", "phase"')


def pour() -> None:
    """Write to stdout and stderr without a pause: lines of nothing, and one without an end."""
    on_and_on(lambda: os.write(1, b"\n" * 65536))
    on_and_on(lambda: os.write(2, b"x" * 65536))


def shut() -> None:
    """Shut the listener for everybody."""
    for number in listeners():
        with socket.socket(fileno=os.dup(number)) as sock:
            sock.shutdown(socket.SHUT_RDWR)


def close() -> None:
    """Close the line, and go on."""
    with socket.socket(fileno=os.dup(LINE)) as line:
        line.shutdown(socket.SHUT_RDWR)


ATTACKS: Final = {
    attack.__name__: attack
    for attack in (
        scribble, fill, shrink, order, retire, answer, lie, hand_over, babble, never_end, half, pour, shut, close
    )
}  # fmt: skip


@app.get("/")
def front() -> str:
    """Answer at once."""
    return "front\n"


@app.post("/attack/<kind>")
def attack(kind: str) -> str:
    """Begin to attack."""
    calm.clear()
    ATTACKS[kind]()
    return "begun\n"


@app.post("/calm")
def be_calm() -> str:
    """End all attacks that go on."""
    calm.set()
    return "calm\n"


@app.get("/power")
def power() -> Response:
    """Tell who this process is, and what it can do to its supervisor: signal it, look into its memory, ask it as itself."""
    found: dict[str, object] = {"uid": os.getuid(), "groups": os.getgroups()}
    supervisor = os.getppid()
    tries: dict[str, Callable[[], object]] = {
        "signal": lambda: os.kill(supervisor, 0),
        "look into": lambda: os.close(os.open(f"/proc/{supervisor}/mem", os.O_RDONLY)),
        "ask": lambda: socket.socket(socket.AF_UNIX).connect(request.args["sock"]),
    }
    may = []
    for name, attempt in tries.items():
        with contextlib.suppress(PermissionError):
            attempt()
            may.append(name)
    return Response(json.dumps({**found, "may": may}), mimetype="application/json")
