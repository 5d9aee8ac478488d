"""The directory that an application is loaded from, with its links resolved."""

import sys
from pathlib import Path
from types import ModuleType

import flask
import pytest

from flaskd.release import code
from flaskd.release.code import MOST_PACKAGES


@pytest.fixture
def current(tmp_path: Path) -> Path:
    """A link to a release, which holds a module and a package."""
    release = tmp_path / "releases" / "42"
    (release / "web" / "shop").mkdir(parents=True)
    for file in ("app.py", "web/__init__.py", "web/shop/__init__.py", "web/shop/wsgi.py"):
        (release / file).touch()
    (tmp_path / "current").symlink_to(release)
    return tmp_path / "current"


@pytest.mark.parametrize(
    "target",
    [
        "app",
        "app:create_app('x')",
        "web.shop",
        "web.shop.wsgi:app",
        "app.py:app",
        "web/shop/wsgi.py",
        "web/shop",
    ],
)
def test_a_link_to_the_release_is_resolved(current: Path, target: str) -> None:
    """For a module, a package and a path."""
    found = code.on_disk(target, str(current))
    assert found.directory == str(current.resolve())
    assert found.modified is not None


def test_an_application_that_is_installed_is_not_known(current: Path) -> None:
    """It is not in the directory."""
    assert code.on_disk("flask:Flask", str(current)) == code.Code()
    assert code.on_disk("", str(current)) == code.Code()


@pytest.mark.parametrize(
    ("name", "file"),
    [("app", "app.py"), ("web", "web/__init__.py"), ("web.shop.wsgi", "web/shop/wsgi.py")],
)
def test_a_module_that_is_loaded_knows_its_directory(
    current: Path, name: str, file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = ModuleType(name)
    module.__file__ = str(current / file)
    monkeypatch.setitem(sys.modules, name, module)
    assert code.of_module(name).directory == str(current.resolve())
    assert code.of_application(flask.Flask(name)).directory == str(current.resolve())


def test_a_module_without_a_file_is_not_known() -> None:
    """A built-in one, or none of that name."""
    assert code.of_module("sys") == code.of_module("no.such.module") == code.Code()


def test_another_release_is_seen_when_the_link_has_moved(current: Path) -> None:
    before = code.on_disk("app", str(current))
    other = current.parent / "releases" / "43"
    other.mkdir()
    (other / "app.py").touch()
    current.unlink()
    current.symlink_to(other)
    assert code.on_disk("app", str(current)).directory == str(other)
    assert code.again(before).directory == before.directory


def test_packages_are_those_that_an_import_would_find(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first on the path wins; no file is opened."""
    first, second = tmp_path / "1", tmp_path / "2"
    for path in (
        first / "Flask_Login-0.6.3.dist-info",
        second / "flask_login-0.5.dist-info",
        second / "old-1.2-py3.11.egg-info",
        second / "shop",
    ):
        path.mkdir(parents=True)
    monkeypatch.setattr(sys, "path", [str(first), str(tmp_path / "none"), str(second)])
    assert code.packages() == {"flask-login": "0.6.3", "old": "1.2"}


def test_the_reply_is_bounded_and_can_be_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names come from the disk; what changed since is told by itself."""
    from types import SimpleNamespace
    from typing import Any

    import msgspec

    from flaskd.channel.messages import FromWorker
    from flaskd.in_process import code as in_process
    from flaskd.tasks import DescribeCode

    loaded = {f"p\udcff{number}{'x' * 500}": "1" for number in range(MOST_PACKAGES + 5)}
    core: Any = SimpleNamespace(code=code.Code("/srv/\udcff"), packages=loaded | {"gone": "1", "new": "1"})
    monkeypatch.setattr(in_process, "packages", lambda: loaded | {"new": "2"})

    reply = in_process.describe_code(core, DescribeCode())

    assert msgspec.json.decode(msgspec.json.encode(reply), type=FromWorker) == reply
    assert (len(reply.packages), reply.more, reply.changed) == (500, 7, {"gone": "", "new": "2"})
