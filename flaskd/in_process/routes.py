"""The routes of the Flask application."""

from typing import Final

import flask
import msgspec

from flaskd.app.wrapped import find_flask
from flaskd.serving import Core
from flaskd.tasks import ListRoutes, RoutesListed
from flaskd.tasks.application import LONGEST_LIST
from flaskd_ctl.errors import WrongState
from flaskd_ctl.protocol import Route

LONGEST: Final = 1000
"""Characters of a rule, or of an endpoint."""


def flask_of(core: Core, command: str) -> flask.Flask:
    """Return the Flask application; raises WrongState, which names the command, if there is none."""
    app = find_flask(core.app)
    if app is None:
        raise WrongState(
            f"{command} needs a Flask application; this is {type(core.app).__module__}.{type(core.app).__qualname__}, "
            "and no Flask application was found inside"
        )
    return app


def list_routes(core: Core, task: ListRoutes) -> RoutesListed:
    """List the rules of the application's URL map, in the order in which Werkzeug has them."""
    app = flask_of(core, "routes")
    rules = list(app.url_map.iter_rules())
    rows: list[Route] = []
    size = 0
    for rule in rules:
        row = Route(
            rule=_text(rule.rule),
            methods=[_text(method) for method in sorted(rule.methods or ())],
            endpoint=_text(rule.endpoint),
            host=_text(rule.host or rule.subdomain or ""),
            websocket=rule.websocket,
        )
        size += len(msgspec.json.encode(row))
        if size > LONGEST_LIST:
            break
        rows.append(row)
    return RoutesListed(routes=rows, missing=len(rules) - len(rows))


def _text(value: object) -> str:
    return str(value)[:LONGEST].encode("utf-8", "backslashreplace").decode()
