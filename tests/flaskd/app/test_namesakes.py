"""Modules of the application that are called as others."""

import os
import sys
from pathlib import Path

import pytest

from flaskd.app.namesakes import modules_of_flask, release


@pytest.fixture
def modules(monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """What is imported, to be changed by the test."""
    copy = dict(sys.modules)
    monkeypatch.setattr(sys, "modules", copy)
    return copy  # type: ignore[return-value]


def test_the_application_gets_its_own_where_flask_has_not_imported_the_other(
    modules: dict[str, object], tmp_path: Path
) -> None:
    """A package goes with its modules; nothing else is forgotten."""
    import concurrent.futures
    import queue

    for name in ("queue.py", "logging.py", "flaskd.py", "time.py", "nothing.py"):
        (tmp_path / name).write_text("")
    (tmp_path / "concurrent").mkdir()
    (tmp_path / "concurrent" / "__init__.py").write_text("")
    (tmp_path / "msgspec").mkdir()  # without __init__.py: found after all others
    before = set(modules)

    release(str(tmp_path), lambda: ["logging", "logging.handlers"])

    gone = before - set(modules)
    assert {"queue", "concurrent", "concurrent.futures"} <= gone
    assert {name.partition(".")[0] for name in gone} == {"queue", "concurrent"}
    assert queue.Queue is not None  # still there for those who have it
    assert concurrent.futures.Future is not None


def test_the_modules_that_are_imported_already_are_no_namesakes(modules: dict[str, object]) -> None:
    """The directory may be that of Python's library, or of an installed one."""
    before = set(modules)
    release(os.path.dirname(os.__file__), list)
    assert set(modules) == before


def test_flask_is_asked_only_where_something_is_called_alike(tmp_path: Path) -> None:
    """That takes a process, as long as an import of Flask. A directory that is no package is found after all others."""
    (tmp_path / "shop.py").write_text("")
    (tmp_path / "site").mkdir()
    release(str(tmp_path), lambda: pytest.fail("asked"))
    assert {"flask", "logging", "secrets"} <= set(modules_of_flask())
    assert "queue" not in modules_of_flask()
