"""A template: it loads the application, and forks workers from what it has loaded (docs/workers.md#preload).

It is started as `python -P -m flaskd.worker DESCRIPTOR VERSION template`, the first one as `supervisor.early_worker` says. It
has one thread, no connection but its channel, and serves nothing. Each worker is forked twice, so that it becomes a child of
the supervisor: see `supervisor.forked_process`.

The garbage collector is off while the application loads, and what was loaded is frozen: a collection writes into each object
that it looks at, and the kernel would copy the pages for each worker (gc.freeze, in Python's documentation).
"""

import ctypes
import gc
import mmap
import os
import select
import signal
import socket
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NoReturn

from flaskd.app.forkable import check_forkable
from flaskd.app.hooks import Hooks
from flaskd.channel.messages import Fork, Forked, LoadTemplate, Start, TemplateLoaded, renumbered
from flaskd.channel.worker_end import TemplateChannel, WorkerChannel
from flaskd.errors import FlaskdError
from flaskd.guard import warn_once
from flaskd.installed import check_installed
from flaskd.process import ending
from flaskd.process.adoption import fork_orphan
from flaskd.process.fork_hazards import ForkHazards
from flaskd.process.name import TEMPLATE, name_process
from flaskd.process.prctl import SET_PDEATHSIG, prctl
from flaskd.process.threads import explained
from flaskd.serving import library_versions
from flaskd.worker.application import Application, load_application
from flaskd.worker.main import Worker
from flaskd.worker.process import WorkerProcess, report_failure
from flaskd.worker.signals import IGNORED, take_signals, write_stacks_to


def main(kept: Callable[[], Iterable[str]] = list) -> NoReturn:
    """Run a template; the first argument is the descriptor of its end of the channel. `kept`: see `namesakes.release`."""
    process = WorkerProcess()
    with socket.socket(fileno=int(sys.argv[1])) as sock:
        channel = TemplateChannel(sock)
        call = channel.receive()
        if not isinstance(call, LoadTemplate):
            ending.exit_now(1)
        name_process(TEMPLATE)
        for descriptor in (sock.fileno(), call.stacks, call.records):
            # They came through an exec; what the application starts does not get them.
            os.set_inheritable(descriptor, False)
        process.log_to(call.records, call.settings.log_level)
        write_stacks_to(call.stacks)
        # A child that the application forks maps this; what it starts does not: see `supervisor.forked`.
        os.ftruncate(call.stacks, mmap.PAGESIZE)
        mark = mmap.mmap(call.stacks, mmap.PAGESIZE)
        _end_with_supervisor(sock)
        try:
            template = Template(process, call, channel, _load(call, channel, kept), mark)
        except BaseException as raised:  # noqa: BLE001 - the process's outer edge: the supervisor reports it
            report_failure(channel, call, raised)
            ending.exit_now(1)
        channel.reply(call, TemplateLoaded())
        template.serve()
        ending.exit_now(0)  # atexit functions are for the workers


class Template:
    """Forks workers on order; `mark` is memory that they must not map."""

    def __init__(
        self,
        process: WorkerProcess,
        call: LoadTemplate,
        channel: TemplateChannel,
        application: Application,
        mark: mmap.mmap,
    ) -> None:
        self._process = process
        self._call = call
        self._channel = channel
        self._application = application
        self._mark = mark

    def serve(self) -> None:
        """Fork until the channel ends; it returns in the template only."""
        # A worker that is being forked does not handle them yet.
        signal.pthread_sigmask(signal.SIG_BLOCK, IGNORED)
        while (order := self._channel.receive()) is not None:
            if isinstance(order, Fork):
                self._fork(order)

    def _fork(self, order: Fork) -> None:
        given = self._channel.take(len(order.descriptors))
        _flush()
        try:
            pid = fork_orphan()
        except OSError as error:
            reason = explained(error) or error
            hint = reason.hint if isinstance(reason, FlaskdError) else ""
            self._channel.refuse(order, f"its template cannot fork: {reason}", hint=hint)
        else:
            if pid == 0:
                self._be_worker(given, dict(zip(order.descriptors, given, strict=True)))
            self._channel.reply(order, Forked(pid=pid))
        for descriptor in given:
            os.close(descriptor)

    def _be_worker(self, given: Sequence[int], numbers: Mapping[int, int]) -> NoReturn:
        """Be a worker, in the process that was forked. `numbers` are its descriptors by the numbers that its `Start` has."""
        end, stdout, stderr = given[:3]
        for pipe, descriptor in ((stdout, ending.STDOUT), (stderr, ending.STDERR)):
            os.dup2(pipe, descriptor)
            os.close(pipe)
        take_signals()
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        gc.enable()
        with socket.socket(fileno=end) as sock:
            channel = WorkerChannel(sock)
            start = channel.receive()
            if not isinstance(start, Start):
                ending.exit_now(1)
            start = renumbered(start, numbers)
            self._process.log_to(start.records, start.settings.log_level)
            self._mark.close()
            for descriptor in (self._call.stacks, self._call.records):
                os.close(descriptor)
            self._process.run(Worker(channel, start, lambda: self._application).run, channel, start)


def _load(call: LoadTemplate, channel: TemplateChannel, kept: Callable[[], Iterable[str]]) -> Application:
    """Load the application and make it ready to be forked. Raises what keeps it from that."""
    settings = call.settings

    def give_up(error: FlaskdError, trace: str) -> None:
        channel.refuse(call, error, hint=error.hint, trace=trace)
        ending.exit_now(1)

    gc.disable()
    hazards = ForkHazards()
    application = load_application(settings, engine=call.engine, check=True, kept=kept)
    Hooks(settings).forking(application.app, give_up=give_up)
    take_signals()  # again, where the application has taken them
    check_forkable(settings.app, hazards)
    library_versions()  # what workers look up is looked up once
    check_installed()  # it may have been replaced while this process imported it
    gc.freeze()
    return application


def _end_with_supervisor(sock: socket.socket) -> None:
    """Be killed when the supervisor ends: until the application is loaded, nobody reads the channel. `sock`: its end."""
    try:
        prctl(SET_PDEATHSIG, signal.SIGKILL)
    except OSError as error:
        warn_once(f"{error}; if the supervisor is killed while the application loads, that goes on")
    poll = select.poll()
    poll.register(sock, select.POLLRDHUP)
    if poll.poll(0):  # it has ended before we asked for the signal
        ending.exit_now(1)


def _flush() -> None:
    """Write out what is buffered, or each worker would write it too."""
    for stream in filter(None, (sys.stdout, sys.stderr)):
        stream.flush()
    ctypes.CDLL(None).fflush(None)
