"""Notify the service manager: READY, RELOADING, STOPPING, a live STATUS, and extensions of its timeouts.

Nothing polls: the status is sent when something has changed, and once a second only while requests are in flight or a stop is
under way. If nothing is in flight, each worker is asked to report the next request.
"""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Final, Protocol, TypeVar

from flaskd.probes.rotation import Rotation
from flaskd.shutdown.lifecycle import State
from flaskd.systemd.notify import ServiceManager, Timers, microseconds
from flaskd_ctl.protocol import Event, ProgressEvent, StateEvent, TemplateEvent, WorkerEvent

PAUSE: Final = 1.0
"""Seconds between two status texts if only numbers change."""

SPARE: Final = 15.0
"""Seconds that a step may exceed its own limit: reports of workers, their clean-up, the end of our process."""

LONGEST: Final = 200
"""Characters kept of an error in the status text."""

_T = TypeVar("_T")


class Source(Protocol):
    """The state of the instance (see `supervisor.watching.report.Report`)."""

    def rotation(self) -> Rotation:
        """Return its state and counts."""

    def seconds_left(self) -> float:
        """Return the seconds until the deadline of the stop under way."""

    def start_timeout(self) -> float:
        """Return the seconds that a worker may take to start."""

    def counts_requests(self) -> bool:
        """Return whether requests are counted."""

    def notify_on_next_request(self) -> None:
        """Have `request_began` called when the next request begins."""


class ServiceStatus:
    """Sends the status of `source` to `manager`, on `loop`, from `start` to `stop`; without a manager it does nothing."""

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
        """Send the first status, and ask for the time that the first workers may take."""
        self._tell("starting", self._extension(self._source.start_timeout()))

    def stop(self) -> None:
        """Send nothing more."""
        if self._next is not None:
            self._next.cancel()

    def receive(self, event: Event) -> None:
        """Handle an event from the instance's bus."""
        match event:
            case _ if not self._manager:
                return
            case StateEvent(state="running", was="starting"):
                self._update("READY=1")
            case StateEvent(state="stopping"):
                self._manager.notify("STOPPING=1")  # the deadline follows with the first progress event
            case StateEvent():
                self._update()
            case ProgressEvent(phase=phase) if phase != self._phase:
                self._phase = phase
                self._update()
            case ProgressEvent():
                self._update_soon()
            case WorkerEvent() | TemplateEvent() if self._reloads or self._starts():
                # For the next step of the reload, or for the workers that follow the first one (--workers auto).
                self._update(self._extension(self._source.start_timeout()))
            case WorkerEvent():
                self._update_soon()

    def _starts(self) -> bool:
        return self._source.rotation().state is State.STARTING

    def request_began(self) -> None:
        """Handle the begin of a request when none was in flight."""
        if self._manager:
            self._update_soon()

    def track_reload(self, reload: "Callable[[], Future[_T]]") -> "Future[_T]":
        """Order a reload, and notify the manager of its begin, and of the end of the last one. Raises what the order raises.

        So a unit with `Type=notify-reload` waits for the end, and others are shown as reloading.
        """
        if not self._manager or self._source.rotation().state in {
            State.STARTING,
            State.STOPPING,
            State.STOPPED,
        }:
            return reload()  # it is refused; READY=1 after it would be wrong
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
        """Update now, or PAUSE after the last update."""
        wait = self._updated + PAUSE - self._loop.time()
        if wait <= 0:
            self._update()
        elif self._next is None:
            self._next = self._loop.call_later(wait, self._update)

    def _update(self, *lines: str) -> None:
        """Send `lines` and the status now; schedule the next update if the status will change."""
        if self._next is not None:
            self._next.cancel()
            self._next = None
        self._updated = self._loop.time()
        now = self._source.rotation()
        stopping = now.state is State.STOPPING
        if stopping:
            lines = (*lines, self._extension(self._source.seconds_left()))
        self._tell(self._describe(now), *lines)
        if now.state is State.STOPPED:
            return
        if stopping or now.in_flight:
            self._next = self._loop.call_later(PAUSE, self._update)
        else:
            self._source.notify_on_next_request()
            if self._source.rotation().in_flight:  # one began before the workers were asked
                self._update_soon()

    def _tell(self, text: str, *lines: str) -> None:
        if text != self._text:
            lines = (*lines, f"STATUS={text}")
            self._text = text
        if lines:
            self._manager.notify(*lines)

    def _extension(self, seconds: float) -> str:
        """Ask the manager to wait for `seconds` and SPARE (it never shortens its own limit)."""
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
    """Return the status in one line: "running, 2 workers, 3 in flight", "stopping, 2 left, 7 s"."""
    if now.state is State.STOPPED:
        return "stopped"
    if now.state is State.STOPPING:
        return f"stopping, {f'{now.in_flight} left, ' if counted else ''}{left:.0f} s"
    if now.state is State.STARTING:
        return f"starting, {now.serving} of {now.wanted} worker{'s' if now.wanted != 1 else ''}"
    workers = f"{now.serving} worker{'s' if now.serving != 1 else ''}"
    state = "reloading" if reloading else now.state.value
    return f"{state}, {workers}" + (f", {now.in_flight} in flight" if counted else "")
