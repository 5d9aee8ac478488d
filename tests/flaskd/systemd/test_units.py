"""`flaskd systemd unit`: what it derives from the settings, what it refuses, and how systemd rates it.

That systemd takes the units without a word, and that the service lives in its sandbox, is tested where a systemd runs
(tests/live/test_systemd.py).
"""

import re
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from flaskd.cli import main
from tests.support.needs import requires

SITE = ["--directory", "/srv/shop", "--program", "/srv/shop/.venv/bin/flaskd"]
LARGEST_EXPOSURE = 2.0
PAGE = Path(__file__).parents[3] / "docs" / "systemd.md"


def unit(*args: str) -> Result:
    """Run `flaskd systemd unit …` for a site in /srv/shop."""
    return CliRunner().invoke(main, ["systemd", "unit", *SITE, *args])


def printed(*args: str) -> str:
    result = unit(*args)
    assert result.exit_code == 0, result.output
    return result.stdout


def refused(*args: str) -> str:
    result = unit(*args)
    assert (result.exit_code, result.stdout) == (1, "")
    return result.stderr


def values(text: str, name: str) -> list[str]:
    """Every value that `name` is given, in order."""
    return re.findall(rf"^{name}=(.*)$", text, re.MULTILINE)


def test_service_is_run_with_the_options_that_were_named_and_no_others() -> None:
    """The rest stays in flaskd.toml, where it can be changed without a new unit."""
    text = printed("shop:app", "--grace", "10", "--workers", "2", "--no-ledger")

    assert text.startswith("# /etc/systemd/system/shop.service\n# Made by `flaskd systemd unit`")
    assert values(text, "ExecStart") == [
        "/srv/shop/.venv/bin/flaskd run shop:app --name %N --grace 10 --workers 2 --no-ledger"
    ]
    assert values(text, "ExecStop") == ["/srv/shop/.venv/bin/flaskd_ctl --name %N shutdown --missing-ok"]
    assert values(text, "ExecReload") == ["/srv/shop/.venv/bin/flaskd_ctl --name %N reload"]


def test_the_service_may_write_its_log_files() -> None:
    """systemd makes a directory below /var/log, for a user made up for the service too; another one must be there."""
    inside = ["--log-file", "/var/log/shop/shop.log", "--access-log-file", "/var/log/shop/access.log"]
    elsewhere = ["--log-file", "logs/shop.log"]

    assert values(printed("shop:app", *inside), "LogsDirectory") == ["shop"]
    assert values(printed("shop:app", *elsewhere), "ReadWritePaths") == ["/srv/shop/logs"]
    assert not values(printed("shop:app"), "LogsDirectory")
    assert "the service cannot write to /var/log itself" in refused(
        "shop:app", "--log-file", "/var/log/shop.log"
    )


@pytest.mark.parametrize(
    ("args", "least"),
    [
        ((), 30.5),
        (("--grace", "120"), 120.5),
        (("--grace", "1", "--linger", "20"), 21.0),
        (("--lame-duck", "60"), 90.5),
        (("--grace", "30", "--pre-stop", "shop:bye", "--hook-timeout", "40"), 70.5),
    ],
)
def test_stop_has_the_time_that_it_may_take_and_some_more(args: tuple[str, ...], least: float) -> None:
    """Else systemd kills what the grace period still allows."""
    (timeout,) = values(printed("shop:app", *args), "TimeoutStopSec")

    assert least + 5 < int(timeout) < least + 30


