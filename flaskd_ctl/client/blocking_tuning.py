"""The part of `Client` that tunes an instance (see `blocking`)."""

from flaskd_ctl.client.base import BaseClient
from flaskd_ctl.protocol import ConfigResult, InfoResult, LogLevelResult, LogLevelsResult, SetResult
from flaskd_ctl.transports.backend import run


class BlockingTuning:
    """The methods of `Client` that tune an instance."""

    _client: BaseClient

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
        """Give a setting the value of the command line, the environment and the files back."""
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
