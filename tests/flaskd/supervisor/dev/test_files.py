"""Which files `flaskd dev` watches, and which changes count."""

import os
from pathlib import Path

import pytest

from flaskd.supervisor.dev import files
from flaskd.supervisor.dev.files import Watched

ROOT = "/srv/shop"
WATCHED = Watched(
    roots=(ROOT,),
    files=frozenset({f"{ROOT}/.env", "/lib/payments/client.py"}),
    templates=(f"{ROOT}/templates",),
    globs=("conf/**/*.yaml", "*.sql", "/etc/shop/[ab].ini"),
)


@pytest.mark.parametrize(
    "path",
    [
        f"{ROOT}/shop.py",
        f"{ROOT}/cart/models.py",
        f"{ROOT}/.env",
        "/lib/payments/client.py",
        f"{ROOT}/templates/mail/index.html",
        f"{ROOT}/templates/4913.html",
        f"{ROOT}/conf/a.yaml",
        f"{ROOT}/conf/de/at/a.yaml",
        f"{ROOT}/schema.sql",
        "/etc/shop/a.ini",
    ],
)
def test_what_the_application_is_made_of_counts(path: str) -> None:
    """Code, loaded modules elsewhere, templates, and what the user's patterns match."""
    assert WATCHED.counts(path)


@pytest.mark.parametrize(
    "path",
    [
        f"{ROOT}/shop.db",
        f"{ROOT}/readme.md",
        f"{ROOT}/conf/a.json",
        f"{ROOT}/sub/schema.sql",
        "/etc/shop/c.ini",
        "/lib/payments/other.py",
        "/srv/shop2/shop.py",
    ],
)
def test_other_files_do_not_count(path: str) -> None:
    """A database that the application writes must not reload it."""
    assert not WATCHED.counts(path)


@pytest.mark.parametrize(
    "name",
    [
        ".index.html.swp",
        "index.html~",
        ".#index.html",
        "#index.html#",
        "index.html___jb_tmp___",
        "index.html___jb_old___",
        "4913",
        "sedQ3xPzA",
        ".goutputstream-XK1Y12",
        "flycheck_index.py",
        "index.html.tmp",
    ],
)
def test_what_editors_write_for_a_moment_does_not_count(name: str) -> None:
    """Not even among the templates, where every file counts."""
    assert not WATCHED.counts(f"{ROOT}/templates/{name}")
    assert not WATCHED.counts(f"{ROOT}/{name}")


def test_directories_are_those_of_the_project_without_what_is_not_its_own(tmp_path: Path) -> None:
    """No virtual environment whatever its name, no node_modules, nothing hidden."""
    for name in (
        "cart/api",
        ".git/objects",
        "node_modules/x",
        "__pycache__",
        "env/lib",
        "conf/de",
        "tpl/mail",
    ):
        (tmp_path / "app" / name).mkdir(parents=True)
    (tmp_path / "app/env/pyvenv.cfg").touch()
    (tmp_path / "lib").mkdir()
    root = str(tmp_path / "app")

    watched = Watched(roots=(root,), files=frozenset({str(tmp_path / "lib/a.py"), "/not/there/b.py"}))

    below = {os.path.relpath(each, tmp_path) for each in watched.directories()}
    assert below == {
        "lib",
        "app",
        "app/cart",
        "app/cart/api",
        "app/conf",
        "app/conf/de",
        "app/tpl",
        "app/tpl/mail",
    }


def test_a_name_that_is_no_utf_8_is_left_out(tmp_path: Path) -> None:
    """watchfiles refuses it, and all others with it."""
    os.mkdir(os.fsencode(tmp_path) + b"/\xff\xfe")
    assert Watched(roots=(str(tmp_path),)).directories() == [str(tmp_path)]


def test_a_pattern_may_lead_out_of_the_project(tmp_path: Path) -> None:
    """Relative to it, too."""
    (tmp_path / "app").mkdir()
    (tmp_path / "shared" / "texts").mkdir(parents=True)
    watched = Watched(roots=(str(tmp_path / "app"),), globs=("../shared/**/*.txt",))
    assert str(tmp_path / "shared/texts") in watched.directories()
    assert watched.counts(str(tmp_path / "shared/texts/a.txt"))
    assert watched.counts(str(tmp_path / "shared/a.txt"))
    assert not watched.counts(str(tmp_path / "a.txt"))


def test_a_huge_tree_is_watched_in_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The nearest directories: whoever starts it in a home directory does not wait for ever."""
    monkeypatch.setattr(files, "MOST_DIRECTORIES", 3)
    for name in ("a/deep/deeper", "b"):
        (tmp_path / name).mkdir(parents=True)
    watched = Watched(roots=(str(tmp_path),))
    assert watched.directories() == [str(tmp_path), str(tmp_path / "a"), str(tmp_path / "b")]
