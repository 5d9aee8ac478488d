"""The `describe` document: OpenRPC 1.3, made from the COMMANDS table and the structs that decode the wire.

See https://spec.open-rpc.org. `x-role` is the role that a command needs, `x-example` a command line. `x-caller` contains the
caller's role and the commands that it may run; each method has `x-permitted`. `x-application-commands` are the commands of the
application's own.
"""

from typing import Any

import msgspec

from flaskd.ledger.row import printable
from flaskd.tasks import Listed
from flaskd_ctl.contract.commands import PROTOCOL_VERSION, Command, Role
from flaskd_ctl.protocol import PARAMS, RESULTS, EventNote


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


def own_commands(listed: list[Listed], *, role: Role) -> list[dict[str, Any]]:
    """Describe the application's own commands, which `call` runs, to a caller that has `role`. `params` is a JSON Schema."""
    return [
        {
            "name": each.name,
            "summary": printable(each.summary),
            "params": read_json(each.schema, {}),
            "x-role": each.role,
            "x-on": each.on,
            "x-timeout": each.timeout,
            "x-permitted": role.includes(Role(each.role)),
        }
        for each in listed
    ]


def read_json(text: str, otherwise: Any) -> Any:
    """Read JSON that a worker wrote; `otherwise` if it is none."""
    try:
        return msgspec.json.decode(text)
    except (ValueError, RecursionError):
        return otherwise


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
