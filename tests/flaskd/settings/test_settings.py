"""Settings: option > environment > file > default, each with its source; a bad one is a sentence."""

from pathlib import Path

import pytest

from flaskd.engines.choice import ENGINES
from flaskd.errors import ConfigError
from flaskd.settings.checks import check_alone, check_together
from flaskd.settings.options import help_text
from flaskd.settings.schema import FIELDS, SETTINGS, Settings, size
from flaskd.settings.sources import resolve, settings_from


def test_the_nearest_source_wins(tmp_path: Path) -> None:
    """Option, environment, flaskd.toml, pyproject.toml, default: in this order, and the source is told."""
    (tmp_path / "pyproject.toml").write_text(
        "[tool.flaskd]\ngrace = 1\nlinger = 1\nbacklog = 1\nthreads = 1\n"
    )
    (tmp_path / "flaskd.toml").write_text("grace = 2\nlinger = 2\nbacklog = 2\n")
    environ = {"FLASKD_GRACE": "3", "FLASKD_LINGER": "3"}

    found = resolve({"grace": "4"}, environ=environ, directory=str(tmp_path))

    assert found["grace"][:2] == (4.0, "--grace")
    assert found["linger"][:2] == (3.0, "FLASKD_LINGER")
    assert found["backlog"][:2] == (2, "flaskd.toml")
    assert found["threads"][:2] == (1, "pyproject.toml [tool.flaskd]")
    assert found["control"][:2] == (True, "default")
    assert settings_from(found).grace == 4.0


def test_lists_and_flags_are_read_from_text(tmp_path: Path) -> None:
    """The environment has only text."""
    environ = {
        "FLASKD_BIND": "127.0.0.1:1, unix:/x",
        "FLASKD_WERKZEUG_SHUTDOWN_HOOK": "true",
        "FLASKD_CONTROL": "0",
    }
    found = resolve({}, environ=environ, directory=str(tmp_path))
    assert found["bind"].value == ("127.0.0.1:1", "unix:/x")
    assert found["werkzeug_shutdown_hook"].value is True
    assert found["control"].value is False


def test_keys_may_be_written_with_hyphens(tmp_path: Path) -> None:
    """As the options are."""
    (tmp_path / "flaskd.toml").write_text("head-timeout = 7\n")
    assert resolve({}, environ={}, directory=str(tmp_path))["head_timeout"].value == 7.0


@pytest.mark.parametrize(
    ("options", "environ", "toml", "said"),
    [
        ({"threads": "0"}, {}, "", "--threads: threads cannot be '0': expected a whole number >= 1"),
        ({"threads": "x"}, {}, "", "--threads: threads cannot be 'x': expected a whole number"),
        (
            {"engine": "apache"},
            {},
            "",
            "--engine: engine cannot be 'apache': expected auto or waitress or granian or werkzeug",
        ),
        (
            {},
            {"FLASKD_CONTROL": "yes"},
            "",
            "FLASKD_CONTROL: control cannot be 'yes': expected true or false",
        ),
        ({}, {"FLASKD_BIND": ","}, "", "expected an address such as 127.0.0.1:8000, or a list"),
        ({}, {}, "[tool.flaskd]\nthreads = 3", "flaskd.toml has its settings in a table"),
        ({}, {}, "[flaskd]\nthreads = 3", "flaskd.toml has its settings in a table"),
        ({}, {"FLASKD_GRACE": "soon"}, "", "FLASKD_GRACE: grace cannot be 'soon'"),
        ({}, {}, "grace = -1", "flaskd.toml: grace cannot be -1"),
        ({}, {}, "speed = 9", "flaskd.toml: there is no setting 'speed'"),
        ({}, {}, "grace = = 1", "cannot read flaskd.toml"),
        ({"max_requests": "-1"}, {}, "", "max_requests cannot be '-1': expected a whole number >= 0"),
        ({"max_worker_memory": "1.5G"}, {}, "", "expected a number of bytes, or of KiB, MiB, GiB or TiB"),
        ({"worker_timeout": "soon"}, {}, "", "--worker-timeout: worker_timeout cannot be 'soon'"),
        ({"post_load": "shop"}, {}, "", "post_load cannot be 'shop': expected module:function"),
    ],
)
def test_a_bad_value_names_setting_value_and_source(
    options: dict[str, str], environ: dict[str, str], toml: str, said: str, tmp_path: Path
) -> None:
    """The sentence says what to look at."""
    (tmp_path / "flaskd.toml").write_text(toml)
    with pytest.raises(ConfigError) as caught:
        resolve(options, environ=environ, directory=str(tmp_path))
    assert said in str(caught.value)


def test_a_pyproject_of_an_unexpected_shape_is_a_sentence(tmp_path: Path) -> None:
    """Never a traceback."""
    (tmp_path / "pyproject.toml").write_text("[tool]\nflaskd = 3\n")
    with pytest.raises(ConfigError, match="is not a table"):
        resolve({}, environ={}, directory=str(tmp_path))


def test_a_pyproject_that_is_not_about_us_is_passed_over(tmp_path: Path) -> None:
    """However odd: other tools read it."""
    (tmp_path / "pyproject.toml").write_text("tool = 3\n")
    assert {each.source for each in resolve({}, environ={}, directory=str(tmp_path)).values()} == {"default"}


