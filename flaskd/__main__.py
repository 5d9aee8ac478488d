"""`python -m flaskd`: the same as the `flaskd` command."""

import os
import sys

if not sys.flags.safe_path and sys.path[0] != os.path.dirname(os.path.dirname(os.path.abspath(__file__))):
    del sys.path[0]  # the current directory: its files must not be imported in place of Python's

from flaskd.entry import main

main(prog_name="flaskd")
