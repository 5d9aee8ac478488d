"""A directory with another server's configuration, and its migration."""

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from flaskd.migrate import migrate
from flaskd.settings.sources import resolve, settings_from


class Result(NamedTuple):
    """What the printed flaskd.toml says, and the lines beside it."""

    settings: dict[str, Any]
    text: str
    lines: list[str]

    def said(self, option: str) -> str:
        """Return the lines about an option, joined."""
        return "\n".join(line for line in self.lines if f" {option} " in line.replace(":", " "))


Migrate = Callable[..., Result]


@pytest.fixture
def migrated(tmp_path: Path) -> Migrate:
    """Migrate a server with these arguments, variables and files; what is printed loads as flaskd's settings."""

    def run(server: str, *words: str, files: dict[str, str] | None = None, **environ: str) -> Result:
        for name, text in (files or {}).items():
            (tmp_path / name).write_text(text)
        done = migrate(server, words, environ=environ, directory=str(tmp_path))
        (tmp_path / "flaskd.toml").write_text(done.toml)
        settings_from(resolve({}, environ={}, directory=str(tmp_path)))
        return Result(tomllib.loads(done.toml), done.toml, done.lines)

    return run
