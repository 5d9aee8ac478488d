"""The command-line options of the settings: made from their declarations, parsed, and resolved with the other sources."""

import functools
import os
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import click

from flaskd.errors import ConfigError, LoadError
from flaskd.settings import flask_environment
from flaskd.settings.developing import check_packages, missing_packages
from flaskd.settings.schema import FIELDS, SETTINGS, option, shown, variable
from flaskd.settings.sources import Found, Provenance, resolve
from flaskd.settings.target import default_name

WORDS: Final = "flaskd.words"
"""The arguments of a command, in click's context."""


class Given(NamedTuple):
    """The settings that a command line names, and the TOML file of its `--config`; `words` is the command line itself."""

    options: Mapping[str, Any]
    file: str | None = None
    words: tuple[str, ...] = ()

    def find(
        self,
        *,
        environ: Mapping[str, str] = os.environ,
        directory: str | None = None,
        app_required: bool = True,
        packages_required: bool = True,
    ) -> Found:
        """Find every setting, as seen from `directory` (None: the current one). Raises FlaskdError.

        `packages_required`: with `dev`, raise it also where a package of that extra is missing.
        """
        here = directory or absolute("")
        found = resolve(self.options, environ=environ, directory=here, file=self.file)
        if found["dev"].value:
            if packages_required:
                check_packages()
            if packages_required or not missing_packages():
                environ = flask_environment.with_files(environ)
            return self._find_developing(environ, here)
        app = found["app"].value.strip()
        if not app.partition(":")[0] and app_required:
            raise LoadError("no application was named", hint="name it: flaskd run shop:app")
        if app and not found["name"].value:
            found["name"] = Provenance(default_name(app, here), "the application's name")
        return found

    def _find_developing(self, environ: Mapping[str, str], here: str) -> Found:
        """Find every setting for `flaskd dev`, with what `flask` would find. Raises FlaskdError."""
        found = resolve(self.options, environ=environ, directory=here, file=self.file)
        if not found["app"].value.strip() and (named := environ.get("FLASK_APP", "").strip()):
            found["app"] = Provenance(named, "FLASK_APP")
        if not found["app"].value.strip():
            found["app"] = Provenance(flask_environment.find_application(here), "found as `flask` finds it")
            name = flask_environment.name_of_directory(here)
        else:
            name = default_name(found["app"].value.strip(), here)
        if not found["name"].value:
            found["name"] = Provenance(name, "the application's name")
        if found["bind"].source == "default":
            address = flask_environment.address(environ, found["bind"].value[0])
            if address not in found["bind"].value:
                found["bind"] = Provenance((address,), "FLASK_RUN_HOST, FLASK_RUN_PORT")
        return found


class SettingsCommand(click.Command):
    """A command with an option for each setting, and `--config`; its function gets them as `given`."""

    def __init__(
        self, name: str | None, *, params: Sequence[click.Parameter] = (), **attributes: Any
    ) -> None:
        super().__init__(name, params=[*params, *_options()], **attributes)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the options; for one of another server, say what it is called here."""
        ctx.meta[WORDS] = tuple(args)
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            from flaskd.settings.elsewhere import instead

            if hint := instead(error.option_name):
                raise click.UsageError(f"No such option: {error.option_name}. Next: {hint}", ctx) from None
            raise

    def invoke(self, ctx: click.Context) -> Any:
        """Call the command's function."""
        options = {name: ctx.params.pop(name) for name in list(ctx.params) if name in FIELDS}
        ctx.params["given"] = Given(options, ctx.params.pop("file"), ctx.meta[WORDS])
        return super().invoke(ctx)


class AppCommand(SettingsCommand):
    """A command that takes an application, too."""

    def __init__(
        self, name: str | None, *, params: Sequence[click.Parameter] = (), **attributes: Any
    ) -> None:
        app = click.Argument(["app"], required=False)
        super().__init__(name, params=[app, *params], **attributes)


def parse(words: Sequence[str]) -> Given:
    """Read the arguments of `flaskd run`. Raises click.UsageError."""
    command = AppCommand("run")
    given, _, _ = command.make_parser(click.Context(command, info_name="flaskd run")).parse_args(list(words))
    # What is not there is None, or since click 8.3 a mark of its own.
    options: dict[str, Any] = {k: value for k, value in given.items() if isinstance(value, (str, bool, list))}
    return Given(options, options.pop("file", None))


def absolute(path: str) -> str:
    """Return `path` as an absolute path. Raises ConfigError where the current directory has been removed."""
    try:
        return os.path.abspath(path)
    except FileNotFoundError:
        raise ConfigError(
            "the current directory has been removed", hint="change to one that exists"
        ) from None


@functools.cache
def _options() -> list[click.Option]:
    """Make the options once, for all commands: each one costs a supervisor a KiB."""
    file_help = "Read this TOML file in place of flaskd.toml and pyproject.toml."
    config = click.Option(["--config", "file"], metavar="FILE", help=file_help)
    return [*(_option(name) for name in FIELDS if name != "app"), config]


def _option(name: str) -> click.Option:
    default, text = FIELDS[name].default, f"{help_text(name)} [{variable(name)}]"
    if isinstance(default, bool):
        return click.Option([f"{option(name)}/--no-{option(name)[2:]}", name], default=None, help=text)
    multiple = isinstance(default, tuple)
    return click.Option([option(name), name], multiple=multiple, metavar=metavar(name), help=text)


def help_text(name: str) -> str:
    """Say what a setting does, and its default."""
    default, declared = FIELDS[name].default, SETTINGS[name]
    value = shown(default)
    means = declared.default_means
    default = f"{value} ({means})" if value and means else value or means
    return f"{declared.help} Default: {default}." if default else declared.help


def metavar(name: str) -> str:
    """Return the name of a setting's value in help texts."""
    by_type = {bool: "BOOLEAN", int: "NUMBER", float: "SECONDS"}
    return SETTINGS[name].metavar or by_type.get(type(FIELDS[name].default), "TEXT")
