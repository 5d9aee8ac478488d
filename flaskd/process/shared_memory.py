"""Memory that one process writes and others read, whatever becomes of the writer.

`create` makes it, `attach` maps it in a process that has inherited the descriptor, `private` does without sharing. A mark in it
names its format. The size is sealed (if the kernel can), so that reading never ends in SIGBUS. `create_file` and `check_file`
do the same for those who do not map what they read. What is in it, and how a reader copes with a writer that stops or dies
halfway, is the user's business: see `flaskd.ledger`.
"""

import fcntl
import mmap
import os
from typing import ClassVar, NamedTuple, Self

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
        descriptor = create_file(form, size)
        try:
            return cls(mmap.mmap(descriptor, size), descriptor)
        except BaseException:
            os.close(descriptor)
            raise

    @classmethod
    def attach(cls, form: Format, descriptor: int, *, least: int) -> Self:
        """Map what is behind `descriptor`; raises ValueError for anything but `least` bytes or more of this format."""
        return cls(mmap.mmap(descriptor, check_file(form, descriptor, least=least)), descriptor)

    @classmethod
    def private(cls, form: Format, size: int) -> Self:
        """Make memory that only this process can read; it needs no `close`."""
        memory = bytearray(size)
        memory[form.mark_at : form.mark_at + len(form.mark)] = form.mark
        return cls(memory, None)

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


class SharedTable:
    """A table in shared memory: a head of `head` bytes, and entries of `entry` bytes, `usual` many if no number is given.

    `create` makes the memory, `attach` maps it in a process that has inherited the descriptor, `private` does without sharing.
    """

    form: ClassVar[Format]
    head: ClassVar[int] = 0
    entry: ClassVar[int]
    usual: ClassVar[int] = 1

    def __init__(self, memory: SharedMemory) -> None:
        self._memory = memory

    @classmethod
    def create(cls, entries: int | None = None) -> Self:
        """Make memory that another process can map."""
        return cls(SharedMemory.create(cls.form, cls._size(entries)))

    @classmethod
    def attach(cls, descriptor: int) -> Self:
        """Map the table behind `descriptor`; raises ValueError for anything else, or another version's table."""
        return cls(SharedMemory.attach(cls.form, descriptor, least=cls._size(1)))

    @classmethod
    def private(cls, entries: int | None = None) -> Self:
        """Make a table that only this process can read; it needs no `close`."""
        return cls(SharedMemory.private(cls.form, cls._size(entries)))

    @property
    def descriptor(self) -> int:
        """The descriptor that another process attaches to; it is not inheritable. Raises ValueError for a private table."""
        return self._memory.descriptor

    def close(self) -> None:
        """Release the memory; this object cannot be used afterwards. Other processes keep theirs."""
        self._memory.close()

    @classmethod
    def _size(cls, entries: int | None) -> int:
        return cls.head + (cls.usual if entries is None else entries) * cls.entry


def create_file(form: Format, size: int) -> int:
    """Make `size` bytes that another process can read or map, and return their descriptor; zero but for the mark."""
    descriptor = anonymous_file("-".join(form.mark.decode().split()[:2]))
    try:
        os.ftruncate(descriptor, size)
        _seal(descriptor, form.name)
        os.pwrite(descriptor, form.mark, form.mark_at)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def check_file(form: Format, descriptor: int, *, least: int) -> int:
    """Return the size of what is behind `descriptor`; raises ValueError for anything but `least` bytes of this format."""
    size = os.fstat(descriptor).st_size
    fits = size >= least and not size % form.unit
    if not fits or os.pread(descriptor, len(form.mark), form.mark_at) != form.mark:
        raise ValueError(f"descriptor {descriptor} is no {form.name} of this version of flaskd")
    # It came through an exec; the application's children must not inherit it.
    os.set_inheritable(descriptor, False)
    return size


def _seal(descriptor: int, name: str) -> None:
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
