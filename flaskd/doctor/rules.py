"""The table of what `flaskd doctor` looks for; docs/doctor.md shows it."""

import inspect
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from typing import Any, Final

from flaskd.doctor import balancer_rules, container_rules, unit_rules
from flaskd.doctor.facts import Balancer, Pod, Service, Task, Unit
from flaskd.doctor.findings import Finding, Rule, Said, Severity

WILL, MAY, NOTE = Severity


def _rule(name: str, severity: Severity, *about: type, check: Callable[..., Said | None]) -> Rule:
    return Rule(name, severity, about, check, inspect.getdoc(check) or "")


RULES: Final = (
    _rule("unit-stop", WILL, Unit, check=unit_rules.killed_while_stopping),
    _rule("unit-stop-asked", MAY, Unit, check=unit_rules.lives_by_asking),
    _rule("unit-start-asked", MAY, Unit, check=unit_rules.starts_by_asking),
    _rule("unit-type", WILL, Unit, check=unit_rules.waits_for_an_exit),
    _rule("unit-ready", MAY, Unit, check=unit_rules.started_too_early),
    _rule("unit-kill-mode", MAY, Unit, check=unit_rules.killed_beside_the_stop),
    _rule("unit-children", NOTE, Unit, check=unit_rules.children_get_the_signal),
    _rule("unit-signal", WILL, Unit, check=unit_rules.stopped_ungracefully),
    _rule("unit-watchdog", MAY, Unit, check=unit_rules.watched_too_closely),
    _rule("unit-reload", NOTE, Unit, check=unit_rules.reload_is_not_waited_for),
    _rule("no-grace", WILL, Service, check=container_rules.nothing_is_waited_for),
    _rule("lame-duck", NOTE, Service, check=container_rules.lead_ends_early),
    _rule("pod-shell", MAY, Pod, check=container_rules.shell_gets_the_signal),
    _rule("pod-stop", WILL, Pod, check=container_rules.pod_is_killed),
    _rule("pod-lead", MAY, Pod, check=container_rules.pod_leaves_unannounced),
    _rule("pod-unready", WILL, Pod, check=container_rules.pod_gets_requests_too_early),
    _rule("pod-readiness", MAY, Pod, check=container_rules.pod_readiness_is_not_ours),
    _rule("pod-liveness", MAY, Pod, check=container_rules.pod_is_killed_when_busy),
    _rule("pod-start", MAY, Pod, check=container_rules.pod_is_killed_while_starting),
    _rule("pod-rollout", WILL, Pod, check=container_rules.pods_go_all_at_once),
    _rule("task-shell", MAY, Task, check=container_rules.shell_gets_the_signal),
    _rule("task-stop", WILL, Task, check=container_rules.task_is_killed),
    _rule("task-signal", WILL, Task, check=container_rules.task_is_stopped_ungracefully),
    _rule("task-rollout", WILL, Task, check=container_rules.tasks_go_all_at_once),
    _rule("task-unchecked", WILL, Task, check=container_rules.update_waits_for_nothing),
    _rule("task-health", MAY, Task, check=container_rules.health_is_unknown),
    _rule("task-start", MAY, Task, check=container_rules.task_is_killed_while_starting),
    _rule("balancer-idle", MAY, Balancer, Service, check=balancer_rules.keeps_connections_longer),
    _rule("balancer-late", WILL, Balancer, Service, check=balancer_rules.notices_too_late),
    _rule("balancer-tcp", NOTE, Balancer, Service, check=balancer_rules.check_sees_no_drain),
    _rule("balancer-alone", MAY, Balancer, Service, check=balancer_rules.nobody_else_is_tried),
    _rule("balancer-patience", NOTE, Balancer, Service, check=balancer_rules.gives_up_before_us),
    _rule("balancer-rollout", MAY, Balancer, Service, check=balancer_rules.replaced_before_counted_in),
)


def findings(subjects: Sequence[Any]) -> Iterator[Finding]:
    """Apply every rule to every combination of subjects that it is about, in the table's order."""
    for rule in RULES:
        for chosen in product(
            *([each for each in subjects if isinstance(each, kind)] for kind in rule.about)
        ):
            found = rule.apply(*chosen)
            if found is not None:
                yield found
