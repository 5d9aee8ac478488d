"""Which names look secret, and what is left of a URL in a log."""

import pytest

from flaskd.http.secrets import looks_secret, mask_url, mask_users

SECRET = """
    token key secret password pass auth signature session code sig jwt api_key apiKey APIKey apikey
    access_token accesstoken X-Amz-Signature X-Amz-Security-Token X-Amz-Credential SECRET_KEY
    DB_PASSWORD sessionid session_id client-secret auth_code Authorization Set-Cookie csrf_token
    PASSWD key1 user[password]
"""
OTHER = """
    page q author keyword monkey bypass passage zip_code country_code codec status possession design
    sort lang v id compass
"""


@pytest.mark.parametrize(
    "name",
    SECRET.split(),
)
def test_names_of_secrets_look_secret(name: str) -> None:
    """Whatever the case and the boundaries between words."""
    assert looks_secret(name)


@pytest.mark.parametrize(
    "name",
    OTHER.split(),
)
def test_other_names_do_not(name: str) -> None:
    """A log without its values would be of no use."""
    assert not looks_secret(name)


@pytest.mark.parametrize(
    ("url", "masked"),
    [
        ("/login?user=ann&password=hunter2&next=%2F", "/login?user=ann&password=***&next=%2F"),
        ("/a?token=x;key=y", "/a?token=***;key=***"),
        ("/a?%74oken=x&page=2", "/a?%74oken=***&page=2"),  # the application sees `token`
        ("/a?to+ken=x&api+key=y", "/a?to+ken=***&api+key=***"),
        ("/a?token=a=b", "/a?token=***"),
        ("/a?token", "/a?token"),
        ("/a?token=", "/a?token="),
        ("/token=x/code", "/token=x/code"),
        ("/a", "/a"),
        (
            "https://ann:pw@shop.example/cb?code=1#access_token=z",
            "https://***@shop.example/cb?code=***#access_token=***",
        ),
    ],
)
def test_a_url_keeps_all_but_the_values_of_secrets(url: str, masked: str) -> None:
    """Names stay, so that one sees what was there; so does everything else, byte for byte."""
    assert mask_url(url) == masked


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        (
            "cannot reach postgresql://shop:pw@db/shop: refused",
            "cannot reach postgresql://***@db/shop: refused",
        ),
        ("postgresql://shop:a/b?c#d@db/shop", "postgresql://***@db/shop"),
        ("'postgresql://shop:it's@db/shop'", "'postgresql://***@db/shop'"),
        ("redis://:p@ss@cache", "redis://***@cache"),
        ("https://token@host/x", "https://***@host/x"),
        ("https://me:p@ss@host/x@1.0", "https://***@host/x@1.0"),
        (
            "https://host/x@1.0 and http://host:8080/?to=ann@b.c",
            "https://host/x@1.0 and http://host:8080/?to=ann@b.c",
        ),
        ("http://[::1]:8000/@ann", "http://[::1]:8000/@ann"),
        ("amqp://mq:1234/x@host", "amqp://***@host"),  # it may be a port, or a password
        ("see https://host/x, or ask ann@b.c", "see https://host/x, or ask ann@b.c"),
    ],
)
def test_a_text_keeps_all_but_users_and_passwords_of_its_urls(text: str, masked: str) -> None:
    """Also where they are not encoded as RFC 3986 wants it."""
    assert mask_users(text) == masked


def test_a_hostile_url_costs_little() -> None:
    """64 KiB of parameters take milliseconds: no pattern is tried again and again."""
    url = "/?" + "&=" * 10_000 + "A" * 20_000 + "=" + "a&" * 10_000

    assert mask_url(url) == url
    assert mask_users("://" * 5_000) == "://" * 5_000
