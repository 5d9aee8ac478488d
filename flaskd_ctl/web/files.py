"""The files of the page, as they are in the package."""

from importlib import resources
from typing import Final, NamedTuple

TYPES: Final = {
    "css": "text/css",
    "html": "text/html",
    "js": "text/javascript",
    "svg": "image/svg+xml",
}
"""The media type by the end of a file's name; other files are not served."""


class File(NamedTuple):
    """A file of the page."""

    content: bytes
    media_type: str


def file(name: str) -> File | None:
    """Return a file; None if the page has none of that name."""
    media_type = TYPES.get(name.rpartition(".")[2])
    if media_type is None:
        return None
    found = next(
        (each for each in resources.files(__package__).joinpath("page").iterdir() if each.name == name), None
    )
    return File(found.read_bytes(), media_type) if found is not None and found.is_file() else None
