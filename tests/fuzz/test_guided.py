"""A coverage-guided fuzzer finds nothing in the decoders either."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests import fuzz
from tests.fuzz.material import FRAMES, PROBES, REPLIES, REQUESTS
from tests.support.daemons import PATIENCE

PROJECT = Path(__file__).parents[2]

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(
        importlib.util.find_spec("atheris") is None, reason="needs atheris (dependency group fuzz)"
    ),
]


def test_coverage_leads_to_no_broken_law(tmp_path: Path) -> None:
    """From the good messages on, so many runs, or what can be had in a minute; a broken law would end it."""
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for which, seeds in enumerate((REQUESTS, REQUESTS, REPLIES, PROBES, FRAMES)):
        for number, seed in enumerate(seeds):
            (corpus / f"{which}-{number}").write_bytes(bytes([which]) + seed)
    options = [f"-runs={fuzz.GUIDED}", "-max_total_time=60", "-max_len=600", "-seed=1"]
    command = [sys.executable, "-m", "tests.fuzz.guided", *options, f"-artifact_prefix={tmp_path}/"]

    done = subprocess.run(
        [*command, str(corpus)],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=60 + PATIENCE,
        errors="replace",
    )

    assert done.returncode == 0, done.stdout + done.stderr
    runs = re.search(r"Done (\d+) runs", done.stderr)
    assert runs, done.stderr
    print(runs[0])
    covered = re.findall(r"cov: (\d+)", done.stderr)
    assert int(covered[-1]) > 100, "the decoders were not instrumented"
    assert len(list(corpus.iterdir())) > len([*REQUESTS, *REQUESTS, *REPLIES, *PROBES, *FRAMES]), (
        "nothing was learnt"
    )
