"""Where an engine's parser is not ours and does otherwise: what is expected of it instead, and the docs' sentence on it."""

from typing import Final, NamedTuple

from tests.http.client import Ending
from tests.http.expected import NOTHING, Expected


class Exempt(NamedTuple):
    """What an engine does in a case, and the sentence in docs/engines.md that says so."""

    expected: Expected
    sentence: str


HALF_CLOSED: Final = Exempt(
    # hyper may look for the end of the stream only after it has answered.
    Expected(status=frozenset({NOTHING, 200}), ending=Ending.CLOSED, calls=frozenset({0, 1})),
    "A client that half-closes may not be answered.",
)
CHUNK_LINE: Final = Exempt(
    Expected(status=frozenset({200, NOTHING}), ending=Ending.CLOSED),  # the client half-closes, too
    "white space after a chunk size is ignored, and so is any byte except CR and LF in a chunk extension",
)
URL: Final = "if the target is a whole URL, its host is used only if there is no `Host`"

EXCEPTIONS: Final[dict[tuple[str, str], Exempt]] = {
    ("granian", "half-close after the request"): HALF_CLOSED,
    ("granian", "half-close after the request, slow application"): HALF_CLOSED,
    ("granian", "half-close after a body"): HALF_CLOSED,
    ("granian", "half-close after a chunked body"): HALF_CLOSED,
    ("granian", "half-close, a large response"): Exempt(
        HALF_CLOSED.expected.but(may_break_off=True), HALF_CLOSED.sentence
    ),
    ("granian", "chunk size has white space after"): CHUNK_LINE,
    ("granian", "chunk extension has a NUL"): CHUNK_LINE,
    ("granian", "Host that is empty"): Exempt(
        Expected(status=frozenset({400}), ending=Ending.CLOSED, calls=frozenset({0})),
        "an empty `Host` counts as a missing one and is answered 400",
    ),
    ("granian", "preface of HTTP/2"): Exempt(
        Expected(status=frozenset({NOTHING}), ending=Ending.CLOSED, calls=frozenset({0})),
        "the connection is closed without an answer for HTTP/2's preface",
    ),
    ("granian", "absolute target"): Exempt(
        Expected(saw={"PATH_INFO": "/a", "QUERY_STRING": "b=c", "HTTP_HOST": "x"}), URL
    ),
    ("granian", "absolute target without a path"): Exempt(
        Expected(saw={"PATH_INFO": "/", "HTTP_HOST": "x"}), URL
    ),
}
