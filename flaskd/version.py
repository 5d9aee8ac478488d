"""The version of flaskd."""

__version__ = "0.1.0"
