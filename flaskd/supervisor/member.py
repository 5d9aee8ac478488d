"""One worker as the supervisor has it: its process, its channel, its request table, and where in its life it is.

A worker runs the application, which may be anybody's by now (docs/threat-model.md): what it says is believed of itself only,
and kept only as long as it is short.
"""

import asyncio
import contextlib
import os
import socket
import sys
import time
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Annotated, Any, Final

import msgspec

from flaskd.channel.supervisor_end import Answer, Channel
from flaskd.errors import IllegalMove
from flaskd.ledger.row import printable
from flaskd.ledger.shared_memory import RequestTable
from flaskd.process.ending import STDERR, STDOUT
from flaskd.settings.identity import Identity
from flaskd.shutdown.phases import Phase
from flaskd.supervisor import process
from flaskd.supervisor.output import Relay
from flaskd.supervisor.plan import MOVES, Move, Worker, WorkerState
from flaskd_ctl.errors import ControlError, Failed
from flaskd_ctl.protocol import InFlight

DEAF_PHASES: Final = {Phase.LEAVING.value, Phase.FLUSHING.value}

LONGEST_STACKS: Final = 1 << 17
"""Bytes of stacks that are kept of a worker: some hundred threads."""

LONGEST_CUT: Final = 1 << 18
"""Bytes of requests that a worker may name as cut: some thousand."""

LONGEST_SAID: Final = 4096
LONGEST_TRACE: Final = 1 << 16
"""Characters that are kept of a worker's failure (`line` sends no more)."""

MOST_VERSIONS: Final = 16
LONGEST_VERSION: Final = 64


class Result(msgspec.Struct, frozen=True):
    """What a worker says of its stop: what it cut, and how many connections in all (see `ShutdownResult`)."""

    cut: list[InFlight]
    connections_cut: Annotated[int, msgspec.Meta(ge=0, le=1 << 31)]


