"""Run the tests in the project's own environment: `python3 .ci/test.py`, with any arguments of pytest.

By itself it runs all of them, on four workers (live tests wait most of their time), the slowest files and directories first, so
that none is left for the end.
"""

import os
import sys

import environment

SLOWEST = [
    "systemd",
    "swarm",
    "docker",
    "pages",
    "no_loss_workers",
    "no_loss_granian",
    "no_loss_waitress",
    "kernel_calls",
    "balancers",
    "web_accessibility",
    "web_page",
]
SIDE_BY_SIDE = ["-n", "4", "--dist", "loadfile", "--no-loadscope-reorder", "--durations=20"]


def main() -> None:
    """Make the environment, then become pytest."""
    python = environment.ready([*environment.group("test"), *environment.group("apps")])
    arguments = sys.argv[1:] or [
        *SIDE_BY_SIDE,
        *(f"tests/live/test_{name}.py" for name in SLOWEST),
        "tests/docs/test_screenshots.py",
        "tests/http",
        "tests/live",
        "tests",
    ]
    command = [str(python), "-m", "pytest", *arguments]
    environment.show(command)
    os.chdir(environment.ROOT)
    os.execv(python, command)  # noqa: S606 - the tests' exit status and signals are ours


if __name__ == "__main__":
    main()
