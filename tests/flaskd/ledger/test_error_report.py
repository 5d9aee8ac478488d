"""What is kept of an exception: its place in the application's code, and a bounded traceback without secrets."""

import re
import textwrap
from pathlib import Path
from typing import Any

import pytest

from flaskd.ledger.error_report import LONGEST_TRACE, ErrorReport, cut_middle, is_application, report_of
from flaskd.ledger.masking import mask_source, mask_text


def raised(source: str, tmp_path: Path) -> ErrorReport:
    """Run `source` as an application's module and report what it raises."""
    file = tmp_path / "shop.py"
    file.write_text(textwrap.dedent(source))
    names: dict[str, Any] = {"__name__": "shop"}
    try:
        exec(compile(file.read_text(), str(file), "exec"), names)
    except BaseException as error:  # noqa: BLE001 - as the ledger does
        return report_of(error)
    raise AssertionError("nothing was raised")


def test_the_place_is_the_innermost_of_the_applications_own(tmp_path: Path) -> None:
    """Not the line of the library that raised it."""
    report = raised(
        """
        import json
        class Order:
            def read(self):
                return json.loads("{")
        Order().read()
        """,
        tmp_path,
    )

    assert (report.exception, report.function, report.line) == (
        "json.decoder.JSONDecodeError",
        "Order.read",
        5,
    )
    assert report.file == str(tmp_path / "shop.py")
    assert "decoder.py" in report.trace
    assert report.trace.startswith("Traceback (most recent call last):")
    assert report.trace.splitlines()[-1].startswith("json.decoder.JSONDecodeError: Expecting")


@pytest.mark.parametrize(
    ("file", "own"),
    [
        ("/srv/shop/orders.py", True),
        ("/srv/shop/.venv/lib/python3.13/site-packages/flask/app.py", False),
        ("/usr/lib/python3/dist-packages/flask/app.py", False),
        (re.__file__, False),
        ("<frozen importlib._bootstrap>", False),
        ("<string>", True),
    ],
)
def test_packages_are_not_the_applications_own(file: str, own: bool) -> None:
    """Wherever they are installed."""
    assert is_application(file) is own


def test_an_exception_of_any_kind_is_reported(tmp_path: Path) -> None:
    """Its message may raise, be huge, or have no text at all; it may have a long chain or no traceback."""
    worst = raised(
        """
        class Worst(Exception):
            def __str__(self):
                raise RuntimeError
        raise Worst
        """,
        tmp_path,
    )
    huge = raised("raise ValueError('x' * 10_000_000)", tmp_path)
    deep = raised("def f(n):\n    f(n + 1)\nf(0)", tmp_path)
    surrogate = raised(r"raise ValueError('\udcff')", tmp_path)

    assert (worst.exception, worst.message) == ("shop.Worst", "(its message cannot be read)")
    assert len(huge.message) <= 4096
    assert deep.exception == "RecursionError"
    assert "Previous line repeated" in deep.trace
    assert surrogate.message == "\udcff"
    assert report_of(KeyError("k")) == ErrorReport("KeyError", "'k'", trace="KeyError: 'k'")
    for report in (worst, huge, deep, surrogate):
        assert len(report.trace.encode("utf-8", "replace")) <= LONGEST_TRACE


def test_what_caused_an_error_is_in_its_traceback(tmp_path: Path) -> None:
    """And secrets in it are masked: in a message, and in the literals of a line of code."""
    report = raised(
        """
        class InvalidToken(Exception): pass
        def connect(url, password):
            raise InvalidToken(f"cannot connect to {url} with {{'password': '{password}'}}")
        try:
            connect("postgresql://shop:hunter2@db/shop", password="hunter3")
        except InvalidToken as error:
            raise LookupError("no stock: api_key=hunter4") from error
        """,
        tmp_path,
    )

    assert "hunter" not in report.trace
    assert report.message == "no stock: api_key=***"
    assert (
        "shop.InvalidToken: cannot connect to postgresql://***@db/shop with {'password': '***'}"
        in report.trace
    )
    assert 'connect("postgresql://***@db/shop", password="***")' in report.trace
    assert "direct cause" in report.trace


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("password=hunter2", "password=***"),
        ("a=1&token=hunter2&b=2", "a=1&token=***&b=2"),
        ("x=password=hunter2", "x=password=***"),
        ('{"api_key": "hunter2", "n": 1}', '{"api_key": "***", "n": 1}'),
        ("{'secret': b'hunter\\'2', 'n': 1}", "{'secret': b'***', 'n': 1}"),
        ("Authorization: Bearer hunter2", "Authorization: ***"),
        ("mysql --password hunter2 --host db", "mysql --password *** --host db"),
        ("['mysql', '--password', 'hunter2']", "['mysql', '--password', '***']"),
        ("https://me:hunter2@host/x", "https://***@host/x"),
        ("secret: 'never closed hunter2", "secret: '***"),
        ("KeyError: 'k'", "KeyError: '***'"),  # a name like any other, if it is not said to be a type
        ("name=tea, price: 3", "name=tea, price: 3"),
        ("", ""),
    ],
)
def test_values_that_look_secret_are_masked(text: str, masked: str) -> None:
    """By the name before them."""
    assert mask_text(text) == masked


def test_the_name_of_an_exception_is_no_secrets() -> None:
    """Nor is its message therefore one."""
    assert mask_text("KeyError: 'k'", harmless={"KeyError"}) == "KeyError: 'k'"


@pytest.mark.parametrize(
    ("line", "masked"),
    [
        ('    password = "hunter2"', '    password = "***"'),
        ("    connect(token='hunter2', pin=1234)", "    connect(token='***', pin=***)"),
        ("    key = make_key(name)", "    key = make_key(name)"),
        ("    items.sort(key=len)", "    items.sort(key=len)"),
        ("    def f(password: str) -> None:", "    def f(password: str) -> None:"),
        ('    if secret == """hunter2', '    if secret == """***'),
        ("    raise Wrong('token=hunter2')", "    raise Wrong('token=***')"),
        ("    raise Wrong(f'token={token}')", "    raise Wrong(f'token={token}')"),
    ],
)
def test_only_literals_are_masked_in_code(line: str, masked: str) -> None:
    """The rest shows what was called."""
    assert mask_source(line) == masked


@pytest.mark.parametrize("text", ["password=" * 20_000, "--password " * 20_000, "a" * 200_000, "'" * 100_000])
def test_masking_takes_time_in_proportion(text: str) -> None:
    """The test's time limit is the assertion: nothing here is quadratic."""
    for _ in range(3):
        mask_text(text)
        mask_source(text)


def test_a_long_text_loses_its_middle() -> None:
    """Whole lines; the note says how many."""
    lines = [f"line {number}" for number in range(5000)]

    cut = cut_middle("\n".join(lines), 1000)

    assert len(cut.encode()) <= 1000
    kept = cut.splitlines()
    note = next(line for line in kept if "not shown" in line)
    head, tail = kept[: kept.index(note)], kept[kept.index(note) + 1 :]
    assert [*head, *tail] == [*lines[: len(head)], *lines[-len(tail) :]]
    assert note == f"… {5000 - len(head) - len(tail)} lines are not shown …"
    assert cut_middle("short", 1000) == "short"
    assert "not shown" in cut_middle("x" * 5000, 1000)
