"""Keys for tests of tcp:// endpoints: the instance's own, those of callers, and the directory of those who are let in."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from flaskd.control.tcp.keygen import KeyFiles, make_pair


class Keyring:
    """Keys in a directory of the test's own."""

    def __init__(self, directory: Path) -> None:
        self.home = directory
        self.authorized = directory / "authorized"
        self.authorized.mkdir(mode=0o755)
        self.server = make_pair("shop", str(directory / "server"), force=False)

    def make(self, name: str) -> KeyFiles:
        """Make a caller's pair, which nobody lets in yet."""
        return make_pair(name, str(self.home / "callers"), force=True)

    def let_in(self, name: str) -> str:
        """Make a caller's pair and authorize it; return its secret file."""
        made = self.make(name)
        os.replace(made.public, self.authorized / f"{name}.key")
        return made.secret

    def given(self, name: str, url: str) -> dict[str, Any]:
        """Return what the caller `name` gives to a client of the instance at `url`."""
        return {
            "endpoint": url,
            "key": str(self.home / "callers" / f"{name}.key_secret"),
            "server_key": self.server.public,
        }

    @property
    def settings(self) -> dict[str, Any]:
        """The settings of an instance that is reached on a port that the kernel chooses."""
        return {
            "control_endpoints": ("tcp://127.0.0.1:0",),
            "curve_key": self.server.secret,
            "authorized_keys": str(self.authorized),
        }

    @property
    def options(self) -> list[str]:
        """The same as options of `flaskd run`."""
        return [
            part
            for name, value in self.settings.items()
            for part in (f"--{name.replace('_', '-')}", value if isinstance(value, str) else value[0])
        ]


def url_among(endpoints: Iterable[str]) -> str:
    """Return the tcp:// URL among the endpoints of an instance."""
    return next(url for url in endpoints if url.startswith("tcp://"))


def address_in(url: str) -> tuple[str, int]:
    """Return host and port of a tcp:// URL."""
    host, _, port = url.removeprefix("tcp://").rpartition(":")
    return host, int(port)
