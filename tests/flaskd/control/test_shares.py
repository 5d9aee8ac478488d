"""Shares of places: whoever takes how many, the owner finds one, and nobody takes another's share."""

from collections import Counter

from hypothesis import given, strategies as st

from flaskd.control.access.shares import Holder, Places, holder_of
from flaskd_ctl.protocol import Actor

PLACES = Places(total=10, share=4, kept=3)
OWNER, ANNA, EVE, BOB = Holder(1000, privileged=True), Holder(1), Holder(2), Holder(3)


def test_each_has_a_share_and_then_gives_up_its_own() -> None:
    assert PLACES.asked_to_leave({EVE: 3}, EVE) is None
    assert PLACES.asked_to_leave({EVE: 4, ANNA: 1}, EVE) == EVE


def test_places_are_kept_for_the_owner() -> None:
    """Others have all but three together; the one that has the most makes room for another."""
    assert PLACES.asked_to_leave({EVE: 4, ANNA: 3}, BOB) == EVE
    assert PLACES.asked_to_leave({EVE: 4, ANNA: 3, OWNER: 2}, OWNER) is None


def test_the_owner_may_take_every_place_and_keeps_it() -> None:
    """What others want, the owner does not give up."""
    assert PLACES.asked_to_leave({OWNER: 9}, OWNER) is None
    assert PLACES.asked_to_leave({OWNER: 10}, OWNER) == OWNER
    assert PLACES.asked_to_leave({OWNER: 10}, EVE) == EVE


def test_who_holds_is_a_key_or_a_uid() -> None:
    """Root and the owner are privileged, a caller that the kernel did not name is not."""
    assert holder_of(Actor(via="control", key="ci"), owner=5) == Holder("ci")
    assert holder_of(Actor(via="control", uid=7), owner=5) == Holder(7)
    assert all(holder_of(Actor(via="control", uid=uid), owner=5).privileged for uid in (0, 5))
    assert holder_of(Actor(via="control"), owner=5) == Holder(None)


@given(st.lists(st.sampled_from([OWNER, ANNA, EVE, BOB]), max_size=60))
def test_the_bounds_hold_whoever_comes_in_which_order(comers: list[Holder]) -> None:
    """Property: a place is given only for one that is free or given up."""
    taken: Counter[Holder] = Counter()
    for comer in comers:
        leaver = PLACES.asked_to_leave(taken, comer)
        if leaver is not None:
            if not taken[leaver]:
                continue  # turned away
            taken[leaver] -= 1
        taken[comer] += 1

        assert taken.total() <= PLACES.total
        assert all(taken[holder] <= PLACES.share for holder in (ANNA, EVE, BOB))
        assert taken[ANNA] + taken[EVE] + taken[BOB] <= PLACES.total - PLACES.kept
