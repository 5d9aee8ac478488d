"""Run a command under a kernel that refuses one system call, by a seccomp filter (seccomp(2), Linux, x86-64 and AArch64).

    python -m tests.support.seccomp setsockopt,1=1,2=26 ENOPROTOOPT python -m flaskd run shop:app

The first argument names the call, or its number, and what its arguments must be for it to be refused (`INDEX=VALUE`, the low
32 bits); the second is the errno. Whatever the command starts inherits the filter.
"""

import ctypes
import errno
import os
import platform
import struct
import sys
from typing import Final, NoReturn

PR_SET_NO_NEW_PRIVS: Final = 38  # linux/prctl.h
PR_SET_SECCOMP: Final = 22
SECCOMP_MODE_FILTER: Final = 2  # linux/seccomp.h
ALLOW: Final = 0x7FFF0000
ERRNO: Final = 0x00050000

LOAD, EQUAL, RETURN = (
    0x20,
    0x15,
    0x06,
)  # BPF_LD|BPF_W|BPF_ABS, BPF_JMP|BPF_JEQ|BPF_K, BPF_RET|BPF_K: linux/filter.h
ARGUMENTS: Final = 16  # offset of the first in struct seccomp_data, linux/seccomp.h; each is 8 bytes

NUMBERS: Final = {
    # x86-64 (arch/x86/entry/syscalls/syscall_64.tbl), AArch64 (asm-generic/unistd.h)
    "ioctl": (16, 29),
    "fcntl": (72, 25),
    "socket": (41, 198),
    "setsockopt": (54, 208),
    "getsockopt": (55, 209),
    "rt_sigtimedwait": (128, 137),
    "prctl": (157, 167),
    "waitid": (247, 95),
    "epoll_create1": (291, 20),
    "inotify_init1": (294, 26),
    "memfd_create": (319, 279),
    "eventfd2": (290, 19),
    "pidfd_open": (434, 434),
}
"""The numbers of the calls that tests refuse."""


def rule(text: str) -> tuple[int, dict[int, int]]:
    """Read `CALL,INDEX=VALUE,…`: the call's number here, and what its arguments must be."""
    name, *matches = text.split(",")
    number = int(name) if name.isdigit() else NUMBERS[name][platform.machine() == "aarch64"]
    return number, {int(index): int(value) for index, _, value in (match.partition("=") for match in matches)}


def program(number: int, arguments: dict[int, int], error: int) -> bytes:
    """Return the filter: everything is allowed but this call with these arguments, which fails with `error`."""
    tests = [(0, number), *((ARGUMENTS + 8 * index, value) for index, value in arguments.items())]
    instructions: list[tuple[int, int, int, int]] = []
    for left, (offset, value) in zip(range(len(tests), 0, -1), tests, strict=True):
        # A test that fails jumps over those that are left (two instructions each) and over the refusal.
        instructions += [(LOAD, 0, 0, offset), (EQUAL, 0, 2 * (left - 1) + 1, value & 0xFFFFFFFF)]
    instructions += [(RETURN, 0, 0, ERRNO | error), (RETURN, 0, 0, ALLOW)]
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in instructions)


def refuse(number: int, arguments: dict[int, int], error: int) -> None:
    """Refuse the call in this process and all that it starts from now on. Raises OSError where that cannot be done."""
    libc = ctypes.CDLL(None, use_errno=True)
    code = ctypes.create_string_buffer(filter_ := program(number, arguments, error), len(filter_))
    header = ctypes.create_string_buffer(struct.pack("HP", len(filter_) // 8, ctypes.addressof(code)))
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(
        PR_SET_SECCOMP, SECCOMP_MODE_FILTER, header, 0, 0
    ):
        raise OSError(ctypes.get_errno(), "seccomp")


def main() -> NoReturn:
    """Refuse, and run the command."""
    call, error, *command = sys.argv[1:]
    refuse(*rule(call), getattr(errno, error))
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()
