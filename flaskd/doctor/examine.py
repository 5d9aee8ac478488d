"""Examine files: recognise and read each one, and apply the rules."""

import contextlib
import re
import sys
from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec

from flaskd.doctor import documents, haproxy, kubernetes, nginx, stack, unit
from flaskd.doctor.command_lines import stop_of
from flaskd.doctor.facts import Service
from flaskd.doctor.findings import Finding, Severity
from flaskd.doctor.reading import Unreadable, read_text, unknown
from flaskd.doctor.rules import findings
from flaskd.settings.sources import Found

YAML: Final = re.compile(r"^(apiVersion|kind|services):", re.MULTILINE)
"""A manifest or a stack file. A configuration of nginx may be inside it, in a ConfigMap."""


class Examination(msgspec.Struct, frozen=True):
    """What was examined, what was found, and what could not be seen."""

    looked_at: list[str]
    findings: list[Finding]
    unseen: list[str]

    @property
    def loses(self) -> bool:
        """Whether anything was found that is more than a note."""
        return any(each.severity is not Severity.NOTE for each in self.findings)

    def as_json(self) -> str:
        """Write everything, for programs."""
        return msgspec.json.format(msgspec.json.encode(self), indent=2).decode()

    def as_text(self) -> str:
        """Write a paragraph for each finding, then what could not be seen."""
        found = [
            f"{each.severity.value}: {each.where} [{each.rule}]\n  {each.sentence}.\n  Next: {each.next}."
            for each in self.findings
        ]
        nothing = [] if found else [f"Nothing found in {', '.join(self.looked_at) or 'the files'}."]
        return "\n".join([*found, *(f"not seen: {sentence}." for sentence in self.unseen), *nothing])


def examine(paths: Sequence[str], *, units: Sequence[str] = (), local: Found) -> Examination:
    """Examine files, and units that systemd has loaded; `local` are the settings that these do not give.

    Raises Unreadable for a file that cannot be read, and ConfigError for settings that flaskd would refuse.
    """
    unseen: list[str] = []
    subjects: list[Any] = [unit.ask(name, local=local, unseen=unseen) for name in units]
    texts = [(path, _text(path)) for path in paths]
    manifests = []
    for path, text in texts:
        read = _plain(path, text, local=local, unseen=unseen)
        if read is None:
            manifests.append((path, documents.load(path, text)))
        else:
            subjects += read
    subjects += _from_yaml(manifests, local=local, unseen=unseen)
    if not subjects:
        raise Unreadable(f"there is nothing to check: {'; '.join(unseen)}")
    if not any(isinstance(each, Service) for each in subjects):
        here = stop_of(None, local, where="", by="SIGTERM")
        subjects.append(Service(where="the settings of this directory", settings=local, stop=here))
    return Examination([each.where for each in subjects], list(findings(subjects)), unseen)


def _text(path: str) -> str:
    if path != documents.STDIN:
        return read_text(path)
    if sys.stdin is None:  # closed by the caller (`<&-`)
        raise Unreadable("cannot read -: standard input is closed")
    try:
        return sys.stdin.read()
    except UnicodeDecodeError:
        raise Unreadable("cannot read -: it is not text") from None


def _plain(path: str, text: str, *, local: Found, unseen: list[str]) -> list[Any] | None:
    """Read a file that is not YAML; None for one that may be."""
    if unit.is_service(text):
        return [unit.read_file(path, text, local=local, unseen=unseen)]
    if path.endswith((".yaml", ".yml")) or YAML.search(text):
        return None
    if nginx.is_configuration(text):
        return list(nginx.read(path, text, unseen=unseen))
    if haproxy.is_configuration(text):
        return list(haproxy.read(path, text, unseen=unseen))
    return None


def _from_yaml(
    manifests: Sequence[tuple[str, list[documents.Node]]], *, local: Found, unseen: list[str]
) -> list[Any]:
    with _shaped(", ".join(path for path, _ in manifests)):
        maps = kubernetes.config_maps([document for _, found in manifests for document in found])
    read: list[Any] = []
    for path, found in manifests:
        if kubernetes.is_manifest(found):
            with _shaped(path):
                read += kubernetes.read(path, found, maps=maps, local=local, unseen=unseen)
        elif stack.is_stack(found):
            with _shaped(path):
                read += stack.read(path, found, local=local, unseen=unseen)
        else:
            raise unknown(path)
    return read


@contextlib.contextmanager
def _shaped(path: str) -> Iterator[None]:
    """Raise Unreadable for YAML of another shape, such as a list in place of a mapping."""
    try:
        yield
    except (AttributeError, TypeError, ValueError, KeyError, RecursionError) as error:
        raise Unreadable(
            f"{path} does not have the expected shape: {error}", hint="check it against its schema"
        ) from None
