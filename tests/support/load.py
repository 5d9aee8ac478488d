"""A load client that classifies each request, to find out whether a server that stops loses any.

Every request ends in exactly one `Outcome`; `outcome` says which of them are lost requests. Two modes:

- *closed*: so many clients, each sends its next request when the last is answered.
- *open*: connections arrive at a rate, whatever the server does; the request is sent up to `send_delay` after
  the connect, half of them in two pieces, and on a connection that the server keeps open the next one follows
  after a think time.

    python -m tests.support.load http://127.0.0.1:8000 --mode open --seconds 3

prints `{"warm": n}` after the first n answers, and the report when it ends: `--tail` seconds after standard
input closes (with `--until-eof`), or after `--seconds`. The application has to answer httpbin's
/delay, /base64, /range and /stream.
"""

import argparse
import asyncio
import contextlib
import json
import random
import sys
import threading
from typing import Final, Self

from tests.support.exchange import Connection, Plan, ask
from tests.support.outcome import Outcome, Record, Report

KEEP_ALIVE_ROUNDS: Final = 3
"""Further requests on a connection in open mode."""


class Load:
    """Load on one server from a thread of its own, as a context manager; `end` returns the report."""

    def __init__(self, target: str, plan: Plan) -> None:
        self._target = target
        self._plan = plan
        self._report = Report()
        self._issued = 0
        self._changed = threading.Condition()  # guards the counts of _report and _failure for other threads
        self._failure: BaseException | None = None
        self._ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._over: asyncio.Event | None = None
        self._thread = threading.Thread(target=self._run, name="load", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        if not self._ready.wait(timeout=10):
            raise TimeoutError("the load client did not start")
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()
        self._thread.join(timeout=self._plan.timeout + self._plan.connect_timeout + 10)

    @property
    def answered(self) -> int:
        """Requests answered up to now."""
        return self._report.ok

    def wait_answered(self, count: int, *, timeout: float = 30) -> None:
        """Return when so many requests have been answered; raise TimeoutError if they are not in time."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._failure or self._report.ok >= count, timeout):
                raise TimeoutError(
                    f"{self._report.ok} of {count} answers in {timeout} s: {self._report.as_json()}"
                )
        self._raise_failure()

    def end(self, *, tail: float = 0.3) -> Report:
        """Go on for `tail` seconds, then send nothing new, let what is under way end; return the report."""
        self._thread.join(timeout=tail)
        self._stop()
        self._thread.join(timeout=self._plan.timeout + self._plan.connect_timeout + 10)
        if self._thread.is_alive():
            raise TimeoutError("the load client did not end")
        self._raise_failure()
        return self._report

    def _raise_failure(self) -> None:
        if self._failure:
            raise RuntimeError("the load client itself failed") from self._failure

    def _stop(self) -> None:
        if self._loop and self._over:
            with contextlib.suppress(RuntimeError):  # the loop has ended by itself
                self._loop.call_soon_threadsafe(self._over.set)

    def _run(self) -> None:
        try:
            asyncio.run(self._main())
        except BaseException as error:  # noqa: BLE001 - the thread's outer edge: `end` raises it
            with self._changed:
                self._failure = error
                self._changed.notify_all()

    async def _main(self) -> None:
        self._loop, self._over = asyncio.get_running_loop(), asyncio.Event()
        self._ready.set()
        self._loop.call_later(self._plan.seconds, self._over.set)
        async with asyncio.TaskGroup() as group:
            if self._plan.mode == "closed":
                for number in range(self._plan.clients):
                    group.create_task(self._closed_client(random.Random(f"{self._plan.seed}-{number}")))
                return
            rng = random.Random(f"{self._plan.seed}-arrivals")
            while await self._pause(rng.expovariate(self._plan.rate)):
                group.create_task(self._open_session(random.Random(rng.random())))

    async def _pause(self, seconds: float) -> bool:
        """Wait; tell whether more requests are wanted."""
        if self._over is None or self._over.is_set() or self._issued >= self._plan.count:
            return False
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._over.wait()
        return not self._over.is_set()

    def _note(self, record: Record) -> None:
        with self._changed:
            self._report.add(record)
            self._changed.notify_all()

    async def _closed_client(self, rng: random.Random) -> None:
        connection: Connection | None = None
        pause = 0.0
        try:
            while await self._pause(pause):
                # Before the look: what comes between look and use makes races of our own.
                asked = ask(rng, posts=self._plan.posts)
                if connection and not await connection.idle(0):
                    connection.close()
                    connection = None
                    self._report.idle_closed += 1
                connection = connection or Connection(self._target, self._plan)
                self._issued += 1
                record, reusable = await connection.exchange(asked)
                self._note(record)
                pause = 0.05 if record.outcome is Outcome.REFUSED else 0.0
                if not reusable:
                    connection.close()
                    connection = None
        finally:
            if connection:
                connection.close()

    async def _open_session(self, rng: random.Random) -> None:
        connection = Connection(self._target, self._plan)
        with contextlib.closing(connection):
            delay = rng.uniform(0, self._plan.send_delay)
            first = rng.uniform(0, delay)
            pieces = [delay] if rng.random() < 0.5 else [first, delay - first]
            asked = ask(rng)
            for _ in range(1 + KEEP_ALIVE_ROUNDS):
                self._issued += 1
                record, reusable = await connection.exchange(asked, pieces=pieces)
                self._note(record)
                if not reusable or not self._over or self._over.is_set():
                    return
                asked = ask(rng)
                if not await connection.idle(rng.uniform(0, self._plan.think)):
                    self._report.idle_closed += 1
                    return
                pieces = [0.0]


def main() -> None:
    """Run one load from the command line."""
    parser = argparse.ArgumentParser(description="Load a server and classify each request.")
    parser.add_argument("target", help="http://host:port, https://host:port or unix:/path")
    parser.add_argument("--mode", choices=("closed", "open"), default="closed")
    parser.add_argument("--clients", type=int, default=12, help="closed mode: how many")
    parser.add_argument("--rate", type=float, default=80.0, help="open mode: connections a second")
    parser.add_argument("--send-delay", type=float, default=0.4, help="open mode: until a request, at most")
    parser.add_argument("--authority", default="", help="PEM file: who has signed the certificate, for https")
    parser.add_argument("--seconds", type=float, default=5.0, help="end after this long in any case")
    parser.add_argument("--count", type=int, default=20_000, help="requests at most")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--warm", type=int, default=20, help="say so after this many answers")
    parser.add_argument("--until-eof", action="store_true", help="end when standard input closes")
    parser.add_argument("--tail", type=float, default=0.3, help="seconds to go on after that")
    options = vars(parser.parse_args())
    target, warm = options.pop("target"), options.pop("warm")
    until_eof, tail = options.pop("until_eof"), options.pop("tail")
    plan = Plan(**options)
    with Load(target, plan) as load:
        with contextlib.suppress(TimeoutError):
            load.wait_answered(warm, timeout=plan.seconds)
            print(json.dumps({"warm": warm}), flush=True)
        if until_eof:
            sys.stdin.read()
        print(json.dumps(load.end(tail=tail if until_eof else plan.seconds).as_json()), flush=True)


if __name__ == "__main__":
    main()