def test_a_file_that_is_no_utf8_is_a_sentence(tmp_path: Path) -> None:
    """As one that is no TOML."""
    (tmp_path / "flaskd.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match=r"cannot read flaskd\.toml"):
        resolve({}, environ={}, directory=str(tmp_path))


def test_a_file_of_arrays_in_arrays_is_a_sentence(tmp_path: Path) -> None:
    """A parser that gives up is no reason to fail otherwise."""
    (tmp_path / "flaskd.toml").write_text("bind = " + "[" * 100_000)
    with pytest.raises(ConfigError, match=r"cannot read flaskd\.toml"):
        resolve({}, environ={}, directory=str(tmp_path))


@pytest.mark.parametrize(
    ("file", "text", "lines"),
    [
        ("flaskd.toml", "# grace = 1\n\ngrace = 2\n'linger' = 1\nmax-requests = 5\n", (3, 4, 5)),
        ("flaskd.toml", "bind = [\n  'a:1',\n  \"grace = 9\",\n]\ngrace=1\n", (5, None, None)),
        ("flaskd.toml", "\tgrace  =  1", (1, None, None)),
        (
            "pyproject.toml",
            "[tool.other]\ngrace = 1\n[ tool.flaskd ]\nmax_requests = 1\ngrace = 2\n",
            (5, None, 4),
        ),
        ("pyproject.toml", "[tool]\nflaskd.grace = 2\n", (None, None, None)),
    ],
)
def test_the_line_of_a_setting_is_told(
    tmp_path: Path, file: str, text: str, lines: tuple[int | None, ...]
) -> None:
    """If it is written in the usual way; a comment or a text that looks like it is not it."""
    (tmp_path / file).write_text(text)
    found = resolve({}, environ={}, directory=str(tmp_path))
    assert tuple(found[name].line for name in ("grace", "linger", "max_requests")) == lines


def test_a_configuration_file_that_is_named_must_exist(tmp_path: Path) -> None:
    """Silence would serve with other settings than asked for."""
    with pytest.raises(ConfigError, match="no configuration file"):
        resolve({}, environ={}, directory=str(tmp_path), file="absent.toml")


def test_every_setting_has_a_description() -> None:
    """Help, docs and `config` are derived from it."""
    assert SETTINGS.keys() == FIELDS.keys()
    assert all(setting.help.endswith(".") for setting in SETTINGS.values())


@pytest.mark.parametrize(
    ("text", "expected"),
    [("0", 0), ("4096", 4096), ("1K", 1024), ("512M", 512 << 20), ("2G", 2 << 30), ("1T", 1 << 40)],
)
def test_memory_is_given_in_powers_of_1024(text: str, expected: int) -> None:
    """As systemd and Docker do."""
    assert size(text) == expected


def test_memory_may_be_a_number_in_toml(tmp_path: Path) -> None:
    """Of bytes."""
    (tmp_path / "flaskd.toml").write_text("max_worker_memory = 1000000\n")
    found = resolve({}, environ={}, directory=str(tmp_path))
    assert size(found["max_worker_memory"].value) == 1_000_000


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (Settings(ledger=False, max_requests=5), "--max-requests needs --ledger"),
        (Settings(ledger=False, request_timeout=5), "--request-timeout needs --ledger"),
        (Settings(request_timeout_answer=True), "--request-timeout-answer needs --request-timeout"),
        (Settings(ledger=False, max_queue_time=5), "--max-queue-time needs --ledger"),
        (Settings(unready_when_saturated=True), "--unready-when-saturated needs --max-queue-time"),
        (
            Settings(request_timeout=5, request_timeout_answer=True, engine="werkzeug"),
            r"--request-timeout-answer does not work with the werkzeug engine \(asked for\)",
        ),
        (
            Settings(tls_cert="c", tls_key="k", engine="waitress"),
            "--tls-cert does not work with the waitress engine",
        ),
    ],
)
def test_settings_that_do_not_go_together_are_refused(settings: Settings, said: str) -> None:
    """Before anything is bound."""
    with pytest.raises(ConfigError, match=said):
        check_together(settings)


@pytest.mark.parametrize("name", [name for name, setting in SETTINGS.items() if setting.workers_only])
def test_a_server_refuses_what_only_workers_can_keep_to(name: str) -> None:
    """It would have no effect."""
    values = {"workers": "2", "check": "/", "max_worker_memory": "1G", "post_load": "a:b", "pre_stop": "a:b"}
    with pytest.raises(ConfigError, match=f"{name} is for workers"):
        check_alone(Settings(**{name: values.get(name, 1)}))  # type: ignore[arg-type]  # of each its own


def test_facts_of_a_setting_name_settings_and_engines_that_exist() -> None:
    """A misspelt one would never be checked."""
    for setting in SETTINGS.values():
        assert set(setting.requires) <= FIELDS.keys()
        assert set(setting.engines) <= set(ENGINES)


def test_help_fits_in_two_lines() -> None:
    """With the default; of a terminal 120 characters wide, 86 are for the text."""
    assert all(len(help_text(name)) <= 2 * 86 for name in FIELDS)
