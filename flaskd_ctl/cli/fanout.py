"""One command for several targets: side by side, or one after the other, and what came of it at each.

What changes nothing is asked of all at once. What changes something goes through the targets one by one, unless
`--max-parallel` says otherwise: a rolling reload of many hosts, in which each is ready again before the next one begins. A
target that fails does not keep the others from their turn unless `--stop-on-failure` is given; then those that have not begun
are "not tried".

Each target has a thread, which runs the command as it would run alone; the main thread alone begins them, collects what came of
them, and hears Ctrl-C. The screen has one lock.
"""

from __future__ import annotations

import copy
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

from flaskd_ctl.cli.exits import Exit, code_of
from flaskd_ctl.cli.screen import Screen, error_as_json
from flaskd_ctl.errors import ControlError, Failed
from flaskd_ctl.text.targets import TABLES

if TYPE_CHECKING:
    from flaskd_ctl.cli.actions import Run
    from flaskd_ctl.discovery.targets import Aim

READY_AGAIN: Final = 60.0
"""Seconds that a target has to be ready after a change that has succeeded, unless --timeout says otherwise."""

REPLACING: Final = frozenset({"reload", "scale", "restart-worker", "resume"})
"""Commands after which an instance is to be ready again before the next one's turn."""

WORST_FIRST: Final = (Exit.TIMED_OUT, Exit.NOT_PERMITTED, Exit.FAILED, Exit.USAGE, Exit.NOT_RUNNING)
"""Where all failed, in different ways: the code of the one of which least is known."""


class Outcome:
    """What came of one target; `code` None is "not tried", or given up waiting for where it has `begun`."""

    def __init__(self, label: str) -> None:
        self.label = label
        self.begun = False
        self.code: Exit | None = None
        self.result: Any = None
        self.text = ""
        self.error: ControlError | None = None

    @property
    def done(self) -> bool:
        """Whether it has happened there; that requests were cut does not undo it."""
        return self.code in {Exit.DONE, Exit.CUT}

    def as_json(self) -> dict[str, Any]:
        """Write it for programs: the exit code it would have had alone, and the result or the error."""
        told: dict[str, Any] = {"exit": self.code}
        if self.error is not None:
            told["error"] = error_as_json(self.error)
        elif self.code is None:
            told["error"] = {"name": "unfinished" if self.begun else "not_tried"}
        else:
            told["result"] = self.result
        return told


class Booth(Screen):
    """What one target's command writes to: the result is kept for the whole, the rest goes to the screen under its label."""

    def __init__(self, outcome: Outcome, whole: Whole) -> None:
        super().__init__(json=whole.screen.json)
        self._outcome = outcome
        self._whole = whole

    @property
    def colour(self) -> bool:
        """Whether stdout wants colour."""
        return self._whole.screen.colour

    def result(self, result: Any, text: str) -> bool:
        """Keep the result, or pass on one of many."""
        self._outcome.result, self._outcome.text = result, text
        return self._whole.passes(self._outcome)

    def remark(self, text: str) -> None:
        """Write it under the label."""
        self._whole.say(self._outcome.label, text, self._whole.screen.remark)

    def progress(self, text: str) -> None:
        """Write it under the label, over what another target wrote."""
        self._whole.say(self._outcome.label, text, self._whole.screen.progress)

    def clear(self) -> None:
        """Leave the line to the others."""


class Whole:
    """The run over all targets: what came of each, and the screen, whose lock it has."""

    def __init__(self, screen: Screen, outcomes: Sequence[Outcome], *, name: str, changes: bool) -> None:
        self.screen = screen
        self.outcomes = outcomes
        self._name = name
        self._changes = changes
        self._streams = name == "events"
        self._lock = threading.Lock()  # guards the screen and _over
        self._over = False

    def say(self, label: str, text: str, write: Callable[[str], None]) -> None:
        """Write a line that names its target."""
        with self._lock:
            if not self._over:
                write(_labelled(label, text))

    def passes(self, outcome: Outcome) -> bool:
        """Show one event of a stream at once; False if nobody reads it any more."""
        if not self._streams:
            return True
        with self._lock:
            text = _labelled(outcome.label, outcome.text)
            return not self._over and self.screen.result({outcome.label: outcome.result}, text)

    def ended(self, outcome: Outcome) -> None:
        """Show what came of one target, as far as it does not wait for the others."""
        with self._lock:
            if self.screen.json and not self._streams:
                return
            if outcome.error is not None:
                self.screen.error(_told_of(outcome.label, outcome.error))
            elif self._changes and self._name not in TABLES:
                self.screen.result(None, _labelled(outcome.label, outcome.text))

    def close(self, *, interrupted: bool) -> None:
        """Show what waited for the end; nothing is written after it."""
        with self._lock:
            self._over = True
            if self.screen.json and not self._streams:
                self.screen.result({one.label: one.as_json() for one in self.outcomes}, "")
            elif self._name in TABLES:
                rows = [(one.label, one.result, one.error) for one in self.outcomes]
                self.screen.result(None, TABLES[self._name](rows, self.screen.colour))
            elif not self._changes and not self._streams:
                for one in self.outcomes:
                    if one.text:
                        self.screen.result(None, _labelled(one.label, one.text))
            if interrupted or not all(one.done for one in self.outcomes):
                self.screen.remark(_summary(self.outcomes))


