"""What workers print: every line comes out whole, once, with its worker before it; a slow reader stops no loop."""

import os
import re
import resource
import select
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from flaskd.logs.record import encode
from flaskd.logs.ring import Wanted
from flaskd.supervisor.output import LAST_MOMENT, WorkerOutput
from flaskd.supervisor.output_thread import READ_SIZE, RECORDS, Origin

WAIT = 10.0

HEADER = re.compile(rb"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[+-]\d\d:\d\d \w+ +", re.MULTILINE)
"""What stands before the origin of each line: the time, and the level or the stream."""


def without_header(received: bytes) -> bytes:
    return HEADER.sub(b"", received)


class Pipe:
    """Our output, and who reads it."""

    def __init__(self) -> None:
        self.read_end, self.write_end = os.pipe()

    def read(self, *enough: bytes) -> bytes:
        """Read until all of `enough` has come; fails when it does not."""
        received = b""
        while not all(each in received for each in enough):
            assert select.select([self.read_end], [], [], WAIT)[0], f"only {received[-100:]!r} came"
            received += os.read(self.read_end, 1 << 20)
        return received

    def drain_until_ended(self, *ends: int) -> None:
        """Close these write ends, and read what still comes."""
        for end in ends:
            os.close(end)
        while select.select([self.read_end], [], [], 0.2)[0]:
            os.read(self.read_end, 1 << 20)

    def close(self) -> None:
        for descriptor in (self.read_end, self.write_end):
            os.close(descriptor)


@pytest.fixture
def output() -> Iterator[Pipe]:
    pipe = Pipe()
    yield pipe
    pipe.close()


def write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


def fill(descriptor: int) -> None:
    """Write lines until nobody has taken one for a moment."""
    os.set_blocking(descriptor, False)
    stalled = 0
    while stalled < 2:
        try:
            os.write(descriptor, b"y" * 1000 + b"\n")
            stalled = 0
        except BlockingIOError:
            stalled += 1
            select.select([], [descriptor], [], 0.2)


def print_and_end(descriptor: int, data: bytes) -> None:
    write_all(descriptor, data)
    os.close(descriptor)


def test_lines_of_several_workers_come_out_whole(output: Pipe) -> None:
    """However they are cut and mixed on the way, no line is torn, none is lost, and each says whose it is."""
    with WorkerOutput() as relay, ExitStack() as stack:
        ends = {number: relay.pipe(Origin(number, "stdout"), output.write_end) for number in (1, 2, 3)}
        for end in ends.values():
            stack.callback(os.close, end)
        for turn in range(50):
            for number, end in ends.items():
                os.write(end, f"{turn} of {number}\nhalf".encode())
                os.write(end, b" a line\n")
        for number, end in ends.items():
            os.write(end, f"the end of {number}\n".encode())

        received = output.read(*(f"the end of {number}\n".encode() for number in ends))
        lines = without_header(received).decode().splitlines()

    for number in ends:
        ours = [line.removeprefix(f"[{number}] ") for line in lines if line.startswith(f"[{number}] ")]
        expected = [text for turn in range(50) for text in (f"{turn} of {number}", "half a line")]
        assert ours == [*expected, f"the end of {number}"]


def test_a_last_line_without_an_end_gets_one(output: Pipe) -> None:
    """What a worker printed as it died comes out."""
    with WorkerOutput() as relay:
        end = relay.pipe(Origin(1, "stdout"), output.write_end)
        os.write(end, b"Fatal Python error: x")
        os.close(end)

        assert without_header(output.read(b"\n")) == b"[1] Fatal Python error: x\n"


def test_binary_passes_unchanged(output: Pipe) -> None:
    """Nothing is decoded, so nothing can be undecodable; an empty line is a line."""
    with WorkerOutput() as relay:
        end = relay.pipe(Origin(1, "stdout"), output.write_end)
        os.write(end, bytes(byte for byte in range(256) if byte != 10) + b"\n\n\xff\xfe\n")
        os.close(end)

        received = without_header(output.read(b"\xff\xfe\n"))

    assert received == b"[1] " + bytes(byte for byte in range(256) if byte != 10) + b"\n[1] \n[1] \xff\xfe\n"


def test_a_record_is_whole_however_long(output: Pipe) -> None:
    """Unlike a printed line, it is passed on when its end has come: with its level, and in the ring."""
    text = "\n".join(f"{number} {'x' * 100}" for number in range(2000))
    with WorkerOutput() as relay:
        end = relay.pipe(Origin(3, RECORDS), output.write_end)
        line = encode(1.0, 40, "shop", request_id="ab-1", text=text)
        writer = threading.Thread(target=print_and_end, args=(end, line))
        writer.start()
        received = output.read(b"\n  | 1999 " + b"x" * 100 + b"\n")
        writer.join(WAIT)
        (kept,) = relay.ring.newest(Wanted(), 10).lines

    assert re.match(rb"\S+ error    \[3 ab-1\] shop: 0 x", received)
    assert received.count(b"\n") == 2000
    assert (kept.level, kept.worker, kept.message) == ("error", 3, text)


def test_what_is_no_record_is_a_printed_line(output: Pipe) -> None:
    """A worker's application may write anything to any of its descriptors: it is that worker's, without a level."""
    with WorkerOutput() as relay:
        end = relay.pipe(Origin(3, RECORDS), output.write_end)
        os.write(end, b'[1,50,"bank","","robbed"]x\n')
        os.close(end)

        received = output.read(b"\n")

    assert without_header(received) == b'[3] [1,50,"bank","","robbed"]x\n'
    assert b" stderr " in received


