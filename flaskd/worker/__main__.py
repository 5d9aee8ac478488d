"""`python -m flaskd.worker DESCRIPTOR`: how a supervisor starts a worker."""

from flaskd.worker.main import main

main()
