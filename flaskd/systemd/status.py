"""What the service manager is told of an instance: READY, RELOADING, STOPPING, a live STATUS, and more time for a stop.

Nothing polls: the status is written again when something changed, and once a second only while requests are in flight or a
stop is under way. When nothing is in flight, each worker is asked to report the next request.
"""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Final, Protocol, TypeVar

from flaskd.probes.rotation import Rotation
from flaskd.shutdown.lifecycle import State
from flaskd.systemd.notify import ServiceManager, Timers, microseconds
from flaskd_ctl.protocol import Event, ProgressEvent, StateEvent, WorkerEvent

PAUSE: Final = 1.0
"""Seconds between two texts, where it is only numbers that change."""

SPARE: Final = 15.0
"""Seconds that a step may take beyond its own limit: reports of workers, their clean-up, the end of our process."""

LONGEST: Final = 200
"""Characters of an error in the text."""

_T = TypeVar("_T")


class Source(Protocol):
    """How the instance stands (see `supervisor.watching.report.Report`)."""

    def rotation(self) -> Rotation:
        """Return its state and counts."""

    def seconds_left(self) -> float:
        """Return the seconds until the deadline of the stop under way."""

    def start_timeout(self) -> float:
        """Return the seconds that a worker may take to start."""

    def counts_requests(self) -> bool:
        """Tell whether requests are counted at all."""

    def notify_on_next_request(self) -> None:
        """Have `request_began` called when the next request begins."""


class ServiceStatus:
    """Tells `manager` how `source` stands, on `loop`, from `start` to `stop`; without a manager it does nothing."""

    def __init__(self, manager: ServiceManager, source: Source, loop: Timers) -> None:
        self._manager = manager
        self._source = source
        self._loop = loop
        self._reloads = 0
        self._failure = ""
        self._text = ""
        self._phase = ""
        self._updated = 0.0
        self._next: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Ask for the time that the first workers may take, and tell from now on."""
        self._tell("starting", self._extension(self._source.start_timeout()))

    def stop(self) -> None:
        """Tell nothing any more."""
        if self._next is not None:
            self._next.cancel()

    def receive(self, event: Event) -> None:
        """Pass on what the instance's bus tells."""
        match event:
            case _ if not self._manager:
                return
            case StateEvent(state="running", was="starting"):
                self._update("READY=1")
            case StateEvent(state="stopping"):
                self._manager.notify(
                    "STOPPING=1"
                )  # its deadline is not known yet, and comes at once with its progress
            case StateEvent():
                self._update()
            case ProgressEvent(phase=phase) if phase != self._phase:
                self._phase = phase
                self._update()
            case ProgressEvent():
                self._update_soon()
            case WorkerEvent() if self._reloads:
                self._update(
                    self._extension(self._source.start_timeout())
                )  # each step of a reload may take its time
            case WorkerEvent():
                self._update_soon()

    def request_began(self) -> None:
        """Note that a request has begun where none was in flight."""
        if self._manager:
            self._update_soon()

    def track_reload(self, reload: "Callable[[], Future[_T]]") -> "Future[_T]":
        """Order a reload, telling that it begins, and when all that were ordered are through; raises what the order raises.

        So `Type=notify-reload` waits for the end, and each other type shows the unit as reloading.
        """
        if not self._manager or self._source.rotation().state in {
            State.STARTING,
            State.STOPPING,
            State.STOPPED,
        }:
            return reload()  # refused there; and READY=1 after it would be a lie
        self._reloads += 1
        stamp = f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}"
        self._update("RELOADING=1", stamp, self._extension(self._source.start_timeout()))
        try:
            reply = reload()
        except BaseException as error:
            self._reloaded(error)
            raise
        reply.add_done_callback(lambda done: self._reloaded(done.exception()))
        return reply

    def _reloaded(self, error: BaseException | None) -> None:
        self._failure = "" if error is None else str(error)
        self._reloads -= 1
        if not self._reloads and self._source.rotation().state not in {State.STOPPING, State.STOPPED}:
            self._update("READY=1")

    def _update_soon(self) -> None:
        """Look now, unless we did within PAUSE; then when that is over."""
        wait = self._updated + PAUSE - self._loop.time()
        if wait <= 0:
            self._update()
        elif self._next is None:
            self._next = self._loop.call_later(wait, self._update)

    def _update(self, *lines: str) -> None:
        """Tell `lines` and how it stands now; see that this is done again while it goes on changing."""
        if self._next is not None:
            self._next.cancel()
            self._next = None
        self._updated = self._loop.time()
        now = self._source.rotation()
        stopping = now.state is State.STOPPING
        if stopping:
            lines = (
                *lines,
                self._extension(self._source.seconds_left()),
            )  # also where a deadline came nearer
        self._tell(self._describe(now), *lines)
        if now.state is State.STOPPED:
            return
        if stopping or now.in_flight:
            self._next = self._loop.call_later(PAUSE, self._update)
        else:
            self._source.notify_on_next_request()
            if self._source.rotation().in_flight:  # begun before the workers were asked
                self._update_soon()

    def _tell(self, text: str, *lines: str) -> None:
        if text != self._text:
            lines = (*lines, f"STATUS={text}")
            self._text = text
        if lines:
            self._manager.notify(*lines)

    def _extension(self, seconds: float) -> str:
        """Ask for so much time and some spare before the manager takes us for hung (it never shortens its own limit)."""
        return f"EXTEND_TIMEOUT_USEC={microseconds(seconds + SPARE)}"

    def _describe(self, now: Rotation) -> str:
        text = describe(
            now,
            left=self._source.seconds_left() if now.state is State.STOPPING else 0.0,
            reloading=bool(self._reloads),
            counted=self._source.counts_requests(),
        )
        if self._failure and now.state not in {State.STOPPING, State.STOPPED}:
            text += f"; reload failed: {' '.join(self._failure.split())[:LONGEST]}"
        return text


def describe(now: Rotation, *, left: float, reloading: bool, counted: bool) -> str:
    """Say in a line how it stands: "running, 2 workers, 3 in flight", "stopping, 2 left, 7 s"."""
    if now.state is State.STOPPED:
        return "stopped"
    if now.state is State.STOPPING:
        return f"stopping, {f'{now.in_flight} left, ' if counted else ''}{left:.0f} s"
    if now.state is State.STARTING:
        return f"starting, {now.serving} of {now.wanted} worker{'s' if now.wanted != 1 else ''}"
    workers = f"{now.serving} worker{'s' if now.serving != 1 else ''}"
    state = "reloading" if reloading else now.state.value
    return f"{state}, {workers}" + (f", {now.in_flight} in flight" if counted else "")
