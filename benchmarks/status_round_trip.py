"""`status` and `stats`: one request, one reply, again and again.

On an open connection, idle, against a bare pyzmq REQ/ROUTER echo (and a bare echo on a Unix stream); and while wrk saturates
the application, against itself when idle. With a connection for each, idle, against what peers have: gunicorn's control
socket, asked by the client of gunicornc, and uWSGI's stats socket; a bare echo in Python is beside them. It is the supervisor
that answers, for a worker in another process; on few CPUs it has to share them with the worker and with wrk.
"""

import contextlib
import dataclasses
import os
import socket
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Final

import zmq

from benchmarks.contenders import FLASKD, GUNICORN, OURS, UWSGI, Contender, python
from benchmarks.findings import Figure, Findings, missing, ratio
from benchmarks.running import ROOT, Running, serving
from benchmarks.side_by_side import interleave, main
from benchmarks.timing import WRK

APP = "benchmarks.hello:app"
STATUS = b'{"jsonrpc":"2.0","id":1,"method":"status"}'
STATS = b'{"jsonrpc":"2.0","id":1,"method":"stats"}'
Exchange = Callable[[], bytes]


def measure(quick: bool) -> Findings:
    """Compare medians idle, then the slowest hundredth under load with that when idle."""
    trips, rounds = (100, 3) if quick else (500, 15)
    figures = _idle(FLASKD, trips=trips, rounds=rounds)
    figures += _connecting(FLASKD, trips=trips, rounds=rounds)
    loaded = {"trips": 2 * trips, "rounds": max(2, rounds // 2)}
    figures += [_under_load(each, "status", STATUS, **loaded) for each in OURS]
    figures += [_under_load(each, "stats", STATS, **loaded) for each in OURS]
    return Findings(figures)


def _idle(contender: Contender, *, trips: int, rounds: int) -> list[Figure]:
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(serving(contender, APP))
        echo = stack.enter_context(_echo())
        exchanges: dict[str, Exchange] = {
            "zmq": stack.enter_context(_status(server)),
            "zmq echo": stack.enter_context(requester(os.path.join(echo, "zmq"))),
            "stream": stack.enter_context(stream(server.control_socket)),
            "stream echo": stack.enter_context(stream(os.path.join(echo, "sock"))),
        }
        p50 = interleave({name: _p50(exchange, trips) for name, exchange in exchanges.items()}, rounds)
    return [
        ratio(
            "`status` round trip, idle, p50, ZeroMQ",
            ours=p50["zmq"],
            theirs=p50["zmq echo"],
            against="a bare pyzmq REQ/ROUTER echo",
            goal=2,
            unit="ms",
        ),
        ratio(
            "`status` round trip, idle, p50, plain stream",
            ours=p50["stream"],
            theirs=p50["stream echo"],
            against="a bare Unix stream echo",
            goal=None,
            unit="ms",
        ),
    ]


def _connecting(contender: Contender, *, trips: int, rounds: int) -> list[Figure]:
    """Compare with peers that are installed, all of them running."""
    what = "`status`, connect and read, idle, p50, plain stream"
    peers: dict[Contender, tuple[str, Callable[[Running], Exchange]]] = {
        GUNICORN: ("gunicornc's client", _gunicorn_workers),
        UWSGI_STATS: ("uWSGI's stats socket", _uwsgi_stats),
    }
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(serving(contender, APP))
        echo = stack.enter_context(_echo())
        exchanges: dict[str, Exchange] = {
            contender.name: connecting(stream, server.control_socket),
            ECHO: connecting(stream, os.path.join(echo, "sock")),
        }
        for peer, (_, asking) in peers.items():
            if peer.installed:
                exchanges[peer.name] = asking(stack.enter_context(serving(peer, APP)))
        p50 = interleave({name: _p50(exchange, trips) for name, exchange in exchanges.items()}, rounds)
    figures = [
        ratio(what, ours=p50[contender.name], theirs=p50[peer.name], against=against, goal=1, unit="ms")
        if peer.installed
        else missing(what, against, "not installed", goal=1)
        for peer, (against, _) in peers.items()
    ]
    # What Python takes to accept, to read and to answer, in a thread that does nothing else.
    figures.append(
        ratio(what, ours=p50[contender.name], theirs=p50[ECHO], against=ECHO, goal=None, unit="ms")
    )
    if UWSGI_STATS.name in p50:
        figures.append(
            ratio(
                f"{ECHO}, connect and read",
                ours=p50[ECHO],
                theirs=p50[UWSGI_STATS.name],
                against="uWSGI's stats socket",
                goal=None,
                unit="ms",
            )
        )
    return figures


ECHO: Final = "a bare Unix stream echo in Python"
UWSGI_STATS: Final = dataclasses.replace(
    UWSGI,
    name="uWSGI, stats socket",
    command=lambda setup: [*UWSGI.command(setup), "--stats", f"{setup.directory}/stats"],
)


def _gunicorn_workers(server: Running) -> Exchange:
    from gunicorn.ctl.client import ControlClient

    path = os.path.join(server.directory, "gunicorn.ctl")

    def exchange() -> bytes:
        with ControlClient(path) as client:
            return repr(client.send_command("show workers")).encode()

    return exchange


def _uwsgi_stats(server: Running) -> Exchange:
    def exchange() -> bytes:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(30)
            connection.connect(os.path.join(server.directory, "stats"))
            return b"".join(iter(lambda: connection.recv(65536), b""))

    return exchange


def connecting(opener: Callable[[str], contextlib.AbstractContextManager[Exchange]], path: str) -> Exchange:
    """Return an exchange that opens a connection for itself."""

    def exchange() -> bytes:
        with opener(path) as ask:
            return ask()

    return exchange


def _under_load(contender: Contender, command: str, message: bytes, *, trips: int, rounds: int) -> Figure:
    what, against = (
        f"`{command}` round trip while wrk saturates the app, p99, {contender.name}",
        "its own idle p99",
    )
    if WRK is None or not contender.installed:
        return missing(what, against, "not installed" if WRK else "wrk is not installed", goal=3)
    with serving(contender, APP) as server, _status(server, message) as exchange:
        wrk = [WRK, "-t1", "-c8", "-d60s", f"{server.url}/"]

        def loaded() -> float:
            with subprocess.Popen(wrk, stdout=subprocess.DEVNULL) as load:
                try:
                    time.sleep(0.2)  # until the load has built up; it lasts for the whole of what follows
                    return _p99(exchange, trips)()
                finally:
                    load.kill()

        p99 = interleave({"loaded": loaded, "idle": _p99(exchange, trips)}, rounds)
    return ratio(what, ours=p99["loaded"], theirs=p99["idle"], against=against, goal=3, unit="ms")


@contextlib.contextmanager
def _status(server: Running, message: bytes = STATUS) -> Iterator[Exchange]:
    with requester(os.path.join(os.path.dirname(server.control_socket), "zmq"), message) as exchange:
        if b'"result"' not in exchange():
            raise RuntimeError("no result")
        yield exchange


def round_trips(exchange: Exchange, count: int) -> list[float]:
    """Make the exchange so many times; return the milliseconds of each."""
    taken = []
    for _ in range(count):
        begun = time.perf_counter()
        exchange()
        taken.append((time.perf_counter() - begun) * 1000)
    return taken


def _p50(exchange: Exchange, count: int) -> Callable[[], float]:
    return lambda: statistics.median(round_trips(exchange, count))


def _p99(exchange: Exchange, count: int) -> Callable[[], float]:
    return lambda: statistics.quantiles(round_trips(exchange, count), n=100)[98]


@contextlib.contextmanager
def _echo() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="bench-", dir="/tmp") as directory:
        command = python("-m", "benchmarks.echo", directory)
        with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT) as process:
            try:
                if process.stdout is None or not process.stdout.readline():
                    raise RuntimeError("the echo did not start")
                yield directory
            finally:
                process.kill()


@contextlib.contextmanager
def requester(path: str, message: bytes = STATUS) -> Iterator[Exchange]:
    """Send `message` over ZeroMQ, again and again."""
    with zmq.Context() as context, context.socket(zmq.REQ) as requester:
        requester.setsockopt(zmq.LINGER, 0)
        requester.setsockopt(zmq.RCVTIMEO, 30_000)
        requester.connect(f"ipc://{path}")

        def exchange() -> bytes:
            requester.send(message)
            return requester.recv()

        yield exchange


@contextlib.contextmanager
def stream(path: str) -> Iterator[Exchange]:
    """Ask for `status` over the plain stream."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(path)
        connection.settimeout(30)
        with connection.makefile("rb") as lines:

            def exchange() -> bytes:
                connection.sendall(STATUS + b"\n")
                return lines.readline()

            yield exchange


if __name__ == "__main__":
    main(measure)
