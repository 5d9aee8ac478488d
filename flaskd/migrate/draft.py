"""The result of a migration: the settings, as the text of a flaskd.toml, and what the user has to know beside them."""

import json
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

from flaskd.errors import ConfigError, FlaskdError
from flaskd.migrate.option import Fate, Note, Option, Set, Step, Suggest, Values
from flaskd.settings.checks import check, check_together
from flaskd.settings.schema import FIELDS, Settings
from flaskd_ctl.contract.endpoint import check_name
from flaskd_ctl.errors import BadPlace


class Remark(NamedTuple):
    """A sentence about an option, and the place where the option was given."""

    option: str
    fate: Fate
    text: str
    source: str = ""


class Draft:
    """The settings that options of another server become. A value that flaskd refuses becomes a remark."""

    def __init__(self) -> None:
        self.values: Final[dict[str, Any]] = {}
        self.remarks: Final[list[Remark]] = []
        self._comments: dict[str, str] = {}
        self._suggested: dict[str, Any] = {}

    def take(self, options: Iterable[Option], values: Values) -> None:
        """Convert each option that was given, and those whose default differs from flaskd's."""
        for option in options:
            value, given = values[option.name], values.given.get(option.name)
            if given is None and not option.always:
                continue
            if option.here.convert is None and value == option.default:
                continue
            steps: Iterable[Step] = option.here.convert(value, values) if option.here.convert else [Note()]
            source = given.source if given else "not given"
            for step in steps:
                self._do(step, option, source)
            for name in option.here.settings:
                if given and given.computed and name in self.values:
                    self._comments[name] = f"computed: {source}"

    def _do(self, step: Step, option: Option, source: str) -> None:
        if isinstance(step, Note):
            self.remarks.append(Remark(option.name, option.here.fate, step.text or option.here.text, source))
        elif isinstance(step, Suggest):
            self._suggested[step.name] = step.value
        else:
            self._set(step, option, source)

    def _set(self, step: Set, option: Option, source: str) -> None:
        try:
            value = check(step.name, step.value, source)
            if step.name == "name":
                check_name(value)
            as_toml(step.name, value).encode()
        except (ConfigError, BadPlace, UnicodeEncodeError) as error:
            utf = isinstance(error, UnicodeEncodeError)
            reason = "TOML is UTF-8, and this is not" if utf else str(error).removeprefix(f"{source}: ")
            self.remarks.append(Remark(option.name, Fate.NONE, f"not taken over: {reason}", source))
        else:
            self.values[step.name] = value
            self._suggested.pop(step.name, None)

    def toml(self, heading: Sequence[str]) -> str:
        """Return the text of a flaskd.toml, in the order of the settings' table. `heading` is a comment."""
        lines = [f"# {line}" for line in heading]
        for name in FIELDS:
            if name in self.values:
                comment = f"  # {self._comments[name]}" if name in self._comments else ""
                lines.append(f"{name} = {as_toml(name, self.values[name])}{comment}")
            elif name in self._suggested:
                lines.append(f"# {name} = {as_toml(name, self._suggested[name])}")
        return "\n".join(lines)

    def problem(self) -> FlaskdError | None:
        """Return the reason for which flaskd would refuse the settings together, if there is one."""
        try:
            check_together(Settings(**self.values))
        except FlaskdError as error:
            return error
        return None


def as_toml(name: str, value: Any) -> str:
    """Write a setting's value. JSON's strings, numbers and arrays of strings are TOML's, except for DEL (TOML 1.0)."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, tuple) and len(value) == 1:
        value = value[0]
    if name == "workers" and value.isdigit():
        value = int(value)
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
