"""The `flaskd_ctl` command."""
