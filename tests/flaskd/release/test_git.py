"""A revision is read from git's own files; nothing that is in them can make that slow or fail."""

import os
import subprocess
from pathlib import Path

import pytest

from flaskd.release.git import Revision, is_dirty, revision_of
from tests.support.needs import requires

COMMIT = "1d229271928d3f9e2bb0375bd6ce5db6c6d348d9"
OTHER = "66b64d4a0dd1ffb3a0ca4a1c7b7b1b8a1b8d3c11"


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """One on a branch, with a directory in it."""
    (tmp_path / ".git" / "refs" / "heads" / "fix").mkdir(parents=True)
    (tmp_path / ".git" / "HEAD").write_text("ref: refs/heads/fix/it\n")
    (tmp_path / ".git" / "refs" / "heads" / "fix" / "it").write_text(COMMIT + "\n")
    (tmp_path / "src" / "shop").mkdir(parents=True)
    return tmp_path


def test_the_branch_and_its_commit_are_found_from_a_directory_below(repository: Path) -> None:
    assert revision_of(str(repository / "src" / "shop")) == Revision(COMMIT, "fix/it")


def test_a_branch_may_be_packed(repository: Path) -> None:
    """`git gc` does that; one beside it wins."""
    (repository / ".git" / "packed-refs").write_text(
        f"# pack-refs with: peeled fully-peeled sorted\n{COMMIT} refs/heads/fix\n{OTHER} refs/heads/fix/it\n^{COMMIT}\n"
    )
    assert revision_of(str(repository)).commit == COMMIT
    (repository / ".git" / "refs" / "heads" / "fix" / "it").unlink()
    assert revision_of(str(repository)) == Revision(OTHER, "fix/it")


def test_a_commit_may_be_checked_out_without_a_branch(repository: Path) -> None:
    """As deployments do; SHA-256 is longer."""
    (repository / ".git" / "HEAD").write_text(COMMIT)
    assert revision_of(str(repository)) == Revision(COMMIT, "")
    (repository / ".git" / "HEAD").write_text("a" * 64 + "\n")
    assert revision_of(str(repository)).commit == "a" * 64


@pytest.mark.parametrize(
    "head",
    ["", "ref: ", "ref: ../../etc/passwd", "ref: refs/../../x", "ref: refs/heads/none", "x" * 40, "\xff"],
)
def test_a_head_that_says_nothing_is_no_revision(repository: Path, head: str) -> None:
    """And no other file is read."""
    (repository / "x").write_text(COMMIT)
    (repository / ".git" / "HEAD").write_text(head)
    assert revision_of(str(repository)).commit == ""


def test_a_pipe_in_place_of_a_file_does_not_block(repository: Path) -> None:
    (repository / ".git" / "HEAD").unlink()
    os.mkfifo(repository / ".git" / "HEAD")
    assert revision_of(str(repository)) == Revision()


def test_without_a_repository_there_is_no_revision(tmp_path: Path) -> None:
    assert revision_of(str(tmp_path / "nowhere")) == Revision()
    assert is_dirty(str(tmp_path / "nowhere")) is None


@requires("git")
def test_git_itself_says_the_same(tmp_path: Path) -> None:
    """On a branch, packed, in a worktree; and whether files have changed."""

    def git(*words: str, here: str = "main") -> str:
        ran = subprocess.run(
            ["git", "-c", "user.name=a", "-c", "user.email=a@example.org", *words],
            cwd=tmp_path / here,
            capture_output=True,
            text=True,
            check=True,
        )
        return ran.stdout.strip()

    main, tree = tmp_path / "main", tmp_path / "tree"
    main.mkdir()
    git("init", "-q", "-b", "trunk")
    (main / "shop.py").write_text("app = 1\n")
    git("add", "-A")
    git("commit", "-q", "-m", "one")
    commit = git("rev-parse", "HEAD")
    assert revision_of(str(main)) == Revision(commit, "trunk")
    assert is_dirty(str(main)) is False
    git("pack-refs", "--all")
    assert revision_of(str(main)) == Revision(commit, "trunk")

    git("worktree", "add", "-q", "-b", "side", str(tree))
    (tree / "shop.py").write_text("app = 2\n")
    assert is_dirty(str(tree)) is True
    git("commit", "-q", "-a", "-m", "two", here="tree")
    assert revision_of(str(tree)) == Revision(git("rev-parse", "HEAD", here="tree"), "side")
    (tree / "new.py").write_text("")  # git does not know it
    assert is_dirty(str(tree)) is False


@requires("git")
def test_a_git_that_does_not_end_is_not_waited_for(
    repository: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Nor one that is not there."""
    bad = tmp_path / "bin"
    bad.mkdir()
    (bad / "git").write_text("#!/bin/sh\nexec sleep 60\n")
    (bad / "git").chmod(0o755)
    monkeypatch.setattr("flaskd.release.git.STATUS_TIME", 0.1)
    with monkeypatch.context() as patched:
        patched.setenv("PATH", f"{bad}:{os.environ['PATH']}")
        assert is_dirty(str(repository)) is None
    monkeypatch.setenv("PATH", "/nowhere")
    assert is_dirty(str(repository)) is None
