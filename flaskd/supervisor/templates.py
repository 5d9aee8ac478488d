"""The templates of an instance with --preload: one that workers are forked from, and during a reload another beside it.

A reload's template takes the place of the old one when the reload is done, and is ended if it fails: then workers go on being
forked from the old one, whatever is on disk. A template that has ended by itself is loaded again when a worker is needed.
"""

import contextlib
import os
import sys
from collections.abc import Callable, Container
from socket import socketpair
from typing import Any

from flaskd.channel.messages import LoadTemplate
from flaskd.channel.supervisor_end import SupervisorChannel
from flaskd.errors import ConfigError
from flaskd.process.cgroup import ControlGroups, Memory
from flaskd.process.ending import STDERR, STDOUT
from flaskd.process.memory import anonymous_file
from flaskd.process.resident import resident
from flaskd.settings.identity import identity_of
from flaskd.settings.schema import Settings
from flaskd.supervisor import early_worker, process
from flaskd.supervisor.output import WorkerOutput
from flaskd.supervisor.output_thread import RECORDS, Origin
from flaskd.supervisor.process import Process
from flaskd.supervisor.template import Template
from flaskd.version import __version__


class Templates:
    """Starts and ends the templates.

    `on_change` is called when one has a new state, `on_fork` when it has forked. `adopt` makes this process adopt orphans,
    `children` returns the pids of its children.
    """

    def __init__(self, *, output: WorkerOutput, by_oom: Callable[[], bool], directory: str | None) -> None:
        self.on_change: Callable[[Template], None] = lambda template: None
        self.on_fork: Callable[[], None] = lambda: None
        self.adopt: Callable[[], None] = lambda: None
        self.children: Callable[[], Container[int]] = frozenset
        self._output = output
        self._by_oom = by_oom
        self._directory = directory
        self._renewing = False
        self._current: Template | None = None
        self._coming: Template | None = None
        self._all: list[Template] = []

    @property
    def all(self) -> list[Template]:
        """Those whose processes are there, oldest first."""
        return [each for each in self._all if each.state != "gone"]

    @property
    def forking(self) -> bool:
        """Whether a worker is being forked: its process may be there before its pid is known."""
        return any(each.pending for each in self._all)

    def usable(self, settings: Settings, *, engine: str, generation: int) -> Template:
        """Return the template that the next worker is forked from. Raises OSError or ConfigError if it cannot be started."""
        known = self._coming if self._renewing else self._current
        if known is None or not known.usable:
            known = self._start(settings, engine, generation)
            if self._renewing:
                self._coming = known
            else:
                self._current = known
        return known

    def renew(self) -> None:
        """Have the next worker be forked from a new template: a reload begins."""
        self.revert()
        self._renewing = True

    def settle(self) -> None:
        """End the old template: the reload is done."""
        if self._renewing:
            self._renewing = False
            old, self._current, self._coming = self._current, self._coming, None
            if old is not None:
                old.end()

    def revert(self) -> None:
        """End the new template: the reload has failed."""
        self._renewing = False
        if self._coming is not None:
            self._coming.end()
            self._coming = None

    def end(self) -> None:
        """End all."""
        for template in self.all:
            template.end()

    def _start(self, settings: Settings, engine: str, generation: int) -> Template:
        identity = identity_of(settings.worker_user)
        try:
            self.adopt()
        except OSError as error:
            raise ConfigError(
                f"--preload needs to adopt what the template forks, and the kernel refuses: {error}",
                hint="leave out --preload, or allow prctl in the sandbox",
            ) from None
        with contextlib.ExitStack() as undo:
            stacks = anonymous_file("flaskd-stacks-template")
            undo.callback(os.close, stacks)
            template = Template(
                generation=generation,
                stacks=stacks,
                on_change=self._changed,
                on_fork=lambda: self.on_fork(),
                children=lambda: self.children(),
            )
            template.warning = self._look_at_memory()
            early = early_worker.take(self._directory, fits=identity is None)
            if early is not None:
                undo.callback(early.end)
            ours, theirs = socketpair()
            undo.callback(ours.close)
            with theirs, contextlib.ExitStack() as given:
                pipes = {}
                for kind, target in (("stdout", STDOUT), ("stderr", STDERR), (RECORDS, STDERR)):
                    pipes[kind] = self._output.pipe(Origin(None, kind, "template"), target)
                    given.callback(os.close, pipes[kind])
                own = {stacks: stacks, pipes[RECORDS]: pipes[RECORDS]}
                ends: dict[str, Any] = {"on_end": template.process_ended, "by_oom": self._by_oom}
                inherited = [theirs.fileno(), pipes["stdout"], pipes["stderr"], *own]
                if early is not None and (numbers := early.give(inherited, "template")) is not None:
                    started = Process(early, **ends)
                else:
                    numbers = own
                    number = str(theirs.fileno())
                    started = process.start(
                        [sys.executable, "-P", "-m", "flaskd.worker", number, __version__, "template"],
                        descriptors=[theirs.fileno(), *own],
                        stdout=pipes["stdout"],
                        stderr=pipes["stderr"],
                        directory=self._directory,
                        identity=identity,
                        **ends,
                    )
            undo.pop_all()
        channel = SupervisorChannel(ours, on_event=lambda event: None, on_end=template.channel_ended)
        self._all.append(template)
        call = LoadTemplate(
            settings=settings, engine=engine, stacks=numbers[stacks], records=numbers[pipes[RECORDS]]
        )
        template.launched(started, channel, call)
        return template

    def _look_at_memory(self) -> str:
        """Warn if the memory limit may not allow the second copy of the application that a reload loads."""
        old, memory = self._current, ControlGroups().memory()
        if not self._renewing or old is None or memory is None:
            return ""
        return second_copy(resident(old.pid) or 0, memory)

    def _changed(self, template: Template) -> None:
        if template.state == "gone" and template in self._all:
            self._all.remove(template)
        self.on_change(template)


def second_copy(size: int, memory: Memory) -> str:
    """Warn if a second copy of an application whose first one has `size` bytes may not fit into `memory`; else ""."""
    if size <= memory.free:
        return ""
    return (
        f"the reload loads the application a second time, which needs about {size >> 20} MiB; of the memory limit of "
        f"{memory.limit >> 20} MiB, {memory.free >> 20} MiB are free"
    )
