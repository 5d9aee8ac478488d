"""Who may do what: the owner of the process and root, everything; everybody else, nothing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flaskd.control import peer, policy
from flaskd_ctl.commands import COMMANDS, Role
from flaskd_ctl.protocol import Actor


@given(st.integers(0, 70000), st.integers(0, 70000), st.sampled_from(list(COMMANDS.values())))
def test_owner_and_root_may_all_and_others_nothing(uid: int, owner: int, command: object) -> None:
    """The rule of this version, for every command."""
    needed = command.role  # type: ignore[attr-defined]
    refused = policy.refusal(Actor(via="control", uid=uid), owner=owner, command="x", needed=needed)
    assert (refused is None) is (uid in {owner, 0})
    assert refused is None or str(uid) in refused


def test_a_caller_the_kernel_did_not_name_is_nobody() -> None:
    """No identity, no role: also for root's daemon."""
    assert policy.role_of(Actor(via="control"), owner=0) is None


def test_roles_include_the_ones_before_them() -> None:
    """An admin may do what an operator may, not the other way round."""
    assert Role.ADMIN.includes(Role.OPERATOR)
    assert Role.OPERATOR.includes(Role.VIEWER)
    assert not Role.VIEWER.includes(Role.OPERATOR)


@pytest.mark.parametrize(
    ("address", "uid"),
    [
        ("localhost:1000:100:7", 1000),
        (":0:0:1:1000:100:7", 1000),  # what stands before is the peer's to choose, the end is the kernel's
        ("localhost", None),
        ("", None),
        ("a:b:c:d", None),
        (":-1:0:7", None),
        ("tcp://127.0.0.1:8000", None),
    ],
)
def test_identity_is_read_from_the_end_of_the_peer_address(address: str, uid: int | None) -> None:
    """What cannot be read is nobody."""
    assert uid == peer.of_address(address).uid
