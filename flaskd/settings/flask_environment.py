"""What `flask` reads from its environment and finds in the directory, for `flaskd dev`.

As in `flask.cli.load_dotenv`, a variable that is set wins over `.env`, which wins over `.flaskenv`; each file is the nearest
one, from the current directory upwards. The supervisor reads them, and the workers inherit the result.
"""

import os
import re
from collections.abc import Mapping, MutableMapping
from typing import Final

from flaskd.errors import LoadError

FILES: Final = (".flaskenv", ".env")
"""The later wins."""

MODULES: Final = ("wsgi", "app")
"""Modules that `flask` looks for if no application is named."""

SKIP: Final = "FLASK_SKIP_DOTENV"


class Environment:
    """The environment of this process, `environ`, with what the files add to it for workers."""

    def __init__(self, environ: MutableMapping[str, str]) -> None:
        self._environ = environ
        self._added: frozenset[str] = frozenset()

    def own(self) -> dict[str, str]:
        """Return it without what was added."""
        return {name: value for name, value in self._environ.items() if name not in self._added}

    def renew(self) -> None:
        """Add what the files say now, in place of what was added before. Raises LoadError."""
        own = self.own()
        added = {name: value for name, value in for_workers(own).items() if name not in own}
        for name in self._added - added.keys():
            del self._environ[name]
        self._environ.update(added)
        self._added = frozenset(added)


def files() -> list[str]:
    """Return the paths of the files that are read now."""
    import dotenv

    found = [dotenv.find_dotenv(name, usecwd=True) for name in FILES]
    return [path for path in found if path]


def with_files(environ: Mapping[str, str]) -> dict[str, str]:
    """Return `environ` with what the files add to it. Raises LoadError for one that cannot be read."""
    import dotenv

    if environ.get(SKIP) and environ[SKIP].lower() not in {"0", "false", "no"}:
        return dict(environ)
    added: dict[str, str | None] = {}
    for path in files():
        try:
            added |= dotenv.dotenv_values(path, encoding="utf-8")
        except (OSError, ValueError) as error:
            raise LoadError(
                f"cannot read {path}: {error}", hint=f"mend it, or set {SKIP}=1 to leave it out"
            ) from None
    return {**{name: value for name, value in added.items() if value is not None}, **environ}


def without_files(environ: Mapping[str, str]) -> dict[str, str]:
    """Return `environ` without what `flask` has added to it from the files, so that a change of them has an effect."""
    added = with_files({SKIP: environ.get(SKIP, "")})
    return {name: value for name, value in environ.items() if name == SKIP or added.get(name) != value}


def for_workers(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of workers: with the files, debug mode unless it says otherwise, and WERKZEUG_RUN_MAIN.

    Applications look at that to start something only in the process that serves.
    """
    return {"FLASK_DEBUG": "1", "WERKZEUG_RUN_MAIN": "true", **with_files(environ)}


def find_application(directory: str) -> str:
    """Return the path of the application that `flask` would find in a directory. Raises LoadError."""
    for name in MODULES:
        if os.path.isfile(os.path.join(directory, name, "__init__.py")):
            return os.path.join(os.curdir, name)
        if os.path.isfile(os.path.join(directory, f"{name}.py")):
            return f"{name}.py"
    names = " or ".join(f"{name}.py" for name in MODULES)
    raise LoadError(
        f"no application was named, and there is no {names} in {directory}",
        hint="name it: flaskd dev shop:app, or set FLASK_APP",
    )


def name_of_directory(directory: str) -> str:
    """Return the name of an instance for an application that was found: many are called app.py."""
    name = os.path.basename(os.path.realpath(directory))
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", name).strip("-_.")[:64] or "app"


def address(environ: Mapping[str, str], default: str) -> str:
    """Return the address that `flask run` would serve; `default` (HOST:PORT) has what is not set."""
    host, _, port = default.rpartition(":")
    host, port = environ.get("FLASK_RUN_HOST") or host, environ.get("FLASK_RUN_PORT") or port
    return f"[{host}]:{port}" if ":" in host and not host.startswith("[") else f"{host}:{port}"
