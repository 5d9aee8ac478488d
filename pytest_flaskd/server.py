"""Serve an application in the process of the test."""

import contextlib
import inspect
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final

import pytest

import flaskd
from flaskd.errors import IllegalMove
from flaskd_ctl import Client
from pytest_flaskd.places import Places, private_places

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

GRACE: Final = 5.0
"""Seconds that requests have at the end of a test, unless the test says otherwise."""


class Server(flaskd.Server):
    """A running `flaskd.Server`, with its URL and a client of its control socket."""

    _client: Client | None = None

    @property
    def url(self) -> str:
        """The URL that is served, without a slash at its end; the first, if there are several."""
        return self.listeners[0]

    @property
    def client(self) -> Client:
        """A client of its control socket, which is closed after the test."""
        if self._client is None:
            endpoint = next(each for each in self.endpoints if each.startswith("unix://"))
            self._client = Client(endpoint=endpoint)
        return self._client

    def close(self) -> None:
        """Stop, and close the client. Harmless twice."""
        with contextlib.suppress(IllegalMove):  # it has never served
            self.shutdown().result()
        if self._client is not None:
            self._client.close()


@contextlib.contextmanager
def servers(request: pytest.FixtureRequest) -> Iterator[Callable[..., Server]]:
    """Give a function that starts servers (see `types.StartServer`); all stop at the end, the last first."""
    with contextlib.ExitStack() as stack:
        places = stack.enter_context(private_places())

        def start(
            app: "WSGIApplication | Callable[[], WSGIApplication] | None" = None, /, **settings: Any
        ) -> Server:
            wanted = {"bind": "127.0.0.1:0", "runtime_dir": places.runtime, "grace": GRACE, **settings}
            server = Server(_application(app, request), **wanted)
            with _state_in(places):
                server.start()
            stack.callback(server.close)
            return server

        yield start


def _application(
    app: "WSGIApplication | Callable[[], WSGIApplication] | None", request: pytest.FixtureRequest
) -> "WSGIApplication":
    """Return the application that is meant: that of the fixture `app`, or what a factory makes."""
    found: Any = request.getfixturevalue("app") if app is None else app
    if _takes_nothing(found):
        found = found()
    application: WSGIApplication = found
    return application


def _takes_nothing(function: Callable[..., Any]) -> bool:
    """Tell whether it can be called without arguments, as a factory; a WSGI application cannot."""
    try:
        inspect.signature(function).bind()
    except (TypeError, ValueError):
        return False
    return True


@contextlib.contextmanager
def _state_in(places: Places) -> Iterator[None]:
    """Have what starts now keep its files in these places: a `Server` looks into the environment once, when it starts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", places.state_home)
        patch.delenv("STATE_DIRECTORY", raising=False)
        yield
