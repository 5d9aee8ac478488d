"""What holds for a process that runs a worker, from before the application is loaded until its end.

With --preload a template sets it up, and each worker that is forked has it already.
"""

import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from typing import Final, NoReturn

from flaskd.app.loader import applications_traceback
from flaskd.channel.messages import LoadTemplate, Start
from flaskd.channel.worker_end import TemplateChannel, WorkerChannel
from flaskd.errors import FlaskdError
from flaskd.ledger.middleware import current_request_id
from flaskd.logs import handler
from flaskd.process import ending
from flaskd.process.name import WORKER, name_process
from flaskd.process.threads import explained
from flaskd.worker.signals import take_signals, write_stacks_to

LAST_MOMENT: Final = 5.0
"""Seconds that the application's own threads and atexit functions get after the worker has stopped."""

ESSENTIAL: Final = {"flaskd-channel", "flaskd-accept"}
"""Threads without which a worker cannot work."""


class WorkerProcess:
    """This process; make it first, on the main thread."""

    def __init__(self) -> None:
        for stream in (sys.stdout, sys.stderr):
            stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # what is written comes out at once
        signal.pthread_sigmask(signal.SIG_SETMASK, ())  # the supervisor holds its signals, which is inherited
        take_signals()
        threading.excepthook = end_with_thread
        self._unclean = False
        ending.skip_finalizing(lambda: self._unclean)
        self._handler: handler.RecordHandler | None = None

    def log_to(self, descriptor: int, level: str) -> None:
        """Write records of `logging` to a descriptor; `level` is for the first call."""
        write = handler.to_descriptor(descriptor)
        if self._handler is None:
            self._handler = handler.install(write, level, current_request_id)
        else:
            self._handler.redirect(write)

    def run(self, serve: Callable[[], bool], channel: WorkerChannel, start: Start) -> NoReturn:
        """Serve as `start` says, and exit; `serve` returns whether nothing was cut."""
        name_process(WORKER)
        for descriptor in (start.stacks, start.log, start.records, *start.listeners):
            # They came through an exec; what the application starts does not get them.
            os.set_inheritable(descriptor, False)
        self.log_to(start.records, start.settings.log_level)
        write_stacks_to(start.stacks)
        try:
            self._unclean = not serve()
        except BaseException as raised:  # noqa: BLE001 - the process's outer edge: the supervisor reports it
            report_failure(channel, start, raised)
            ending.exit_now(1)
        ending.exit_within(LAST_MOMENT)
        sys.exit(0)


def report_failure(
    channel: WorkerChannel | TemplateChannel, call: Start | LoadTemplate, raised: BaseException
) -> None:
    """Answer the first call with what this process has failed with."""
    error = explained(raised) or raised
    hint = error.hint if isinstance(error, FlaskdError) else ""
    channel.refuse(call, error, hint=hint, trace=applications_traceback(error))
    if not isinstance(error, FlaskdError):
        # Also in the log: once it has served, nobody waits for that reply.
        traceback.print_exception(error)


def end_with_thread(failed: threading.ExceptHookArgs) -> None:
    """Exit if a thread fails without which the worker cannot accept or receive calls; the supervisor replaces it."""
    threading.__excepthook__(failed)
    if failed.thread is not None and failed.thread.name in ESSENTIAL:
        ending.exit_now(1)
