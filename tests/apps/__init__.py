"""Real applications from PyPI, for `tests/live/test_applications.py`; what they store is below `APP_DIR`."""
