"""The smallest Flask application, for figures in which the application should not count."""

from flask import Flask

app = Flask(__name__)


@app.get("/")
def hello() -> str:
    """Greet."""
    return "Hello, World!"
