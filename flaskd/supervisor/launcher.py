"""Starting a worker, by exec or from a template: what it inherits, and the first message that it gets."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Sequence
from socket import socketpair
from typing import Any, Final

from flaskd.channel.messages import Start, renumbered
from flaskd.channel.supervisor_end import SupervisorChannel
from flaskd.guard import log_failure
from flaskd.installed import check_installed
from flaskd.ledger.errors import ErrorTable
from flaskd.ledger.shared_memory import RequestTable
from flaskd.ledger.slowest import SlowTable
from flaskd.listening.listeners import Listener
from flaskd.metrics.memory import MetricsMemory
from flaskd.process.directory import logical_directory
from flaskd.process.ending import STDERR, STDIN, STDOUT
from flaskd.process.load_table import LoadTable
from flaskd.process.memory import anonymous_file
from flaskd.settings.identity import identity_of
from flaskd.settings.schema import Settings
from flaskd.supervisor import early_worker, process
from flaskd.supervisor.forked import kill_forked
from flaskd.supervisor.forked_process import ForkedProcess
from flaskd.supervisor.member import Member, Resources
from flaskd.supervisor.oom import OomKills
from flaskd.supervisor.output import WorkerOutput
from flaskd.supervisor.output_thread import RAW, RECORDS, Origin
from flaskd.supervisor.process import Process
from flaskd.supervisor.templates import Templates
from flaskd.tasks import Tune
from flaskd.version import __version__

PIPES: Final = {"stdout": STDOUT, "stderr": STDERR, RECORDS: STDERR}
"""The pipes of a worker by what it writes there, and where that comes out if there is no log file."""


class Launcher:
    """Starts workers of the instance `name` with the engine called `engine`.

    `loads` is where the workers see each other's load. `log` is the descriptor for access logs, unless they have a file.
    `closing` says whether new workers send `Connection: close` with each response, `terminal` whether they have our standard
    input and output. `base` are the settings as they were read, `tune` is what an operator has set in their place.
    """

    def __init__(
        self,
        *,
        name: str,
        engine: str,
        listeners: Sequence[Listener],
        loads: LoadTable,
        log: int,
        output: WorkerOutput,
    ) -> None:
        self.engine = engine
        self.closing = False
        self.terminal = False
        self.base: Settings | None = None
        self.tune: Tune | None = None
        self._name = name
        self._listeners = [listener.socket.fileno() for listener in listeners]
        self._loads = loads
        self._log = log
        self._output = output
        self._oom = OomKills()
        self.directory = logical_directory()
        self.templates = Templates(output=output, by_oom=self._oom.take, directory=self.directory)

    def launch(self, member: Member, settings: Settings, *, check: str) -> None:
        """Start the process of `member`. Raises OSError or ConfigError, with nothing left open or running."""
        check_installed()
        template = None
        early = None
        if settings.preload:
            template = self.templates.usable(settings, engine=self.engine, generation=member.generation)
            member.generation = template.generation
        else:
            early = early_worker.take(self.directory, fits=not (settings.worker_user or self.terminal))
        with contextlib.ExitStack() as undo:
            if early is not None:
                undo.callback(early.end)
            table = RequestTable.create(2 * settings.threads)
            undo.callback(table.close)
            metrics = MetricsMemory.create()
            undo.callback(metrics.close)
            errors, slow = ErrorTable.create(), SlowTable.create()
            undo.callback(errors.close)
            undo.callback(slow.close)
            stacks = anonymous_file(f"flaskd-stacks-{member.id}")
            undo.callback(os.close, stacks)
            load_row = self._loads.take()
            undo.callback(self._loads.give_back, load_row)
            ours, theirs = socketpair()
            undo.callback(ours.close)
            with theirs, contextlib.ExitStack() as given:
                pipes = {}
                for kind, target in PIPES.items():
                    pipes[kind] = self._output.pipe(Origin(member.id, kind), target)
                    given.callback(os.close, pipes[kind])
                log = self._log
                if self._output.has_access_log_file():
                    log = self._output.pipe(Origin(member.id, RAW), STDOUT)
                    given.callback(os.close, log)
                records = pipes[RECORDS]
                descriptors = [
                    *(each.descriptor for each in (table, metrics, errors, slow, self._loads)),
                    stacks,
                    *self._listeners,
                    log,
                    records,
                ]
                inherited = [theirs.fileno(), pipes["stdout"], pipes["stderr"], *descriptors]
                numbers = None
                ends: dict[str, Any] = {
                    "on_end": lambda: self._ended(member, load_row),
                    "by_oom": self._oom.take,
                }
                started: Process | ForkedProcess
                if template is not None:
                    started = template.fork(
                        inherited, on_start=member.forked, on_refused=member.refused, **ends
                    )
                elif early is not None and (numbers := early.give(inherited)) is not None:
                    started = Process(early, **ends)
                else:
                    started = process.start(
                        [sys.executable, "-P", "-m", "flaskd.worker", str(theirs.fileno()), __version__],
                        descriptors=[theirs.fileno(), *descriptors],
                        stdin=STDIN if self.terminal else subprocess.DEVNULL,
                        stdout=STDOUT if self.terminal else pipes["stdout"],
                        stderr=pipes["stderr"],
                        directory=self.directory,
                        identity=identity_of(settings.worker_user),
                        **ends,
                    )
            undo.pop_all()
        start = Start(
            settings=self.base or settings,
            engine=self.engine,
            name=self._name,
            worker=member.id,
            generation=member.generation,
            listeners=self._listeners,
            request_table=table.descriptor,
            metrics=metrics.descriptor,
            errors=errors.descriptor,
            slow=slow.descriptor,
            loads=self._loads.descriptor,
            load_row=load_row,
            stacks=stacks,
            log=log,
            records=records,
            check=check,
            closing=self.closing,
            tune=self.tune,
            alone=member.alone,
        )
        if numbers is not None:
            start = renumbered(start, numbers)
        channel = SupervisorChannel(ours, on_event=member.receive, on_end=member.channel_ended)
        member.launched(Resources(started, channel, table, metrics, errors, slow, stacks), start)

    def _ended(self, member: Member, load_row: int) -> None:
        self._loads.give_back(load_row)
        with log_failure(f"end the processes that worker {member.id} has forked"):
            if member.has_process:
                kill_forked(member.pid, member.request_table.descriptor)
        member.process_ended()
