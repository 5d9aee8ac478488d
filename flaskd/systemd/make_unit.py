"""Make the units of `flaskd systemd unit` from the settings that the service will find, and write them to files."""

import math
import os
import sys
from collections.abc import Mapping
from typing import Final

from flaskd.errors import ConfigError, FlaskdError
from flaskd.process.directory import logical_directory
from flaskd.settings.options import Given, absolute
from flaskd.settings.sources import settings_from
from flaskd.systemd.unit import HEADER, UnitOptions, units
from flaskd_ctl.contract.endpoint import check_name

PLACE: Final = "/etc/systemd/system"


def make(
    given: Given,
    *,
    socket: bool,
    template: bool,
    user: str,
    directory: str,
    watchdog: float,
    notify_reload: bool,
    program: str,
) -> dict[str, str]:
    """Return the units, name to text. Raises FlaskdError or BadPlace where that is not possible.

    The settings are those of the service: the given options, and the TOML file in its directory; not this environment.
    """
    if not math.isfinite(watchdog):
        raise ConfigError(f"--watchdog cannot be {watchdog}: expected a number of seconds, 0 for none")
    where = absolute(directory or logical_directory() or "")
    if given.options.get("dev"):
        raise ConfigError("--dev is for a terminal, not for a service", hint="leave it out")
    settings = settings_from(given.find(environ={}, directory=where, app_required=not template))
    if not template:
        check_name(settings.name)
    return units(
        UnitOptions(
            given=given,
            settings=settings,
            directory=where,
            flaskd=os.path.abspath(program) if program else os.path.join(sys.prefix, "bin", "flaskd"),
            interpreter=_interpreter(program),
            user=user,
            socket=socket,
            template=template,
            notify_reload=notify_reload,
            watchdog=watchdog,
        )
    )


def _interpreter(program: str) -> str:
    """Return the Python that probably runs `program`: the one in its directory, with symbolic links resolved."""
    beside = os.path.join(os.path.dirname(os.path.abspath(program)), "python") if program else sys.executable
    return os.path.realpath(beside)


def write(files: Mapping[str, str], directory: str) -> list[str]:
    """Write the files and return their paths. Raises FlaskdError, also before it would replace a file that is not ours."""
    paths = {os.path.join(directory, name): text for name, text in files.items()}
    try:
        for path in paths:
            if os.path.lexists(path) and not _ours(path):
                raise ConfigError(
                    f"{path} exists and was not made by `flaskd systemd unit`",
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
