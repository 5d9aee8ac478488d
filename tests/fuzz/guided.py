"""The decoders under atheris, which is led to new lines by coverage: `python -m tests.fuzz.guided -runs=30000 DIRECTORY`.

The first byte of an input chooses the decoder. DIRECTORY keeps what
led to new lines. It ends with a traceback and the input at the first law that is broken.
"""

import sys

import atheris

with atheris.instrument_imports(include=["flaskd", "flaskd_ctl", "json"], enable_loader_override=False):
    from tests.fuzz.targets import Decoders


def main() -> None:
    """Fuzz; the arguments are libFuzzer's."""
    with Decoders() as decoders:
        checks = list(decoders.values())

        def once(data: bytes) -> None:
            if data:
                checks[data[0] % len(checks)](data[1:])

        atheris.Setup(sys.argv, once)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
