"""The `flaskd` command. For `flaskd run`, the first worker's process is forked from it before it becomes a supervisor."""

import gc
import sys

from flaskd.process.inherited import fill_standard_descriptors
from flaskd.supervisor import early_worker

NOT_USED = {"-h", "--help", "--worker-user", "--dev"}
"""Words with which that process would be ended again (see `Launcher.launch`); a file or the environment may say the same."""


def main(prog_name: str | None = None) -> None:
    """Run the command line."""
    if sys.argv[1:2] == ["run"] and not NOT_USED.intersection(sys.argv):
        fill_standard_descriptors()
        gc.disable()  # until the supervisor has imported all that it needs: see `Daemon.serve`
        import flaskd.both  # noqa: F401 - both processes have it: imported once, and in memory once

        if early_worker.begin():
            return early_worker.serve()
    try:
        from flaskd.cli import main as command_line

        command_line(prog_name=prog_name)
    finally:
        early_worker.discard()
