"""The working directory, with its symbolic links."""

import os


def logical_directory() -> str | None:
    """Return the working directory with symbolic links, so that each start follows a link to the current release.

    A shell sets it as PWD; the kernel's path (getcwd(2)) has all links resolved. Return None if PWD is wrong or missing.
    """
    shown = os.environ.get("PWD", "")
    try:
        same = os.path.isabs(shown) and os.path.samefile(shown, ".")
    except OSError:
        return None
    return shown if same else None
