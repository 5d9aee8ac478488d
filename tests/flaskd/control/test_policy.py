"""Who may do what: the owner of the process and root everything, who is granted a role what it includes, others nothing."""

import os
import pwd

import pytest
from hypothesis import given, strategies as st

from flaskd.control.access import policy
from flaskd.control.access.grants import rules_of
from flaskd.control.access.policy import GROUP, KEY, USER, Caller, Grant, Rules
from flaskd.errors import ConfigError
from flaskd.settings.checks import check
from flaskd.settings.schema import Settings
from flaskd_ctl.contract.commands import COMMANDS, Command, Role
from flaskd_ctl.protocol import Actor

IDS = st.integers(0, 12)
NAMES = st.sampled_from(["laptop", "deploy", ""])
GRANTS = st.builds(Grant, st.sampled_from([USER, GROUP]), st.just("x"), IDS) | st.builds(
    Grant, st.just(KEY), NAMES
)
RULES = st.builds(Rules, IDS, st.dictionaries(st.sampled_from(Role), st.lists(GRANTS, max_size=3).map(tuple)))
ACTORS = st.builds(Actor, via=st.just("control"), uid=IDS, gid=IDS) | st.builds(
    Actor, via=st.just("control"), key=NAMES
)
CALLERS = st.builds(Caller, ACTORS, st.frozensets(IDS, max_size=3))


def someone(uid: int, gid: int = 7, groups: frozenset[int] | None = frozenset()) -> Caller:
    return Caller(Actor(via="control", uid=uid, gid=gid), groups)


@given(IDS, IDS, st.sampled_from(list(COMMANDS.values())))
def test_without_rules_owner_and_root_may_all_and_others_nothing(
    uid: int, owner: int, command: Command
) -> None:
    """For every command."""
    refused = policy.refusal(someone(uid), Rules(owner), command="x", needed=command.role)
    assert (refused is None) is (uid in {owner, 0})
    assert refused is None or str(uid) in refused


@given(CALLERS, RULES)
def test_a_role_is_the_highest_that_somebody_like_the_caller_was_granted(
    caller: Caller, rules: Rules
) -> None:
    """Said once more, the long way round."""
    actor, roles = caller.actor, set()
    for role, grants in rules.grants.items():
        for kind, name, ident in grants:
            if (
                (kind == USER and actor.uid == ident)
                or (kind == GROUP and actor.uid is not None and ident in {actor.gid, *(caller.groups or ())})
                or (kind == KEY and actor.key and actor.key == name)
            ):
                roles.add(role)
    if actor.uid is not None and actor.uid in {0, rules.owner}:
        roles.add(Role.ADMIN)
    expected = next((role for role in (Role.ADMIN, Role.OPERATOR, Role.VIEWER) if role in roles), None)
    assert policy.role_of(caller, rules) is expected


@given(CALLERS, RULES)
def test_groups_are_asked_for_only_where_they_can_make_a_difference(caller: Caller, rules: Rules) -> None:
    """And wherever they do."""
    unknown = Caller(caller.actor, None)
    if policy.role_of(caller, rules) is not policy.role_of(unknown, rules):
        assert policy.depends_on_groups(unknown, rules)
    assert not policy.depends_on_groups(caller, rules)
    if not list(rules.granted(GROUP)) or policy.role_of(unknown, rules) is Role.ADMIN:
        assert not policy.depends_on_groups(unknown, rules)


def test_a_caller_the_kernel_did_not_name_is_nobody() -> None:
    """No identity, no role: also for root's daemon, and where a key without a name was granted one."""
    rules = Rules(0, {Role.ADMIN: (Grant(KEY, ""),)})
    assert policy.role_of(Caller(Actor(via="control")), rules) is None


def test_a_key_is_no_user() -> None:
    """Whatever the names are."""
    rules = Rules(1000, {Role.ADMIN: (Grant(USER, "anna", 1001), Grant(GROUP, "anna", 1001))})
    assert policy.role_of(Caller(Actor(via="control", key="anna")), rules) is None


def test_roles_include_the_ones_before_them() -> None:
    """An admin may do what an operator may, not the other way round."""
    assert Role.ADMIN.includes(Role.OPERATOR)
    assert Role.OPERATOR.includes(Role.VIEWER)
    assert not Role.VIEWER.includes(Role.OPERATOR)


def test_a_refusal_names_the_role_that_is_missing_and_who_has_it() -> None:
    """To somebody who has a role."""
    rules = Rules(33, {Role.VIEWER: (Grant(USER, "eve", 1001),), Role.OPERATOR: (Grant(GROUP, "ops", 1002),)})
    refused = policy.refusal(someone(1001), rules, command="shutdown", needed=Role.OPERATOR)
    assert refused == (
        "uid 1001 has the role viewer here; shutdown needs operator (held by group:ops, user:33, root)"
    )


def test_a_stranger_is_not_told_who_has_a_role() -> None:
    """Only that there is none for it."""
    rules = Rules(33, {Role.OPERATOR: (Grant(GROUP, "ops", 1002),)})
    refused = policy.refusal(someone(1001), rules, command="shutdown", needed=Role.OPERATOR)
    assert refused == "uid 1001 has no role here; shutdown needs operator"


def test_names_become_numbers_and_numbers_stay() -> None:
    """As the host's databases say."""
    mine = pwd.getpwuid(os.geteuid()).pw_name
    settings = Settings(viewers=("user:54321", "key:laptop"), operators=(f"user:{mine}", "group:65000"))
    rules = rules_of(settings, owner=5)
    assert rules.grants == {
        Role.VIEWER: (Grant(USER, "54321", 54321), Grant(KEY, "laptop")),
        Role.OPERATOR: (Grant(USER, mine, os.geteuid()), Grant(GROUP, "65000", 65000)),
    }


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("user:nobody-of-that-name", "operators: there is no user 'nobody-of-that-name' on this host"),
        ("group:none-of-that-name", "operators: there is no group 'none-of-that-name' on this host"),
    ],
)
def test_a_name_that_nobody_bears_is_said(entry: str, said: str) -> None:
    """Rather than be a rule that matches nobody, or later a stranger."""
    with pytest.raises(ConfigError) as caught:
        rules_of(Settings(operators=(entry,)), owner=5)
    assert str(caught.value) == said
    assert "NUMBER" in caught.value.hint


@pytest.mark.parametrize("kind", ["user", "group"])
def test_a_number_that_no_uid_or_gid_can_be_is_said(kind: str) -> None:
    """The largest is left: what comes after it tells the kernel to change nothing."""
    assert [
        grant.ident for grant in rules_of(Settings(viewers=(f"{kind}:4294967294",)), owner=5).granted(kind)
    ] == [4294967294]
    for number in ("4294967295", "99999999999"):
        with pytest.raises(ConfigError, match=f"{number} is not a uid or gid: the largest is 4294967294"):
            rules_of(Settings(viewers=(f"{kind}:{number}",)), owner=5)


@pytest.mark.parametrize("entry", ["anna", "users:anna", "user:", "user:a b", "user:a:b", "", "key:a,b"])
def test_what_is_no_entry_is_refused_with_what_is_one(entry: str) -> None:
    """Wherever it was written."""
    with pytest.raises(ConfigError, match=r"viewers cannot be .* expected user:NAME, group:NAME or key:NAME"):
        check("viewers", (entry,), "flaskd.toml")


def test_an_environment_variable_holds_several() -> None:
    """With commas between them, as for bind."""
    assert check("viewers", "user:anna, group:ops", "FLASKD_VIEWERS") == ("user:anna", "group:ops")
