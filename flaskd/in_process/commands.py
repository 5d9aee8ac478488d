"""The application's own commands, in its process."""

import contextlib
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Final

import msgspec

from flaskd.app.wrapped import find_flask
from flaskd.app_commands.calling import CallError, call
from flaskd.app_commands.registry import COMMANDS
from flaskd.ledger.masking import mask_text, mask_traceback
from flaskd.serving import Core
from flaskd.tasks import (
    CallCommand,
    CommandCalled,
    CommandProgress,
    CommandsListed,
    ListCommands,
    Listed,
    Note,
)
from flaskd.tasks.application import LONGEST_LIST
from flaskd_ctl.contract.commands import Role

LONGEST_TEXT: Final = 4096
LONGEST_TRACE: Final = 65_536
"""Characters of the texts of a failure."""


def list_commands(core: Core, task: ListCommands) -> CommandsListed:
    """List the commands, as many as fit into a message."""
    listed: list[Listed] = []
    size = 0
    for each in COMMANDS.all():
        one = Listed(each.name, _role(each.role), each.on, each.timeout, each.summary, each.schema.decode())
        size += len(msgspec.json.encode(one))
        if size > LONGEST_LIST:
            break
        listed.append(one)
    return CommandsListed(commands=listed, missing=len(COMMANDS.all()) - len(listed))


def call_command(core: Core, task: CallCommand, send: Callable[[Note], None]) -> CommandCalled:
    """Run a command in the context of the application. Every failure is part of the reply."""
    command = COMMANDS.get(task.name)
    if command is None:
        return CommandCalled(failed="unknown", message=f"this process has no command {task.name}")
    if not Role(task.role).includes(command.role):
        return CommandCalled(failed="role", message=f"{command.name} needs {command.role.value}")

    def report(value: str, skipped: int) -> None:
        send(CommandProgress(value=value, skipped=skipped))

    began = time.monotonic()
    try:
        result = call(command, task.params, context=lambda: _context(core), report=report)
    except CallError as error:
        return CommandCalled(
            failed=error.kind,
            message=_bounded(mask_text(str(error))),
            hint=_bounded(error.hint),
            path=_bounded(error.path),
            traceback=_bounded(mask_traceback(error.trace), LONGEST_TRACE),
            took=_since(began),
        )
    return CommandCalled(result=result, took=_since(began))


def _context(core: Core) -> AbstractContextManager[Any]:
    """Return the application context; nothing if the application is not Flask."""
    app = find_flask(core.app)
    return app.app_context() if app is not None else contextlib.nullcontext()


def _since(began: float) -> float:
    return round(time.monotonic() - began, 6)


def _role(role: Role) -> Any:
    return role.value


def _bounded(text: str, most: int = LONGEST_TEXT) -> str:
    """Cut the middle out of a text that is too long; escape half surrogates (PEP 383), which JSON cannot have."""
    text = text.encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= most else f"{text[: most // 2 - 2]} … {text[-most // 2 + 2 :]}"
