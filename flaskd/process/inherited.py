"""What this process has inherited, put right: standard descriptors, and the limit of descriptors.

It is imported before anything else of `flaskd run`, so it imports nothing that takes time.
"""

import os
import resource


def fill_standard_descriptors() -> None:
    """Open /dev/null in place of a closed stdin, stdout or stderr (`>&-`): or the next file would get its number."""
    descriptor = os.open(os.devnull, os.O_RDWR)
    while descriptor <= 2:
        descriptor = os.dup(descriptor)
    os.close(descriptor)


def raise_descriptor_limit() -> int:
    """Raise RLIMIT_NOFILE to the hard limit (setrlimit(2)). Return the limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (OSError, ValueError):  # macOS refuses its own "unlimited"
            return soft
    return hard
