"""A Flask application that takes five seconds to load, as one with large libraries or a model does."""

import time

from benchmarks.hello import app as app

IMPORT_TIME = 5.0
"""Seconds."""

time.sleep(IMPORT_TIME)
