"""What a worker tells its supervisor: it arrives, whatever the application has put into it."""

import json
import socket

from flaskd.channel.worker_end import LONGEST_MESSAGE, LONGEST_TRACE, Line
from flaskd_ctl.contract.conversation import MAX_MESSAGE, Conversation, Lines, Refusal


def refusal(error: BaseException, trace: str) -> Refusal:
    worker, supervisor = socket.socketpair()
    with worker, supervisor:
        conversation = Conversation()
        number, _ = conversation.call("start")
        Line(worker).refuse(number, error, hint="", trace=trace)
        (message,) = Lines().feed(supervisor.recv(MAX_MESSAGE))
    heard = conversation.hear(message)
    assert isinstance(heard, Refusal)
    return heard


def test_a_failure_that_quotes_megabytes_is_told_by_its_beginning_and_its_end() -> None:
    """A message of the protocol has an end, and so has the `status` that shows the last failure."""
    heard = refusal(
        RuntimeError("begins" + "x" * 2 * MAX_MESSAGE + "ends"), "first" + "x" * 2 * MAX_MESSAGE + "last"
    )

    said, trace = str(heard.error), heard.error.data["traceback"]
    assert (said[:6], said[-4:]) == ("begins", "ends")
    assert (trace[:5], trace[-4:]) == ("first", "last")
    assert (len(said), len(trace)) == (LONGEST_MESSAGE + 3, LONGEST_TRACE + 3)


def test_the_name_of_a_file_that_is_no_utf_8_is_told() -> None:
    """Python has half a surrogate in place of such a byte (PEP 383), which JSON cannot have."""
    heard = refusal(FileNotFoundError("no file caf\udce9"), "Traceback: caf\udce9")

    assert "no file caf" in str(heard.error)
    assert json.dumps(heard.error.data["traceback"], ensure_ascii=False).encode()