def test_settings_of_the_site_count_and_our_environment_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The service will read the same file, and has an environment of its own."""
    monkeypatch.setattr("flaskd.systemd.unit.PRIVATE", ())  # where this test may write
    (tmp_path / "flaskd.toml").write_text('app = "shop:app"\ngrace = 200\n')
    runner = CliRunner(env={"FLASKD_GRACE": "5"})

    result = runner.invoke(main, ["systemd", "unit", "--directory", str(tmp_path)])

    assert "# /etc/systemd/system/shop.service" in result.stdout
    assert int(values(result.stdout, "TimeoutStopSec")[0]) > 200
    assert "run --name %N\n" in result.stdout
    assert values(result.stdout, "Description") == ["The Flask application shop:app"]


def test_socket_unit_has_the_addresses_and_the_service_none() -> None:
    """What systemd opens, the service must not open too."""
    text = printed(
        "shop:app", "--socket", "--backlog", "99",
        *("--bind", "8000", "--bind", "[::1]:8001", "--bind", "unix:/run/shop.sock", "--bind", ":8002"),
    )  # fmt: skip

    assert values(text, "ListenStream") == [
        "127.0.0.1:8000",
        "[::1]:8001",
        "/run/shop.sock",
        "0.0.0.0:8002",
    ]
    assert values(text, "Backlog") == ["99"]
    assert "--bind" not in text
    assert values(text, "Requires") == ["shop.socket"]
    assert values(text, "Also") == ["shop.socket"]


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        ((), "no application was named"),
        (("shop:app", "--socket", "--bind", "localhost:8000"), "takes IP addresses, not names"),
        (("shop:app", "--socket", "--bind", "127.0.0.1:0"), "it needs a port"),
        (("shop:app", "--bind", "unix:/run/shop.sock"), "--socket"),
        (("shop:app", "--program", "/tmp/venv/bin/flaskd"), "it has a /tmp of its own"),
        (("shop:app", "--name", "a b"), "cannot name an instance"),
        (("shop:app", "--grace", "soon"), "grace cannot be 'soon'"),
        (("shop:app", "--dev"), "--dev is for a terminal, not for a service"),
    ],
)
def test_unit_that_could_not_work_is_refused(args: tuple[str, ...], sentence: str) -> None:
    """With the sentence now, rather than a failed service later."""
    assert sentence in refused(*args)


def test_only_a_low_port_of_ones_own_needs_a_capability() -> None:
    """A socket unit needs none: systemd binds."""
    assert values(printed("shop:app"), "CapabilityBoundingSet") == [""]
    assert values(printed("shop:app", "--bind", ":80", "--socket"), "CapabilityBoundingSet") == [""]

    low = printed("shop:app", "--bind", ":80")

    assert values(low, "CapabilityBoundingSet") == ["CAP_NET_BIND_SERVICE"]
    assert values(low, "AmbientCapabilities") == ["CAP_NET_BIND_SERVICE"]


def test_network_is_waited_for_only_where_an_address_of_it_is_bound() -> None:
    """Others can be bound before there is any network."""
    online = "network-online.target"
    assert online in printed("shop:app", "--bind", "192.0.2.1:8000")
    assert online not in printed("shop:app", "--bind", "0.0.0.0:8000", "--bind", "[::1]:8000")
    assert online not in printed("shop:app", "--bind", "192.0.2.1:8000", "--socket")


def test_words_reach_the_service_as_they_were() -> None:
    """systemd.service(5) expands % and $ and takes quotes away."""
    text = printed("shop:make('a b', \"$HOME\", 100%)")

    (command,) = values(text, "ExecStart")
    assert '"shop:make(\'a b\', \\"$$HOME\\", 100%%)"' in command


def test_homes_are_hidden_unless_the_service_lives_in_one() -> None:
    """ProtectHome=yes would hide its own program."""
    assert values(printed("shop:app"), "ProtectHome") == ["yes"]
    assert values(printed("shop:app", "--directory", "/home/ann/shop"), "ProtectHome") == ["read-only"]


def test_directory_that_is_a_link_to_a_release_is_followed_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the name it has here, which systemd does not tell a service: a reload goes to where it points then."""
    monkeypatch.setattr("flaskd.systemd.unit.PRIVATE", ())  # where this test may write
    (tmp_path / "1").mkdir()
    (tmp_path / "current").symlink_to("1")

    followed, plain = printed("shop:app", "--directory", f"{tmp_path}/current"), printed("shop:app")

    assert values(followed, "WorkingDirectory") == [f"{tmp_path}/current"]
    assert values(followed, "Environment") == [f"PWD={tmp_path}/current"]
    assert values(plain, "Environment") == []


