"""Where the value of a setting comes from.

The first of these that has it wins: the command line, the environment (FLASKD_<NAME>), `flaskd.toml`, `[tool.flaskd]` in
pyproject.toml (both in the current directory), the default. With --dev, see `developing`.
"""

import os
import re
import tomllib
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from flaskd.errors import ConfigError
from flaskd.settings.checks import check, check_together
from flaskd.settings.developing import DEFAULTS, PRODUCTION
from flaskd.settings.schema import FIELDS, PREFIX, Settings, option, variable

HEADER: Final = re.compile(r"\s*\[+\s*([^\]]*?)\s*\]")
OF_THE_CLIENT: Final = ("FLASKD_CTL_CONFIG", "FLASKD_CTL_SSH")
"""Variables of flaskd_ctl."""

SERVICE: Final = re.compile(r"\w+_SERVICE_(HOST|PORT(_\w+)?)|\w+_PORT(_[0-9]+_(TCP|UDP|SCTP)(_\w+)?)?")
"""Variables that Kubernetes sets in each container, for services of the namespace: one may be called flaskd-shop."""

KEY: Final = re.compile(r"""\s*(["']?)([A-Za-z0-9_-]+)\1\s*=""")


class Provenance(NamedTuple):
    """A setting's value and its source, as people write it: `--grace`, `FLASKD_GRACE`, `flaskd.toml`, `default`.

    `line` is its line in the file, None if it is in none, or was not found.
    """

    value: Any
    source: str
    line: int | None = None

    @property
    def place(self) -> str:
        """The source, with the line."""
        return self.source if self.line is None else f"{self.source}, line {self.line}"


Found = Mapping[str, Provenance]
"""Every setting's value and source."""


class ReadSettings(NamedTuple):
    """Settings, and where the value of each comes from; a setting without a source has its default."""

    settings: Settings
    places: Mapping[str, str]

    def place(self, name: str) -> str:
        """Return where the value of a setting comes from."""
        return self.places.get(name, "default")


class _Table(NamedTuple):
    """The settings in one file, and their lines."""

    name: str
    values: dict[str, Any]
    lines: dict[str, int]


def resolve(
    options: Mapping[str, Any], *, environ: Mapping[str, str], directory: str, file: str | None = None
) -> dict[str, Provenance]:
    """Find each setting's value and source. Raises ConfigError for an unknown key or an invalid value.

    `options` holds the options of the command line. `file` is a TOML file to read in place of those in `directory`.
    """
    tables = _tables(directory, file)
    found = {}
    for name, field in FIELDS.items():
        values: list[tuple[Any, ...]] = [
            (options.get(name), option(name)),
            (environ.get(variable(name)) or None, variable(name)),
            *((table.values.get(name), table.name, table.lines.get(name)) for table in tables),
        ]
        given = (Provenance(*each) for each in values if each[0] not in (None, ()))
        first = next(given, Provenance(field.default, "default"))
        found[name] = first._replace(value=check(name, first.value, first.source))
    return _developing(found) if found["dev"].value else found


def _developing(found: dict[str, Provenance]) -> dict[str, Provenance]:
    """Return the settings as `flaskd dev` uses them: what the command line says wins."""
    own = {name: value for name, value in DEFAULTS.items() if found[name].source == "default"}
    own |= {name: value for name, value in PRODUCTION.items() if found[name].source != option(name)}
    return {
        name: Provenance(own[name], option("dev")) if own.get(name, each.value) != each.value else each
        for name, each in found.items()
    }


def settings_from(found: Found) -> Settings:
    """Make the settings from what `resolve` found."""
    return check_together(Settings(**{name: provenance.value for name, provenance in found.items()}))


def read_settings(found: Found) -> ReadSettings:
    """Make the settings from what `resolve` found, and keep the sources."""
    return ReadSettings(settings_from(found), {name: each.place for name, each in found.items()})


def unknown_variables(environ: Mapping[str, str]) -> list[str]:
    """Say which FLASKD_ variables are no setting, with a guess: they may be another program's, but are probably misspelt."""
    known = {*map(variable, FIELDS), *OF_THE_CLIENT}
    unknown = sorted(name for name in environ if name.startswith(PREFIX) and name not in known)
    if "KUBERNETES_SERVICE_HOST" in environ:
        unknown = [name for name in unknown if not SERVICE.fullmatch(name)]
    return [_unknown_variable(name) for name in unknown]


def _unknown_variable(name: str) -> str:
    from flaskd.settings.elsewhere import instead

    hint = instead(name.removeprefix(PREFIX), variable, assign="=")
    return f"{name} is set, and there is no setting of that name" + (f": {hint}" if hint else "")


def _tables(directory: str, file: str | None) -> list[_Table]:
    """Read the TOML tables of settings, each with its name for people."""
    if file is not None and not os.path.isfile(os.path.join(directory, file)):
        raise ConfigError(f"there is no configuration file {file}")
    names = [file] if file else ["flaskd.toml", "pyproject.toml"]
    return [_table(directory, name) for name in names if os.path.isfile(os.path.join(directory, name))]


def _table(directory: str, name: str) -> _Table:
    """Read the settings in one TOML file; keys may be written with hyphens."""
    header = ""
    try:
        with open(os.path.join(directory, name), "rb") as opened:
            text = opened.read().decode()
        table: Any = tomllib.loads(text)
    except (
        OSError,
        ValueError,
        RecursionError,
    ) as error:  # not TOML, not UTF-8, or arrays in arrays without end
        raise ConfigError(f"cannot read {name}: {error}") from None
    if os.path.basename(name) == "pyproject.toml":
        tools = table.get("tool")
        header = "tool.flaskd"
        table, name = tools.get("flaskd", {}) if isinstance(tools, dict) else {}, f"{name} [{header}]"
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
    return _Table(name, keys, _lines(text, header))


def _lines(text: str, header: str) -> dict[str, int]:
    """Find the line of each key below `header`. One that is written in an unusual way has none."""
    found: dict[str, int] = {}
    here = ""
    for number, line in enumerate(text.splitlines(), 1):
        if begun := HEADER.match(line):
            here = begun[1]
        elif here == header and (key := KEY.match(line)):
            found.setdefault(key[2].replace("-", "_"), number)
    return found
