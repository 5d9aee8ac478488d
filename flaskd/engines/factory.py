"""Makes an engine by name, or checks that it could be made. Engines are imported only then."""

from typing import TYPE_CHECKING

from flaskd.engines.protocol import Engine, Options

if TYPE_CHECKING:
    from flaskd.listening.tls import Tls


def make_engine(name: str, options: Options) -> Engine:
    """Make the engine called `name`; raises ConfigError if it is not installed, or in an unsupported version."""
    if name == "waitress":
        from flaskd.engines.waitress_engine.engine import WaitressEngine

        return WaitressEngine(options)
    if name == "werkzeug":
        from flaskd.engines.werkzeug_engine.engine import WerkzeugEngine

        return WerkzeugEngine(options)
    if name == "granian":
        from flaskd.engines.granian_engine.engine import GranianEngine

        return GranianEngine(options)
    raise ValueError(f"no engine is called {name!r}")


def check_engine(name: str, *, tls: "Tls | None") -> None:
    """Raise ConfigError if the engine called `name` could not be made."""
    if name == "waitress":
        from flaskd.engines.waitress_engine.private import probe as probe_waitress

        probe_waitress()
    if name == "granian":
        from flaskd.engines.granian_engine.certificate import check_certificate
        from flaskd.engines.granian_engine.private import probe as probe_granian

        probe_granian()
        if tls is not None:
            check_certificate(tls.certificate)
