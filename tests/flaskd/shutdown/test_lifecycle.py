"""The lifecycle: exactly the table's moves are legal, in whatever order they are tried."""

import pytest
from hypothesis import given, strategies as st

from flaskd.errors import IllegalMove
from flaskd.shutdown.lifecycle import TRANSITIONS, Event, Lifecycle, State
from flaskd_ctl.protocol import Actor

ORDER = [State.STARTING, State.RUNNING, State.DRAINING, State.STOPPING, State.STOPPED]


@given(st.lists(st.sampled_from(Event)))
def test_any_sequence_of_events_follows_the_table(events: list[Event]) -> None:
    """A legal event moves as the table says; an illegal one raises, names both, and changes nothing."""
    lifecycle = Lifecycle(State.STARTING, 0.0)
    for at, event in enumerate(events, start=1):
        to = TRANSITIONS.get((lifecycle.state, event))
        if to is None:
            before = lifecycle
            with pytest.raises(IllegalMove, match=f"cannot {event.value} .* {lifecycle.state.value}"):
                lifecycle.after(event, at)
            assert before == lifecycle
        else:
            lifecycle = lifecycle.after(event, at, Actor(via="code"))
            assert (to, float(at), "code") == (
                lifecycle.state,
                lifecycle.since,
                lifecycle.by and lifecycle.by.via,
            )


@given(st.lists(st.sampled_from(Event), min_size=1))
def test_a_stop_is_never_undone(events: list[Event]) -> None:
    """Once stopping, an instance is stopping or stopped for ever."""
    lifecycle = Lifecycle(State.STOPPING, 0.0)
    for event in events:
        if (lifecycle.state, event) in TRANSITIONS:
            lifecycle = lifecycle.after(event, 1.0)
        assert lifecycle.state in {State.STOPPING, State.STOPPED}


def test_only_a_running_instance_is_ready() -> None:
    """A balancer is sent to a running instance and to no other."""
    assert {State.RUNNING} == {state for state in State if Lifecycle(state, 0.0).ready}


def test_every_state_can_reach_the_end() -> None:
    """From each state some events lead to stopped: nothing is a trap."""
    reaching = {State.STOPPED}
    while grown := {before for (before, _), after in TRANSITIONS.items() if after in reaching} - reaching:
        reaching |= grown
    assert set(State) == reaching
