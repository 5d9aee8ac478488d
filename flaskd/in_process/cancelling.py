"""Ending one request."""

import time

from flaskd.ledger.middleware import find
from flaskd.serving import Core
from flaskd.tasks import CancelOutcome, CancelRequest


def cancel_request(core: Core, task: CancelRequest) -> CancelOutcome:
    """Cancel a request, and wait a moment for its end."""
    began = time.monotonic()
    request = find(core.ledger, task.request)
    outcome = request.wait_cancelled() if request is not None else "unknown"
    return CancelOutcome(outcome=outcome, took=round(time.monotonic() - began, 3))
