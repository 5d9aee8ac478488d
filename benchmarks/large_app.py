"""A Flask application that holds 200,000 dicts, as an application with a cache of its data does."""

from flask import Flask

CATALOG = [{"id": number, "name": f"article {number}", "price": number / 100} for number in range(200_000)]

app = Flask(__name__)


@app.get("/")
def count() -> str:
    """Say how many there are."""
    return str(len(CATALOG))
