"""Commands that show the instance."""

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from msgspec.structs import replace

from flaskd.control.describe import document, own_commands
from flaskd.control.registry import ENCODER, Call
from flaskd.operable import Operable, workers_of
from flaskd.tasks import Listed
from flaskd.version import __version__
from flaskd_ctl import errors
from flaskd_ctl.contract.commands import COMMANDS, Role
from flaskd_ctl.protocol import (
    HistoryParams,
    HistoryResult,
    IncidentsParams,
    IncidentsResult,
    PingResult,
    StatusResult,
    WorkersResult,
)


class Looking:
    """Handles the commands that show an instance."""

    def __init__(self, instance: Operable, own_commands: Callable[[], Awaitable[list[Listed]]]) -> None:
        self._instance = instance
        self._own_commands = own_commands
        self._descriptions: dict[Role, dict[str, msgspec.Raw]] = {}

    def ping(self, call: Call[Any]) -> PingResult:
        """Return the instance's name, pid and state."""
        return self._instance.ping()

    def status(self, call: Call[Any]) -> StatusResult:
        """Describe the instance at a glance."""
        status = self._instance.status()
        last = status.last_failure
        if last is None or not last.traceback:
            return status
        shown = replace(last, traceback=call.traceback(last.traceback))
        return replace(status, last_failure=shown)

    async def describe(self, call: Call[Any]) -> dict[str, Any]:
        """Describe all commands. What flaskd itself has is described once for each role; the application is asked each time."""
        role = call.registry.role_of(call.caller) or Role.VIEWER  # it has a role, or the call was refused
        if role not in self._descriptions:
            made = document(list(COMMANDS.values()), version=__version__, role=role)
            self._descriptions[role] = {key: msgspec.Raw(ENCODER.encode(made[key])) for key in made}
        own = own_commands(await self._own_commands(), role=role)
        return {**self._descriptions[role], "x-application-commands": own}

    def workers(self, call: Call[Any]) -> WorkersResult:
        """List the workers."""
        return workers_of(self._instance, "has no workers").workers()

    def incidents(self, call: Call[IncidentsParams]) -> IncidentsResult:
        """List the failures of workers, or show one of them in full."""
        found = workers_of(self._instance, "keeps no incidents of workers").incidents(call.params.id)
        return IncidentsResult(
            incidents=[replace(each, traceback=call.traceback(each.traceback)) for each in found.incidents]
        )

    def history(self, call: Call[HistoryParams]) -> HistoryResult:
        """Return the newest entries of the audit log."""
        audit = self._instance.audit
        if not audit.path:
            raise errors.WrongState(
                "no audit log is kept", hint="set --audit-log PATH, or remove --audit-log off"
            )
        try:
            entries = audit.newest(call.params.limit)
        except OSError as error:
            raise errors.Failed(
                f"cannot read the audit log {audit.path}: {error.strerror}", hint="check its permissions"
            ) from None
        if audit.write_error and not entries:
            raise errors.Failed(
                f"the audit log {audit.path} has no entry, because it cannot be written: {audit.write_error}",
                hint="check its directory, and the space on its disk",
            )
        return HistoryResult(entries=entries)
