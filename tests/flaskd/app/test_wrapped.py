"""The Flask application is found behind what wraps it."""

import functools
from collections.abc import Callable
from typing import Any

import flask
import pytest
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.middleware.proxy_fix import ProxyFix

from flaskd.app.wrapped import find_flask

APP = flask.Flask("shop")


def closure(app: Any) -> Callable[..., Any]:
    def middleware(environ: Any, start_response: Any) -> Any:
        return app(environ, start_response)

    return middleware


def by_name(environ: Any, start_response: Any) -> Any:
    return APP(environ, start_response)


class Own:
    def __init__(self, application: Any) -> None:
        self._application = application

    def __call__(self, environ: Any, start_response: Any) -> Any:
        return self._application(environ, start_response)


@pytest.mark.parametrize(
    "wrapped",
    [
        APP,
        APP.wsgi_app,
        ProxyFix(APP),
        ProxyFix(APP.wsgi_app),
        DispatcherMiddleware(ProxyFix(APP)),
        closure(APP),
        by_name,
        closure(Own(ProxyFix(APP.wsgi_app))),
        functools.partial(closure(APP)),
        Own(APP).__call__,
    ],
)
def test_it_is_found(wrapped: object) -> None:
    assert find_flask(wrapped) is APP


def test_what_is_not_flask_has_none() -> None:
    """Nor does looking for it end in a circle."""
    circle = Own(None)
    circle._application = Own(circle)

    assert find_flask(circle) is None
    assert find_flask(lambda environ, start_response: []) is None
    assert find_flask(None) is None
