"""`flaskd migrate waitress` and `flaskd migrate flask-run`: command lines only."""

import click
import pytest

from tests.flaskd.migrate.conftest import Migrate


def test_waitress_serves_on_its_own_default_address(migrated: Migrate) -> None:
    """With its limits, where flaskd has none."""
    assert migrated("waitress", "shop:app").settings == {
        "app": "shop:app",
        "bind": "0.0.0.0:8080",
        "engine": "waitress",
        "threads": 4,
        "max_request_body_size": 1_073_741_824,
    }


@pytest.mark.parametrize(
    ("words", "bind"),
    [
        (("--listen=127.0.0.1:9000", "--listen=[::1]:9000"), ["127.0.0.1:9000", "[::1]:9000"]),
        (("--listen=*:9000",), "0.0.0.0:9000"),
        (("--host=127.0.0.1", "--port=9000"), "127.0.0.1:9000"),
        (("--unix-socket=/run/shop.sock",), "unix:/run/shop.sock"),
    ],
)
def test_addresses_of_waitress(migrated: Migrate, words: tuple[str, ...], bind: str | list[str]) -> None:
    """Each form."""
    assert migrated("waitress", *words, "shop:app").settings["bind"] == bind


def test_options_of_waitress(migrated: Migrate) -> None:
    """A factory, trust in a proxy, timeouts, and what is not needed."""
    result = migrated(
        "waitress", "--call", "--threads=8", "--channel-timeout=60", "--trusted-proxy=127.0.0.1", "--trusted-proxy-count=2",
        "--url-prefix=/shop", "--recv-bytes=4096", "--no-ipv6", "shop:create_app",
    )  # fmt: skip

    found = {name: result.settings[name] for name in ("app", "threads", "head_timeout", "trusted_proxies")}
    assert found == {"app": "shop:create_app()", "threads": 8, "head_timeout": 60, "trusted_proxies": 2}
    assert "X-Forwarded-Prefix" in result.said("url_prefix")
    assert result.said("recv_bytes").startswith("not needed")
    assert result.said("ipv6").startswith("elsewhere")


@pytest.mark.parametrize("words", [(), ("shop:app", "blog:app")])
def test_waitress_serves_one_application(migrated: Migrate, words: tuple[str, ...]) -> None:
    """Neither none nor two."""
    with pytest.raises(click.UsageError, match="name one application"):
        migrated("waitress", *words)


def test_flask_run(migrated: Migrate) -> None:
    """Its address, its certificate, its threads; with or without the word `run`."""
    result = migrated(
        "flask-run",
        "--app",
        "shop",
        "run",
        "-h",
        "::1",
        "--without-threads",
        "--cert",
        "c.pem",
        "--key",
        "k.pem",
    )

    assert result.settings == {
        "app": "shop",
        "bind": "[::1]:5000",
        "threads": 1,
        "tls_cert": "c.pem",
        "tls_key": "k.pem",
    }


def test_flask_run_reads_its_variables(migrated: Migrate) -> None:
    """The command line wins."""
    result = migrated(
        "flask-run",
        "--port",
        "8000",
        FLASK_APP="shop:create_app",
        FLASK_RUN_PORT="9000",
        FLASK_RUN_HOST="0.0.0.0",
    )

    assert (result.settings["app"], result.settings["bind"]) == ("shop:create_app", "0.0.0.0:8000")


def test_what_is_for_development_is_not_for_production(migrated: Migrate) -> None:
    """The debugger, above all."""
    result = migrated("flask-run", "-A", "shop", "--debug", "--reload", "--cert", "adhoc")

    assert "never in production" in result.said("debug")
    assert "flaskd dev" in result.said("reload")
    assert "makes no certificates" in result.said("cert")
    assert "tls_cert" not in result.settings


def test_flask_run_takes_no_other_words(migrated: Migrate) -> None:
    """The application has an option."""
    with pytest.raises(click.UsageError, match="name the application with --app"):
        migrated("flask-run", "shop:app")
