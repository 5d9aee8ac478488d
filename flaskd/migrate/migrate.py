"""Read another server's configuration, convert it, and lay out the result: a TOML text, and lines about what differs."""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple, Protocol

from flaskd.migrate import flask_run, gunicorn, uwsgi, waitress
from flaskd.migrate.draft import Draft, Remark
from flaskd.migrate.option import Fate, Option, Values


class Server(Protocol):
    """A module for a server."""

    NAME: str
    OPTIONS: tuple[Option, ...]

    def read(self, words: Sequence[str], *, environ: Mapping[str, str], directory: str) -> Values: ...


SERVERS: Final = {server.NAME: server for server in (gunicorn, uwsgi, waitress, flask_run)}
"""The servers, by the names that `flaskd migrate` knows."""

HEADINGS: Final = {
    Fate.SETTING: "different",
    Fate.ELSEWHERE: "elsewhere",
    Fate.NOT_NEEDED: "not needed",
    Fate.NONE: "no equivalent",
}


class Migrated(NamedTuple):
    """The text of the flaskd.toml, and the lines about what is not in it."""

    toml: str
    lines: list[str]


def migrate(server: str, words: Sequence[str], *, environ: Mapping[str, str], directory: str) -> Migrated:
    """Convert the configuration that a server with these arguments would have in this environment and directory.

    Raises click.UsageError for arguments that the server would refuse, FlaskdError where the configuration cannot be read or
    the application cannot be served.
    """
    values = SERVERS[server].read(words, environ=environ, directory=directory)
    draft = Draft()
    draft.take(values.options, values)
    toml = draft.toml(
        [f"Made by `flaskd migrate {server}`. Put this file into the directory in which flaskd runs."]
    )
    remarks = sorted(draft.remarks, key=lambda remark: list(HEADINGS).index(remark.fate))
    lines = [_line(remark) for remark in remarks]
    if "app" not in draft.values:
        lines.append('the application is not named: add a line such as app = "shop:app"')
    if problem := draft.problem():
        lines.append(
            f"flaskd run would refuse this: {problem}" + (f". Next: {problem.hint}" if problem.hint else "")
        )
    return Migrated(toml, lines)


def _line(remark: Remark) -> str:
    source = "" if remark.source in {"", remark.option} else f" ({remark.source})"
    return f"{HEADINGS[remark.fate]}: {remark.option}{source}: {remark.text}"
