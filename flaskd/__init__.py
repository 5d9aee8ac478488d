"""Run a Flask application as a daemon that can be operated: `Server`, and `run`, a drop-in for `app.run()`."""

from flaskd.drop_in import run
from flaskd.server import Server

__all__ = ["Server", "run"]
__version__ = "0.1.0"
