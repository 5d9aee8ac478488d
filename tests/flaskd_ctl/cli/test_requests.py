"""`requests` and its filters on the command line."""

import pytest

from tests.flaskd_ctl.conftest import Ctl
from tests.flaskd_ctl.fake import Fake


def test_only_what_is_given_is_sent(fake: Fake, ctl: Ctl) -> None:
    """An older daemon knows none of the filters."""
    assert ctl("requests").code == 0
    assert ctl("requests", "--stacks", "--older", "1m", "--path", "/shop", "--endpoint", "cart").code == 0

    assert [call.params for call in fake.calls] == [
        {},
        {"stacks": True, "older": 60.0, "path": "/shop", "endpoint": "cart"},
    ]


def test_none_of_those_asked_for_is_not_none_at_all(fake: Fake, ctl: Ctl) -> None:
    """A filter may be misspelt. Programs get the same result."""
    fake.on("requests", lambda call: call.reply({"requests": [], "left_out": 0, "stacks": None}))

    assert ctl("requests", "--stacks").out == "no request in flight\n"
    assert ctl("requests", "--endpoint", "crat").out == "no such request in flight\n"
    assert "narrowed" not in ctl("requests", "--endpoint", "crat", "--json").out


def test_an_endpoint_that_is_a_url_is_the_instances(fake: Fake, ctl: Ctl) -> None:
    """As it is for every command; the other one is the application's."""
    named = ctl("requests", "--endpoint", fake.url, "--endpoint", "cart")
    before = ctl("--endpoint", fake.url, "requests", "--endpoint", "cart")

    assert (named.code, before.code) == (0, 0), named.err + before.err
    assert [call.params for call in fake.calls] == [{"endpoint": "cart"}] * 2


@pytest.mark.parametrize(
    ("option", "value", "why"),
    [
        ("--path", "shop", "it must begin with a slash"),
        ("--worker", "first", "is not the id of a worker"),
        ("--older", "long", "is not a duration"),
    ],
)
def test_a_filter_that_cannot_match_is_refused(
    fake: Fake, ctl: Ctl, option: str, value: str, why: str
) -> None:
    """Nothing is asked."""
    told = ctl("requests", option, value)

    assert told.code == 2
    assert why in told.err
    assert not fake.calls
