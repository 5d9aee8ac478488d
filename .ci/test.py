"""Run the tests in the project's own environment: `python3 .ci/test.py`, with any arguments of pytest."""

import os
import sys

import environment


def main() -> None:
    """Make the environment, then become pytest."""
    python = environment.ready([*environment.group("test"), *environment.group("apps")])
    command = [str(python), "-m", "pytest", *(sys.argv[1:] or ["-n", "3", "--dist", "loadfile"])]
    environment.show(command)
    os.chdir(environment.ROOT)
    os.execv(python, command)  # noqa: S606 - the tests' exit status and signals are ours


if __name__ == "__main__":
    main()
