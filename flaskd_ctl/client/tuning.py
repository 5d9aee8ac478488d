"""What `Client` and `AsyncClient` do about settings and levels of loggers, written once (see `base`)."""

from typing import Any, TypeVar

from flaskd_ctl.client.shapes import given
from flaskd_ctl.protocol import ConfigResult, InfoResult, LogLevelResult, LogLevelsResult, SetResult

T = TypeVar("T")


class TuningClient:
    """The methods of `BaseClient` that tune an instance."""

    async def info(self) -> InfoResult:
        """Return the code that runs, and what is on disk now."""
        return await self._patient("info", {}, InfoResult)

    async def config(self) -> ConfigResult:
        """Return each setting, where its value comes from, and what a reload would change."""
        return await self._patient("config", {}, ConfigResult)

    async def set(self, setting: str, value: str | float, *, for_: float | None = None) -> SetResult:
        """Change a setting while the instance runs, for some seconds or for good (see `Client`)."""
        return await self._patient("set", given(setting=setting, value=value) | _for(for_), SetResult)

    async def unset(self, setting: str) -> SetResult:
        """Give a setting the value of the command line, the environment and the files back."""
        return await self._patient("unset", {"setting": setting}, SetResult)

    async def log_level(
        self, level: str, logger: str = "root", *, worker: int | None = None, for_: float | None = None
    ) -> LogLevelResult:
        """Set the level of a logger, for some seconds or for good (see `Client`)."""
        params = given(level=level, logger=logger, worker=worker) | _for(for_)
        return await self._patient("log_level", params, LogLevelResult)

    async def log_levels(self) -> LogLevelsResult:
        """Return the loggers that have a level of their own."""
        return await self._patient("log_levels", {}, LogLevelsResult)

    async def _patient(
        self, method: str, params: dict[str, Any], shape: type[T], timeout: float | None = None
    ) -> T:
        raise NotImplementedError


def _for(seconds: float | None) -> dict[str, Any]:
    return {} if seconds is None else {"for": seconds}
