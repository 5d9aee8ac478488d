"""How a page is read by the test that does what it says (tests/live/test_pages.py)."""

import pytest

from tests.support.pages import pattern, plain, steps


def test_steps_of_a_page() -> None:
    """Files by their first line, commands with what they print, an interrupt."""
    page = (
        "```python\n# a.py\nx = 1\n```\ntext\n```console\n$ b\nprinted\n# too\n$ c\n```\n"
        "```console\n# d\n```\n```console\nnews\n```\n```console\n^C\nended\n```\n"
    )

    assert [(step.kind, step.text) for step in steps(page)] == [
        ("file", "a.py"),
        ("$", "b"),
        ("$", "c"),
        ("#", "d"),
        ("", ""),
        ("^C", ""),
    ]
    assert [step.rest for step in steps(page)] == [
        "# a.py\nx = 1\n",
        "printed\n# too\n",
        "",
        "",
        "news\n",
        "ended\n",
    ]


def test_lines_of_a_shell_block_are_commands() -> None:
    """A line may go on in the next one, and end in a comment."""
    page = "```sh\na 'b # c'  # first\n# nothing\n\nd \\\n    --e\n```\n"

    assert [tuple(step) for step in steps(page)] == [("$", "a 'b # c'", ""), ("$", "d --e", "")]


def test_what_a_page_takes_for_granted_is_in_a_comment() -> None:
    """In its place between the others."""
    page = "<!--- invisible-code-block: console\n$ a\n-->\n```console\n$ b\n```\n<!--- another -->\n"

    assert [step.text for step in steps(page)] == ["a", "b"]


@pytest.mark.parametrize(
    ("shown", "printed", "same"),
    [
        ("1 worker\n", "1 worker\n", True),
        ("1 worker\n", "2 workers\n", False),
        ("took 0.3 s, pid 12\n", "took 12.5 s, pid 9\n", True),
        ("at 10:01:02 in 0x7f12\n", "at 09:30:00 in 0x7fff\n", True),
        ("a…z\n", "abcz\n", True),
        ("a\n…\nz\n", "a\nb\nc\nz\n", True),
        ("a\n…\nz\n", "a\nz\n", True),
        ("a\n", "a\nb\n", False),
        ("ID  IN FLIGHT\n1   2\n3   4\n", "ID  IN FLIGHT\n7   0\n", True),
        ("ID  IN FLIGHT\n1   2\n", "ID  OPEN\n1   2\n", False),
        ("ID  IN FLIGHT\n1   2\n", "ID  IN FLIGHT\n", False),
        ("ID  IN FLIGHT\n1   2\nend\n", "ID  IN FLIGHT\n1   2\nstart\n", False),
        ("stop it, or Ctrl-C\n", "stop it\n", True),
    ],
)
def test_what_a_page_shows_is_compared(shown: str, printed: str, same: bool) -> None:
    """Word by word, but not times, durations and pids, nor the rows of a table."""
    assert bool(pattern(shown).fullmatch(plain(printed))) == same
