"""The table of the problems that `flaskd doctor` looks for; docs/doctor.md shows it."""

from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any, Final

from flaskd.doctor import balancer_rules, container_rules, unit_rules
from flaskd.doctor.facts import Balancer, Pod, Service, Task, Unit
from flaskd.doctor.findings import Finding, Rule, Severity

WILL, MAY, NOTE = Severity

RULES: Final = (
    Rule("unit-stop", WILL, (Unit,), unit_rules.stop_timeout),
    Rule("unit-stop-asked", MAY, (Unit,), unit_rules.stop_timeout_extended),
    Rule("unit-start-asked", MAY, (Unit,), unit_rules.start_timeout_extended),
    Rule("unit-type", WILL, (Unit,), unit_rules.type_waits_for_exit),
    Rule("unit-ready", MAY, (Unit,), unit_rules.started_early),
    Rule("unit-kill-mode", MAY, (Unit,), unit_rules.kill_mode),
    Rule("unit-children", NOTE, (Unit,), unit_rules.signal_to_children),
    Rule("unit-signal", WILL, (Unit,), unit_rules.kill_signal),
    Rule("unit-watchdog", MAY, (Unit,), unit_rules.watchdog),
    Rule("unit-reload", NOTE, (Unit,), unit_rules.reload_by_signal),
    Rule("no-grace", WILL, (Service,), container_rules.no_grace),
    Rule("lame-duck", NOTE, (Service,), container_rules.lame_duck),
    Rule("workers-cpus", NOTE, (Service,), container_rules.too_many_workers),
    Rule("pod-auto", NOTE, (Pod,), container_rules.unlimited_auto),
    Rule("task-auto", NOTE, (Task,), container_rules.unlimited_auto),
    Rule("pod-shell", MAY, (Pod,), container_rules.shell),
    Rule("pod-stop", WILL, (Pod,), container_rules.pod_stop),
    Rule("pod-lead", MAY, (Pod,), container_rules.pod_lead),
    Rule("pod-unready", WILL, (Pod,), container_rules.pod_unready),
    Rule("pod-readiness", MAY, (Pod,), container_rules.pod_readiness),
    Rule("pod-liveness", MAY, (Pod,), container_rules.pod_liveness),
    Rule("pod-start", MAY, (Pod,), container_rules.pod_start),
    Rule("pod-rollout", WILL, (Pod,), container_rules.pod_rollout),
    Rule("task-shell", MAY, (Task,), container_rules.shell),
    Rule("task-stop", WILL, (Task,), container_rules.task_stop),
    Rule("task-signal", WILL, (Task,), container_rules.task_signal),
    Rule("task-rollout", WILL, (Task,), container_rules.task_rollout),
    Rule("task-unchecked", WILL, (Task,), container_rules.task_unchecked),
    Rule("task-health", MAY, (Task,), container_rules.task_health),
    Rule("task-start", MAY, (Task,), container_rules.task_start),
    Rule("balancer-idle", MAY, (Balancer, Service), balancer_rules.idle),
    Rule("balancer-late", WILL, (Balancer, Service), balancer_rules.late),
    Rule("balancer-tcp", NOTE, (Balancer, Service), balancer_rules.blind_check),
    Rule("balancer-alone", MAY, (Balancer, Service), balancer_rules.alone),
    Rule("balancer-patience", NOTE, (Balancer, Service), balancer_rules.patience),
    Rule("balancer-rollout", MAY, (Balancer, Task), balancer_rules.rollout),
)


def findings(subjects: Sequence[Any]) -> Iterator[Finding]:
    """Apply every rule to every combination of subjects that it is about, in the table's order."""
    for rule in RULES:
        for chosen in product(
            *([each for each in subjects if isinstance(each, kind)] for kind in rule.about)
        ):
            yield from rule.apply(*chosen)
