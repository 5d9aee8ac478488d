"""The settings of `flaskd dev`, and what it changes of the others.

While somebody develops, nothing ends a request or a worker because it takes long: it may be in a debugger.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Final

from flaskd.errors import ConfigError
from flaskd.settings.running import RunningSettings
from flaskd.settings.setting import Setting

DAY: Final = 86_400.0

DEFAULTS: Final[Mapping[str, Any]] = {
    "engine": "werkzeug",
    "access_log": "short",
    "log_format": "plain",
    "grace": 3.0,
    "worker_grace": DAY,
    "worker_linger": 2.0,
}
"""Defaults that differ. The Werkzeug engine keeps no connection, so no request reaches old code over one (decision 160)."""

PRODUCTION: Final[Mapping[str, Any]] = {
    "workers": "1",
    "worker_user": "",
    "max_queue_time": 0.0,
    "unready_when_saturated": False,
    "preload": False,
    "pre_fork": "",
    "check": "",
    "lame_duck": 0.0,
    "wait_unrouted": 0.0,
    "start_timeout": DAY,
    "hook_timeout": DAY,
    "max_requests": 0,
    "max_worker_age": 0.0,
    "max_worker_memory": "0",
    "worker_timeout": 0.0,
    "request_timeout": 0.0,
    "request_timeout_answer": False,
    "ledger": True,
    "access_log_file": "",
    "log_file": "",
}
"""Settings for production, whose values in a file or in the environment `flaskd dev` does not use."""


class DevelopingSettings(RunningSettings, frozen=True, forbid_unknown_fields=True):
    """The settings of `flaskd dev`."""

    dev: Annotated[
        bool,
        Setting(
            "Develop: reload when code changes, and show errors with a debugger in the browser. See docs/develop.md.",
            restart="to change",
            workers_only=True,
        ),
    ] = False
    dev_public: Annotated[
        bool,
        Setting(
            "With --dev, allow addresses that other hosts can reach: the debugger runs code for whoever knows its PIN.",
            restart="to change",
            workers_only=True,
        ),
    ] = False
    watch: Annotated[
        tuple[str, ...],
        Setting(
            "With --dev, also reload when a file that matches this pattern changes, such as 'conf/**/*.yaml'. May be repeated.",
            metavar="GLOB",
            workers_only=True,
        ),
    ] = ()


def check_developing(settings: DevelopingSettings) -> None:
    """Raise ConfigError where `flaskd dev` cannot use the settings."""
    from flaskd.listening import addresses

    if settings.workers != "1":
        raise ConfigError(
            f"--dev runs one worker, not {settings.workers}: the debugger is in its memory",
            hint="leave out --workers",
        )
    if settings.dev_public:
        return
    for address in settings.bind:
        parsed = addresses.parse(address)
        if not isinstance(parsed, str) and not addresses.is_loopback(parsed[0]):
            raise ConfigError(
                f"other hosts can reach {address}, and the debugger of --dev runs code for whoever can use it",
                hint="bind to 127.0.0.1, or add --dev-public if you trust everybody in that network",
            )


def missing_packages() -> list[str]:
    """List what the extra `dev` installs and is missing."""
    from importlib.util import find_spec

    return [
        name
        for name, module in (("watchfiles", "watchfiles"), ("python-dotenv", "dotenv"))
        if find_spec(module) is None
    ]


def check_packages() -> None:
    """Raise ConfigError if something of the extra `dev` is missing."""
    if missing := missing_packages():
        raise ConfigError(
            f"--dev needs {' and '.join(missing)}, which {'are' if len(missing) > 1 else 'is'} not installed",
            hint="pip install 'flaskd[dev]'",
        )
