"""The `describe` document: OpenRPC 1.3, made from the COMMANDS table and the structs that decode the wire.

See https://spec.open-rpc.org. `x-role` is the role that a command needs, `x-example` a command line. `x-caller` contains the
caller's role and the commands that it may run; each method has `x-permitted`.
"""

from typing import Any

import msgspec

from flaskd_ctl.contract.commands import PROTOCOL_VERSION, Command, Role
from flaskd_ctl.protocol import PARAMS, RESULTS, EventNote


def encoded(commands: list[Command], *, version: str, role: Role) -> msgspec.Raw:
    """Return the document, ready to be sent."""
    return msgspec.Raw(msgspec.json.encode(document(commands, version=version, role=role)))


def document(commands: list[Command], *, version: str, role: Role) -> dict[str, Any]:
    """Describe `commands` as served by flaskd `version` to a caller that has `role`."""
    names = [command.name for command in commands]
    types = [PARAMS[name] for name in names] + [RESULTS[name] for name in names] + [EventNote]
    schemas, components = msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}")
    may = [command.name for command in commands if role.includes(command.role)]
    results = dict(zip(names, schemas[len(names) :], strict=False))
    return {
        "openrpc": "1.3.2",
        "info": {"title": "flaskd control plane", "version": PROTOCOL_VERSION, "x-flaskd": version},
        "x-caller": {"role": role.value, "may": may},
        "methods": [
            {**_method(command, components, results[command.name]), "x-permitted": command.name in may}
            for command in commands
        ],
        "x-notifications": [
            {"name": name, "params": {"$ref": "#/components/schemas/EventNote"}}
            for name in ("event", "progress")
        ],
        "components": {"schemas": components},
    }


def _method(command: Command, components: dict[str, Any], result: dict[str, Any]) -> dict[str, Any]:
    shape = components[PARAMS[command.name].__name__]
    fields, required = shape["properties"], shape.get("required", ())
    return {
        "name": command.name,
        "summary": command.summary,
        "description": command.waits,
        "paramStructure": "by-name",
        "params": [
            {
                "name": param.name,
                "description": param.help,
                "required": param.name in required,
                "schema": fields[param.name],
            }
            for param in command.params
        ],
        "result": {"name": "result", "schema": result},
        "x-role": command.role.value,
        "x-example": command.example,
    }
