"""One command for several targets, at once or one after the other, and its outcome for each.

A command that changes nothing asks all targets at once. One that changes something takes the targets one by one, unless
`--max-parallel` says otherwise: a rolling reload of many hosts, in which each is ready again before the next one begins. A
target that fails does not stop the others, except with `--stop-on-failure`: then the targets that have not begun are "not
tried".

Each target has a thread, which runs the command as it would run alone. The main thread starts the threads, collects the
outcomes and receives Ctrl-C. A lock guards the screen.
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
from flaskd_ctl.errors import ControlError, unexpected
from flaskd_ctl.text.targets import TABLES

if TYPE_CHECKING:
    from flaskd_ctl.cli.run import Run
    from flaskd_ctl.discovery.targets import NamedTarget

READY_AGAIN: Final = 60.0
"""Seconds that a target has to be ready after a successful change, unless --timeout says otherwise."""

REPLACING: Final = frozenset({"reload", "scale", "restart-worker", "resume"})
"""Commands after which an instance must be ready again before the next one's turn."""

WORST_FIRST: Final = (Exit.TIMED_OUT, Exit.NOT_PERMITTED, Exit.FAILED, Exit.USAGE, Exit.NOT_RUNNING)
"""If all failed, in different ways: the exit code of the failure that leaves most unknown."""

Work = Callable[["Run"], Exit]


class Outcome:
    """The outcome for one target; a `code` of None is "not tried", or no longer waited for if it has `begun`."""

    def __init__(self, label: str) -> None:
        self.label = label
        self.begun = False
        self.code: Exit | None = None
        self.result: Any = None
        self.text = ""
        self.error: ControlError | None = None

    @property
    def done(self) -> bool:
        """Whether the command took effect; requests that were cut do not undo that."""
        return self.code in {Exit.DONE, Exit.CUT}

    @property
    def word(self) -> str:
        """The outcome in the summary."""
        if self.code is None:
            return "not waited for, continues" if self.begun else "not tried"
        if self.code is Exit.SOME:
            return "done in part"
        return "done" if self.done else "failed"

    def as_json(self) -> dict[str, Any]:
        """Return the exit code that the command would have alone, and the result or the error."""
        if self.error is not None:
            return {"exit": self.code, "error": error_as_json(self.error)}
        if self.code is None:
            return {"exit": None, "error": {"name": "unfinished" if self.begun else "not_tried"}}
        return {"exit": self.code, "result": self.result}


class TargetScreen(Screen):
    """The screen of one target's command: it keeps the result for the report, and labels everything else."""

    def __init__(self, outcome: Outcome, report: Report) -> None:
        super().__init__(json=report.screen.json)
        self._outcome = outcome
        self._report = report

    @property
    def colour(self) -> bool:
        """Whether stdout wants colour."""
        return self._report.screen.colour

    def result(self, result: Any, text: str) -> bool:
        """Keep the result, or show it at once if it is one of a stream."""
        self._outcome.result, self._outcome.text = result, text
        return self._report.stream(self._outcome)

    def page(self, result: Any, text: str) -> bool:
        """Show the result below the others."""
        return self.result(result, text)

    def remark(self, text: str) -> None:
        """Write it with the label."""
        self._report.say(self._outcome.label, text, self._report.screen.remark)

    def progress(self, text: str) -> None:
        """Overwrite the progress line, which all targets share."""
        self._report.say(self._outcome.label, text, self._report.screen.progress)

    def clear(self) -> None:
        """Leave the progress line to the others."""


