"""The supervisor's process, from `flaskd run` to its end.

It never imports the application, Flask or an engine: whatever those do, it answers.
"""

import asyncio
import contextlib
import functools
import os
from collections.abc import Sequence
from typing import NamedTuple

from flaskd.audit import journal
from flaskd.console import banner, priority
from flaskd.instance import Instance
from flaskd.process.ending import STDOUT
from flaskd.settings.sources import ReadSettings
from flaskd.shutdown import owner
from flaskd.shutdown.mailbox import Mailbox
from flaskd.start.starter import Starter
from flaskd.supervisor.changes import SettingsSource
from flaskd.supervisor.daemon import Daemon
from flaskd.supervisor.output import WorkerOutput
from flaskd.systemd.activation import Handed
from flaskd.systemd.notify import ServiceManager
from flaskd.tuning.shown import shown
from flaskd_ctl.protocol import Event, ShutdownResult, StateEvent


def serves(event: Event) -> bool:
    """Tell whether the event says that the instance serves for the first time."""
    return isinstance(event, StateEvent) and (event.was, event.state) == ("starting", "running")


class Ended(NamedTuple):
    """How a daemon ended."""

    name: str
    result: ShutdownResult
    killed: bool


def run(
    read: ReadSettings,
    *,
    source: SettingsSource,
    output: WorkerOutput,
    manager: ServiceManager,
    handed: Sequence[Handed] = (),
    starter: Starter,
) -> Ended:
    """Serve an application with workers until told to stop.

    `read` are its settings; `source` reads them again for a reload; `output` passes on what the workers write; `manager` is the
    service manager, `handed` are listeners that it opened; `starter` is told when it serves. Raises FlaskdError or BadPlace,
    with everything undone, for what keeps it from serving.
    """
    return asyncio.run(_run(read, source, output, manager, handed, starter))


async def _run(
    read: ReadSettings,
    source: SettingsSource,
    output: WorkerOutput,
    manager: ServiceManager,
    handed: Sequence[Handed],
    starter: Starter,
) -> Ended:
    settings = read.settings
    report = functools.partial(journal.report, settings.name) if priority.marking() else None
    with contextlib.ExitStack() as stack:
        if settings.dev:
            from flaskd.supervisor.dev.terminal import Terminal

            stack.enter_context(Terminal())
        mailbox: Mailbox[owner.Ask | None] = stack.enter_context(Mailbox())
        instance = stack.enter_context(
            Instance(
                settings,
                name=settings.name,
                app=str(shown("app", settings.app)),
                process_exits=True,
                audit_log=settings.audit_log,
                report=report,
                handed=handed,
            )
        )
        instance.restart_command = starter.restart_command(instance.endpoints)
        log = os.dup(STDOUT)  # for access logs: those lines need no prefix
        stack.callback(os.close, log)
        daemon = Daemon(instance, mailbox, read=read, source=source, output=output, manager=manager, log=log)
        stack.callback(daemon.close)
        daemon.bus.subscribe(banner.announcer(daemon, developing=settings.dev))
        daemon.bus.subscribe(lambda event: starter.ready() if serves(event) else None)
        result = await daemon.serve()
        return Ended(instance.name, result, killed=daemon.killed)
