"""Where the value of a setting comes from.

The first of these that has it wins: the command line, the environment (FLASKD_<NAME>), `flaskd.toml`, `[tool.flaskd]` in
pyproject.toml (both in the current directory), the default.
"""

import os
import tomllib
from collections.abc import Mapping
from typing import Any, NamedTuple

from flaskd.errors import ConfigError
from flaskd.settings.checks import check, check_together
from flaskd.settings.schema import FIELDS, PREFIX, Settings, option, variable


class Provenance(NamedTuple):
    """A setting's value and its source, as people write it: `--grace`, `FLASKD_GRACE`, `flaskd.toml`, `default`."""

    value: Any
    source: str


Found = Mapping[str, Provenance]
"""Every setting's value and source."""


def resolve(
    options: Mapping[str, Any], *, environ: Mapping[str, str], directory: str, file: str | None = None
) -> dict[str, Provenance]:
    """Find each setting's value and source. Raises ConfigError for an unknown key or an invalid value.

    `options` holds the options of the command line. `file` is a TOML file to read in place of those in `directory`.
    """
    tables = _tables(directory, file)
    found = {}
    for name, field in FIELDS.items():
        values = [
            (options.get(name), option(name)),
            (environ.get(variable(name)) or None, variable(name)),
            *((table.get(name), path) for path, table in tables),
        ]
        given = (each for each in values if each[0] not in (None, ()))
        value, source = next(given, (field.default, "default"))
        found[name] = Provenance(check(name, value, source), source)
    return found


def settings_from(found: Found) -> Settings:
    """Make the settings from what `resolve` found."""
    return check_together(Settings(**{name: provenance.value for name, provenance in found.items()}))


def unknown_variables(environ: Mapping[str, str]) -> list[str]:
    """List the FLASKD_ variables that are no setting. They may be another program's, but are probably misspelt."""
    known = set(map(variable, FIELDS))
    return sorted(name for name in environ if name.startswith(PREFIX) and name not in known)


def _tables(directory: str, file: str | None) -> list[tuple[str, dict[str, Any]]]:
    """Read the TOML tables of settings, each with its name for people."""
    if file is not None and not os.path.isfile(os.path.join(directory, file)):
        raise ConfigError(f"there is no configuration file {file}")
    names = [file] if file else ["flaskd.toml", "pyproject.toml"]
    return [_table(directory, name) for name in names if os.path.isfile(os.path.join(directory, name))]


def _table(directory: str, name: str) -> tuple[str, dict[str, Any]]:
    """Read the settings in one TOML file; keys may be written with hyphens."""
    try:
        with open(os.path.join(directory, name), "rb") as opened:
            table: Any = tomllib.load(opened)
    except (OSError, ValueError) as error:  # not TOML, or not UTF-8
        raise ConfigError(f"cannot read {name}: {error}") from None
    if os.path.basename(name) == "pyproject.toml":
        tools = table.get("tool")
        table, name = tools.get("flaskd", {}) if isinstance(tools, dict) else {}, f"{name} [tool.flaskd]"
        if not isinstance(table, dict):
            raise ConfigError(f"{name} is not a table", hint="write threads = 8 below [tool.flaskd]")
    elif isinstance(table.get("tool", table.get("flaskd")), dict):
        raise ConfigError(
            f"{name} has its settings in a table",
            hint="write them at the top level: [tool.flaskd] is for pyproject.toml",
        )
    keys = {key.replace("-", "_"): value for key, value in table.items()}
    for key in keys.keys() - FIELDS.keys():
        check(key, keys[key], name)  # raises: no such setting
    return name, keys
