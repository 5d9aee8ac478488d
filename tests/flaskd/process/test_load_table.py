"""The table of loads: rows are given out and taken back, and each worker reads those of the others."""

import contextlib
import os

import pytest

from flaskd.process.load_table import ROWS, LoadTable


def test_a_worker_reads_the_rows_of_the_others() -> None:
    """Only of those that accept, whose row is not 0."""
    with contextlib.closing(LoadTable.create()) as table:
        first, second, third = (table.take() for _ in range(3))
        with contextlib.closing(LoadTable.attach(os.dup(table.descriptor))) as attached:
            attached.write(second, 7)
            assert table.others(first) == {second: 7}
            assert table.others(second) == {}
            table.write(third, 9)
            assert attached.others(first) == {second: 7, third: 9}


def test_a_row_is_empty_for_its_next_worker() -> None:
    """And so it is when its worker has ended, whatever that has written."""
    table = LoadTable.private()
    first, second = table.take(), table.take()
    table.write(first, 5)
    table.write(second, 6)
    table.give_back(first)
    table.give_back(first)
    assert table.others(second) == {}
    table.write(first, 5)
    assert table.take() == first
    assert table.others(second) == {}
    table.give_back(second)
    table.write(second, 6)
    assert table.others(first) == {}


def test_there_is_a_row_for_each_of_many_workers() -> None:
    """Who comes too late has none, writes nothing and sees nobody."""
    table = LoadTable.private()
    numbers = [table.take() for _ in range(ROWS)]
    assert numbers == list(range(ROWS))
    assert table.take() == -1
    table.write(numbers[-1], 5)
    table.write(-1, 7)
    table.write_hint(-1, [1])
    assert table.others(-1) == {}
    assert table.others(0) == {ROWS - 1: 5}


def test_a_hint_belongs_to_its_row() -> None:
    """It has seven words; more are an error."""
    table = LoadTable.private()
    first, second = table.take(), table.take()
    assert table.hint(first) == [0] * 7
    table.write_hint(first, range(1, 8))
    table.write_hint(second, [9])
    assert table.hint(first) == [1, 2, 3, 4, 5, 6, 7]
    assert table.hint(second) == [9, 0, 0, 0, 0, 0, 0]
    with pytest.raises(ValueError, match="too many"):
        table.write_hint(first, range(8))


def test_rows_in_use_are_read_within_the_table_whatever_it_says() -> None:
    """Each worker can write to all of it."""
    table = LoadTable.private()
    first = table.take()
    table._words[2] = 1 << 60
    assert table.others(first) == {}
