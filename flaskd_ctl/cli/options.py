"""The options that every command of `flaskd_ctl` has, before its name or after it; after it counts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from flaskd_ctl.cli.run import Run
from flaskd_ctl.contract.times import DAY

if TYPE_CHECKING:
    _Float = click.ParamType[float]
else:
    _Float = click.ParamType  # generic since click 8.2 only


UNITS: Final = {"s": 1, "m": 60, "h": 3600}
"""Seconds of each unit that a duration may have; without one it is seconds."""

COMPLETION_TIME: Final = 2.0
"""Seconds that a completion waits for an instance."""


class Seconds(_Float):
    """A duration from `at_least` seconds to a day: `5`, `0.5s`, `10m`, `1h`; in seconds. Without `zero`, 0 is refused."""

    name = "seconds"

    def __init__(self, *, at_least: float = 0.0, zero: bool = True) -> None:
        self._at_least = at_least
        self._zero = zero

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Read the number and its unit."""
        text = str(value).strip()
        unit = text[-1:] if text[-1:] in UNITS else ""
        try:
            seconds = float(text.removesuffix(unit)) * UNITS.get(unit, 1)
        except ValueError:
            self.fail(
                f"{value!r} is not a duration: give seconds, or a number with s, m or h (10m)", param, ctx
            )
        if not self._at_least <= seconds <= DAY:
            self.fail(f"{value} is not between {self._at_least:g} and 86400 seconds (a day)", param, ctx)
        if not seconds and not self._zero:
            self.fail("give more than 0 seconds, or leave it out to keep it", param, ctx)
        return seconds


def shared_options() -> list[click.Option]:
    """Make the options of the group and of every command."""
    path = click.Path(dir_okay=False)
    return [
        _option(
            "--name",
            help="The instance. Needed only if several are running.",
            metavar="NAME",
            shell_complete=complete_names,
        ),
        _option(
            "--endpoint",
            help="URL of the instance, instead of a name: unix:///path (plain stream), ipc:///path (ZeroMQ), "
            "ssh://HOST/NAME or tcp://HOST:PORT.",
            metavar="URL",
        ),
        _option("--key", help="File with your secret key, for tcp://.", type=path),
        _option("--server-key", help="File with the instance's public key, for tcp://.", type=path),
        _option(
            "--runtime-dir",
            help="Directory that holds the instances' directories. Default: FLASKD_RUNTIME_DIR, else the usual places.",
            type=click.Path(file_okay=False),
        ),
        _option(
            "-t",
            "--target",
            "targets",
            help="A target or group of the configuration file, an instance's name, or a URL. May be repeated.",
            metavar="TARGET",
            multiple=True,
            shell_complete=complete_targets,
        ),
        _option(
            "--max-parallel",
            help="Number of targets at a time. Default: 1 for a command that changes something, otherwise all.",
            metavar="N",
            type=click.IntRange(min=1),
        ),
        _flag("--stop-on-failure", help="Start no further target after one has failed."),
        _option(
            "--timeout",
            help="Time limit for the whole command. Default: 10 s for the daemon's first response.",
            type=Seconds(),
        ),
        _flag("--json", help="Write the result, and errors on stderr, as JSON."),
    ]


def endpoint_of_application(help_text: str) -> click.Option:
    """Make `--endpoint NAME` of a command that takes an endpoint of the application; a URL is still the instance's."""

    def tell_apart(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> str | None:
        urls = [value for value in values if "://" in value]
        if urls:
            ctx.ensure_object(Run).endpoint = urls[-1]
        names = [value for value in values if "://" not in value]
        return names[-1] if names else None

    help_text = f"{help_text} A URL is the instance's, as it is before the command."
    return click.Option(
        ["--endpoint"], help=help_text, metavar="ENDPOINT|URL", multiple=True, callback=tell_apart
    )


def complete_names(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Complete the names of instances."""
    return [name for name in _run_of(ctx).instances.names() if name.startswith(incomplete)]


def complete_stopped(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Complete the names of instances that have left files."""
    instances = _run_of(ctx).instances
    return [name for name in sorted({*instances.names(), *instances.notes()}) if name.startswith(incomplete)]


def complete_targets(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Complete targets, groups and the names of instances."""
    from flaskd_ctl.discovery.targets import known_names

    return [name for name in known_names(_run_of(ctx).instances) if name.startswith(incomplete)]


def complete_settings(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Complete the settings that the instance can change while it runs; it knows them."""
    from flaskd_ctl.errors import ControlError

    run = _run_of(ctx)
    try:
        run.timeout = COMPLETION_TIME
        known = run.ask(run.target(), "config").get("settings") or []
    except ControlError:
        return []
    names = [str(each.get("name")) for each in known if each.get("change") == "set"]
    return [name for name in names if name.startswith(incomplete.replace("-", "_"))]


def _run_of(ctx: click.Context) -> Run:
    return ctx.find_object(Run) or Run()


def _option(*flags: str, **attrs: Any) -> click.Option:
    return click.Option(flags, expose_value=False, callback=_remember, **attrs)


def _flag(flag: str, **attrs: Any) -> click.Option:
    return _option(flag, is_flag=True, default=None, **attrs)


def _remember(ctx: click.Context, param: click.Parameter, value: Any) -> None:
    run = ctx.ensure_object(Run)
    if value is not None and value is not False and value != () and param.name:
        setattr(run.screen if param.name == "json" else run, param.name, value)