def test_a_line_without_end_comes_out_in_pieces(output: Pipe) -> None:
    """Memory is bounded; no byte is lost."""
    size = 10 * READ_SIZE + 7
    with WorkerOutput() as relay:
        end = relay.pipe(Origin(1, "stdout"), output.write_end)
        writer = threading.Thread(target=print_and_end, args=(end, b"x" * size + b"!\n"))
        writer.start()
        received = output.read(b"!\n")
        writer.join(WAIT)

    assert received.count(b"x") == size
    assert max(map(len, received.split(b"\n"))) <= 2 * READ_SIZE + 50


def test_what_is_there_at_the_end_is_passed_on(output: Pipe) -> None:
    """The relay ends when the daemon does; what workers had written by then is read, to the last byte."""
    with WorkerOutput() as relay:
        end = relay.pipe(Origin(1, "stdout"), output.write_end)
        os.write(end, b"goodbye\nand")

    assert without_header(output.read(b"and")) == b"[1] goodbye\n[1] and\n"
    os.close(end)


def test_a_stalled_reader_stops_neither_the_loop_nor_the_end(output: Pipe) -> None:
    """Our output is a pipe that is full: workers are started all the same, hundreds of them, and the daemon ends in time."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
    ends: list[int] = []
    done = threading.Event()

    def start_workers() -> None:
        with WorkerOutput() as relay:
            first = relay.pipe(Origin(1, "stdout"), output.write_end)
            ends.append(first)
            fill(first)  # the relay has stopped reading: it waits for our reader
            for number in range(1000):
                ends.append(relay.pipe(Origin(number, "stdout"), output.write_end))
        done.set()

    starter = threading.Thread(target=start_workers, daemon=True)
    began = time.monotonic()
    starter.start()
    try:
        assert done.wait(WAIT), "the supervisor's loop hangs on its own output"
        assert time.monotonic() - began < WAIT / 2 + LAST_MOMENT
    finally:
        os.set_blocking(output.read_end, False)
        for end in ends:
            os.close(end)
        relay_thread = next((each for each in threading.enumerate() if each.name == "flaskd-output"), None)
        while relay_thread is not None and relay_thread.is_alive():
            if select.select([output.read_end], [], [], 0.05)[0]:
                os.read(output.read_end, 1 << 20)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_an_output_that_does_not_block_loses_nothing(output: Pipe) -> None:
    """Whoever shares our terminal or pipe may have set O_NONBLOCK, which belongs to all who have it open (open(2))."""
    os.set_blocking(output.write_end, False)
    lines = 3000
    with WorkerOutput() as relay:
        end = relay.pipe(Origin(1, "stdout"), output.write_end)
        data = b"".join(b"%06d" % number + b"x" * 100 + b"\n" for number in range(lines)) + b"the end\n"
        writer = threading.Thread(target=print_and_end, args=(end, data))
        writer.start()
        received = output.read(b"the end\n")
        writer.join(WAIT)

    assert received.count(b"\n") == lines + 1


def test_nobody_who_reads_our_output_is_no_reason_to_stop() -> None:
    """Lines go nowhere; workers print on, and other outputs still get theirs."""
    broken, fine = Pipe(), Pipe()
    os.close(broken.read_end)
    with WorkerOutput() as relay:
        end = relay.pipe(Origin(1, "stdout"), broken.write_end)
        other = relay.pipe(Origin(2, "stdout"), fine.write_end)
        write_all(end, b"lost\n" * 50_000)
        os.write(other, b"kept\n")
        assert without_header(fine.read(b"\n")) == b"[2] kept\n"
        os.close(end)
        os.close(other)
    os.close(broken.write_end)
    fine.close()


def test_a_stalled_output_silences_no_other(output: Pipe) -> None:
    """Nobody reads stdout, and a worker waits for that; what it writes to stderr comes out."""
    stderr = Pipe()
    with WorkerOutput() as relay:
        first = relay.pipe(Origin(1, "stdout"), output.write_end)
        other = relay.pipe(Origin(1, "stdout"), stderr.write_end)
        fill(first)
        os.write(other, b"Traceback\n")

        assert without_header(stderr.read(b"\n")) == b"[1] Traceback\n"
        output.drain_until_ended(first, other)
    stderr.close()


def test_lines_of_ours_that_nobody_reads_are_counted(output: Pipe) -> None:
    """Writing them waits for nobody; the first that gets through says how many are missing, and no line is torn."""
    with WorkerOutput() as relay:
        stream = relay.stream(output.write_end)
        other = relay.pipe(Origin(9, "stdout"), output.write_end)
        fill(other)
        lines = 2000
        for number in range(lines):
            print(f"{number:04d} {'x' * 200}", file=stream)
        os.close(other)
        received = output.read(b"1 x")
        while b"lines dropped" not in received:
            print("again", file=stream)
            received += output.read(b"\n")
        lines_of_ours = [
            line for line in without_header(received).decode().splitlines() if "supervisor" in line
        ]
        ours = [line.removeprefix("[supervisor] ") for line in lines_of_ours]

    whole = [line for line in ours if re.fullmatch(r"\d{4} x{200}", line)]
    (dropped,) = (int(line.rpartition(" ")[2]) for line in ours if "lines dropped" in line)
    again = ours.count("again")
    assert 0 < len(whole) < lines
    assert len(ours) == len(whole) + again + 1
    assert dropped >= lines - len(whole)
