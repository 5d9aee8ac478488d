"""Where an engine's parser is not ours and does otherwise: what is expected of it instead, and the docs' sentence on it."""

from typing import Final, NamedTuple

from tests.http.expected import Expected


class Exempt(NamedTuple):
    """What an engine does in a case, and the sentence in docs/engines.md that says so."""

    expected: Expected
    sentence: str


EXCEPTIONS: Final[dict[tuple[str, str], Exempt]] = {}
