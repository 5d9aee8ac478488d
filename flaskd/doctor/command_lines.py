"""Command lines found in files: the settings that `flaskd run` gets there, and how `flaskd_ctl shutdown` stops it."""

import os
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import click

from flaskd.doctor.facts import Stop
from flaskd.doctor.reading import split
from flaskd.errors import ConfigError
from flaskd.settings.options import Given, parse
from flaskd.settings.schema import FIELDS, option
from flaskd.settings.sources import Found, resolve
from flaskd.shutdown.phases import LameDuck
from flaskd_ctl.contract.commands import COMMANDS

SHELLS: Final = {"sh", "bash", "dash", "ash", "zsh", "ksh"}
PROGRAMS: Final = {"flaskd", "flaskd_ctl"}
SHUTDOWN: Final = {
    option(each.name): each.name for each in COMMANDS["shutdown"].params if each.kind == "seconds"
}
"""The options of `flaskd_ctl shutdown` that say how long it takes."""


class Invocation(NamedTuple):
    """A command of flaskd in a file: the words after the program's name, and whether a shell runs it and stays."""

    program: str
    words: list[str]
    shell: bool = False

    @property
    def is_shutdown(self) -> bool:
        """Tell whether it is `flaskd_ctl shutdown`."""
        return self.program == "flaskd_ctl" and "shutdown" in self.words


def find_command(argv: Sequence[str]) -> Invocation | None:
    """Find flaskd or flaskd_ctl in a command line; None if neither is there."""
    if argv and os.path.basename(argv[0]) in SHELLS and "-c" in argv[1:-1]:
        script = split(argv[list(argv).index("-c") + 1], comments=True)
        inner = find_command(script)
        return inner and inner._replace(shell="exec" not in script)
    for at, word in enumerate(argv):
        name = os.path.basename(word)
        if name in PROGRAMS and (at == 0 or argv[at - 1] != "-m" or name == word):
            return Invocation(name, list(argv[at + 1 :]))
    return None


def settings_of(
    argv: Sequence[str], *, environ: Mapping[str, str], local: Found, where: str, directory: str | None = None
) -> Found:
    """Find the settings that `argv` and `environ` give an instance; others come from `directory`, else from `local`.

    What `local` has from a command line, that of `flaskd doctor`, counts before the default.

    Raises ConfigError for an option or a value that the instance would refuse.
    """
    given = run_options(argv, where=where)
    file = given.file and os.path.abspath(os.path.join(directory or os.curdir, given.file))
    if file and not os.path.isfile(file):
        file = None  # it is on the machine where the instance runs
    # There are no files below /dev/null: `local` has what is found here.
    found = resolve(given.options, environ=environ, directory=directory or os.devnull, file=file)
    for name, each in found.items():
        if each.source != "default":
            found[name] = each._replace(source=f"{each.source} in {where}")
        elif directory is None or local[name].source == option(name):
            found[name] = local[name]
    return found


def run_options(argv: Sequence[str], *, where: str) -> Given:
    """Parse the options of `flaskd run` in `argv`, which may be the whole command line or only the arguments."""
    command = find_command(argv)
    words = list(argv) if command is None else command.words
    if command is None and not any(
        word.startswith("--") and word[2:].partition("=")[0].replace("-", "_") in FIELDS for word in words
    ):
        return Given({})
    if command is not None and (command.program != "flaskd" or words[:1] != ["run"]):
        return Given({})
    try:
        return parse(words[1:] if words[:1] == ["run"] else words)
    except click.UsageError as error:
        raise ConfigError(f"{where}: flaskd run would refuse its options: {error.format_message()}") from None


def stop_of(argv: Sequence[str] | None, found: Found, *, where: str, by: str, before: float = 0.0) -> Stop:
    """Return how a stop goes: by the command `argv` if that is `flaskd_ctl shutdown`, else by the signal `by`."""
    command = find_command(argv or ())
    given: dict[str, float] = {}
    if command is not None and command.is_shutdown:
        by = "flaskd_ctl shutdown"
        given = _shutdown_options(command.words[command.words.index("shutdown") + 1 :], where)
    grace = given.get("grace", found["grace"].value)
    settings = LameDuck(found["lame_duck"].value, found["wait_unrouted"].value) if grace else LameDuck()
    duck = settings.ordered(given.get("lame_duck"), given.get("wait_unrouted"))
    return Stop(by=by, grace=grace, lame_duck=duck.longest, wait_unrouted=duck.unrouted, before=before)


def _shutdown_options(words: Sequence[str], where: str) -> dict[str, float]:
    given = {}
    for at, word in enumerate(words):
        name, equals, value = word.partition("=")
        if name in SHUTDOWN:
            text = value if equals else next(iter(words[at + 1 :]), "")
            try:
                given[SHUTDOWN[name]] = float(text)
            except ValueError:
                raise ConfigError(f"{where}: {name} cannot be {text!r}: expected a number") from None
    return given
