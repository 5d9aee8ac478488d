"""Commands that show what went wrong or took long, and that end one request."""

from typing import Final

from msgspec.structs import replace

from flaskd.control.handlers.tasks import carry_out
from flaskd.control.registry import Call
from flaskd.operable import Operable
from flaskd.tasks import CancelOutcome, CancelRequest
from flaskd_ctl.errors import Failed, InvalidParams, NotFound, TimedOut, WrongState
from flaskd_ctl.protocol import (
    CancelParams,
    CancelResult,
    ErrorsParams,
    ErrorsResult,
    InFlight,
    SlowParams,
    SlowResult,
)

CANCEL_TIME: Final = 5.0
"""Seconds in which a worker that runs replies what became of a request that it cancels."""

LEFT: Final = {
    "in C": "its thread is in C code, and will be cancelled when it returns to Python",
    "handling": "the application is handling the exception, and has not ended yet",
    "elsewhere": "it is not in the application's code: it reads the request's body, sends the response, or closes it",
}
"""Why a cancelled request has not ended."""


class Problems:
    """Handles the commands on errors, slow requests and requests to cancel."""

    def __init__(self, instance: Operable) -> None:
        self._instance = instance

    def errors(self, call: Call[ErrorsParams]) -> ErrorsResult:
        """List the groups of errors, or show one of them in full."""
        found = self._instance.errors(call.params.id)
        return ErrorsResult(
            errors=[replace(each, traceback=call.traceback(each.traceback)) for each in found.errors],
            dropped=found.dropped,
        )

    def slow(self, call: Call[SlowParams]) -> SlowResult:
        """List the slowest requests of the last hour."""
        return self._instance.slow(call.params.limit)

    async def cancel(self, call: Call[CancelParams]) -> CancelResult:
        """End one request."""
        request = chosen(self._instance.requests().requests, call.params)
        (outcome,) = await carry_out(
            self._instance,
            CancelRequest(request=request.id),
            worker=request.worker or None,
            timeout=CANCEL_TIME,
        )
        what = _named(request)
        if not isinstance(outcome.reply, CancelOutcome):
            who = "its worker" if request.worker else "the process"
            if not outcome.late:
                raise Failed(f"{what} was not cancelled: {who} {outcome.error}")
            instead = (
                f", or replace it: `flaskd_ctl restart-worker {request.worker}`" if request.worker else ""
            )
            raise TimedOut(
                f"{what} is not cancelled yet: {who} {outcome.error}",
                hint=f"see `flaskd_ctl stacks`{instead}",
            )
        result = outcome.reply.outcome
        if result in {"answered", "unknown"}:
            raise WrongState(f"{what} has ended by itself, and was not cancelled")
        if result != "cancelled":
            raise TimedOut(
                f"{what} continues after {outcome.reply.took:.2g} s: {LEFT.get(result, LEFT['elsewhere'])}",
                hint="see `flaskd_ctl requests`",
            )
        return CancelResult(
            id=request.id,
            worker=request.worker,
            request_id=request.request_id,
            method=request.method,
            path=request.path,
            took=outcome.reply.took,
        )


def chosen(requests: list[InFlight], params: CancelParams) -> InFlight:
    """Return the one request that is meant. Raises NotFound if there is none, InvalidParams if there are several.

    Digits are a request's number, never an X-Request-ID: a client may have chosen that, and would hide another's number.
    """
    ident, worker = params.id, params.worker
    by_number = ident.isascii() and ident.isdecimal()
    found = [
        each
        for each in requests
        if (str(each.id) == ident if by_number else each.request_id == ident)
        and worker in {None, each.worker}
    ]
    where = f" in worker {worker}" if worker is not None else ""
    if not found:
        raise NotFound(f"no request {ident!a} is in flight{where}", hint="see `flaskd_ctl requests`")
    if len(found) > 1:
        workers = sorted({each.worker for each in found})
        if len(workers) < len(found):
            raise InvalidParams(
                f"{len(found)} requests have the id {ident!a}",
                hint="use the number that `flaskd_ctl requests` shows",
                data={"path": "params.id"},
            )
        raise InvalidParams(
            f"workers {', '.join(map(str, workers))} each have a request {ident!a}",
            hint="add --worker, as `flaskd_ctl requests` shows it",
            data={"path": "params.worker"},
        )
    return found[0]


def _named(request: InFlight) -> str:
    where = f" in worker {request.worker}" if request.worker else ""
    return f"request {request.id}{where} ({request.method} {request.path})"