def fan_out(
    run: Run, aims: Sequence[Aim], work: Callable[[Run], Exit], *, name: str, changes: bool, waits: bool
) -> Exit:
    """Do `work` for each target, at most `run.max_parallel` at a time; return the exit code of the whole.

    `changes` whether it changes anything, `waits` whether it returns only when that has happened.
    """
    limit = run.max_parallel or (1 if changes else len(aims))
    outcomes = [Outcome(aim.label) for aim in aims]
    whole = Whole(run.screen, outcomes, name=name, changes=changes)
    again = waits and name in REPLACING
    waiting = deque(zip(aims, outcomes, strict=True))
    news: queue.SimpleQueue[Outcome] = queue.SimpleQueue()
    under_way = 0
    try:
        while waiting or under_way:
            while waiting and under_way < limit:
                aim, outcome = waiting.popleft()
                outcome.begun = True
                own = _own_run(run, aim, Booth(outcome, whole))
                given = {"name": name, "again": again}
                # A daemon: what hangs in it does not outlive Ctrl-C.
                threading.Thread(
                    target=_do, args=(work, own, outcome, news), kwargs=given, daemon=True
                ).start()
                under_way += 1
            ended = news.get()
            under_way -= 1
            whole.ended(ended)
            if run.stop_on_failure and ended.code is not Exit.DONE:
                waiting.clear()
    except KeyboardInterrupt:
        whole.close(interrupted=True)
        return Exit.INTERRUPTED
    whole.close(interrupted=False)
    return combined(outcome.code for outcome in outcomes)


def combined(codes: Iterable[Exit | None]) -> Exit:
    """Choose the exit code of the whole; None stands for what was not tried."""
    every = list(codes)
    tried = {code for code in every if code is not None}
    if None not in every and len(tried) == 1:
        return tried.pop()
    if tried & {Exit.DONE, Exit.CUT}:
        done = None not in every and tried == {Exit.DONE, Exit.CUT}
        return Exit.CUT if done else Exit.SOME
    return next((code for code in WORST_FIRST if code in tried), Exit.FAILED)


def _own_run(run: Run, aim: Aim, screen: Screen) -> Run:
    own = copy.copy(run)
    own.aim, own.screen = aim, screen
    return own


def _do(
    work: Callable[[Run], Exit],
    run: Run,
    outcome: Outcome,
    news: queue.SimpleQueue[Outcome],
    *,
    name: str,
    again: bool,
) -> None:
    try:
        code = work(run)
        if again:
            _see_ready(run, outcome.label)
        outcome.code = code
    except ControlError as error:
        outcome.error, outcome.code = error, code_of(error, method=name)
    except Exception as error:  # noqa: BLE001 - the thread's outer edge: one target's bug is not the others'
        bug = f"flaskd_ctl itself failed: {type(error).__name__}: {error}"
        outcome.error, outcome.code = Failed(bug, hint="please report it, with the command"), Exit.FAILED
    news.put(outcome)


def _see_ready(run: Run, label: str) -> None:
    """Wait until it is in rotation again, unless somebody has taken it out on purpose."""
    from flaskd_ctl.client.session import FIRST_WORD, ask
    from flaskd_ctl.client.waiting import Wait
    from flaskd_ctl.transports import backend

    status = backend.run(ask(backend.BLOCKING, run.target(), "status", whole=FIRST_WORD))
    if status.get("state") == "draining":
        run.screen.remark("is drained, and stays out of rotation")
    elif not status.get("ready"):
        began = time.monotonic()
        run.screen.progress("not ready yet")
        wait = Wait(backend.BLOCKING, run.target, "ready", timeout=run.timeout or READY_AGAIN)
        backend.run(wait.until_reached())
        run.screen.remark(f"was ready after {time.monotonic() - began:.2g} s more")


def _labelled(label: str, text: str) -> str:
    """Write the label before each line that does not begin with it."""
    return "\n".join(
        line if line.startswith(f"{label}: ") else f"{label}: {line}" for line in text.splitlines()
    )


def _told_of(label: str, error: ControlError) -> ControlError:
    sentence = str(error)
    return type(error)(
        sentence if label in sentence else f"{label}: {sentence}", hint=error.hint, data=error.data
    )


def _summary(outcomes: Sequence[Outcome]) -> str:
    """Say in one line where it was done and where not."""
    groups: dict[str, list[str]] = {}
    for one in outcomes:
        if one.code is None:
            word = "not waited for, goes on" if one.begun else "not tried"
        else:
            word = "done" if one.done else "failed"
        groups.setdefault(word, []).append(one.label)
    order = ("done", "failed", "not waited for, goes on", "not tried")
    return "; ".join(f"{word}: {', '.join(groups[word])}" for word in order if word in groups)
