"""Files without a name, in memory if the kernel can (memfd_create(2)), else on disk."""

import os
import tempfile

from flaskd.guard import warn_once


def anonymous_file(name: str) -> int:
    """Open a file without a name, which another process can inherit; its size can be sealed if it is in memory."""
    if hasattr(os, "memfd_create"):
        try:
            return os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        except OSError as error:
            warn_once(f"memfd_create: {error.strerror}; what workers share is in {tempfile.gettempdir()}")
    with tempfile.TemporaryFile(prefix=name) as file:
        return os.dup(file.fileno())
