"""Malformed input against the control plane: more than 100,000 of them in a run of the suite.

Most of them are given to the decoders themselves, in this process, where 10,000 take a second or two: those that a seeded
mutator makes of good messages (`test_decoders`), those that hypothesis makes up, and those that lead a coverage-guided
fuzzer to new lines (`guided`, in a process of its own). The rest goes to the sockets of a real `flaskd run`
(`test_sockets`), that has HTTP traffic and answers `status` meanwhile. Floods, and peers that take their time, are in
`test_floods`.
"""

from typing import Final

SEEDED: Final = 14_000
"""For each of the five decoders in `targets`."""

GUIDED: Final = 20_000
"""Runs of the coverage-guided fuzzer, over all decoders."""

PROPERTY: Final = 400
"""Examples of hypothesis, for each decoder."""

LINES: Final = 4_000
MESSAGES: Final = 4_000
STREAMS: Final = 2_000
FRAMES: Final = 1_000
"""Sent to a real daemon: lines, ZeroMQ messages, connections that begin as no ZMTP does, and such as go on so."""

TOTAL: Final = 5 * (SEEDED + PROPERTY) + GUIDED + LINES + MESSAGES + STREAMS + FRAMES
