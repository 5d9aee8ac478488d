"""The owner's `status`, and a stop, while 300 hostile viewers are at each control socket.

The viewers are another user, who has the role viewer; `benchmarks.viewers` has what they do. Each `status` is asked for on a
connection of its own as well as on one that stays open. Needs root, to become that user.
"""

import contextlib
import json
import os
import signal
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from typing import Final

import zmq

from benchmarks.contenders import Contender, flaskd, python
from benchmarks.findings import Figure, Findings, missing
from benchmarks.running import ROOT, Running, serving
from benchmarks.side_by_side import main
from benchmarks.start_and_stop import free_port
from benchmarks.status_round_trip import connecting, requester, round_trips, stream

APP: Final = "benchmarks.hello:app"
VIEWER: Final = 65_534
CONNECTIONS: Final = 300


def measure(quick: bool) -> Findings:
    """Besiege all transports at once; tell of `status` on both local ones, of the descriptors, and of a stop."""
    what = f"the owner's `status`, {CONNECTIONS} hostile viewers on each transport"
    if os.getuid():
        return Findings([missing(what, "", "needs root", goal=50)])
    with tempfile.TemporaryDirectory(prefix="bench-", dir="/tmp") as directory:
        keys = Keys(directory)
        with serving(keys.contender(), APP, port=free_port()) as server:
            calm = _descriptors(server)
            with besieged(server, keys):
                asked = _ask(server, 50 if quick else 1000)
                most = max(_descriptors(server) for _ in range(20)) - calm
                figures = [_p99(f"{what}: p99, {name}", times) for name, times in asked.items()]
                figures.append(Figure("descriptors that they take", "", most, None, f"{calm} before"))
                begun = time.perf_counter()
                os.kill(server.process.pid, signal.SIGTERM)
                server.wait_gone()
                took = time.perf_counter() - begun
    figures.append(Figure("SIGTERM to the end, besieged", "", took, 1, f"{took:.2f} s"))
    return Findings(figures)


class Keys:
    """The CURVE keys of a server and of a viewer, below `directory`."""

    def __init__(self, directory: str) -> None:
        self.directory = directory
        self.server, self.viewer = zmq.curve_keypair(), zmq.curve_keypair()
        os.mkdir(f"{directory}/authorized", 0o700)
        _write(f"{directory}/server.key_secret", *self.server)
        _write(f"{directory}/authorized/viewer.key", self.viewer[0])

    def contender(self) -> Contender:
        """Return a flaskd with TCP endpoints that knows the viewers."""
        return flaskd(
            *("--viewers", f"user:{VIEWER}", "--viewers", "key:viewer"),
            *("--control-endpoints", "tcp://127.0.0.1:0"),
            *("--curve-key", f"{self.directory}/server.key_secret"),
            *("--authorized-keys", f"{self.directory}/authorized"),
            name="flaskd",
            engine="waitress",
        )


@contextlib.contextmanager
def besieged(server: Running, keys: Keys) -> Iterator[None]:
    """Let the viewers come, to each transport; enter when all have."""
    os.chmod(server.directory, 0o755)
    place = os.path.dirname(server.control_socket)
    while not os.path.exists(facts := f"{place}/instance.json"):
        time.sleep(0.01)
    with open(facts, encoding="utf-8") as file:
        url = next(each for each in json.load(file)["endpoints"] if each.startswith("tcp://"))
    curve = [*keys.viewer[::-1], keys.server[0]]
    wheres = {"sock": [f"{place}/sock"], "zmq": [f"{place}/zmq"], "tcp": [url]}
    program = os.path.join(ROOT, "benchmarks", "viewers.py")
    processes = []
    try:
        for kind, where in wheres.items():
            more = [key.decode() for key in curve] if kind == "tcp" else []
            command = python(program, kind, *where, str(VIEWER), str(CONNECTIONS), *more)
            processes.append(subprocess.Popen(command, stdout=subprocess.PIPE))
        for process in processes:
            if process.stdout is None or not process.stdout.readline():
                raise RuntimeError("no siege")
        time.sleep(1)  # until what each has sent piles up
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def _ask(server: Running, trips: int) -> dict[str, list[float]]:
    """Return the milliseconds of each `status`."""
    sock = server.control_socket
    zeromq = os.path.join(os.path.dirname(sock), "zmq")
    with stream(sock) as over_stream, requester(zeromq) as over_zeromq:
        return {
            "plain stream": round_trips(over_stream, trips),
            "ZeroMQ": round_trips(over_zeromq, trips),
            "plain stream, connecting": round_trips(connecting(stream, sock), trips // 5),
            "ZeroMQ, connecting": round_trips(connecting(requester, zeromq), trips // 5),
        }


def _p99(what: str, times: list[float]) -> Figure:
    p99 = statistics.quantiles(times, n=100)[98]
    return Figure(
        what, "", p99, 50, f"{p99:.3g} ms, p50 {statistics.median(times):.3g}, most {max(times):.3g}"
    )


def _descriptors(server: Running) -> int:
    return len(os.listdir(f"/proc/{server.process.pid}/fd"))


def _write(path: str, public: bytes, secret: bytes = b"") -> None:
    halves = [
        f'    public-key = "{public.decode()}"',
        *([f'    secret-key = "{secret.decode()}"'] if secret else []),
    ]
    with open(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "w", encoding="ascii") as file:
        file.write("\n".join(["metadata", "curve", *halves, ""]))


if __name__ == "__main__":
    main(measure)
