"""A page of the documentation, carried out from top to bottom: its files are written, and its commands print what it shows.

A code block whose first line is a comment with a name (`# shop.py`) is that file. A `console` block has commands of the user
(`$`) or of root (`#`); what follows one is what it prints, `…` standing for anything. A `sh` block has commands of the user,
which succeed. A command that serves goes on until a block begins with `^C`, or until the next one that serves; a block
without a prompt is what it prints meanwhile. What a page takes for granted, its reader finds in an HTML comment that
begins with `<!--- invisible-code-block: console` (or the language of a file).
"""

import contextlib
import os
import re
import select
import signal
import subprocess
import time
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple, Self

from tests.support.booted import Machine
from tests.support.daemons import PATIENCE

BLOCK: Final = re.compile(
    r"^(?:```|<!--- invisible-code-block: )(\w+)\n(.*?)^(?:```|-->)$", re.DOTALL | re.MULTILINE
)
NAME: Final = re.compile(r"# ([\w./-]+\.\w+)\n")
COMMENT: Final = re.compile(r"\s{2,}#.*$", re.MULTILINE)
SERVING: Final = re.compile(r"\S*(gunicorn|flaskd run|flaskd dev|flask .*serve|python app\.py)\b")
VOLATILE: Final = re.compile(
    r"\d{4}-\d\d-\d\dT\S+|\d\d:\d\d:\d\d|\d{3}(-\d{3}){2}|0x[0-9a-f]+|(?<=-timeout )\d+"
    r"|\d+(?= (m?s|min)\b)|\d+/\d+(?= MiB)|\d+(\.\d+)+|\d{4,}|(?<=pid )\d+"
)
"""What differs each time: times, PINs, addresses in memory, durations, sizes, versions, pids."""
HEAD: Final = re.compile(r" *[A-Z][A-Z0-9/]*(?: [A-Z0-9/]+)* {2,}[A-Z].*")
"""The head of a table. Its rows are an example: there is one at least."""

SOMETIMES: Final = re.compile(r", or Ctrl-C|^flaskd: \S+ is still starting after .*\n", re.MULTILINE)
"""What is printed on a terminal only, or only by a slow machine."""
BANNER: Final = "  stop     flaskd_ctl …\n"


class Step(NamedTuple):
    """A file (`name`, with its text), or a command (`by` root or not) with what it prints."""

    kind: str
    text: str
    rest: str


def steps(page: str) -> Iterator[Step]:
    """Yield what a page tells its reader to do."""
    for language, text in BLOCK.findall(page):
        if language == "sh":
            for command in COMMENT.sub("", text.replace("\\\n", " ")).splitlines():
                if command and not command.startswith("#"):
                    yield Step("$", re.sub(" +", " ", command), "")
        elif language == "console" and text.startswith("^C"):
            yield Step("^C", "", text.removeprefix("^C\n"))
        elif language == "console" and text[0] not in "$#":
            yield Step("", "", text)
        elif language == "console":
            prompt = text[0]
            for entry in re.split(rf"^[{prompt}] ", text, flags=re.MULTILINE)[1:]:
                command, _, printed = entry.partition("\n")
                yield Step(prompt, COMMENT.sub("", command), printed)
        elif name := NAME.match(text):
            yield Step("file", name[1], text)


def pattern(shown: str) -> re.Pattern[str]:
    """Return what matches a text as the page shows it: `…` is any text, a line with nothing else any lines."""
    lines = []
    table = False
    for original, line in zip(SOMETIMES.sub("", shown).splitlines(), plain(shown).splitlines(), strict=True):
        if HEAD.fullmatch(original):
            table = True
            lines.append(re.escape(line) + r"\n(?:.+\n)+?")
        elif table and "  " in original.strip():
            continue
        elif line.strip() == "…":
            lines.append(r"(?:.*\n)*?")
        else:
            table = False
            lines.append(".*".join(map(re.escape, line.split("…"))) + r"\n")
    return re.compile("".join(lines))


def plain(text: str) -> str:
    """Return a text without what differs each time, or is only sometimes there."""
    lines = SOMETIMES.sub("", text).splitlines()
    lines = [re.sub(" +", " ", VOLATILE.sub("0", line).replace("0 ms", "0 s")).rstrip() for line in lines]
    return "".join(f"{line}\n" for line in lines)


