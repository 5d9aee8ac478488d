"""`ssh://`: what is refused as an option in disguise, what the remote end says, and a stand-in for ssh that runs it here."""

import asyncio
import itertools
import json
import select
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from flaskd_ctl import AsyncClient, Client
from flaskd_ctl.contract.endpoint import Remote, parse_remote
from flaskd_ctl.errors import BadPlace, ConnectionLost, NotRunning, TimedOut
from flaskd_ctl.protocol import StateEvent
from flaskd_ctl.transports.ssh import SshConnection
from flaskd_ctl.transports.ssh_protocol import RemoteOutput, line, ssh_command
from tests.flaskd_ctl.conftest import Ctl, StartFake
from tests.flaskd_ctl.fake import PATIENCE, Call, Fake, golden, state_event

# --- ssh:// ---


@pytest.mark.parametrize(
    ("path", "remote"),
    [
        ("web1/shop", Remote("web1", name="shop")),
        ("web1", Remote("web1")),
        ("web1/", Remote("web1")),
        ("Deploy@Web1.Example.org:2200/shop", Remote("Web1.Example.org", "Deploy", 2200, "shop")),
        ("[fe80::1]:22/shop", Remote("fe80::1", port=22, name="shop")),
    ],
)
def test_a_remote_place_is_read(path: str, remote: Remote) -> None:
    assert parse_remote(path) == remote


@pytest.mark.parametrize(
    "path",
    [
        "-oProxyCommand=id/shop",
        "-l@web1/shop",
        "web1 -oX/shop",
        "a;id/shop",
        "$(id)/shop",
        "`id`@web1/shop",
        "web1/$(id)",
        "web1/-x",
        "web1/a/b",
        "web1/a%20b",
        "web1:port/shop",
        "web1:99999/shop",
        "ann:secret@web1/shop",
        "web1/shop?x",
        "web1/shop#x",
        "/shop",
        "",
        "wéb/shop",
        "web1\n/shop",
    ],
)
def test_what_could_be_an_option_or_more_than_a_word_is_refused(ctl: Ctl, path: str) -> None:
    with pytest.raises(BadPlace):
        parse_remote(path)
    assert ctl("-t", f"ssh://{path}", "ping").code == 2


def test_a_secret_in_the_url_is_not_repeated() -> None:
    with pytest.raises(BadPlace) as error:
        parse_remote("ann:hunter2@web1/shop")
    assert "hunter2" not in str(error.value) + error.value.hint


def test_the_call_of_ssh_ends_its_options_before_the_host_and_quotes_for_the_shell() -> None:
    remote = Remote("web1", "deploy", 2200, "shop")

    *call, host, there = ssh_command(remote, ssh=("ssh", "-F", "c f"), there=("/o p/flaskd_ctl",))

    assert (call[:3], call[-1], host) == (["ssh", "-F", "c f"], "--", "web1")
    assert call[call.index("-p") + 1] == "2200"
    assert call[call.index("-l") + 1] == "deploy"
    assert "ClearAllForwardings=yes" in call
    assert there == "'/o p/flaskd_ctl' --name shop dial-stdio"


def test_what_a_login_shell_prints_before_is_passed_over() -> None:
    hearing = RemoteOutput()

    hearing.feed(b"Welcome!\n{}\nno line end:" + line("connected", name="shop", pid=7, sees_process=True))
    hearing.feed(b'{"jsonrpc":"2.0","id":1,"result":{}}\n')

    assert (hearing.pid, hearing.sees_process) == (7, True)
    assert [*hearing.messages] == [b'{"jsonrpc":"2.0","id":1,"result":{}}']


@given(
    st.lists(
        st.one_of(
            st.binary(max_size=40).filter(lambda raw: b"dial" not in raw),
            st.sampled_from(["connected", "refused", "ended", "silent", "gone", "?"]).map(line),
            st.sampled_from(
                [b"null", b"[1]", b'{"event":1}', b'{"event":{"event":[]}}', b'{"event":"gone"']
            ).map(lambda params: b'{"jsonrpc":"2.0","method":"dial","params":' + params + b"}\n"),
        )
    ),
    st.lists(st.integers(0, 200)),
)
def test_what_is_heard_does_not_depend_on_how_it_was_cut(parts: list[bytes], cuts: list[int]) -> None:
    """Whatever comes, it is no exception; and where the network cut it makes no difference."""
    said = b"".join(parts)
    whole, pieces = RemoteOutput(), RemoteOutput()

    whole.feed(said)
    edges = sorted({0, len(said), *(cut for cut in cuts if cut < len(said))})
    for begin, end in itertools.pairwise(edges):
        pieces.feed(said[begin:end])

    assert (whole.messages, whole.connected, whole.ended, whole.silent, whole.gone) == (
        pieces.messages,
        pieces.connected,
        pieces.ended,
        pieces.silent,
        pieces.gone,
    )
    assert str(whole.refused) == str(pieces.refused)


