"""The conversation: what bytes mean, whichever way they are cut."""

import json

import pytest
from hypothesis import given, strategies as st

from flaskd_ctl import protocol
from flaskd_ctl.contract import conversation
from flaskd_ctl.contract.conversation import MARGIN, Conversation, Lines, Note, Patience, Refusal, Reply
from flaskd_ctl.errors import BY_NAME, Failed, InvalidParams, ParseError, TooLarge


def wire(**message: object) -> bytes:
    return json.dumps({"jsonrpc": "2.0", **message}).encode()


def test_the_limit_is_the_protocols() -> None:
    assert protocol.MAX_MESSAGE == conversation.MAX_MESSAGE


def test_a_call_is_a_json_rpc_request() -> None:
    number, message = Conversation().call("shutdown", {"grace": 3})

    assert {"jsonrpc": "2.0", "id": number, "method": "shutdown", "params": {"grace": 3}} == json.loads(
        message
    )
    assert b"\n" not in message


def test_calls_have_different_ids() -> None:
    talk = Conversation()

    assert len({talk.call("ping")[0] for _ in range(3)}) == 3


@given(st.lists(st.dictionaries(st.text(max_size=5), st.text()), max_size=6), st.data())
def test_messages_are_the_same_however_the_stream_is_cut(
    contents: list[dict[str, str]], data: st.DataObject
) -> None:
    """Where a read ends has no meaning."""
    stream = b"".join(json.dumps(content).encode() + b"\n" for content in contents)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    lines = Lines()

    read = [
        message
        for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)
        for message in lines.feed(stream[a:b])
    ]

    assert contents == [json.loads(message) for message in read]
    assert lines.cut_off == ""


def test_a_line_of_the_largest_size_is_read_and_one_byte_more_is_refused() -> None:
    assert Lines().feed(b"x" * conversation.MAX_MESSAGE + b"\n") == [b"x" * conversation.MAX_MESSAGE]
    with pytest.raises(TooLarge):
        Lines().feed(b"x" * (conversation.MAX_MESSAGE + 1))


def test_half_a_line_is_told_as_such() -> None:
    lines = Lines()

    assert lines.feed(b"1\n\n{") == [b"1"]

    assert lines.cut_off == "in the middle of a reply (1 bytes had come)"


def test_replies_find_their_calls_in_any_order() -> None:
    talk = Conversation()
    first, second = talk.call("ping")[0], talk.call("status")[0]

    assert Reply(second, {"b": 2}) == talk.hear(wire(id=second, result={"b": 2}))
    assert Reply(first, {"a": 1}) == talk.hear(wire(id=first, result={"a": 1}))
    assert talk.open == {}


@pytest.mark.parametrize("number", [2, 0, -1, 1.0, True, "1", None, [1]])
def test_a_reply_to_another_call_is_no_answer(number: object) -> None:
    """A late or made-up id never answers ours."""
    talk = Conversation()
    talk.call("ping")

    try:
        heard = talk.hear(wire(id=number, result={}))
    except ParseError:
        heard = None

    assert heard is None
    assert talk.open == {1: "ping"}


def test_a_second_reply_to_one_call_is_dropped() -> None:
    talk = Conversation()
    talk.call("ping")
    talk.hear(wire(id=1, result={}))

    assert talk.hear(wire(id=1, result={"again": True})) is None


@pytest.mark.parametrize("name", BY_NAME)
def test_each_error_name_has_its_class(name: str) -> None:
    talk = Conversation()
    talk.call("drain")

    heard = talk.hear(
        wire(id=1, error={"code": -1, "message": "no", "data": {"name": name, "hint": "h", "path": "p"}})
    )

    assert isinstance(heard, Refusal)
    assert BY_NAME[name] is type(heard.error)
    assert (str(heard.error), heard.error.hint, heard.error.data) == ("no", "h", {"path": "p"})


