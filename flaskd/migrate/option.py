"""Options of other servers, as rows of a table: what each is here, and how its value becomes settings of flaskd.

A row says one of four things (`Fate`). Its text is printed by `flaskd migrate` and stands on the server's page in docs/, so it
is written once. Converting is pure: a function yields steps, and `draft` carries them out.
"""

from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from typing import Any, Final, NamedTuple

from flaskd.errors import ConfigError


class Fate(Enum):
    """What becomes of an option."""

    SETTING = "setting"
    ELSEWHERE = "elsewhere"
    NOT_NEEDED = "not needed"
    NONE = "no equivalent"


class Takes(Enum):
    """What follows an option on the command line."""

    VALUE = "a value"
    VALUES = "a value, and it may be repeated"
    NOTHING = "nothing"
    PERHAPS = "a value or nothing"


class Set(NamedTuple):
    """Give a setting this value."""

    name: str
    value: Any


class Suggest(NamedTuple):
    """Write the setting as a comment: the user has to decide."""

    name: str
    value: Any


class Note(NamedTuple):
    """Tell the user what differs. None: the text of the row."""

    text: str | None = None


Step = Set | Suggest | Note


class Given(NamedTuple):
    """A value that was given, and where: `gunicorn.conf.py, line 3`, `--workers`. A file may have computed it."""

    value: Any
    source: str
    computed: bool = False


class Values:
    """The values of a server's options: the given ones, else the server's defaults."""

    def __init__(self, options: Iterable["Option"], given: Mapping[str, Given]) -> None:
        self.options: Final = tuple(options)
        self._defaults = {option.name: option.default for option in self.options}
        self.given: Final = dict(given)

    def __getitem__(self, name: str) -> Any:
        return self.given[name].value if name in self.given else self._defaults[name]

    def __contains__(self, name: str) -> bool:
        """Whether the option was given."""
        return name in self.given


Convert = Callable[[Any, Values], Iterable[Step]]


class Here(NamedTuple):
    """What an option is here. `text` says it in Markdown, `settings` names the settings that take its value."""

    fate: Fate
    text: str
    settings: tuple[str, ...] = ()
    convert: Convert | None = None


class Option(NamedTuple):
    """An option of another server; `default` is the server's.

    With `always` it is converted even if it was not given, because the server's default is not flaskd's. A `hook` is a function
    in the configuration file.
    """

    name: str
    flags: tuple[str, ...] = ()
    default: Any = None
    takes: Takes = Takes.VALUE
    always: bool = False
    hook: bool = False
    here: Here = Here(Fate.NONE, "")

    def read(self, value: Any, source: str) -> Any:
        """Return a value in the type of the default. Raises ConfigError naming the option and where the value is."""
        kind = type(self.default)
        try:
            if kind is bool:
                return value if isinstance(value, bool) else BOOLEANS[str(value).strip().lower()]
            if kind is int:
                return value if type(value) is int else _whole(value)
            if kind is list and not isinstance(value, str | list | tuple):
                raise ValueError  # noqa: TRY301 - said below, as the others
        except (KeyError, ValueError):
            expected = {bool: "true or false", int: "a whole number", list: "a text, or a list of them"}[kind]
            raise ConfigError(f"{source}: {self.name} cannot be {value!r}: expected {expected}") from None
        return value


BOOLEANS: Final = {
    **dict.fromkeys(("true", "1", "yes", "on", ""), True),
    **dict.fromkeys(("false", "0", "no", "off"), False),
}


def _whole(value: Any) -> int:
    """Read a number as servers do: 0o22 and 0x12 count; so does 022, which is octal for a mode."""
    text = str(value).strip()
    return int(text, 8) if text.startswith("0") and text.isdigit() else int(text, 0)


def same(setting: str) -> Convert:
    """Take the value as it is."""
    return lambda value, _: [Set(setting, value)]


def number(setting: str) -> Convert:
    """Take a number unless it is 0, which means "off" to both servers."""
    return lambda value, _: [Set(setting, value)] if value else []


def seconds(setting: str) -> Convert:
    """Take a duration unless it is 0."""
    return lambda value, _: [Set(setting, float(value))] if value else []


def to(settings: str, text: str = "", *, convert: Convert | None = None) -> Here:
    """Say that a setting has this value, or several that `convert` sets: the names are separated by spaces."""
    names = tuple(settings.split())
    return Here(Fate.SETTING, text, names, convert or same(names[0]))


def with_another(settings: str, text: str = "") -> Here:
    """Say that the row of another option converts this one, too."""
    return to(settings, text, convert=lambda *_: ())


def elsewhere(text: str, *, convert: Convert | None = None) -> Here:
    """Say where else it is done: in a unit, in the environment, by a command."""
    return Here(Fate.ELSEWHERE, text, (), convert)


def unneeded(text: str) -> Here:
    """Say why there is nothing to do."""
    return Here(Fate.NOT_NEEDED, text)


def missing(text: str) -> Here:
    """Say why there is no equivalent, or what to use in its place."""
    return Here(Fate.NONE, text)
