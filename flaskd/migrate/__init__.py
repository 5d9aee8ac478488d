"""`flaskd migrate`: a flaskd.toml from the configuration of another server.

Each server has a module (`gunicorn`, `uwsgi`, `waitress`, `flask_run`) with the table of its options, OPTIONS, and a function,
`read`, that finds their values where the server finds them. What an option is here is said in its row (`option`); `draft`
carries the conversions out. docs/generate.py makes the tables of the pages "Coming from …" from the same rows.
"""

from flaskd.migrate.migrate import SERVERS, Migrated, migrate

__all__ = ["SERVERS", "Migrated", "migrate"]
