"""The waitress engine."""
