"""Files to be looked at, and settings that are the defaults."""

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import pytest

from flaskd.doctor import Examination, examine
from flaskd.settings.sources import Found, resolve


class Look(Protocol):
    """The `look` fixture: write files of these names and texts, and examine them."""

    def __call__(self, files: Mapping[str, str], /, **options: str) -> Examination: ...


@pytest.fixture
def local() -> Found:
    return resolve({}, environ={}, directory="/dev/null")


@pytest.fixture
def look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Look:
    monkeypatch.chdir(tmp_path)

    def examined(files: Mapping[str, str], /, **options: str) -> Examination:
        for name, text in files.items():
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text(text)
        here = resolve(options, environ={}, directory="/dev/null")
        return examine([name for name in files if ".d/" not in name], local=here)

    return examined
