"""The application: its loading, its hooks, and what flaskd adds to it."""
