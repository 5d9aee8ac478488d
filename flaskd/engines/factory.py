"""Makes an engine by name, or checks that it could be made. Engines are imported only then."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from flaskd.engines.protocol import Engine, Options

if TYPE_CHECKING:
    from flaskd.listening.tls import Tls


def make_engine(name: str, options: Options) -> Engine:
    """Make the engine called `name`; raises ConfigError if it is not installed, or in an unsupported version."""
    return engine_class(name)(options)


def engine_class(name: str) -> Callable[[Options], Engine]:
    """Import the engine called `name`, and return its class; raises as `make_engine` does."""
    if name == "waitress":
        from flaskd.engines.waitress_engine.engine import WaitressEngine

        return WaitressEngine
    if name == "werkzeug":
        from flaskd.engines.werkzeug_engine.engine import WerkzeugEngine

        return WerkzeugEngine
    if name == "granian":
        from flaskd.engines.granian_engine.engine import GranianEngine

        return GranianEngine
    raise ValueError(f"no engine is called {name!r}")


def check_engine(name: str, *, tls: "Tls | None") -> None:
    """Raise ConfigError if the engine called `name` could not be made."""
    if name == "waitress":
        from flaskd.engines.waitress_engine.private import probed as probe_waitress

        probe_waitress()
    if name == "granian":
        from flaskd.engines.granian_engine.certificate import check_certificate
        from flaskd.engines.granian_engine.private import probed as probe_granian

        probe_granian()
        if tls is not None:
            check_certificate(tls.certificate)