class Report:
    """The outcomes of all targets, and the screen that shows them."""

    def __init__(
        self, screen: Screen, outcomes: Sequence[Outcome], *, name: str, changes: bool, streams: bool
    ) -> None:
        self.screen = screen
        self.outcomes = outcomes
        self._name = name
        self._changes = changes
        self._streams = streams
        self._lock = threading.Lock()  # guards the screen and _over
        self._over = False
        self.on_unread: Callable[[], object] = lambda: None
        """Is called once nobody reads a stream any more: other targets may have nothing to show for hours."""

    def say(self, label: str, text: str, write: Callable[[str], None]) -> None:
        """Write a line with the label of its target."""
        with self._lock:
            if not self._over:
                write(_labelled(label, text))

    def stream(self, outcome: Outcome) -> bool:
        """Show one event of a stream at once; return False if nobody reads it any more."""
        if not self._streams:
            return True
        with self._lock:
            text = _labelled(outcome.label, outcome.text)
            if not self._over and not self.screen.result({outcome.label: outcome.result}, text):
                self._over = True
                self.on_unread()
            return not self._over

    def ended(self, outcome: Outcome) -> None:
        """Show the outcome of one target, unless it has to wait for the others."""
        with self._lock:
            if self.screen.json and not self._streams:
                return
            if outcome.error is not None:
                self.screen.error(_labelled_error(outcome.label, outcome.error))
            elif self._changes and self._name not in TABLES:
                self.screen.result(None, _labelled(outcome.label, outcome.text))

    def close(self, *, interrupted: bool) -> None:
        """Show what has waited for the end; nothing is written after it."""
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
    run: Run,
    chosen: Sequence[NamedTarget],
    work: Work,
    *,
    name: str,
    changes: bool,
    waits: bool,
    streams: bool,
) -> Exit:
    """Do `work` for each target, at most `run.max_parallel` at a time; return the combined exit code.

    `changes`: the command changes something. `waits`: it returns only when the change has happened.
    `streams`: it shows one result after the other, each at once.
    """
    limit = run.max_parallel or (1 if changes else len(chosen))
    outcomes = [Outcome(target.label) for target in chosen]
    report = Report(run.screen, outcomes, name=name, changes=changes, streams=streams)
    ended: queue.SimpleQueue[Outcome | None] = queue.SimpleQueue()
    report.on_unread = lambda: ended.put(None)

    def carry_out(target: NamedTarget, outcome: Outcome) -> None:
        own = copy.copy(run)
        own.chosen, own.screen = target, TargetScreen(outcome, report)
        try:
            code = work(own)
            if waits and name in REPLACING:
                _wait_until_ready(own, outcome.label)
            outcome.code = code
        except ControlError as error:
            outcome.error, outcome.code = error, code_of(error, method=name)
        except Exception as error:  # noqa: BLE001 - the thread's outer edge: one target's bug is not the others'
            outcome.error = unexpected(error)
            outcome.code = code_of(outcome.error)
        ended.put(outcome)

    waiting = deque(zip(chosen, outcomes, strict=True))
    running = 0
    try:
        while waiting or running:
            while waiting and running < limit:
                waiting[0][1].begun = True
                # A daemon thread: if it hangs, Ctrl-C still ends the process.
                threading.Thread(target=carry_out, args=waiting.popleft(), daemon=True).start()
                running += 1
            outcome = ended.get()
            if outcome is None:
                return Exit.DONE
            running -= 1
            report.ended(outcome)
            if run.stop_on_failure and outcome.code is not Exit.DONE:
                waiting.clear()
    except KeyboardInterrupt:
        report.close(interrupted=True)
        return Exit.INTERRUPTED
    report.close(interrupted=False)
    return combined(outcome.code for outcome in outcomes)


def combined(codes: Iterable[Exit | None]) -> Exit:
    """Combine the exit codes of all targets into one; None stands for a target that was not tried."""
    every = list(codes)
    tried = {code for code in every if code is not None}
    if None not in every and len(tried) == 1:
        return tried.pop()
    if tried & {Exit.DONE, Exit.CUT, Exit.SOME}:
        done = None not in every and tried == {Exit.DONE, Exit.CUT}
        return Exit.CUT if done else Exit.SOME
    return next((code for code in WORST_FIRST if code in tried), Exit.FAILED)


def _wait_until_ready(run: Run, label: str) -> None:
    """Wait until the instance is in rotation again, unless it was drained on purpose."""
    from flaskd_ctl.client.session import RESPONSE_TIMEOUT, ask
    from flaskd_ctl.client.waiting import Wait
    from flaskd_ctl.transports import backend

    status = backend.run(ask(backend.BLOCKING, run.target(), "status", whole=RESPONSE_TIMEOUT))
    if status.get("state") == "draining":
        run.screen.remark("is draining, and stays out of rotation")
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


def _labelled_error(label: str, error: ControlError) -> ControlError:
    sentence = str(error) if label in str(error) else f"{label}: {error}"
    return type(error)(sentence, hint=error.hint, data=error.data)


def _summary(outcomes: Sequence[Outcome]) -> str:
    """Say in one line for which targets the command was done, and for which not."""
    groups: dict[str, list[str]] = {}
    for one in sorted(outcomes, key=lambda one: (not one.done, one.code is None, not one.begun)):
        groups.setdefault(one.word, []).append(one.label)
    return "; ".join(f"{word}: {', '.join(labels)}" for word, labels in groups.items())
