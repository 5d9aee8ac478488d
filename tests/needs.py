"""What a test needs of the machine; without it the test is skipped with a reason, in CI it fails."""

import os
import shutil

import pytest

_SYSTEMD = "/lib/systemd/systemd"


def requires(*needs: str) -> pytest.MarkDecorator:
    """Mark a test that needs "root", "systemd" (to boot one in namespaces), or programs by their names."""
    missing = [need for need in needs if not _present(need)]
    return pytest.mark.skipif(bool(missing), reason=f"needs {', '.join(missing)}")


def _present(need: str) -> bool:
    if need == "root":
        return os.geteuid() == 0
    if need == "systemd":
        programs = ("systemctl", "unshare", "nsenter")
        return os.path.exists(_SYSTEMD) and all(shutil.which(program) for program in programs)
    return shutil.which(need) is not None