def test_an_error_without_a_name_is_told_by_its_code() -> None:
    """JSON-RPC alone gives a code; a name that a newer daemon made up is a failure."""
    assert isinstance(conversation.error_from_wire({"code": -32602, "message": "m"}), InvalidParams)
    assert Failed is type(conversation.error_from_wire({"code": 1, "message": "m", "data": {"name": "odd"}}))


def test_an_error_without_an_id_is_heard() -> None:
    """The daemon could not read our request, so it could not say which."""
    heard = Conversation().hear(wire(id=None, error={"code": -32700, "message": "not JSON", "data": None}))

    assert isinstance(heard, Refusal)
    assert isinstance(heard.error, ParseError)


def test_notifications_belong_to_a_call() -> None:
    talk = Conversation()
    number, _ = talk.call("events")
    talk.hear(wire(id=number, result={}))

    event = {"event": "lost", "at": 1, "count": 2}
    assert Note(number, "event", event) == talk.hear(
        wire(method="event", params={"id": number, "event": event})
    )
    assert talk.hear(wire(method="event", params={"id": 99, "event": event})) is None


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"hello",
        b"\xff\xfe",
        b"[]",
        b"1",
        b"{}",
        b'{"jsonrpc":"1.0","id":1,"result":{}}',
        wire(id=1),
        wire(id=1, result=[]),
        wire(id=1, error="no"),
        wire(id=1, error={"code": 1}),
        wire(method="event"),
        wire(method="event", params={"id": 1}),
        b"[" * 100_000,
        b'{"jsonrpc":"2.0","id":1,"result":{"rss":NaN}}',
        b'{"jsonrpc":"2.0","id":1,"result":{"rss":-Infinity}}',
        b'{"jsonrpc":"2.0","id":1,"result":{"rss":1e400}}',
        rb'{"jsonrpc":"2.0","id":1,"result":{"app":"\ud800"}}',
        rb'{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"\uDFFF"}}',
    ],
)
def test_what_is_not_the_protocol_is_a_parse_error(message: bytes) -> None:
    talk = Conversation()
    talk.call("ping")

    with pytest.raises(ParseError):
        talk.hear(message)

    assert talk.open == {1: "ping"}


@given(
    st.binary()
    | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(lambda v: json.dumps(v).encode())
)
def test_rubbish_never_answers_and_never_surprises(message: bytes) -> None:
    talk = Conversation()
    talk.call("ping")

    with pytest.raises(ParseError):
        talk.hear(message)


def test_rubbish_is_quoted_so_that_a_terminal_is_safe() -> None:
    with pytest.raises(ParseError, match=r"is not in flaskd's protocol: \\x1b\[31mHTTP/1\.1"):
        Conversation().hear(b"\x1b[31mHTTP/1.1 400 Bad Request")


def test_patience_ends_when_no_first_word_comes() -> None:
    assert Patience(100, first=10).deadline == 110


def test_patience_follows_the_daemons_own_deadline() -> None:
    patience = Patience(100, first=10)

    patience.extend(105, 30)

    assert patience.deadline == 105 + 30 + MARGIN


def test_each_word_buys_time_for_the_next() -> None:
    patience = Patience(100, first=10)

    patience.heard(105)

    assert patience.deadline == 115


def test_a_silent_daemon_is_nudged_once_and_again_when_it_has_spoken() -> None:
    patience = Patience(100, first=10)

    assert patience.extend_for_ping(110)
    assert patience.deadline == 120
    assert not patience.extend_for_ping(120)

    patience.heard(121)
    assert patience.extend_for_ping(131)


def test_nobody_is_nudged_beyond_an_explicit_bound() -> None:
    patience = Patience(100, first=10, whole=20)
    patience.heard(105)
    assert patience.deadline == 115

    assert patience.extend_for_ping(115)
    assert patience.deadline == 120
    patience.heard(119)

    assert not patience.extend_for_ping(120)


def test_an_explicit_bound_is_never_exceeded() -> None:
    """--timeout bounds the whole, and is the time for the first word too."""
    patience = Patience(100, first=10, whole=20)
    assert patience.deadline == 120

    patience.extend(105, 30)
    assert patience.deadline == 120

    patience.forever()
    assert patience.deadline == 120