class Member:
    """A worker, from its start until it is gone.

    `on_change` is called when its state has changed, `on_event` with what it tells, `on_lost` when its line has ended: it ends,
    too, or it does not keep to the protocol, and cannot be told anything any more. `failure` is what it said of its own failed
    start, `result` what it said of its stop; `verdict` is why we end it (kind of incident, reason), `dismissed` says that it is
    not wanted any more, `admitted` that it was told to accept: from then on it may have requests, though it has not yet said
    that it serves. `was` is the state before this one, `told` the last one that was published.
    """

    def __init__(
        self,
        ident: int,
        *,
        generation: int,
        why: str,
        on_change: "Callable[[Member], None]",
        on_event: "Callable[[Member, Answer], None]",
        on_lost: "Callable[[Member], None]",
    ) -> None:
        self.id = ident
        self.generation = generation
        self.why = why
        self.pid = 0
        self.state = self.was = WorkerState.STARTING
        self.since = self.started = time.time()
        self.due = ""
        self.deaf = False
        self.failure: ControlError | None = None
        self.result: Result | None = None
        self.reason = ""
        self.versions: dict[str, str] = {}
        self.told: WorkerState | None = None
        self.verdict: tuple[str, str] | None = None
        self.dismissed = False
        self.admitted = False
        self.connections_seen = 0
        self.timer: asyncio.TimerHandle | None = None
        self._on_change = on_change
        self._on_event = on_event
        self._on_lost = on_lost

    def start(
        self,
        params: dict[str, Any],
        *,
        rows: int,
        inherited: list[int],
        relay: Relay,
        directory: str | None,
        identity: Identity | None = None,
    ) -> None:
        """Start the process and send it `params`, with the descriptors it needs added. Raises OSError, with nothing left."""
        with contextlib.ExitStack() as undo:
            self.request_table = RequestTable.create(rows)
            undo.callback(self.request_table.close)
            self.stacks_file = _memory(f"flaskd stacks {self.id}")
            undo.callback(os.close, self.stacks_file)
            ours, theirs = socket.socketpair()
            undo.callback(ours.close)
            with theirs, contextlib.ExitStack() as given:
                streams = []
                for target in (STDOUT, STDERR):
                    streams.append(relay.pipe(f"[{self.id}] ", target))
                    given.callback(os.close, streams[-1])
                self.process = process.start(
                    [sys.executable, "-m", "flaskd.worker", str(theirs.fileno())],
                    descriptors=[
                        theirs.fileno(),
                        self.request_table.descriptor,
                        self.stacks_file,
                        *inherited,
                    ],
                    stdout=streams[0],
                    stderr=streams[1],
                    directory=directory,
                    identity=identity,
                    on_end=self._ended,
                )
            undo.pop_all()
        self.pid = self.process.pid
        self._channel = Channel(ours, on_event=self._told, on_end=self._lost)
        started = self.call(
            "start",
            {
                **params,
                "request_table": self.request_table.descriptor,
                "stacks": self.stacks_file,
                "worker": self.id,
            },
        )
        started.add_done_callback(self._started)

    def call(self, method: str, params: Answer | None = None) -> Any:
        """Ask the worker (see `Channel.call`)."""
        return self._channel.call(method, params)

    def step_back(self, *, grace: float, linger: float) -> None:
        """Let it finish what it has, within `grace` seconds, and end. Asked again, only its deadline comes nearer."""
        self._move(Move.STEP_BACK)
        self.call("step_back", {"grace": grace, "linger": linger}).add_done_callback(self._stopped)

    def kill(self) -> None:
        """End it now."""
        self.process.kill()

    def dismiss(self) -> None:
        """End it now: it was not admitted and is not wanted any more, or its time is over."""
        self.dismissed = True
        self.kill()

    def seen(self) -> Worker:
        """Show it to the plan."""
        return Worker(self.id, self.state, self.due)

    def requests(self) -> list[InFlight]:
        """List what it has in flight, also when it is hung, stopped or dead."""
        return self.request_table.requests()

    def stacks(self) -> str:
        """Return what it has written of its threads' stacks."""
        size = min(os.fstat(self.stacks_file).st_size, LONGEST_STACKS)
        return printable(os.pread(self.stacks_file, size, 0).decode(errors="replace"), keep="\n\t")

    def close(self) -> None:
        """Let go of what belonged to it; it is gone."""
        self.request_table.close()
        os.close(self.stacks_file)

    def _started(self, answer: Any) -> None:
        if answer.cancelled():
            return
        error = answer.exception()
        if isinstance(error, ControlError):
            self.failure = _shortened(error)  # it ends by itself
        elif self.state is WorkerState.STARTING:
            with contextlib.suppress(msgspec.ValidationError):
                told = msgspec.convert(answer.result().get("versions"), dict[str, str])
                pairs = islice(told.items(), MOST_VERSIONS)
                short = slice(LONGEST_VERSION)
                self.versions = {printable(name[short]): printable(text[short]) for name, text in pairs}
            self.verdict = None  # a little late, but it accepts, and what it accepts would be lost with it
            self._move(Move.READY)

    def _stopped(self, answer: Any) -> None:
        if not answer.cancelled() and answer.exception() is None:
            with contextlib.suppress(msgspec.ValidationError):  # else it has said nothing
                result = msgspec.convert(answer.result(), Result)
                if len(msgspec.json.encode(result.cut)) > LONGEST_CUT:
                    result = Result([], max(result.connections_cut, len(result.cut)))
                self.result = Result([_cleaned(each) for each in result.cut], result.connections_cut)
                self._hear_deaf()

    def _told(self, event: Answer) -> None:
        match event:
            case {"event": "progress", "phase": str(phase)}:
                if phase in DEAF_PHASES:
                    self._hear_deaf()
            case {"event": "progress"}:
                pass
            case {"event": "loaded"}:
                if not self.dismissed and not self.admitted:  # once: what it does not read is kept here
                    self.admitted = True
                    self.call("serve")
            case _:
                self._on_event(self, event)

    def _hear_deaf(self) -> None:
        if self.state is WorkerState.LEAVING and not self.deaf:
            self.deaf = True
            self._on_change(self)

    def _lost(self) -> None:
        self._on_lost(self)
        self.process.channel_ended()

    def _ended(self) -> None:
        self._channel.read_rest()
        self._channel.close()
        # Who waits for what it said last is told by the loop, before this.
        asyncio.get_running_loop().call_soon(self._gone)

    def _gone(self) -> None:
        self.reason = self.process.how_it_ended
        self.deaf = True
        self._move(Move.END)

    def _move(self, move: Move) -> None:
        to = MOVES.get((self.state, move))
        if to is None:
            raise IllegalMove(self.state.value, move.value, what="a worker")
        if self.state is not to:
            self.was, self.state, self.since = self.state, to, time.time()
            self._on_change(self)


def _shortened(error: ControlError) -> Failed:
    """Return what a worker says of its failure as a failure, whatever it calls it, and no longer than one is."""
    said, hint, trace = (
        printable(text, keep="\n\t")
        for text in (
            str(error)[:LONGEST_SAID],
            error.hint[:LONGEST_SAID],
            str(error.data.get("traceback", ""))[-LONGEST_TRACE:],
        )
    )
    return Failed(said, hint=hint, data={"traceback": trace})


def _cleaned(request: InFlight) -> InFlight:
    """Return the request as it can be shown on a terminal, as one from the request table can."""
    texts = {name: text for name, text in msgspec.structs.asdict(request).items() if isinstance(text, str)}
    return msgspec.structs.replace(request, **{name: printable(text) for name, text in texts.items()})


def _memory(name: str) -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create(name, os.MFD_CLOEXEC)
    import tempfile

    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def requests_of(members: Iterable[Member]) -> list[InFlight]:
    """List what these workers have in flight, oldest first."""
    found = [
        msgspec.structs.replace(each, worker=member.id) for member in members for each in member.requests()
    ]
    return sorted(found, key=lambda request: -request.age)
