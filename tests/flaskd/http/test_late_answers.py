"""Answers in the application's place: one for each request, whoever is quicker, and nothing of the other is seen."""

from typing import Any

import pytest

from flaskd.http.late_answers import ANSWERED, BODY, STATUS, LateAnswers

Headers = list[tuple[str, str]]


class Responses(list[tuple[int, Headers, bytes]]):
    """What was answered late."""

    def respond(self, status: int, headers: Headers, body: bytes) -> None:
        self.append((status, headers, body))


@pytest.fixture
def late() -> LateAnswers:
    return LateAnswers(lambda environ: environ["number"])


def test_who_has_waited_long_enough_is_answered_once(late: LateAnswers) -> None:
    """With its id, and a connection that ends; the application's answer may not be sent any more."""
    responses = Responses()
    environ: dict[str, Any] = {"number": 7, "HTTP_X_REQUEST_ID": "mine"}
    with late.within(environ, responses.respond) as claim:
        assert not late.answer(8)
        assert late.answer(7)
        assert not late.answer(7)
        assert (claim(), claim()) == (False, False)
    ((status, headers, body),) = responses
    assert (status, body, environ[ANSWERED]) == (503, BODY, STATUS)
    assert ("X-Request-ID", "mine") in headers
    assert ("Connection", "close") in headers


def test_an_application_that_has_answered_has_answered(late: LateAnswers) -> None:
    """With the first part of its answer, and after its last."""
    responses = Responses()
    environ: dict[str, Any] = {"number": 7}
    with late.within(environ, responses.respond) as claim:
        assert claim()
        assert not late.answer(7)
        assert claim()
    assert not late.answer(7)
    assert (responses, ANSWERED in environ) == ([], False)
