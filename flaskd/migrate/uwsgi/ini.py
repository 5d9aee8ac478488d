"""Read uWSGI's ini files: https://uwsgi-docs.readthedocs.io/en/latest/Configuration.html.

They are not the ini files of configparser: a key may be repeated, and a value refers to others: `%(name)` is the value of an
earlier key, `%d` the directory of the file, `$(NAME)` a variable of the environment.
"""

import os
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Final, NamedTuple

from flaskd.errors import ConfigError

SECTION: Final = re.compile(r"\[([^\]]*)\]")
REFERENCE: Final = re.compile(r"%\(([^)]+)\)|\$\(([^)]+)\)|%([%a-zA-Z])|@\(")
LOGIC: Final = ("if-", "end", "for", "stop-if-")
"""How options of uWSGI's configuration logic begin."""

PLACEHOLDERS: Final = ("set", "set-placeholder", "set-ph")
INCLUDES: Final = ("ini", "include", "inherit")
DEEPEST: Final = 16
"""Files that include one another, at most."""


class Line(NamedTuple):
    """A key, its value with references resolved, and its place."""

    key: str
    value: str
    source: str


class _Reader:
    def __init__(self, environ: Mapping[str, str], directory: str, cores: int) -> None:
        self._environ = environ
        self._directory = directory
        self._cores = cores
        self._seen: dict[str, str] = {}
        self.referred: set[str] = set()

    def read(self, path: str, wanted: str, depth: int = 0) -> Iterator[Line]:
        """Yield the lines of a section, those of included files in their place."""
        if depth > DEEPEST:
            raise ConfigError(f"{path}: files include one another without end")
        section = ""
        for number, line in enumerate(_text(path).splitlines(), 1):
            line, source = line.strip(), f"{os.path.basename(path)}, line {number}"
            if header := SECTION.match(line):
                section = header[1].strip()
            if not line or line.startswith((";", "#", "[")) or section != wanted:
                continue
            key, _, value = (part.strip() for part in line.partition("="))
            key = key.replace("_", "-")
            if key.startswith(LOGIC):
                raise ConfigError(
                    f"{source}: {key} is configuration logic, which only uWSGI evaluates",
                    hint="write the file as it is without conditions and loops",
                )
            value = self._resolved(value, path, source)
            if key in INCLUDES:
                where, _, inner = value.partition(":")
                yield from self.read(os.path.join(self._directory, where), inner or wanted, depth + 1)
                continue
            if key in PLACEHOLDERS:
                key, _, value = value.partition("=")
            else:
                yield Line(key, value, source)
            self._seen[key] = value

    def _resolved(self, value: str, path: str, source: str) -> str:
        absolute = os.path.abspath(path)
        magic: dict[str, Callable[[], str]] = {
            "d": lambda: os.path.dirname(absolute) + "/",
            "p": lambda: absolute,
            "s": lambda: os.path.basename(absolute),
            "n": lambda: os.path.splitext(os.path.basename(absolute))[0],
            "e": lambda: os.path.splitext(absolute)[1].removeprefix("."),
            "c": lambda: os.path.basename(os.path.dirname(absolute)),
            "k": lambda: str(self._cores),
            "u": lambda: str(os.getuid()),
            "g": lambda: str(os.getgid()),
            "h": lambda: os.uname().nodename,
            "%": lambda: "%",
        }

        def replaced(found: re.Match[str]) -> str:
            name, variable, letter = found.groups()
            if name is not None:
                self.referred.add(name.replace("_", "-"))
                if name.replace("_", "-") in self._seen:
                    return self._seen[name.replace("_", "-")]
            elif variable is not None and variable in self._environ:
                return self._environ[variable]
            elif letter in magic:
                return magic[letter]()
            raise ConfigError(
                f"{source}: {found[0]} has no value here",
                hint="write the value, or set the variable in the environment as for uWSGI",
            )

        return REFERENCE.sub(replaced, value)


class Configuration(NamedTuple):
    """The lines of a file, and the keys that values refer to: one that is no option is a placeholder."""

    lines: list[Line]
    referred: set[str]


def read(path: str, *, environ: Mapping[str, str], directory: str, cores: int) -> Configuration:
    """Return what is in the section [uwsgi] of a file (`path:name`: [name]). Paths are relative to `directory`, as for uWSGI.

    Raises ConfigError: no such file, no such section, configuration logic, a reference without a value.
    """
    file, _, section = path.partition(":")
    reader = _Reader(environ, directory, cores)
    lines = list(reader.read(os.path.join(directory, file), section or "uwsgi"))
    if not lines:
        raise ConfigError(
            f"{file} has no options in a section [{section or 'uwsgi'}]", hint="name it: FILE.ini:SECTION"
        )
    return Configuration(lines, reader.referred)


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigError(f"cannot read {path}: {reason}", hint="name uWSGI's ini file") from None
