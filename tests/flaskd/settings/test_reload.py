"""Settings that are read again: a reload takes what it can, and names what needs a restart."""

from flaskd.settings.reload import take_over
from flaskd.settings.schema import Settings


def test_a_setting_that_needs_a_restart_keeps_its_value() -> None:
    """The others change."""
    before, now = Settings(backlog=5, threads=1), Settings(backlog=6, threads=2)

    result = take_over(before, now)

    assert result == (Settings(backlog=5, threads=2), ["threads", "backlog"], ["backlog"])


def test_certificates_may_change_but_https_stays_on_or_off() -> None:
    """A renewed certificate may have another path."""
    old, renewed = Settings(tls_cert="a", tls_key="a"), Settings(tls_cert="b", tls_key="b")

    assert take_over(old, renewed) == (renewed, ["tls_cert", "tls_key"], [])
    assert take_over(old, Settings()) == (old, ["tls_cert", "tls_key"], ["tls_cert", "tls_key"])
    assert take_over(Settings(), renewed).settings == Settings()
