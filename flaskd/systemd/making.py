"""What `flaskd systemd unit` does: find the settings as the service will, make the units, write them."""

import math
import os
import sys
from collections.abc import Mapping
from typing import Any, Final

from flaskd.errors import ConfigError, FlaskdError, LoadError
from flaskd.process.directory import logical_directory
from flaskd.settings.schema import resolve, settings_from
from flaskd.settings.target import default_name
from flaskd.systemd.unit import HEADER, Wanted, units
from flaskd_ctl.contract.endpoint import check_name

PLACE: Final = "/etc/systemd/system"
OPTIONS: Final = ("socket", "template", "user", "directory", "watchdog", "notify_reload", "program")
"""What the command takes beside the settings."""


def make(
    app: str,
    options: Mapping[str, Any],
    *,
    config: str,
    socket: bool,
    template: bool,
    user: str,
    directory: str,
    watchdog: float,
    notify_reload: bool,
    program: str,
) -> dict[str, str]:
    """Return the units, name to text. Raises FlaskdError or BadPlace for what cannot become one.

    The settings are those of the service: options that were named, and the TOML file in its directory; not our environment.
    """
    if not math.isfinite(watchdog):
        raise ConfigError(f"--watchdog cannot be {watchdog}: it is a number of seconds, 0 for none")
    try:
        where = os.path.abspath(directory or logical_directory() or os.getcwd())
    except FileNotFoundError:
        raise ConfigError(
            "the current directory has been removed", hint="change to one that exists"
        ) from None
    found = resolve({"app": app or None, **options}, environ={}, directory=where, file=config or None)
    if not template and not found["app"].value.strip():
        raise LoadError("no application was named", hint="name it: flaskd systemd unit shop:app")
    settings = settings_from(found)
    name = settings.name or (default_name(settings.app, where) if settings.app else "")
    if not template:
        settings = settings_from({**found, "name": found["name"]._replace(value=check_name(name))})
    return units(
        Wanted(
            app=app,
            options=options,
            settings=settings,
            directory=where,
            flaskd=os.path.abspath(program) if program else os.path.join(sys.prefix, "bin", "flaskd"),
            interpreter=_interpreter(program),
            config=config,
            user=user,
            socket=socket,
            template=template,
            reload_type=notify_reload,
            watchdog=watchdog,
        )
    )


def _interpreter(program: str) -> str:
    """Return what runs `program`, as far as it can be seen: the Python beside it, which may be a link to anywhere."""
    beside = os.path.join(os.path.dirname(os.path.abspath(program)), "python") if program else sys.executable
    return os.path.realpath(beside)


def write(files: Mapping[str, str], directory: str) -> list[str]:
    """Write the files, each whole or not at all; returns their paths. Raises FlaskdError, also where one is not ours."""
    paths = {os.path.join(directory, name): text for name, text in files.items()}
    try:
        for path in paths:
            if os.path.lexists(path) and not _ours(path):
                raise ConfigError(
                    f"{path} is there and was not made by `flaskd systemd unit`",
                    hint="move it away, or choose another --output or --name",
                )
        for path, text in paths.items():
            temporary = f"{path}.{os.getpid()}"
            with open(temporary, "x", encoding="utf-8") as file:
                file.write(text)
            os.replace(temporary, path)
    except OSError as error:
        raise FlaskdError(
            f"cannot write to {directory}: {error.strerror}", hint="choose another --output, or use sudo"
        ) from None
    return list(paths)


def _ours(path: str) -> bool:
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.readline().startswith(HEADER)
