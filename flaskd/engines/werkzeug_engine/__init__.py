"""The Werkzeug engine."""
