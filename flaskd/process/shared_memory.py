"""Memory that one process writes and others read, whatever becomes of the writer.

`create` makes it, `attach` maps it in a process that has inherited the descriptor, `private` does without sharing. A mark in it
names its format. The size is sealed (if the kernel can), so that reading never ends in SIGBUS. What is in it, and how a reader
copes with a writer that stops or dies halfway, is the user's business: see `flaskd.ledger`.
"""

import fcntl
import mmap
import os
from typing import NamedTuple, Self

from flaskd.guard import warn_once
from flaskd.process.memory import anonymous_file


class Format(NamedTuple):
    """What a memory holds: `name` it for people, `mark` is written at the offset `mark_at`, its size a multiple of `unit`.

    A mark is "flaskd", one word, and the version of the format.
    """

    name: str
    mark: bytes
    mark_at: int
    unit: int


class SharedMemory:
    """Memory with a descriptor, or a private one without; `bytes` and `words` (of 8 bytes) are views of all of it."""

    def __init__(self, memory: mmap.mmap | bytearray, descriptor: int | None) -> None:
        self._memory = memory
        self._descriptor = descriptor
        self.bytes = memoryview(memory)
        self.words = self.bytes.cast("Q")

    @classmethod
    def create(cls, form: Format, size: int) -> Self:
        """Make `size` bytes that another process can map; they are zero but for the mark."""
        descriptor = anonymous_file("-".join(form.mark.decode().split()[:2]))
        try:
            os.ftruncate(descriptor, size)
            seal(descriptor, form.name)
            return cls(_marked(mmap.mmap(descriptor, size), form), descriptor)
        except BaseException:
            os.close(descriptor)
            raise

    @classmethod
    def attach(cls, form: Format, descriptor: int, *, least: int) -> Self:
        """Map what is behind `descriptor`; raises ValueError for anything but `least` bytes or more of this format."""
        size = os.fstat(descriptor).st_size
        if size >= least and not size % form.unit:
            memory = mmap.mmap(descriptor, size)
            if memory[form.mark_at : form.mark_at + len(form.mark)] == form.mark:
                # It came through an exec; the application's children must not inherit it.
                os.set_inheritable(descriptor, False)
                return cls(memory, descriptor)
            memory.close()
        raise ValueError(f"descriptor {descriptor} is no {form.name} of this version of flaskd")

    @classmethod
    def private(cls, form: Format, size: int) -> Self:
        """Make memory that only this process can read; it needs no `close`."""
        return cls(_marked(bytearray(size), form), None)

    @property
    def descriptor(self) -> int:
        """The descriptor that another process attaches to; it is not inheritable. Raises ValueError for private memory."""
        if self._descriptor is None:
            raise ValueError("this memory is private: it has no descriptor")
        return self._descriptor

    def close(self) -> None:
        """Release the memory, of which no view may be left; other processes keep theirs."""
        self.words.release()
        self.bytes.release()
        if isinstance(self._memory, mmap.mmap):
            self._memory.close()
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _marked(memory: mmap.mmap | bytearray, form: Format) -> mmap.mmap | bytearray:
    memory[form.mark_at : form.mark_at + len(form.mark)] = form.mark
    return memory


def seal(descriptor: int, name: str) -> None:
    """Fix the size, if the kernel can, so that reading a mapping never ends in SIGBUS; `name` it for people."""
    if not hasattr(fcntl, "F_ADD_SEALS"):
        return
    seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
    try:
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)
    except OSError as error:
        warn_once(
            f"{name}s cannot be sealed ({error.strerror}): a worker that shrinks its own ends the daemon"
        )
