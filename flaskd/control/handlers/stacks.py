"""Commands that show what the threads of the application's processes do."""

import asyncio
from typing import Final

import msgspec

from flaskd.control.handlers.shared import Shared
from flaskd.control.handlers.tasks import ROOM, carry_out, clean
from flaskd.control.registry import Call
from flaskd.ledger.row import LARGEST
from flaskd.operable import Operable, workers_of
from flaskd.process.stacks import fit, of_requests
from flaskd.tasks import Outcome, StacksTaken, TakeStacks
from flaskd_ctl.errors import ControlError, NotFound, WrongState
from flaskd_ctl.protocol import (
    Frame,
    InFlight,
    RequestsParams,
    RequestsResult,
    Stack,
    StacksResult,
    ThreadInfo,
    WorkerParams,
    WorkerStacks,
)

REPLY_TIME: Final = 1.0
"""Seconds after which a worker that has not described its threads is asked by a signal."""


class Stacks:
    """Handles the commands that show stacks. Who asks while an answer is on its way gets the same one."""

    def __init__(self, instance: Operable) -> None:
        self._instance = instance
        self._taken = Shared(self._take, age=0)

    async def stacks(self, call: Call[WorkerParams]) -> StacksResult:
        """Describe what each thread does."""
        return StacksResult(workers=await self._taken.get(call.params.worker))

    async def requests(self, call: Call[RequestsParams]) -> RequestsResult:
        """List the requests in flight that were asked for; with their stacks, if asked for."""
        params = call.params
        self._check_worker(params.worker)
        found = [each for each in self._instance.requests().requests if _wanted(each, params)]
        requests, left_out = _most(found)
        if not params.stacks or not requests:
            return RequestsResult(requests=requests, left_out=left_out)
        numbers: dict[int, set[int]] = {}
        for each in requests:
            numbers.setdefault(each.worker, set()).add(each.id)
        workers = await self._taken.get(params.worker)
        room = ROOM - len(msgspec.json.encode(requests))
        shown = []
        for worker in workers:
            if worker.worker in numbers:
                stacks = of_requests(worker.stacks, numbers[worker.worker])
                shown.append(_fitted(worker, stacks, room // len(numbers)))
        return RequestsResult(requests=requests, left_out=left_out, stacks=shown)

    async def _take(self, worker: int | None) -> list[WorkerStacks]:
        outcomes = await carry_out(self._instance, TakeStacks(), worker=worker, timeout=REPLY_TIME)
        found = await asyncio.gather(*map(self._described, outcomes))
        return [_fitted(each, each.stacks, ROOM // len(found)) for each in found]

    async def _described(self, outcome: Outcome) -> WorkerStacks:
        if isinstance(outcome.reply, StacksTaken):
            return _result(outcome, outcome.reply)
        try:
            taken = await asyncio.wrap_future(self._instance.order_stack_dump(outcome.worker))
        except WrongState:  # one process
            return WorkerStacks(worker=outcome.worker, pid=outcome.pid, error=outcome.error)
        except ControlError as error:
            why = f"{outcome.error}; it {error}"
            return WorkerStacks(worker=outcome.worker, pid=outcome.pid, error=why)
        return _result(outcome, taken, note=f"the worker {outcome.error}; this is from its signal handler")

    def _check_worker(self, worker: int | None) -> None:
        """Raise NotFound or WrongState for a worker that is not there."""
        if worker is not None:
            workers = workers_of(self._instance, "has no workers").workers().workers
            if all(each.id != worker for each in workers):
                raise NotFound(f"there is no worker {worker}", hint="see `flaskd_ctl workers`")


def _fitted(worker: WorkerStacks, stacks: list[Stack], room: int) -> WorkerStacks:
    kept, left_out = fit(stacks, room)
    return msgspec.structs.replace(worker, stacks=kept, left_out=worker.left_out + left_out)


def _result(outcome: Outcome, taken: StacksTaken, *, note: str = "") -> WorkerStacks:
    """Return what a process has told; a worker says whatever its application lets it say."""
    return WorkerStacks(
        worker=outcome.worker,
        pid=outcome.pid,
        stacks=[_clean_stack(each, outcome.worker) for each in taken.stacks],
        left_out=taken.left_out,
        note=note,
    )


def _clean_stack(stack: Stack, worker: int) -> Stack:
    return msgspec.structs.replace(
        stack,
        threads=[_clean_thread(each, worker) for each in stack.threads],
        frames=[
            Frame(clean(each.function), clean(each.file), each.line, clean(each.source))
            for each in stack.frames
        ],
    )


def _clean_thread(thread: ThreadInfo, worker: int) -> ThreadInfo:
    request = thread.request
    if request is not None:
        texts = {
            name: clean(text)
            for name, text in msgspec.structs.asdict(request).items()
            if isinstance(text, str)
        }
        number = min(max(request.id, 0), LARGEST)
        request = msgspec.structs.replace(request, **texts, worker=worker, id=number)
    return ThreadInfo(thread.id, clean(thread.name), request)


def _wanted(request: InFlight, params: RequestsParams) -> bool:
    return (
        (params.worker is None or request.worker == params.worker)
        and (params.older is None or request.age >= params.older)
        and (params.path is None or request.path.startswith(params.path))
        and (params.endpoint is None or request.endpoint == params.endpoint)
    )


def _most(requests: list[InFlight]) -> tuple[list[InFlight], int]:
    """Return the oldest requests that fit into half of a reply, and the number of the others."""
    room = ROOM // 2
    for number, request in enumerate(requests):
        room -= len(msgspec.json.encode(request)) + 1
        if room < 0:
            return requests[:number], len(requests) - number
    return requests, 0
