"""Where `flaskd start` puts an instance, and what it tells `flaskd run` besides."""

from pathlib import Path
from typing import Any

import pytest

from flaskd.settings.schema import Settings
from flaskd.start import command
from flaskd_ctl.contract.endpoint import Place


def test_an_instance_is_not_where_the_end_of_a_login_session_removes_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """pam_systemd(8) removes XDG_RUNTIME_DIR with the last session; a directory that is named counts."""
    monkeypatch.delenv("FLASKD_RUNTIME_DIR")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    place = command._place(Settings(name="shop"))
    assert place.name == "shop"
    assert not place.directory.startswith(str(tmp_path))
    assert command._place(Settings(name="shop", runtime_dir="/srv/run")).directory == "/srv/run/shop"


@pytest.mark.parametrize(
    ("settings", "options"),
    [
        ({}, ["--log-file", "/s/shop.log"]),
        ({"log_file": "/var/log/shop.log"}, []),
        ({"access_log": "json"}, ["--log-file", "/s/shop.log", "--access-log-file", "/s/shop.access.log"]),
        ({"access_log": "json", "access_log_file": "/a", "log_file": "/b"}, []),
    ],
)
def test_output_goes_to_files_unless_settings_say_otherwise(
    settings: dict[str, Any], options: list[str]
) -> None:
    """Nobody reads stdout."""
    wanted = Settings(name="shop", runtime_dir="/r", **settings)
    assert command._options(wanted, Place("/r/shop"), "/s/shop.log", rotated=False) == options
    limited = [*options, "--log-max-size", "10M"]
    assert command._options(wanted, Place("/r/shop"), "/s/shop.log", rotated=True) == limited
