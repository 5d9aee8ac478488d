"""One worker as the supervisor knows it: its process, its channel, its requests, and where in its life it is.

A worker runs the application, which an attacker may have taken over (docs/threat-model.md). What it reports is believed only of
itself, and kept only up to a limit.
"""

import asyncio
import contextlib
import os
import time
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Final, NamedTuple, Protocol

import msgspec

from flaskd.channel.messages import (
    LONGEST_MESSAGE,
    LONGEST_TRACE,
    Call,
    Event,
    Loaded,
    Note,
    Progress,
    Ready,
    Reply,
    Serve,
    Start,
    StopGracefully,
    Stopped,
)
from flaskd.channel.supervisor_end import SupervisorChannel
from flaskd.errors import IllegalMove
from flaskd.ledger.errors import ErrorTable
from flaskd.ledger.row import printable
from flaskd.ledger.shared_memory import RequestTable
from flaskd.ledger.slowest import SlowTable
from flaskd.metrics.memory import MetricsMemory
from flaskd.process.ending import STACKS_SIGNAL
from flaskd.shutdown.phases import Phase
from flaskd.supervisor.forked_process import ForkedProcess
from flaskd.supervisor.plan import MOVES, Move, WorkerState, WorkerView
from flaskd.supervisor.process import Process
from flaskd.tasks import Task
from flaskd_ctl.errors import ControlError, Failed
from flaskd_ctl.protocol import InFlight

CLOSED_PHASES: Final = {Phase.LEAVING.value, Phase.FLUSHING.value}
"""Phases of a worker's stop in which it accepts no connections."""

LONGEST_STACKS: Final = 1 << 17
"""Bytes of stacks that are kept of a worker: some hundred threads."""

LONGEST_CUT: Final = 1 << 18
"""Bytes of requests that a worker may report as cut: some thousand."""

MOST_VERSIONS: Final = 16
LONGEST_VERSION: Final = 64


class Resources(NamedTuple):
    """What belongs to a worker that was launched; `stacks` is the descriptor that it writes its threads' stacks to."""

    process: Process | ForkedProcess
    channel: SupervisorChannel
    request_table: RequestTable
    metrics: MetricsMemory
    errors: ErrorTable
    slow: SlowTable
    stacks: int


class Watcher(Protocol):
    """Is told of a worker: the fleet."""

    def member_changed(self, member: "Member") -> None:
        """Take note of its new state."""

    def member_stopped_accepting(self, member: "Member") -> None:
        """Take note that it accepts no connections any more."""

    def member_reported(self, member: "Member", event: Event) -> None:
        """Take note of what it reports."""

    def member_lost(self, member: "Member") -> None:
        """Take note that its channel has ended: it exits, or it sent anything but its messages, and cannot be told anything."""


class Reported(msgspec.Struct):
    """What a worker has reported: why it could not start, what its stop cut, its libraries' versions."""

    failure: ControlError | None = None
    result: Stopped | None = None
    versions: dict[str, str] = msgspec.field(default_factory=dict)
    stopped_accepting: bool = False


