"""The application of a worker, loaded in the worker itself or in the template that it was forked from."""

import importlib
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, NamedTuple

from flaskd.app import patches
from flaskd.app.loader import load
from flaskd.engines.factory import check_engine, engine_class
from flaskd.release import code
from flaskd.settings.schema import Settings

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication


class Application(NamedTuple):
    """The application, and what it was loaded from: its code, and the versions of the packages."""

    app: "WSGIApplication"
    code: code.Code
    packages: dict[str, str]


def load_application(
    settings: Settings, *, engine: str, check: bool, kept: Callable[[], Iterable[str]]
) -> Application:
    """Load the application that `settings` name, to serve it with an engine; `check` says whether it may be checked.

    `kept` names the modules that `namesakes.release` keeps. Raises FlaskdError.
    """
    # What is needed later: once the application is loaded, an import may find a file of its own instead.
    engine_class(engine)
    check_engine(engine, tls=None)
    if check:
        importlib.import_module("werkzeug.test")
    if settings.dev:
        importlib.import_module("flaskd.app.developing")
    patches.keep_originals()
    patches.refuse_monkey_patching()
    app = load(settings.app, kept=kept)
    return Application(app, code.of_target(settings.app), code.packages())
