"""Orders in the journal of a real systemd: found by their fields, with systemd itself as who sent a signal (docs/audit.md)."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.needs import requires
from tests.support.service import Service, machine_with_site

pytestmark = [pytest.mark.live, pytest.mark.systemd, requires("root", "systemd")]


@pytest.fixture
def shop() -> Iterator[Service]:
    with machine_with_site() as (machine, site):
        service = Service(machine, site)
        service.make()
        try:
            yield service
        finally:
            service.remove()


def entries(shop: Service, *fields: str) -> list[dict[str, Any]]:
    """Return the journal's entries that have these fields, oldest first."""
    shop.machine.run("journalctl", "--sync")
    told = shop.machine.run("journalctl", "--no-pager", "--output", "json", "FLASKD_NAME=shop", *fields)
    return [json.loads(line) for line in told.splitlines()]


def test_the_journal_knows_who_asked_for_what(shop: Service) -> None:
    """Each order once, as an entry of the unit; the same word is in `status` after the end."""
    shop.systemctl("start", shop.name)
    shop.control("drain")
    shop.control("reload", "--check", "/nowhere", expect=1)

    drain, reload = entries(shop)
    assert (drain["FLASKD_COMMAND"], drain["FLASKD_OUTCOME"], drain["PRIORITY"]) == ("drain", "done", "5")
    assert (drain["FLASKD_UID"], drain["FLASKD_VIA"], drain["FLASKD_ROLE"]) == ("0", "control", "admin")
    assert drain["FLASKD_WHO"].endswith("--name shop drain")
    assert drain["_SYSTEMD_UNIT"] == "shop.service"
    assert drain["MESSAGE"].startswith("flaskd: drain asked for by uid 0 (root, pid ")
    assert (reload["FLASKD_OUTCOME"], reload["PRIORITY"]) == ("failed", "4")
    assert "404" in reload["FLASKD_ERROR"]
    assert shop.journal().count("flaskd: drain asked for by ") == 1
    assert len(entries(shop, "MESSAGE_ID=" + drain["MESSAGE_ID"])) == 2

    shop.systemctl("kill", "--kill-whom", "main", "--signal", "TERM", shop.name)
    shop.control("wait", "--for", "stopped", "--timeout", "30")
    (stop,) = entries(shop, "FLASKD_COMMAND=shutdown")
    assert (stop["FLASKD_SIGNAL"], stop["FLASKD_UID"], stop["FLASKD_PID"]) == ("SIGTERM", "0", "1")
    told = json.loads(shop.control("status", "--json", expect=3).splitlines()[0])  # then the error
    assert told["last_stop"]["why"] == "signal SIGTERM"
    assert told["last_stop"]["by"]["pid"] == 1
    assert "FLASKD" not in shop.journal()
