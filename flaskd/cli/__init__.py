"""The command line of the daemon: `flaskd run`, `start`, `check`, `config`, `doctor`, `keygen`, `migrate`, `systemd unit`.

`group` has what the commands have in common; each other module adds its commands to it.
"""

from flaskd.cli import checking, making, serving
from flaskd.cli.group import main

__all__ = ["checking", "main", "making", "serving"]
