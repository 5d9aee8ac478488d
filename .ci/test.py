"""Run the tests in the project's own environment: `python3 .ci/test.py`, with any arguments of pytest.

By itself it runs all of them, on four workers (live tests wait most of their time) and the slowest directories first, so that
none is left for the end.
"""

import os
import sys

import environment

SIDE_BY_SIDE = ["-n", "4", "--dist", "loadfile", "--no-loadscope-reorder"]


def main() -> None:
    """Make the environment, then become pytest."""
    python = environment.ready([*environment.group("test"), *environment.group("apps")])
    arguments = sys.argv[1:] or [*SIDE_BY_SIDE, "tests/http", "tests/live", "tests"]
    command = [str(python), "-m", "pytest", *arguments]
    environment.show(command)
    os.chdir(environment.ROOT)
    os.execv(python, command)  # noqa: S606 - the tests' exit status and signals are ours


if __name__ == "__main__":
    main()