def test_template_serves_each_application_under_its_own_name() -> None:
    """%i is what stands after the @: the instance's name, and here its directory."""
    result = CliRunner().invoke(
        main,
        ["systemd", "unit", "--template", "--directory", "/srv/%i", "--program", "/srv/%i/.venv/bin/flaskd"],
    )

    assert "# /etc/systemd/system/flaskd@.service" in result.stdout
    assert values(result.stdout, "ExecStart") == ["/srv/%i/.venv/bin/flaskd run --name %i"]
    assert values(result.stdout, "WorkingDirectory") == ["/srv/%i"]
    assert values(result.stdout, "RuntimeDirectory") == ["flaskd/%i"]


def test_files_are_written_and_only_ours_are_replaced(tmp_path: Path) -> None:
    """Made anew they may be; what somebody else wrote is left alone, and then nothing is written at all."""
    assert unit("shop:app", "--output", str(tmp_path)).exit_code == 0
    printed("shop:app", "--socket", "--output", str(tmp_path))
    assert {path.name for path in tmp_path.iterdir()} == {"shop.service", "shop.socket"}

    (tmp_path / "shop.socket").write_text("[Socket]\n")
    before = (tmp_path / "shop.service").read_text()
    said = refused("shop:app", "--socket", "--grace", "99", "--output", str(tmp_path))

    assert "was not made by `flaskd systemd unit`" in said
    assert (tmp_path / "shop.socket").read_text() == "[Socket]\n"
    assert (tmp_path / "shop.service").read_text() == before


def test_directory_that_is_not_there_is_a_sentence(tmp_path: Path) -> None:
    """Not a traceback."""
    assert "cannot write to" in refused("shop:app", "--output", str(tmp_path / "missing"))


def test_unit_on_the_page_is_the_one_that_is_printed() -> None:
    """docs/systemd.md explains it line by line."""
    (shown,) = re.findall(r"^```ini\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)

    text = printed("shop:app", "--bind", "127.0.0.1:8000", "--grace", "30")

    assert text == f"# /etc/systemd/system/shop.service\n{shown}"


@pytest.mark.parametrize(
    "args", [(), ("--grace", "300"), ("--pre-stop", "shop:bye", "--hook-timeout", "60")], ids=" ".join
)
def test_doctor_has_nothing_to_say_of_it(tmp_path: Path, args: tuple[str, ...]) -> None:
    """`flaskd doctor` compares the time limits of a unit with the service's own."""
    printed("shop:app", *args, "--socket", "--output", str(tmp_path))

    result = CliRunner().invoke(main, ["doctor", str(tmp_path / "shop.service")])

    assert result.exit_code == 0, result.output


@pytest.mark.parametrize("seconds", ["nan", "inf"])
def test_watchdog_is_a_number_of_seconds(seconds: str) -> None:
    """Systemd would ignore the line, with a warning in its log."""
    assert f"--watchdog cannot be {seconds}" in refused("shop:app", "--watchdog", seconds)


@requires("systemd-analyze")
@pytest.mark.parametrize(
    "args",
    [
        (),
        ("--user", "shop"),
        ("--socket", "--watchdog", "30", "--notify-reload"),
        ("--bind", ":80"),
        ("--directory", "/home/shop"),
    ],
    ids=" ".join,
)
def test_exposure_is_rated_two_at_most(tmp_path: Path, args: tuple[str, ...]) -> None:
    """`systemd-analyze security` counts from 0, safe, to 10."""
    printed("shop:app", *args, "--output", str(tmp_path))

    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=yes", "--no-pager", str(tmp_path / "shop.service")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    (exposure,) = re.findall(r"Overall exposure level for shop.service: ([\d.]+)", done.stdout)
    assert float(exposure) <= LARGEST_EXPOSURE
