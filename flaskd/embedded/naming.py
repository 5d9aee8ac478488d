"""The name of a `Server` that was given none.

One that asks for a free port is one of several, in a test suite or beside a development server. So its name is one that
no other has, too. A server at a fixed port keeps the application's name, by which people find it.
"""

import itertools
import os
from typing import TYPE_CHECKING, Final

from flaskd.app.loader import name_of
from flaskd.listening.addresses import any_port
from flaskd.settings.schema import Settings

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

LONGEST: Final = 64

_numbers = itertools.count(1)


def is_unnamed(settings: Settings) -> bool:
    """Tell whether these settings leave both the name and each port to be chosen."""
    return not settings.name and all(map(any_port, settings.bind))


def default_name(app: "WSGIApplication", settings: Settings) -> str:
    """Return the name of a server of `app`: its own, with the process id (and a number) if the server is unnamed."""
    base = settings.name or name_of(app)
    if not is_unnamed(settings):
        return base
    number = next(_numbers)
    suffix = f"-{os.getpid()}" + (f"-{number}" if number > 1 else "")
    return base[: LONGEST - len(suffix)] + suffix
