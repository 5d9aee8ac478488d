"""Starting a worker: what it inherits, and the first message that it gets."""

import contextlib
import os
import sys
from collections.abc import Sequence
from socket import socketpair
from typing import Final

from flaskd.channel.messages import Start
from flaskd.channel.supervisor_end import SupervisorChannel
from flaskd.guard import log_failure
from flaskd.installed import check_installed
from flaskd.ledger.errors import ErrorTable
from flaskd.ledger.shared_memory import RequestTable
from flaskd.ledger.slowest import SlowTable
from flaskd.listening.listeners import Listener
from flaskd.metrics.memory import MetricsMemory
from flaskd.process.directory import logical_directory
from flaskd.process.ending import STDERR, STDOUT
from flaskd.process.memory import anonymous_file
from flaskd.settings.identity import identity_of
from flaskd.settings.schema import Settings
from flaskd.supervisor import process
from flaskd.supervisor.forked import kill_forked
from flaskd.supervisor.member import Member, Resources
from flaskd.supervisor.oom import OomKills
from flaskd.supervisor.output import WorkerOutput
from flaskd.supervisor.output_thread import RAW, RECORDS, Origin
from flaskd.tasks import Tune
from flaskd.version import __version__

PIPES: Final = {"stdout": STDOUT, "stderr": STDERR, RECORDS: STDERR}
"""The pipes of a worker by what it writes there, and where that comes out if there is no log file."""


class Launcher:
    """Starts workers of the instance `name` with the engine called `engine`.

    `log` is the descriptor for access logs, unless they have a file. `closing` says whether new workers send
    `Connection: close` with each response. `base` are the settings as they were read, `tune` is what an operator has set in
    their place.
    """

    def __init__(
        self, *, name: str, engine: str, listeners: Sequence[Listener], log: int, output: WorkerOutput
    ) -> None:
        self.engine = engine
        self.closing = False
        self.base: Settings | None = None
        self.tune: Tune | None = None
        self._name = name
        self._listeners = [listener.socket.fileno() for listener in listeners]
        self._log = log
        self._output = output
        self._oom = OomKills()
        self.directory = logical_directory()

    def launch(self, member: Member, settings: Settings, *, check: str) -> None:
        """Start the process of `member`. Raises OSError or ConfigError, with nothing left open or running."""
        check_installed()
        identity = identity_of(settings.worker_user)
        with contextlib.ExitStack() as undo:
            table = RequestTable.create(2 * settings.threads)
            undo.callback(table.close)
            metrics = MetricsMemory.create()
            undo.callback(metrics.close)
            errors, slow = ErrorTable.create(), SlowTable.create()
            undo.callback(errors.close)
            undo.callback(slow.close)
            stacks = anonymous_file(f"flaskd-stacks-{member.id}")
            undo.callback(os.close, stacks)
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
                started = process.start(
                    [sys.executable, "-P", "-m", "flaskd.worker", str(theirs.fileno()), __version__],
                    descriptors=[
                        theirs.fileno(),
                        *(each.descriptor for each in (table, metrics, errors, slow)),
                        stacks,
                        *self._listeners,
                        log,
                        records,
                    ],
                    stdout=pipes["stdout"],
                    stderr=pipes["stderr"],
                    directory=self.directory,
                    identity=identity,
                    on_end=lambda: self._ended(member),
                    by_oom=self._oom.take,
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
            stacks=stacks,
            log=log,
            records=records,
            check=check,
            closing=self.closing,
            tune=self.tune,
        )
        channel = SupervisorChannel(ours, on_event=member.receive, on_end=member.channel_ended)
        member.launched(Resources(started, channel, table, metrics, errors, slow, stacks), start)

    def _ended(self, member: Member) -> None:
        with log_failure(f"end the processes that worker {member.id} has forked"):
            kill_forked(member.pid, member.request_table.descriptor)
        member.process_ended()
