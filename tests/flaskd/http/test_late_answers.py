"""Answers in the application's place: one for each request, whoever is quicker, and nothing of the other is seen."""

from typing import Any

import pytest

from flaskd.http.late_answers import BODY, LateAnswers

Headers = list[tuple[str, str]]


class Proto:
    """As granian's, but it tells of a second response."""

    def __init__(self) -> None:
        self.responses: list[tuple[int, bytes]] = []
        self.headers: Headers = []

    def response_bytes(self, status: int, headers: Headers, body: bytes) -> None:
        self.responses.append((status, body))
        self.headers = headers

    def response_iter(self, status: int, headers: Headers, body: Any) -> None:
        self.response_bytes(status, headers, b"".join(body.chunks))


class Chunks:
    """What granian draws a body from."""

    def __init__(self) -> None:
        self.chunks = [b"late ", b"body"]
        self.closed = False

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def late() -> LateAnswers:
    return LateAnswers(lambda environ: environ["number"])


def test_who_has_waited_long_enough_is_answered_once(late: LateAnswers) -> None:
    """With its id, and a connection that ends; the application's answer is dropped, and its body closed."""
    proto, body = Proto(), Chunks()

    def application(guarded: Any, environ: dict[str, Any]) -> int:
        assert not late.answer(8)
        assert late.answer(7)
        assert not late.answer(7)
        guarded.response_iter(200, [], body)
        guarded.response_bytes(200, [], b"")
        return 200

    late.around(application)(proto, {"number": 7, "HTTP_X_REQUEST_ID": "mine"})
    assert proto.responses == [(503, BODY)]
    assert ("X-Request-ID", "mine") in proto.headers
    assert ("Connection", "close") in proto.headers
    assert body.closed


def test_an_application_that_has_answered_has_answered(late: LateAnswers) -> None:
    """In one piece, or with the first of many."""
    for whole in (True, False):
        proto = Proto()

        def application(guarded: Any, environ: dict[str, Any], whole: bool = whole) -> int:
            if whole:
                guarded.response_bytes(200, [], b"late body")
            else:
                guarded.response_iter(200, [], Chunks())
            assert not late.answer(7)
            return 200

        late.around(application)(proto, {"number": 7})
        assert proto.responses == [(200, b"late body")]
    assert not late.answer(7)


def test_what_fails_after_a_late_answer_is_not_heard_of(late: LateAnswers) -> None:
    """It would be logged with a traceback, for nobody. Else the engine has to be told."""

    def application(guarded: Any, environ: dict[str, Any]) -> int:
        if environ["number"] == 7:
            late.answer(7)
        raise ValueError("no database")

    assert late.around(application)(Proto(), {"number": 7}) == 503
    with pytest.raises(ValueError, match="no database"):
        late.around(application)(Proto(), {"number": 8})
    assert not late.answer(8)