class Member:
    """A worker, from its start until it is gone.

    `why` is why it was started, `due` why it is to be replaced. `verdict` is why the supervisor kills it (kind of incident,
    reason); `dismissed` says that it is not wanted any more; `admitted` that it was told to accept: from then on it may have
    requests, though it has not yet said that it serves; `alone` that no other served when it was started.
    `was` is the state before this one. `orders` of its application are not carried out yet.
    """

    def __init__(self, ident: int, *, generation: int, why: str, watcher: Watcher) -> None:
        self.id = ident
        self.generation = generation
        self.why = why
        self.state = self.was = WorkerState.STARTING
        self.since = self.started = time.time()
        self.due = ""
        self.reported = Reported()
        self.verdict: tuple[str, str] | None = None
        self.dismissed = False
        self.admitted = False
        self.alone = False
        self.connections_seen = 0
        self.orders = 0
        self._watcher = watcher
        self._resources: Resources | None = None

    def launched(self, resources: Resources, start: Start) -> None:
        """Take what belongs to it, and send the first call."""
        self._resources = resources
        self.call(start).add_done_callback(self._started)

    @property
    def pid(self) -> int:
        """Its process id; 0 where no process could be started, and while its template loads."""
        return self._resources.process.pid if self._resources else 0

    @property
    def has_process(self) -> bool:
        """Whether there is, or was, a process of its own: not while its template loads."""
        return self._held.process.stacks is None

    @property
    def served(self) -> bool:
        """Whether it may have had requests when it ended by itself, also if it had not yet reported that it serves."""
        failed_to_start = self.reported.failure is not None or self.verdict is not None
        return self.was is not WorkerState.STARTING or (self.admitted and not failed_to_start)

    @property
    def request_table(self) -> RequestTable:
        """Its requests, also when it is hung, stopped or dead."""
        return self._held.request_table

    @property
    def metrics(self) -> MetricsMemory:
        """What it has counted, also when it is hung, stopped or dead."""
        return self._held.metrics

    @property
    def errors(self) -> ErrorTable:
        """Its errors, also when it is hung, stopped or dead."""
        return self._held.errors

    @property
    def slow(self) -> SlowTable:
        """Its slowest requests, also when it is hung, stopped or dead."""
        return self._held.slow

    @property
    def reason(self) -> str:
        """How its process ended: "exit code 3", "killed by SIGKILL"."""
        return self._held.process.how_it_ended

    @property
    def out_of_memory(self) -> bool:
        """Whether the kernel's OOM killer has ended it; ask when it is gone."""
        return self._resources is not None and self._resources.process.out_of_memory

    @property
    def _held(self) -> Resources:
        assert self._resources is not None, "it was not launched"
        return self._resources

    def forked(self) -> None:
        """Note that its template has forked it."""
        self._watcher.member_changed(self)

    def refused(self, error: ControlError | None) -> None:
        """Note that its template cannot fork it, and why; None: that is another worker's failure."""
        if error is None:
            self.dismissed = True
        else:
            self.reported.failure = _shortened(error)

    def call(self, call: Call) -> "asyncio.Future[Reply]":
        """Send a call to the worker (see `SupervisorChannel.call`)."""
        return self._held.channel.call(call)

    @property
    def unanswered(self) -> int:
        """Calls that it has not answered yet."""
        return self._held.channel.unanswered

    def order(self, task: Task, on_note: Callable[[Note], None] | None = None) -> "asyncio.Future[Reply]":
        """Have it carry out a task; `on_note` gets what the task reports before its reply."""
        if on_note is None:
            return self.call(task)
        return self._held.channel.call(task, on_note=on_note)

    def stop_gracefully(self, *, grace: float, linger: float) -> None:
        """Let it answer what it has, within `grace` seconds, and exit. A second call can only bring its deadline nearer."""
        self.move(Move.STOP)
        self.call(StopGracefully(grace=grace, linger=linger)).add_done_callback(self._stopped)

    def kill(self) -> None:
        """Kill it now."""
        self._held.process.kill()

    def dismiss(self) -> None:
        """Kill it now: it was not admitted and is not wanted any more, or its time is over."""
        self.dismissed = True
        self.kill()

    def write_stacks(self) -> None:
        """Have it write its threads' stacks (faulthandler, in a signal handler: also while C code holds the GIL).

        They replace those that it wrote before: the worker has inherited the descriptor, and with it the offset (execve(2)).
        """
        with contextlib.suppress(OSError):
            os.ftruncate(self._held.stacks, 0)
            os.lseek(self._held.stacks, 0, os.SEEK_SET)
        self._held.process.send(STACKS_SIGNAL)

    def stacks(self) -> str:
        """Return what it has written of its threads' stacks."""
        descriptor = self._held.process.stacks
        if descriptor is None:
            descriptor = self._held.stacks
        size = min(os.fstat(descriptor).st_size, LONGEST_STACKS)
        return printable(os.pread(descriptor, size, 0).rstrip(b"\0").decode(errors="replace"), keep="\n\t")

    def view(self) -> WorkerView:
        """Return what the plan needs to know."""
        return WorkerView(self.id, self.state, self.due)

    def order_carried_out(self) -> None:
        """Note that an order of its application was carried out, or failed."""
        self.orders -= 1

    def close(self) -> None:
        """Close what belonged to it; it is gone."""
        for memory in (self.request_table, self.metrics, self.errors, self.slow):
            memory.close()
        os.close(self._held.stacks)
        self._held.process.close()

    def move(self, move: Move) -> None:
        """Change its state as the table MOVES says; raises IllegalMove."""
        to = MOVES.get((self.state, move))
        if to is None:
            raise IllegalMove(self.state.value, move.value, what="a worker")
        if self.state is not to:
            self.was, self.state, self.since = self.state, to, time.time()
            self._watcher.member_changed(self)

    def receive(self, event: Event) -> None:
        """Act on an event that it sent."""
        match event:
            case Progress(phase):
                if phase in CLOSED_PHASES:
                    self._stopped_accepting()
            case Loaded():
                # Once: calls that it does not read are kept. Not one whose time is over: what it accepted would end with it.
                if not self.dismissed and not self.admitted and self.verdict is None:
                    self.admitted = True
                    self.call(Serve())
            case _:
                self._watcher.member_reported(self, event)

    def channel_ended(self) -> None:
        """Note that its channel has ended."""
        self._watcher.member_lost(self)

    def process_ended(self) -> None:
        """Note that its process has ended; what it sent last still counts."""
        self._held.channel.read_rest()
        self._held.channel.close()
        # The loop tells those who wait for its last replies first.
        asyncio.get_running_loop().call_soon(self.gone)

    def gone(self) -> None:
        """Note that it is gone."""
        self.reported.stopped_accepting = True
        self.move(Move.END)

    def _started(self, reply: "asyncio.Future[Reply]") -> None:
        if reply.cancelled():
            return
        error = reply.exception()
        if isinstance(error, ControlError):
            self.reported.failure = _shortened(error)  # it exits by itself
        elif self.state is WorkerState.STARTING and isinstance(ready := reply.result(), Ready):
            pairs, short = islice(ready.versions.items(), MOST_VERSIONS), slice(LONGEST_VERSION)
            versions = {printable(name[short]): printable(text[short]) for name, text in pairs}
            self.reported.versions = versions
            self.verdict = None  # a little late, but it accepts, and what it accepts would be lost with it
            self.move(Move.READY)

    def _stopped(self, reply: "asyncio.Future[Reply]") -> None:
        if reply.cancelled() or reply.exception() is not None:
            return
        if isinstance(stopped := reply.result(), Stopped):
            cut, connections = stopped.cut, stopped.connections_cut
            if len(msgspec.json.encode(cut)) > LONGEST_CUT:
                cut, connections = [], max(connections, len(cut))
            self.reported.result = Stopped(cut=[_cleaned(each) for each in cut], connections_cut=connections)
            self._stopped_accepting()

    def _stopped_accepting(self) -> None:
        if self.state is WorkerState.LEAVING and not self.reported.stopped_accepting:
            self.reported.stopped_accepting = True
            self._watcher.member_stopped_accepting(self)


def requests_of(members: Iterable[Member]) -> list[InFlight]:
    """List what these workers have in flight, oldest first."""
    found = [
        msgspec.structs.replace(each, worker=member.id)
        for member in members
        for each in member.request_table.requests()
    ]
    return sorted(found, key=lambda request: -request.age)


def _shortened(error: ControlError) -> Failed:
    """Return a worker's failure as it can be shown on a terminal, and no longer than one may be."""
    message, hint, trace = (
        printable(text, keep="\n\t")
        for text in (
            str(error)[:LONGEST_MESSAGE],
            error.hint[:LONGEST_MESSAGE],
            str(error.data.get("traceback", ""))[-LONGEST_TRACE:],
        )
    )
    return Failed(message, hint=hint, data={"traceback": trace})


def _cleaned(request: InFlight) -> InFlight:
    """Return the request as it can be shown on a terminal."""
    texts = {name: text for name, text in msgspec.structs.asdict(request).items() if isinstance(text, str)}
    return msgspec.structs.replace(request, **{name: printable(text) for name, text in texts.items()})
