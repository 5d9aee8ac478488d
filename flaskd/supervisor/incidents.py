"""Incidents: workers that failed, why, the requests that were lost with them, and their threads' stacks."""

import time
from collections import deque
from typing import Final

import msgspec

from flaskd.supervisor.member import Member, requests_of
from flaskd.supervisor.template import Template
from flaskd_ctl.errors import NotFound
from flaskd_ctl.protocol import Incident, IncidentsResult

KEPT: Final = 50


class Incidents:
    """The newest incidents of an instance; ids are never used again."""

    def __init__(self) -> None:
        self._kept: deque[Incident] = deque(maxlen=KEPT)
        self._count = 0

    def note(self, member: Member, kind: str) -> Incident:
        """Keep what is known of a worker that has ended; a reason for which it was killed replaces `kind`."""
        requests = requests_of([member])
        error = member.reported.failure
        kind, reason = member.verdict or (kind, str(error) if error else member.reason)
        self._count += 1
        incident = Incident(
            id=self._count,
            at=time.time(),
            kind=kind,
            worker=member.id,
            pid=member.pid,
            reason=reason,
            requests=requests,
            unnamed=max(0, member.connections_seen - len(requests)),
            stacks=member.stacks(),
            traceback=str(error.data.get("traceback", "")) if error else "",
        )
        self._kept.append(incident)
        return incident

    def note_template(self, template: Template) -> Incident:
        """Keep what is known of a template that has ended by itself: worker 0, since it serves nothing."""
        self._count += 1
        incident = Incident(
            id=self._count,
            at=time.time(),
            kind="crash",
            worker=0,
            pid=template.pid,
            reason=template.why,
            requests=[],
            unnamed=0,
        )
        self._kept.append(incident)
        return incident

    def listed(self, ident: int | None) -> IncidentsResult:
        """List all, or show one in full; raises NotFound."""
        if ident is None:
            return IncidentsResult(incidents=[bare(each) for each in self._kept])
        found = [each for each in self._kept if each.id == ident]
        if not found:
            raise NotFound(f"there is no incident {ident}", hint="see `flaskd_ctl incidents`")
        return IncidentsResult(incidents=found)


def bare(incident: Incident) -> Incident:
    """Return the incident without its stacks and traceback, which only `incidents ID` shows."""
    return msgspec.structs.replace(incident, stacks="", traceback="")
