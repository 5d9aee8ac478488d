"""From a target to an application: what is found, and what a person is told when it is not."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import flask
import pytest
from flask.cli import ScriptInfo

from flaskd.app.loader import load
from flaskd.errors import LoadError
from flaskd.settings.target import default_name

Write = Callable[..., str]

APP = "import flask\napp = flask.Flask(__name__)\n"


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Write a module, importable from the current directory, forgotten after the test."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)

    def write(text: str, name: str = "loadable.py") -> str:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return str(path)

    yield write
    for name in set(sys.modules) - before:
        del sys.modules[name]


@pytest.mark.parametrize(
    ("text", "target"),
    [
        (APP, "loadable:app"),
        (APP, "loadable"),
        (APP, "loadable.py:app"),
        (APP.replace("app =", "application ="), "loadable"),
        (APP.replace("app =", "shop ="), "loadable"),
        ("import flask\ndef create_app():\n    return flask.Flask('made')\n", "loadable"),
        ("import flask\ndef create_app():\n    return flask.Flask('made')\n", "loadable:create_app()"),
        ("import flask\ndef create_app():\n    return flask.Flask('made')\n", "loadable:create_app"),
        ("import flask\ndef shop():\n    return flask.Flask('made')\n", "loadable:shop"),
        (
            "import flask\ndef shop(config=None, *, debug=False):\n    return flask.Flask('made')\n",
            "loadable:shop",
        ),
        ("import flask\ndef make(a, b=1):\n    return flask.Flask(a * b)\n", "loadable:make('x', b=2)"),
        ("import flask\nclass Box:\n    app = flask.Flask('boxed')\n", "loadable:Box.app"),
        (APP + "app.run()\n", "loadable"),  # as under `flask run`, it does nothing
    ],
)
def test_an_application_is_found(write: Write, text: str, target: str) -> None:
    """In each way that `flask --app` knows, and by path."""
    write(text)
    assert isinstance(load(target), flask.Flask)
    if "Box" not in target:  # it takes no attributes of attributes
        assert isinstance(ScriptInfo(app_import_path=target).load_app(), flask.Flask)


def test_a_module_in_a_package_is_found_by_path(write: Write) -> None:
    """The package's root goes on sys.path, so that its relative imports work."""
    write("", "pkg/__init__.py")
    write("NAME = 'x'\n", "pkg/names.py")
    path = write("import flask\nfrom .names import NAME\napp = flask.Flask(NAME)\n", "pkg/web.py")
    assert load(f"{path}:app").name == "x"  # type: ignore[attr-defined]


def test_a_file_need_not_be_named_as_python_names_modules(write: Write) -> None:
    """`flask --app my-shop.py` works too."""
    path = write(APP, "my-shop.py")
    assert isinstance(load(path), flask.Flask)


def test_a_file_with_a_dot_in_its_name_is_refused_with_the_reason(write: Write) -> None:
    """Python would look for a package."""
    write(APP, "my.shop.py")
    with pytest.raises(LoadError, match="cannot import a file with a dot in its name"):
        load("my.shop.py")


def test_an_application_written_with_a_dot_is_told_how(write: Write) -> None:
    """`shop.app` is what one writes who knows Python's names."""
    write(APP)
    with pytest.raises(LoadError) as caught:
        load("loadable.app")
    assert "write loadable:app" in caught.value.hint


def test_any_wsgi_callable_will_do(write: Write) -> None:
    """It need not be Flask's."""
    write("def app(environ, start_response):\n    return []\n")
    assert callable(load("loadable"))


@pytest.mark.parametrize(
    ("text", "target", "said"),
    [
        (APP, "absent:app", "no module 'absent'"),
        (APP, "loadable:shop", "loadable has no attribute 'shop'"),
        (APP, "loadable:app.x.y", "no attribute 'x'"),
        (APP, "loadable:1+1", "neither a name nor a call"),
        (APP, "loadable:app(", "neither a name nor a call"),
        (APP, "loadable:app(x)", "must be literals"),
        (APP, "loadable:app({[]: 1})", "must be literals"),
        (APP, "", "no application was named"),
        (APP, "absent.py", "there is no file /"),
        (APP, ":app", "no application was named"),
        (APP, " ", "no application was named"),
        (APP, "..loadable", "'..loadable' is not the name of a module"),
        (APP, "loadable:app()", "app is an application, not a factory"),
        ("x = 1\n", "loadable:x", "it is of type int, not a WSGI application"),
        ("x = 1\n", "loadable", "neither an application"),
        (APP + "other = flask.Flask('o')\n", "loadable:none", "no attribute 'none'"),
        (
            "import flask\na = flask.Flask('a')\nb = flask.Flask('b')\n",
            "loadable",
            "several Flask applications",
        ),
        ("import nothing_of_that_name\n", "loadable", "No module named 'nothing_of_that_name'"),
        ("\n\n1 / 0\n", "loadable", "ZeroDivisionError: division by zero"),
        ("def create_app():\n    raise KeyError('SECRET')\n", "loadable", "KeyError: 'SECRET'"),
        ("def create_app(config):\n    pass\n", "loadable", "does not take these arguments"),
        ("import sys\nsys.exit('no database')\n", "loadable", "SystemExit: no database"),
        ("def f(:\n", "loadable", "SyntaxError: invalid syntax"),
        ("raise ValueError('two\\nlines')\n", "loadable", "ValueError: two lines"),
        ("raise ValueError\n", "loadable", "cannot load loadable: ValueError ("),
        (
            "e = ValueError('no database')\ne.add_note('a note')\nraise e\n",
            "loadable",
            "ValueError: no database",
        ),
    ],
)
def test_what_cannot_be_loaded_is_said_in_a_sentence(write: Write, text: str, target: str, said: str) -> None:
    """With the original error; never a traceback."""
    write(text)
    with pytest.raises(LoadError) as caught:
        load(target)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_looks_secret_in_the_message_is_masked(write: Write) -> None:
    """A viewer reads it in `status`, `incidents` and `events`."""
    write("raise OSError('cannot connect to postgresql://shop:hunter2@db, password=hunter3')\n")
    with pytest.raises(LoadError) as caught:
        load("loadable")
    assert "OSError: cannot connect to postgresql://***@db, password=*** (" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "line"),
    [("\n\n1 / 0\n", 3), ("def create_app():\n    raise KeyError('k')\n", 2), ("def f(:\n", 1)],
)
def test_the_place_of_the_error_is_told(write: Write, text: str, line: int) -> None:
    """File and line of the application's own code."""
    path = write(text)
    with pytest.raises(LoadError, match=f"{path}, line {line}"):
        load("loadable")


@pytest.mark.parametrize(
    ("target", "name"),
    [
        ("shop:app", "shop"),
        ("pkg.shop:app", "shop"),
        ("src/shop.py:app", "shop"),
        ("src/shop/", "shop"),
        ("shop", "shop"),
        ("my-shop.py:app", "my-shop"),
        ("src/shop/..", "src"),
    ],
)
def test_the_name_of_an_instance_comes_from_the_application(target: str, name: str) -> None:
    """The last part of the module or path."""
    assert name == default_name(target)
