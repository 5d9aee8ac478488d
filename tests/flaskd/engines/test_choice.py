"""Which engine `auto` means: granian where its supported version is installed; the reason is said in words."""

import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path

import pytest

import flaskd
from flaskd import Server
from flaskd.engines.choice import choose, installed
from flaskd.engines.factory import make_engine
from flaskd.engines.protocol import Options

Serve = Callable[..., Server]


@pytest.mark.parametrize(
    ("directories", "chosen"),
    [
        ([], ("waitress", "granian is not installed")),
        (["granian-2.8.7.dist-info"], ("granian", "granian 2.8.7 is installed")),
        (["granian-2.9.0.dist-info"], ("waitress", "granian 2.9.0 is not 2.8")),
        (["granian-2.80.0.dist-info"], ("waitress", "granian 2.80.0 is not 2.8")),
        (
            ["granian", "granian_more-2.8.7.dist-info", "granian-2.8.7"],
            ("waitress", "granian is not installed"),
        ),
    ],
)
def test_auto_is_granian_where_it_can_be(
    directories: list[str], chosen: tuple[str, str], tmp_path: Path
) -> None:
    """What is not known to work is not chosen by itself."""
    for name in directories:
        (tmp_path / name).mkdir()
    assert choose("auto", path=[str(tmp_path / "absent"), str(tmp_path)]) == chosen


@pytest.mark.parametrize(
    ("directories", "tls", "chosen"),
    [
        ([], True, ("werkzeug", "granian is not installed, and waitress has no HTTPS")),
        (["granian-2.8.7.dist-info"], True, ("granian", "granian 2.8.7 is installed")),
        (
            ["simple_websocket-1.1.0.dist-info"],
            False,
            (
                "werkzeug",
                "granian is not installed, and waitress has no WebSockets (simple-websocket is installed)",
            ),
        ),
        (
            ["simple_websocket-1.1.0.dist-info", "granian-2.8.7.dist-info"],
            False,
            ("granian", "granian 2.8.7 is installed"),
        ),
    ],
)
def test_what_settings_and_application_need_goes_before(
    directories: list[str], chosen: tuple[str, str], tmp_path: Path, *, tls: bool
) -> None:
    """HTTPS and WebSockets, which waitress has not; the reason is told."""
    for name in directories:
        (tmp_path / name).mkdir()
    assert choose("auto", tls=tls, path=[str(tmp_path)]) == chosen


@pytest.mark.parametrize("engine", ["waitress", "granian", "werkzeug"])
def test_websockets_that_cannot_be_opened_are_told(
    engine: str, serve: Serve, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody loses them silently."""
    monkeypatch.setitem(sys.modules, "simple_websocket", types.ModuleType("simple_websocket"))
    serve(engine=engine)
    said = f"the {engine} engine has no WebSockets: use --engine werkzeug"
    assert (said in caplog.text) == (engine != "werkzeug")


def test_the_first_on_the_path_counts(tmp_path: Path) -> None:
    """It is what an import finds."""
    for directory, version in (("first", "2.9.1"), ("second", "2.8.0")):
        (tmp_path / directory / f"granian-{version}.dist-info").mkdir(parents=True)
    assert installed("granian", [str(tmp_path / "first"), str(tmp_path / "second")]) == "2.9.1"


def test_inside_a_program_auto_is_werkzeug() -> None:
    """Its threads and its end are Python's own there."""
    assert choose("auto", embedded=True) == ("werkzeug", "the default inside a program")


@pytest.mark.parametrize("name", ["werkzeug", "granian"])
@pytest.mark.parametrize("embedded", [True, False])
def test_what_is_asked_for_is_taken(name: str, *, embedded: bool) -> None:
    """Whether it is there is found out when it is made."""
    assert choose(name, embedded=embedded) == (name, "asked for")


def test_choosing_imports_no_engine() -> None:
    """The supervisor, which chooses, serves no HTTP; nor does it need the 3 MiB of importlib.metadata."""
    code = (
        "import sys, types; package = types.ModuleType('flaskd'); package.__path__ = [sys.argv[1]]; "
        "sys.modules['flaskd'] = package; from flaskd.engines.choice import choose; choose('auto'); "
        "sys.exit(', '.join({'granian', 'werkzeug', 'flask', 'importlib.metadata'} & set(sys.modules)) or 0)"
    )
    subprocess.run([sys.executable, "-c", code, str(Path(flaskd.__file__).parent)], check=True, timeout=60)


def test_only_a_chosen_engine_is_made() -> None:
    """`auto` is a question, and has been answered by then."""
    with pytest.raises(ValueError, match="no engine is called 'auto'"):
        make_engine("auto", Options(threads=1))


@pytest.mark.parametrize(
    ("engine", "told"),
    [("auto", ("werkzeug", "the default inside a program")), ("granian", ("granian", "asked for"))],
)
def test_status_tells_engine_and_reason(engine: str, told: tuple[str, str], serve: Serve) -> None:
    """So that nobody has to guess what serves."""
    status = serve(engine=engine).status()
    assert (status.engine, status.engine_why) == told
