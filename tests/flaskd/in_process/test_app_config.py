"""A configuration is shown without what looks secret, whatever else is in it."""

from typing import Any

import flask
import pytest

from flaskd.in_process.app_config import LONGEST, show_config, shown_value
from flaskd.tasks import ShowConfig


class Broken:
    def __repr__(self) -> str:
        raise ZeroDivisionError


class Dsn:
    def __repr__(self) -> str:
        return "Dsn(host='db', password='hunter2', url=\"x://u:hunter2@db\")"


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("DEBUG", False, "False"),
        ("SECRET_KEY", "hunter2", "***"),
        ("SECRET_KEY", None, "None"),
        ("SECRET_KEY", "", "''"),
        ("SECRET_KEY_FALLBACKS", ["hunter2"], "***"),
        ("STRIPE_API_KEY", b"hunter2", "***"),
        ("MAIL_PASSWORD", 1234, "***"),
        ("SESSION_COOKIE_NAME", "session", "'session'"),
        ("DATABASE_URL", "postgresql://user:hunter2@host/db", "'postgresql://user:***@host/db'"),
        ("DATABASE_URL", "postgresql://user:hun/t@er2@host/db", "'postgresql://user:***@host/db'"),
        ("DATABASE_URL", "postgresql://user:it's hunter2@host/db", "'postgresql://user:***@host/db'"),
        ("CACHE", "redis://:hunter2@host", "'redis://:***@host'"),
        ("HOOK", "https://hunter2@host/x", "'https://***@host/x'"),
        ("HOOK", "https://host/x?token=hunter2&a=1", "'https://host/x?token=***&a=1'"),
        ("HOME", "https://host:8080/a", "'https://host:8080/a'"),
        ("DATABASES", {"a": {"password": "hunter2", "port": 1}}, "{'a': {'password': ***, 'port': 1}}"),
        ("BINDS", ["redis://:hunter2@host", 1], "['redis://:***@host', 1]"),
        ("DSN", Dsn(), "Dsn(host='db', password=***, url=\"x://u:***@db\")"),
        ("X", Broken(), "<Broken: its repr() raised ZeroDivisionError>"),
    ],
)
def test_the_rule(name: str, value: Any, shown: str) -> None:
    """Names that look secret, passwords of URLs, and both inside of anything."""
    assert shown_value(name, value) == shown
    assert "hunter2" not in shown_value(name, value)


def test_a_value_is_bounded() -> None:
    """Also one that contains itself, or many."""
    circle: dict[str, Any] = {}
    circle["again"] = circle

    assert len(shown_value("X", "x" * 10_000)) == LONGEST
    assert len(shown_value("X", list(range(1_000_000)))) <= LONGEST
    assert "…" in shown_value("X", circle)


def test_what_does_not_fit_is_counted() -> None:
    """The reply has to fit into a message."""
    app = flask.Flask("shop")
    app.config.clear()
    app.config.update({f"K{number:04}": "x" * 400 for number in range(1000)})
    core: Any = type("Core", (), {"app": app})()

    shown = show_config(core, ShowConfig())

    assert 500 < len(shown.config) < 1000
    assert len(shown.config) + shown.missing == 1000
