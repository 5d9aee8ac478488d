"""Settings and levels of loggers, for `Client` and `AsyncClient`."""

from typing import Any

from flaskd_ctl.client.asking import Asking
from flaskd_ctl.client.session import given
from flaskd_ctl.protocol import ConfigResult, InfoResult, LogLevelResult, LogLevelsResult, SetResult
from flaskd_ctl.transports.backend import run


class TuningMethods(Asking):
    """The coroutines of `BaseClient` about settings and levels of loggers."""

    async def info(self) -> InfoResult:
        """Return the code that runs, and what is on disk now."""
        return await self._patient("info", InfoResult)

    async def config(self) -> ConfigResult:
        """Return each setting, where its value comes from, and what a reload would change."""
        return await self._patient("config", ConfigResult)

    async def set(self, setting: str, value: str | float, *, for_: float | None = None) -> SetResult:
        """Change a setting while the instance runs, for some seconds or for good (see `Client`)."""
        return await self._patient("set", SetResult, given(setting=setting, value=value) | _for(for_))

    async def unset(self, setting: str) -> SetResult:
        """Undo `set`: give a setting the value from the command line, the environment and the files again."""
        return await self._patient("unset", SetResult, {"setting": setting})

    async def log_level(
        self, level: str, logger: str = "root", *, worker: int | None = None, for_: float | None = None
    ) -> LogLevelResult:
        """Set the level of a logger, for some seconds or for good (see `Client`)."""
        params = given(level=level, logger=logger, worker=worker) | _for(for_)
        return await self._patient("log_level", LogLevelResult, params)

    async def log_levels(self) -> LogLevelsResult:
        """Return the loggers that have a level of their own."""
        return await self._patient("log_levels", LogLevelsResult)


class BlockingTuningMethods:
    """The methods of `Client` about settings and levels of loggers."""

    _client: TuningMethods

    def info(self) -> InfoResult:
        """Return the code that runs: Python, packages, the release's directory and git revision, and what is on disk now."""
        return run(self._client.info())

    def config(self) -> ConfigResult:
        """Return each setting, where its value comes from, and what a reload would change."""
        return run(self._client.config())

    def set(self, setting: str, value: str | float, *, for_: float | None = None) -> SetResult:
        """Change a setting while the instance runs, for `for_` seconds or until it is unset or the instance ends.

        `value` may be a text, as on the command line. Returns when each worker uses it; one that has not replied has an
        `error` in `workers`. Raises NotFound for an unknown setting, InvalidParams for a wrong value, WrongState if it takes a
        reload or a restart.
        """
        return run(self._client.set(setting, value, for_=for_))

    def unset(self, setting: str) -> SetResult:
        """Undo `set`: give a setting the value from the command line, the environment and the files again."""
        return run(self._client.unset(setting))

    def log_level(
        self, level: str, logger: str = "root", *, worker: int | None = None, for_: float | None = None
    ) -> LogLevelResult:
        """Set the level of a logger in all workers and in the daemon, or in one worker, for `for_` seconds or for good.

        The level "default" gives the logger its own back. Raises NotFound for an unknown logger or worker, InvalidParams for an
        unknown level.
        """
        return run(self._client.log_level(level, logger, worker=worker, for_=for_))

    def log_levels(self) -> LogLevelsResult:
        """Return the loggers that have a level of their own: from the application, or set."""
        return run(self._client.log_levels())


def _for(seconds: float | None) -> dict[str, Any]:
    return {} if seconds is None else {"for": seconds}
