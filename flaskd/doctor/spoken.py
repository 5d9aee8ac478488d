"""Command lines found in files: which settings `flaskd run` gets there, and how `flaskd_ctl shutdown` stops it.

Options are read by the commands themselves (`flaskd.cli`), so that what is understood here is what would be understood there.
"""

import os
import shlex
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import click

from flaskd.doctor.facts import Stop
from flaskd.errors import ConfigError
from flaskd.settings.schema import FIELDS, PREFIX, Provenance, resolve
from flaskd.shutdown.phases import LameDuck

SHELLS: Final = {"sh", "bash", "dash", "ash", "zsh", "ksh"}
PROGRAMS: Final = {"flaskd", "flaskd_ctl"}

Local = Mapping[str, Provenance]
"""The settings as `flaskd config` finds them here: what holds where a file says nothing."""


class Spoken(NamedTuple):
    """A command of ours in a file: the words after the program's name, and whether a shell runs it and stays."""

    program: str
    words: list[str]
    shell: bool = False


def spoken(argv: Sequence[str]) -> Spoken | None:
    """Find our program in a command line; None where there is none."""
    if argv and os.path.basename(argv[0]) in SHELLS and "-c" in argv[1:-1]:
        script = argv[list(argv).index("-c") + 1]
        inner = spoken(_words(script))
        return inner and inner._replace(shell="exec" not in _words(script))
    for at, word in enumerate(argv):
        name = os.path.basename(word)
        if name in PROGRAMS and (at == 0 or argv[at - 1] != "-m" or name == word):
            return Spoken(name, list(argv[at + 1 :]))
    return None


def settings(
    argv: Sequence[str], *, environ: Mapping[str, str], local: Local, where: str, directory: str | None = None
) -> dict[str, Provenance]:
    """Find the settings that `argv` and `environ` give an instance; others are those of `directory`, else the local ones.

    Raises ConfigError for an option or a value that the instance would refuse.
    """
    options = run_options(argv, where=where)
    file = options.pop("file", None)
    if file and not os.path.isfile(os.path.join(directory or os.curdir, file)):
        file = None  # it is where the instance runs
    ours = {name: value for name, value in environ.items() if name.startswith(PREFIX)}
    # Below /dev/null there are no files: what the command line says is told apart from what is found here.
    found = resolve(
        options,
        environ=ours,
        directory=directory or os.devnull,
        file=file and os.path.abspath(os.path.join(directory or os.curdir, file)),
    )
    merged = {}
    for name, each in found.items():
        if each.source == "default" and directory is None:
            merged[name] = local[name]
        else:
            source = each.source if each.source == "default" else f"{each.source} in {where}"
            merged[name] = each._replace(source=source)
    return merged


def run_options(argv: Sequence[str], *, where: str) -> dict[str, Any]:
    """Read what `flaskd run` is given in `argv`, which may be its whole command line or only the arguments."""
    from flaskd.cli import run

    found = spoken(argv)
    words = list(argv) if found is None else found.words
    if found is not None and (found.program != "flaskd" or words[:1] != ["run"]):
        return {}
    words = words[1:] if words[:1] == ["run"] else words
    if found is None and not any(
        word.startswith("--") and word[2:].partition("=")[0].replace("-", "_") in FIELDS for word in words
    ):
        return {}
    return _parsed(run, words, where)


def stop_of(
    argv: Sequence[str] | None, found: Mapping[str, Provenance], *, where: str, by: str, before: float = 0.0
) -> Stop:
    """Tell how a stop by the command `argv` goes, or by a signal where that is no `flaskd_ctl shutdown`."""
    said = spoken(argv) if argv else None
    ordered = said is not None and said.program == "flaskd_ctl" and "shutdown" in said.words
    given: dict[str, float] = {}
    if said is not None and ordered:
        by, given = (
            "flaskd_ctl shutdown",
            _shutdown_options(said.words[said.words.index("shutdown") + 1 :], where),
        )
    grace = given.get("grace", found["grace"].value)
    settings = LameDuck(found["lame_duck"].value, found["wait_unrouted"].value) if grace else LameDuck()
    duck = settings.ordered(given.get("lame_duck"), given.get("wait_unrouted"))
    return Stop(by=by, grace=grace, lame_duck=duck.longest, wait_unrouted=duck.unrouted, before=before)


def _shutdown_options(words: Sequence[str], where: str) -> dict[str, float]:
    names = {"--grace": "grace", "--lame-duck": "lame_duck", "--wait-unrouted": "wait_unrouted"}
    given = {}
    for at, word in enumerate(words):
        option, equals, value = word.partition("=")
        if option in names:
            text = value if equals else next(iter(words[at + 1 :]), "")
            try:
                given[names[option]] = float(text)
            except ValueError:
                raise ConfigError(f"{where}: {option} cannot be {text!r}: expected a number") from None
    return given


def _parsed(command: click.Command, words: list[str], where: str) -> dict[str, Any]:
    context = click.Context(command, info_name="flaskd run")
    try:
        given, _, _ = command.make_parser(context).parse_args(list(words))
    except click.UsageError as error:
        raise ConfigError(f"{where}: flaskd run would refuse its options: {error.format_message()}") from None
    # What is not there is None, or since click 8.3 a mark of its own: a template's `flaskd run` names no application.
    return {name: value for name, value in given.items() if isinstance(value, (str, bool, list))}


def _words(script: str) -> list[str]:
    try:
        return shlex.split(script, comments=True)
    except ValueError:  # a quotation without end
        return script.split()