class Reader:
    """Somebody who does what a page says, in a directory of a machine."""

    def __init__(self, machine: Machine, directory: str, *, user: str, environ: Mapping[str, str]) -> None:
        self._machine = machine
        self._directory = directory
        self._user = user
        self._environ = [f"{name}={value}" for name, value in environ.items()]
        self._server: subprocess.Popen[str] | None = None
        self._output = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None:  # nsenter and, in its session, what it has started
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._server.pid, signal.SIGKILL)
            self._server.wait(PATIENCE)
            assert self._server.stdout is not None
            self._server.stdout.close()

    def follow(self, page: str, *, elsewhere: Collection[str] = ()) -> None:
        """Do each step, except for commands that are run `elsewhere`; each of those has to be on the page."""
        left_out = set()
        for step in steps(page):
            if step.kind == "file":
                self._write(step.text, step.rest)
            elif step.kind == "^C":
                self._interrupt(step.rest)
            elif not step.kind:
                self._await(step.rest)
            elif step.text in elsewhere:
                left_out.add(step.text)
            elif step.text.startswith("cd "):
                self._directory = os.path.join(self._directory, step.text.removeprefix("cd "))
            elif SERVING.match(step.text):
                self._serve(step)
            else:
                self._run(step)
        assert left_out == set(elsewhere), "these commands are not on the page any more"

    def _write(self, name: str, text: str) -> None:
        file = Path(f"{self._machine.root}{self._directory}") / name
        part = file.with_name(f".{file.name}.part")
        part.write_text(text)
        os.chown(part, file.parent.stat().st_uid, file.parent.stat().st_gid)
        part.replace(file)  # as an editor does: nobody sees half of it

    def _shell(self, step: Step, before: str = "") -> list[str]:
        script = f"cd {self._directory}; {before}{step.text}"
        # This project's environment has a plugin of dash's for pytest, with warnings.
        environ = ["PYTEST_ADDOPTS=-p no:dash"]
        if step.kind == "#":
            return ["env", "HOME=/root", *environ, "bash", "-c", script]
        user = ["setpriv", "--reuid", self._user, "--regid", self._user, "--init-groups"]
        return [*user, "env", *self._environ, *environ, "bash", "-c", script]

    def _run(self, step: Step) -> None:
        with self._machine.popen(*self._shell(step)) as process:
            try:
                printed, _ = process.communicate(timeout=2 * PATIENCE)
            finally:
                process.kill()
        print(f"{step.kind} {step.text}\n{printed}")
        if step.rest:
            assert pattern(step.rest).fullmatch(plain(printed)), f"{step.text} printed:\n{printed}"
        else:
            assert process.returncode == 0, f"{step.text} exited {process.returncode}:\n{printed}"

    def _serve(self, step: Step) -> None:
        """Start a server and wait for what the page shows, or for its banner; the one before ends first."""
        if self._server is not None:
            if self._server.poll() is None:
                self._interrupt("")
            else:
                self._end()
        self._server = self._machine.popen(*self._shell(step, "echo $$ >/tmp/serving; exec "))
        self._output = ""
        self._await(step.rest or BANNER)

    def _await(self, shown: str) -> None:
        """Read until the server has printed what the page shows."""
        server = self._server
        assert server is not None
        assert server.stdout is not None
        wanted, until = pattern(shown), time.monotonic() + PATIENCE
        while not (found := wanted.search(plain(self._output))):
            readable, _, _ = select.select([server.stdout], [], [], max(0.0, until - time.monotonic()))
            data = os.read(server.stdout.fileno(), 65536) if readable else b""
            assert data, f"the server printed:\n{self._output}\nand not:\n{shown}"
            self._output += data.decode()
        self._output = plain(self._output)[found.end() :]

    def _interrupt(self, shown: str) -> None:
        assert self._server is not None
        pid = (self._machine.root / "tmp/serving").read_text().strip()
        self._machine.run("kill", f"-{signal.SIGINT.name[3:]}", pid)
        self._await(shown)
        self._end()

    def _end(self) -> None:
        assert self._server is not None
        self._server.communicate(timeout=PATIENCE)
        self._server = None
