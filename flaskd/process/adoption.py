"""Fork a process that becomes a child of an ancestor, the nearest one that adopts orphans.

See PR_SET_CHILD_SUBREAPER in prctl(2).
"""

import contextlib
import errno
import os


def fork_orphan() -> int:
    """Fork; return the pid in this process, and 0 in the new one, once it has been adopted. Raises OSError.

    The new one leads a session of its own. A process in the middle forks it and ends, so functions of `os.register_at_fork` run
    twice.
    """
    told, tell = os.pipe()
    adopted, adopt = os.pipe()
    try:
        middle = os.fork()
        if middle == 0:
            _fork_again(tell)
            os.setsid()  # first: what ends with the session of the first process is not this one
            os.close(tell)
            tell = -1
            os.close(adopt)
            adopt = -1
            os.read(adopted, 1)  # until the first process has waited for the one in the middle, or is gone
            return 0
        os.close(tell)  # so that reading ends, whatever becomes of the others
        tell = -1
        with contextlib.suppress(
            ChildProcessError
        ):  # who ignores SIGCHLD has waited too, and is told nothing
            os.waitpid(middle, 0)
        answer = int.from_bytes(os.read(told, 8), "little", signed=True)
        if answer <= 0:
            number = -answer or errno.EAGAIN
            raise OSError(number, os.strerror(number))
        return answer
    finally:
        for descriptor in (told, tell, adopted, adopt):
            if descriptor >= 0:
                os.close(descriptor)


def _fork_again(tell: int) -> None:
    """Fork in the middle, and end there after telling the pid, or the error as a negative number."""
    try:
        answer = os.fork()
    except OSError as error:
        answer = -(error.errno or errno.EAGAIN)
    if answer:
        os.write(tell, answer.to_bytes(8, "little", signed=True))
        os._exit(0)
