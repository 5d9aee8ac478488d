"""The handlers of the application's commands: who may call, what a worker's list is worth, what many replies become."""

import asyncio
import json
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import pytest
from msgspec.structs import replace

from flaskd.audit.log import Audit, Reporter, quiet
from flaskd.control.access.policy import Caller
from flaskd.control.handlers.application import Application
from flaskd.control.handlers.tasks import ROOM
from flaskd.control.registry import Call
from flaskd.ledger.row import KINDS
from flaskd.metrics.memory import MetricsMemory
from flaskd.metrics.recorder import Recorder
from flaskd.metrics.summary import Summary
from flaskd.tasks import (
    CallCommand,
    Choice,
    CommandCalled,
    CommandsListed,
    ListCommands,
    Listed,
    Note,
    Ordered,
    Reply,
    RoutesListed,
    Task,
)
from flaskd_ctl import errors
from flaskd_ctl.contract.commands import COMMANDS, Role
from flaskd_ctl.protocol import Actor, CallParams, CallResult, EndpointStats, Route, RoutesParams
from tests.support.daemons import PATIENCE

EACH = Listed("clear", "operator", "each", 5, "Clear.", "{}")
ONE = Listed("once", "operator", "one", 5, "Once.", "{}")
WIPE = Listed("wipe", "admin", "one", 5, "Wipe.", "{}")


class Processes:
    """Workers that reply as they are told, and list these commands."""

    def __init__(self, *replies: Reply | Exception | None, listed: list[Listed] | None = None) -> None:
        self.replies = replies
        self.listed: list[Listed] | None = [EACH, ONE, WIPE] if listed is None else listed
        self.asked: list[tuple[CallCommand, int | Choice | None]] = []

    def order_task(
        self, task: Task, worker: int | Choice | None, on_note: Callable[[int, Note], None] | None = None
    ) -> list[Ordered]:
        if isinstance(task, ListCommands):
            if self.listed is None:
                raise errors.WrongState("no worker serves now")
            return [Ordered(1, 101, completed(CommandsListed(commands=self.listed)))]
        assert isinstance(task, CallCommand)
        self.asked.append((task, worker))
        return [
            Ordered(number, 100 + number, completed(reply)) for number, reply in enumerate(self.replies, 1)
        ]


def completed(reply: Reply | Exception | None) -> "Future[Reply]":
    future: Future[Reply] = Future()
    if isinstance(reply, Exception):
        future.set_exception(reply)
    elif reply is not None:
        future.set_result(reply)
    return future


class Registry:
    """Knows the caller's role."""

    def __init__(self, role: Role, tracebacks: Role = Role.OPERATOR) -> None:
        self._role = role
        self.role_for_tracebacks = tracebacks

    def role_of(self, caller: Caller) -> Role:
        return self._role

    def check(self, caller: Caller, command: Any) -> None:
        if not self._role.includes(command.role):
            raise errors.NotPermitted(f"{command.name} needs {command.role.value}")


def ask(processes: Any, *, role: Role = Role.OPERATOR, **params: Any) -> CallResult:
    return asyncio.run(Application(processes).call(call_of(role, **params)))


def call_of(role: Role, report: Reporter = quiet, **params: Any) -> Any:
    audit = Audit("", report=report)
    by = Actor(via="control", uid=1)
    return Call(
        registry=Registry(role),  # type: ignore[arg-type]
        command=COMMANDS["call"],
        request_id=1,
        params=CallParams(**params),
        peer=None,  # type: ignore[arg-type]
        caller=Caller(by),
        record=audit.begin("call", {}, by),
    )


def test_a_command_runs_where_it_declares() -> None:
    """Unless the caller names a worker."""
    processes = Processes(CommandCalled(result="1"))

    for name, worker in (("clear", None), ("once", None), ("once", 7)):
        ask(processes, name=name, worker=worker, params={"a": [1]})

    assert [chosen for _, chosen in processes.asked] == [Choice.SERVING, Choice.LEAST_BUSY, 7]
    assert json.loads(processes.asked[0][0].params) == {"a": [1]}


def test_a_command_that_needs_admin_is_not_even_sent_for_an_operator() -> None:
    """The worker checks the caller's role again, and is told no more than it has."""
    processes = Processes(CommandCalled(result="1"))

    with pytest.raises(errors.NotPermitted, match="call wipe needs admin"):
        ask(processes, name="wipe")
    assert processes.asked == []
    ask(processes, name="wipe", role=Role.ADMIN)
    ask(processes, name="once")
    assert [task.role for task, _ in processes.asked] == ["admin", "operator"]


def test_a_list_that_nobody_gives_has_no_command() -> None:
    """No worker serves, and none has before."""
    processes = Processes()
    processes.listed = None

    with pytest.raises(errors.NotFound, match="no command clear"):
        ask(processes, name="clear")


def test_the_last_list_counts_while_no_worker_replies() -> None:
    """What a command needs does not change by that."""
    processes: Any = Processes()
    application = Application(processes)

    async def ask() -> list[list[Listed]]:
        known = await application.commands()
        processes.listed = None
        return [known, await application.commands(newer_than=float("inf"))]

    assert asyncio.run(ask()) == [[EACH, ONE, WIPE]] * 2


def test_a_command_that_a_reload_has_just_brought_is_found() -> None:
    """Although an older list still counts."""
    processes: Any = Processes(CommandCalled(result="1"), listed=[EACH])
    application = Application(processes)

    async def ask() -> None:
        await application.commands()
        processes.listed = [EACH, ONE]
        assert (await application._find("once")).name == "once"

    asyncio.run(ask())