@pytest.mark.parametrize(
    ("sees", "words", "over"),
    [
        (True, ["ended"], (False, False)),
        (True, ["ended", "silent"], (False, True)),
        (True, ["ended", "silent", "gone"], (True, True)),
        (True, ["ended", "gone"], (True, True)),
        (False, ["ended", "silent"], (True, True)),
    ],
)
def test_gone_is_the_process_where_it_ends_and_can_be_seen(
    sees: bool, words: list[str], over: tuple[bool, bool]
) -> None:
    hearing = RemoteOutput()
    hearing.feed(line("connected", name="shop", pid=7, sees_process=sees))

    for word in words:
        hearing.feed(line(word))

    assert (hearing.is_over(process_exits=True), hearing.is_over(process_exits=False)) == over


# --- ssh, with a stand-in that runs the remote command here ---

STAND_IN = "sh -c 'for last; do :; done; exec sh -c \"$last\"' ssh"


@pytest.fixture
def remote(start_fake: StartFake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fake:
    config = tmp_path / "ctl.toml"
    config.write_text(f'remote_command = ["{sys.executable}", "-m", "flaskd_ctl"]\n')
    monkeypatch.setenv("FLASKD_CTL_CONFIG", str(config))
    monkeypatch.setenv("FLASKD_CTL_SSH", STAND_IN)
    return start_fake()


def test_the_far_end_carries_questions_answers_and_steps(remote: Fake, ctl: Ctl) -> None:
    assert json.loads(ctl("-t", "ssh://h/shop", "status", "--json").out) == golden("status") | {
        "process_exits": False
    }
    assert ctl("-t", "ssh://h/shop", "reload").code == 0


def test_a_program_that_goes_on_is_gone_there_when_nothing_listens(remote: Fake, ctl: Ctl) -> None:
    """Not before, although it has answered and hung up."""
    answered, let_go = threading.Event(), threading.Event()

    def stay_a_while(call: Call) -> None:
        call.reply(golden("shutdown") | {"process_exits": False, "clean": True, "cut": []})
        answered.set()
        assert let_go.wait(PATIENCE)
        call.fake.die()

    remote.on("shutdown", stay_a_while)
    with ThreadPoolExecutor() as pool:
        stopped = pool.submit(ctl, "-t", "ssh://h/shop", "shutdown")
        assert answered.wait(PATIENCE)
        assert not stopped.done()
        let_go.set()
        assert stopped.result(PATIENCE).code == 0
    assert not remote.listens()


def test_what_is_refused_there_is_refused_here(remote: Fake, ctl: Ctl) -> None:
    remote.on("drain", lambda call: call.refuse("not_permitted", "you are no operator", code=-32001))

    assert ctl("-t", "ssh://h/shop", "drain").code == 4
    assert ctl("-t", "ssh://h/nobody", "drain").code == 3


def test_an_ssh_that_is_not_there_is_exit_4(ctl: Ctl, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLASKD_CTL_SSH", "/nowhere/ssh")

    code, out, err = ctl("-t", "ssh://h/shop", "ping")

    assert (code, out) == (4, "")
    assert "/nowhere/ssh cannot be run" in err


def test_an_ssh_that_says_nothing_is_exit_5(ctl: Ctl, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLASKD_CTL_SSH", "sh -c 'exec cat >/dev/null'")

    code, _, err = ctl("-t", "ssh://h/shop", "ping", "--timeout", "0.3")

    assert code == 5
    assert "no connection through ssh in " in err


def test_a_client_survives_a_restart_of_the_instance(remote: Fake, start_fake: StartFake) -> None:
    """The connection that has ended is not used again."""
    with Client(endpoint="ssh://h/shop", timeout=PATIENCE) as shop:
        shop.ping()
        session = shop._client._session._session
        assert session is not None
        connection = session.connection
        assert isinstance(connection, SshConnection)
        remote.die()
        select.select([connection._socket], [], [], PATIENCE)  # the news takes as long as the way is
        start_fake()
        assert shop.ping().name == golden("ping")["name"]


def test_an_instance_that_hangs_up_is_told_as_that(remote: Fake) -> None:
    remote.on("status", lambda call: call.fake.die())

    with pytest.raises(ConnectionLost, match="closed the connection before it answered `status`"):
        Client(endpoint="ssh://h/shop", timeout=PATIENCE).status()


def test_the_async_client_does_the_same(remote: Fake) -> None:
    """Calls, events and a stop; a call that is cancelled leaves nothing behind."""
    remote.on("requests", lambda call: None)

    def tell(call: Call) -> None:
        call.reply({"state": "running", "since": 1})
        call.note(state_event("running", "draining"))

    remote.on("events", tell)

    async def operate() -> None:
        async with AsyncClient(endpoint="ssh://h/shop", timeout=PATIENCE) as shop:
            assert (await shop.ping()).name == golden("ping")["name"]
            async with aclosing(shop.events()) as events:
                async for event in events:
                    assert isinstance(event, StateEvent)
                    assert event.state == "draining"
                    break
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await shop.requests()
            assert (await shop.shutdown()).clean
        with pytest.raises(NotRunning):
            await AsyncClient(endpoint="ssh://h/shop", timeout=PATIENCE).ping()

    asyncio.run(operate())
    assert not remote.listens()


def test_connecting_can_be_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLASKD_CTL_SSH", "sh -c 'exec cat >/dev/null'")

    async def give_up() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await AsyncClient(endpoint="ssh://h/shop", timeout=PATIENCE).ping()
        with pytest.raises(TimedOut):
            await AsyncClient(endpoint="ssh://h/shop", timeout=0.2).ping()

    asyncio.run(give_up())
