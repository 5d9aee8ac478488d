"""`python -m flaskd`: the same as the `flaskd` command."""

from flaskd.cli import main

main(prog_name="flaskd")
