"""What an instance keeps of the requests that its processes have finished: errors, and the slowest."""

import time

from flaskd.ledger.errors import Errors, ErrorTable
from flaskd.ledger.slowest import Slowest, SlowTable
from flaskd_ctl.errors import NotFound
from flaskd_ctl.protocol import ErrorsResult, SlowResult


class Records:
    """The errors and the slowest requests of processes that are gone, to which those of living ones are added."""

    def __init__(self) -> None:
        self._errors = Errors()
        self._slowest = Slowest()

    def add(self, errors: ErrorTable, slow: SlowTable, worker: int) -> None:
        """Keep what a process that is gone has recorded."""
        self._errors.add(errors, worker)
        self._slowest.add(slow, worker, time.monotonic())

    def errors(self, tables: dict[int, ErrorTable], ident: str | None) -> ErrorsResult:
        """List all groups of errors, or show one in full; raises NotFound. `tables` are those of living processes."""
        found, dropped = self._errors.listed(tables)
        if ident is None:
            return ErrorsResult(errors=[each.group() for each in found], dropped=dropped)
        whole = [each.group(whole=True) for each in found if each.group().id == ident]
        if not whole:
            raise NotFound(f"there is no error {ident!a}", hint="see `flaskd_ctl errors`")
        return ErrorsResult(errors=whole)

    def slow(self, tables: dict[int, SlowTable], limit: int) -> SlowResult:
        """List the slowest requests of the last hour. `tables` are those of living processes."""
        return SlowResult(requests=self._slowest.listed(tables, limit, time.monotonic()))