@pytest.mark.parametrize(
    ("failed", "kind"),
    [
        ("unknown", errors.NotFound),
        ("role", errors.NotPermitted),
        ("params", errors.InvalidParams),
        ("raised", errors.Failed),
        ("not_json", errors.Failed),
    ],
)
def test_the_failure_of_one_process_is_the_error_of_the_call(failed: Any, kind: type[Exception]) -> None:
    """With what belongs to it, without control characters."""
    reply = CommandCalled(
        failed=failed, message="bad \x1b[2J", hint="h\x07", path="params.a", traceback="a\n\x1b"
    )

    with pytest.raises(kind) as error:
        ask(Processes(reply), name="once")

    control: Any = error.value
    assert (str(control), control.hint) == ("bad %1B[2J", "h%07")
    assert control.data == {"path": "params.a", "traceback": "a\n%1B"}


def test_tracebacks_are_for_the_role_that_the_settings_name() -> None:
    """An operator may call, and yet not see what the application's code looks like."""
    processes: Any = Processes(CommandCalled(failed="raised", message="no", traceback="secret.py"))
    call = replace(call_of(Role.OPERATOR, name="once"), registry=Registry(Role.OPERATOR, Role.ADMIN))

    with pytest.raises(errors.Failed) as error:
        asyncio.run(Application(processes).call(call))

    assert error.value.data == {"traceback": "(hidden: tracebacks need the role admin)"}


def test_a_process_that_takes_too_long_is_a_timeout() -> None:
    """Also if all of several do."""
    for replies in ([None], [None, None]):
        with pytest.raises(
            errors.TimedOut, match=r"clear: worker 1 did not reply within 0\.01 s: it continues"
        ) as told:
            ask(Processes(*replies), name="clear", timeout=0.01)
        assert "flaskd_ctl stacks --worker 1" in told.value.hint


def test_several_processes_have_an_outcome_each() -> None:
    """Whether some failed, or each in its own way."""
    raised = CommandCalled(failed="raised", message="no", traceback="t")

    some = ask(Processes(raised, None, CommandCalled(result='{"a":1}')), name="clear", timeout=0.01).workers
    every = ask(Processes(raised, raised), name="clear").workers

    assert [(each.worker, each.error, each.traceback, each.result) for each in some] == [
        (1, "no", "t", None),
        (2, "clear: worker 2 did not reply within 0.01 s: it continues", "", None),
        (3, "", "", {"a": 1}),
    ]
    assert [each.error for each in every] == ["no", "no"]


def test_what_a_hostile_worker_writes_is_no_json_and_harms_nobody() -> None:
    """Its result is nothing."""
    results = [CommandCalled(result="[" * 100_000), CommandCalled(result="no"), CommandCalled(result="1")]

    assert [each.result for each in ask(Processes(*results), name="clear").workers] == [None, None, 1]


def test_results_that_do_not_fit_into_one_reply_are_left_out_with_a_sentence() -> None:
    """The first ones are there."""
    large = CommandCalled(result=json.dumps("x" * 250_000))

    workers = ask(Processes(*[large] * 5), name="clear").workers

    assert [len(each.result or "") for each in workers] == [250_000] * 3 + [0, 0]
    assert f"more than {ROOM} bytes: ask it with --worker" in workers[4].error


@pytest.mark.parametrize("progress", [False, True])
def test_a_command_goes_on_when_its_caller_leaves(progress: bool) -> None:
    """The audit log has its outcome."""
    outcomes: list[tuple[str, str]] = []
    running: Future[Reply] = Future()
    running.set_running_or_notify_cancel()

    class Slow(Processes):
        def order_task(
            self,
            task: Task,
            worker: int | Choice | None,
            on_note: Callable[[int, Note], None] | None = None,
        ) -> list[Ordered]:
            if isinstance(task, CallCommand):
                begun.set()
                return [Ordered(1, 101, running)]
            return super().order_task(task, worker, on_note)

    class Peer:
        def takes_notifications(self) -> bool:
            return True

    async def leave() -> None:
        call = call_of(
            Role.OPERATOR,
            lambda entry, said: outcomes.append((entry.outcome, entry.error)),
            name="once",
            progress=progress,
        )
        processes: Any = Slow()
        asking = asyncio.create_task(Application(processes).call(replace(call, peer=Peer())))
        await asyncio.wait_for(begun.wait(), PATIENCE)
        asking.cancel()
        await asyncio.wait([asking])
        assert asking.cancelled()
        assert outcomes == []
        running.set_result(CommandCalled(result="1"))
        async with asyncio.timeout(PATIENCE):
            while not outcomes:
                await asyncio.sleep(0)

    begun = asyncio.Event()
    asyncio.run(leave())

    assert outcomes == [("done", "")]


@pytest.mark.parametrize("endpoint", ["cart", "two\nlines \x1b[31m", "ключ", "x" * 200])
def test_a_route_has_the_numbers_of_its_endpoint_whatever_its_name(endpoint: str) -> None:
    """The numbers are kept under a name that is cut and escaped."""
    memory = MetricsMemory.create()
    Recorder(memory).record(endpoint, "/a", KINDS.index("2xx"), 0.01, 1, 0.0)

    class Counted(Processes):
        def order_task(self, task: Task, *_: Any) -> list[Ordered]:
            route = Route(rule="/a", methods=["GET"], endpoint=endpoint)
            return [Ordered(1, 101, completed(RoutesListed(routes=[route])))]

        def endpoint_stats(self) -> list[EndpointStats]:
            return Summary.of_worker(memory).endpoints(10)

    try:
        application: Any = Application(Counted())  # type: ignore[arg-type]
        call = replace(call_of(Role.VIEWER, name="-"), params=RoutesParams())
        (route,) = asyncio.run(application.routes(call)).routes
    finally:
        memory.close()

    assert route.calls == 1
