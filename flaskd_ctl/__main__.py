"""`python -m flaskd_ctl` is `flaskd_ctl`."""

from flaskd_ctl.cli.main import main

main()
