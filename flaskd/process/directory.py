"""The directory in which the process was started."""

import os


def logical_directory() -> str | None:
    """Return the path by which we were started here: a release that is a symbolic link is followed anew at each start.

    A shell tells it in PWD; the path of the kernel (getcwd(2)) has all links resolved.
    """
    shown = os.environ.get("PWD", "")
    try:
        same = os.path.isabs(shown) and os.path.samefile(shown, ".")
    except OSError:
        return None
    return shown if same else None
