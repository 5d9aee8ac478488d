"""Keeps the number of workers that the setting `workers` asks for, unless an operator has set another one with `scale`.

A fixed number needs nothing. With `auto` the first worker is measured if the memory may not have room for one on each CPU. A
range follows the load: while requests are in flight the workers are looked at once a second. When none is left, each worker is
asked to report the next request (`RequestTable.notify_on_next_request`), and there is one timer, for the moment when the number
may shrink. With the minimum of workers there is not even that: an idle instance makes no wake-ups.

All of it happens on the supervisor's loop.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from flaskd.audit.log import Audit
from flaskd.console.priority import Priority
from flaskd.console.say import say
from flaskd.events import Bus
from flaskd.guard import log_failure
from flaskd.process.capacity import capacity
from flaskd.process.resident import share
from flaskd.settings.schema import Settings
from flaskd.settings.workers import AUTO, Bounds, bounds, is_range
from flaskd.supervisor.fleet import Fleet
from flaskd.supervisor.member import Member
from flaskd.supervisor.plan import CALM, OOM_PAUSE
from flaskd.supervisor.scaling.load import Meter, Queue
from flaskd.supervisor.scaling.policy import Policy, Step
from flaskd.supervisor.scaling.sizing import MIB, Sizing, by_cpus, by_memory, is_ample, more, sizing_of
from flaskd_ctl.contract.times import span
from flaskd_ctl.protocol import Actor, ScaleEvent, Scaling

LOOK: Final = 1.0
"""Seconds between two looks while requests are in flight."""

SLACK: Final = 0.05
"""Seconds after a moment at which something becomes true that one may look."""


class Hold(NamedTuple):
    """A number that an operator has set while the setting `workers` was `setting`; `until`: a time of day, None: for good."""

    workers: int
    setting: str
    seconds: float | None = None
    until: float | None = None


class Scaler:
    """Decides how many workers `fleet` has; `changing` tells whether a change is under way that somebody waits for."""

    def __init__(self, settings: Settings, *, listeners: Sequence[Queue], bus: Bus, audit: Audit) -> None:
        self._bus = bus
        self._audit = audit
        self._meter = Meter(listeners)
        self._capacity = capacity()
        self._hold: Hold | None = None
        self._over: asyncio.TimerHandle | None = None
        self._next: asyncio.TimerHandle | None = None
        self._idle = False
        self._why = ""
        self._since: float | None = None
        self._use(settings)
        # The first worker of an automatic number is measured, if it may be too large for so many.
        self._unmeasured = settings.workers == AUTO and not is_ample(self._capacity, self._sizing.workers)
        self.wanted_first = 1 if self._unmeasured else self._own_number()

    def attach(self, fleet: Fleet, changing: Callable[[], bool]) -> None:
        """Take the fleet whose workers these are."""
        self._fleet = fleet
        self._changing = changing

    def use(self, settings: Settings) -> None:
        """Use settings that were read again. A number that an operator had set holds only as long as `workers` is the same."""
        self._capacity = capacity()
        if settings.workers != self._setting:
            self._use(settings)
        if self._policy is not None:
            self._policy.quiet = settings.scale_down_after
        self.look_soon()

    def own_number(self) -> int:
        """Return how many workers there are to be if no number is held."""
        self._why, self._since = "", None
        if self._policy is not None:
            self._policy.restart(self._fleet.wanted, time.monotonic())
        elif self._setting == AUTO:
            self._size(sizing_of(capacity(), self._largest(), there=len(self._fleet.serving)))
        return self._own_number()

    @property
    def held(self) -> Hold | None:
        """The number that an operator has set, if it holds."""
        return self._hold if self._hold is not None and self._hold.setting == self._setting else None

    def hold(self, workers: int, seconds: float | None) -> Hold:
        """Keep a number for some seconds, or as long as is usual: for good, if the number is not a range."""
        if seconds is None and self._policy is not None:
            seconds = self._fleet.settings.scale_hold
        until = None if seconds is None else time.time() + seconds
        self._take(Hold(workers, self._setting, seconds, until))
        assert self._hold is not None
        return self._hold

    def release(self) -> Hold | None:
        """Keep no number any more; returns what was kept."""
        hold = self._hold
        self._take(None)
        return hold

    def put_back(self, hold: Hold | None) -> None:
        """Keep again what was kept before: the change has failed."""
        self._take(hold)

    def status(self) -> Scaling:
        """Say where the number comes from."""
        hold, policy = self.held, self._policy
        return Scaling(
            setting=self._setting,
            minimum=self._bounds.minimum,
            maximum=self._bounds.maximum,
            why=self._why or (self._sizing.why if self._setting.endswith(AUTO) else ""),
            since=self._since,
            limited=policy.limited if policy is not None and hold is None else "",
            scaled=None if hold is None else hold.workers,
            until=None if hold is None else hold.until,
        )

    def first_serves(self, member: Member) -> None:
        """Measure the first worker, if the number depends on what it takes."""
        if self._unmeasured:
            self._unmeasured = False
            self._size(by_memory(self._sizing, capacity(), share(member.pid), there=1))
            self._fleet.wanted = self._sizing.workers

    def request_began(self) -> None:
        """Take note that a request has begun in a worker that was asked to tell."""
        if self._policy is not None and self._idle:
            self._idle = False
            self._meter.begin(time.monotonic(), self._fleet.serving)
            self._look_in(LOOK)

    def look_soon(self) -> None:
        """Look at the load soon: something has changed that may matter."""
        if self._policy is not None and self._fleet.up.done() and not self._fleet.held:
            self._idle = False
            self._look_in(LOOK)

    def fleet_changed(self) -> None:
        """Take note that a worker has come or gone: one that begins to serve has not been asked to tell of a request."""
        if self._idle:
            self.look_soon()

    def start_failed(self) -> None:
        """Take note that a worker could not start: the load gets no further one for a while."""
        if self._follows_load() and not self._changing():
            assert self._policy is not None
            self._apply(self._policy.failed(time.monotonic(), len(self._fleet.serving)))

    def out_of_memory(self, member: Member, workers: int) -> None:
        """Take note that the OOM killer has ended one of so many workers: it is not to happen again."""
        memory = capacity().memory
        limit = f" (limit: {memory.limit // MIB} MiB)" if memory is not None else ""
        who = f"flaskd: out of memory{limit}: the kernel has killed worker {member.id} of {workers}"
        step = None
        if self._policy is not None:
            step = self._policy.killed(time.monotonic(), workers)
        elif self._setting == AUTO and self.held is None and workers > 1:
            why = f"{self._sizing.why}, but the OOM killer has killed one of {workers} workers"
            self._size(Sizing(workers - 1, why))
            step = Step(workers - 1, "memory", f"the OOM killer has killed one of {workers} workers")
        if step is not None and self.held is None and not self._fleet.held:
            say(f"{who}; {step.wanted} are wanted now", Priority.WARNING)
            self._apply(step)
        else:
            say(
                f"{who}; the next starts in {span(OOM_PAUSE)}. Fewer workers or threads need less memory",
                Priority.WARNING,
            )

    def stop(self) -> None:
        """End all timers."""
        for timer in (self._next, self._over):
            if timer is not None:
                timer.cancel()
        self._next = self._over = None

    def _use(self, settings: Settings) -> None:
        self._setting = settings.workers
        self._sizing = by_cpus(self._capacity)
        self._bounds = bounds(self._setting, self._sizing.workers)
        self._why, self._since = "", None
        follows = is_range(self._setting) and self._bounds.minimum < self._bounds.maximum
        self._policy = Policy(self._bounds, settings.scale_down_after) if follows else None

    def _size(self, sizing: Sizing) -> None:
        self._sizing, self._bounds = sizing, Bounds(sizing.workers, sizing.workers)

    def _own_number(self) -> int:
        if self._policy is not None:
            return self._policy.wanted
        return self._sizing.workers if self._setting == AUTO else self._bounds.minimum

    def _take(self, hold: Hold | None) -> None:
        if self._over is not None:
            self._over.cancel()
        self._hold, self._over = hold, None
        if hold is not None and hold.until is not None:
            left = max(0.0, hold.until - time.time())
            self._over = asyncio.get_running_loop().call_later(left, self._hold_is_over)
        self.look_soon()

    def _hold_is_over(self) -> None:
        hold, held = self._hold, self.held
        self._take(None)
        if hold is None or held is None or self._fleet.held:
            return
        why = f"{hold.workers} was set for {span(hold.seconds or 0.0)}"
        self._apply(Step(self.own_number(), "end", why))

    def _follows_load(self) -> bool:
        return (
            self._policy is not None and self.held is None and self._fleet.up.done() and not self._fleet.held
        )

    def _look_in(self, seconds: float) -> None:
        if self._next is not None:
            self._next.cancel()
        self._next = asyncio.get_running_loop().call_later(seconds, self._look)

    def _look(self) -> None:
        """Look at the load, change the number if that is called for, and find out when to look again."""
        self._next = None
        policy, now = self._policy, time.monotonic()
        if policy is None or not self._follows_load():
            return
        if policy.wanted != self._fleet.wanted:  # an operator's number, or a change that was undone
            policy.restart(self._fleet.wanted, now)
        if self._is_disturbed(now):
            policy.disturbed(now)
            self._look_in(LOOK)
            return
        settings, serving = self._fleet.settings, self._fleet.serving
        sample = self._meter.sample(now, serving, threads=settings.threads, cpus=self._capacity.cpu_time)
        self._apply(policy.observe(sample, self._room))
        if sample.busy or sample.waiting or not self._falls_idle(serving):
            self._look_in(LOOK)
        elif (again := policy.look_again(now)) is not None:
            self._look_in(max(SLACK, again - now + SLACK))

    def _falls_idle(self, serving: Sequence[Member]) -> bool:
        """Have the next request reported; returns whether none has begun meanwhile."""
        for member in serving:
            member.request_table.notify_on_next_request()
        self._idle = not any(member.request_table.in_flight for member in serving)
        return self._idle

    def _is_disturbed(self, now: float) -> bool:
        """Tell whether workers are missing, or fail: then the load says nothing about their number.

        One that replaces another, because of a limit, does not count: that may happen all the time.
        """
        fleet, failures = self._fleet, self._fleet.history.failures
        failing = failures.streak > 0 and now < failures.not_before + CALM
        return self._changing() or failing or len(fleet.serving) < fleet.wanted

    def _room(self) -> int | None:
        """Return how many more workers the memory has room for."""
        return more(capacity(), self._largest())

    def _largest(self) -> int | None:
        """Return the memory that the largest worker takes."""
        return max((size for member in self._fleet.serving if (size := share(member.pid))), default=None)

    def _apply(self, step: Step | None) -> None:
        fleet = self._fleet
        if step is None:
            return
        was, fleet.wanted = fleet.wanted, step.wanted
        self._why, self._since = step.why, time.time()
        if step.wanted == was:
            return
        fleet.why_missing = "load" if step.cause != "end" else "scale"
        fleet.why_surplus = {"quiet": "quiet", "memory": "memory"}.get(step.cause, "scale")
        fleet.history.scalings[step.cause] += 1
        fleet.look_soon()
        by = Actor(via="code", detail=f"itself: {step.why}")
        with log_failure("tell of another number of workers"):
            with self._audit.begin("scale", {"to": step.wanted, "was": was}, by):
                pass
            self._bus.publish(
                ScaleEvent(
                    at=time.time(),
                    was=was,
                    wanted=step.wanted,
                    minimum=self._bounds.minimum,
                    maximum=self._bounds.maximum,
                    cause=step.cause,
                    why=step.why,
                )
            )
