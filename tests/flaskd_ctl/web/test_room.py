"""What a viewer is told, wherever its stream breaks off; without a server."""

from typing import Any

import pytest
from hypothesis import given, strategies as st

from tests.flaskd_ctl.live.scripted import Scripted

pytest.importorskip("starlette")

from flaskd_ctl.web.room import News, Room
from flaskd_ctl.web.stream import number_of, written


def told(news: list[News]) -> list[Any]:
    """List the events and the lines, in order."""
    found: list[Any] = []
    for each in news:
        if each.kind == "log":
            found += (["anew"] if each.data["anew"] else []) + each.data["lines"]
        elif each.kind != "look":
            found.append(each.data)
    return found


@given(st.lists(st.sampled_from(["event", "line", "lines", "look", "progress", "anew"]), max_size=30))
def test_wherever_a_stream_breaks_off_the_rest_follows_once(happenings: list[str]) -> None:
    room = Room("shop", Scripted, interval=1.0, allow_changes=True)
    seen = room.seen
    for number, kind in enumerate(happenings):
        match kind:
            case "event":
                seen.happened({"event": number})
            case "line":
                seen.logged([{"line": number}], anew=False)
            case "lines":
                seen.logged([{"line": number}, {"line": -number}], anew=False)
            case "anew":
                seen.logged([{"line": number}], anew=True)
            case "look":
                seen.looked()
            case "progress":
                room._happened("reload", {"worker": number})

    whole = room.news(0)

    numbers = [each.number for each in whole]
    assert numbers == sorted(set(numbers))
    for at, each in enumerate(whole):
        assert told(whole[: at + 1]) + told(room.news(each.number)) == told(whole)


def test_an_id_is_read_as_it_was_written_and_one_of_another_run_is_not() -> None:
    ident = written(News("event", {}, 17)).partition("\n")[0].removeprefix("id: ")
    assert number_of(ident) == 17
    assert [number_of(each) for each in ("", "17", "x-17", f"{ident}x", f"{ident}-1")] == [0] * 5


def test_an_event_is_one_line_whatever_is_in_it() -> None:
    """A line break would end it, and could begin another event."""
    text = written(News("event", {"message": "one\r\nevent: look\ndata: {}\n\n\u2028"}, 1))
    assert text.count("\n") == 4
    assert "\r" not in text
