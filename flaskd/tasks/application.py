"""Commands of the application's own, and what is known of the application itself.

Results, schemas and progress are JSON inside a string: whatever they are, the message itself can be read.
"""

from typing import Annotated, Final, Literal

import msgspec

from flaskd.tasks.base import Note, Reply, ReportingTask, Task
from flaskd_ctl.protocol import Route

LONGEST_LIST: Final = 262_144
"""Bytes of a list in a reply."""

Name = Annotated[str, msgspec.Meta(max_length=64)]
Text = Annotated[str, msgspec.Meta(max_length=4096)]
Json = Annotated[str, msgspec.Meta(max_length=262_144)]
Trace = Annotated[str, msgspec.Meta(max_length=65_536)]


class ListCommands(Task, frozen=True, tag="list_commands"):
    """List the application's own commands."""


class Listed(msgspec.Struct, frozen=True):
    """A command of the application, as its process declares it. `schema` is the JSON Schema of its parameters."""

    name: Name
    role: Literal["operator", "admin"]
    on: Literal["one", "each"]
    timeout: Annotated[float, msgspec.Meta(gt=0, le=3600)]
    summary: Annotated[str, msgspec.Meta(max_length=200)]
    schema: Annotated[str, msgspec.Meta(max_length=16_384)]


class CommandsListed(Reply, frozen=True, tag="commands_listed"):
    """The commands, by name; `missing` more did not fit into the message."""

    commands: Annotated[list[Listed], msgspec.Meta(max_length=200)]
    missing: int = 0


class CallCommand(ReportingTask, frozen=True, tag="call_command"):
    """Run a command of the application. `params` is an object as JSON, `role` what the caller has."""

    name: str
    params: str
    role: Literal["operator", "admin"]


class CommandProgress(Note, frozen=True, tag="command_progress"):
    """What a command has yielded, as JSON; `skipped` messages were left out before it."""

    value: Text
    skipped: int = 0


class CommandCalled(Reply, frozen=True, tag="command_called"):
    """What a command returned, as JSON; or, if `failed` says so, why there is no result. `took`: seconds."""

    result: Json = "null"
    failed: Literal["", "unknown", "role", "params", "raised", "not_json", "too_large"] = ""
    message: Text = ""
    hint: Text = ""
    path: Text = ""
    traceback: Trace = ""
    took: float = 0.0


class ListRoutes(Task, frozen=True, tag="list_routes"):
    """List the routes of the Flask application."""


class RoutesListed(Reply, frozen=True, tag="routes_listed"):
    """The routes; `missing` more did not fit."""

    routes: list[Route]
    missing: int = 0


class ShowConfig(Task, frozen=True, tag="show_config"):
    """Show the Flask application's configuration, without secrets."""


class ConfigShown(Reply, frozen=True, tag="config_shown"):
    """Each key with its value as text; `missing` more did not fit."""

    config: dict[str, str]
    missing: int = 0
