"""Find the Flask application inside what serves it: middleware around the application object, or around its `wsgi_app`."""

from collections.abc import Iterator
from typing import Any, Final

import flask

ATTRIBUTES: Final = (
    "app",
    "wsgi_app",
    "application",
    "wrapped",
    "_app",
    "_wsgi_app",
    "_application",
    "__wrapped__",
)
"""Where middleware keeps what it wraps: Werkzeug's, WhiteNoise, Sentry, OpenTelemetry, and most that people write."""

DEEPEST: Final = 16
"""Layers of middleware to look through."""


def find_flask(app: object) -> flask.Flask | None:
    """Return the Flask application that `app` is or wraps, the outermost one; None if there is none to be seen."""
    layer, seen = [app], {id(app)}
    for _ in range(DEEPEST):
        for each in layer:
            if isinstance(each, flask.Flask):
                return each
        layer = [inner for each in layer for inner in _inside(each) if id(inner) not in seen]
        seen.update(map(id, layer))
    return None


def _inside(wrapper: object) -> Iterator[Any]:
    """Yield what a layer of middleware refers to: attributes, the object of a bound method, a function's variables."""
    if (owner := getattr(wrapper, "__self__", None)) is not None:
        yield owner
    own = getattr(wrapper, "__dict__", {})
    yield from (own[name] for name in ATTRIBUTES if name in own)
    if (code := getattr(wrapper, "__code__", None)) is not None:  # a function: what it calls by a global name
        names = getattr(wrapper, "__globals__", {})
        yield from (names[name] for name in code.co_names if name in names)
    for cell in getattr(wrapper, "__closure__", None) or ():
        try:
            yield cell.cell_contents
        except ValueError:  # empty: not assigned yet
            continue
    inner = getattr(wrapper, "func", None)  # functools.partial
    if inner is not None:
        yield inner
