"""What the files say, in seconds and plain values: what the rules judge. No file, clock or process here."""

from typing import Any, Final

import msgspec

from flaskd.settings.sources import Found

SPARE: Final = 5.0
"""Seconds after the grace period in which a stop says what it cut, cleans up, and ends its processes."""

NEVER: Final = float("inf")


class Stop(msgspec.Struct, frozen=True):
    """How it is told to stop: after `before` seconds of the platform's own, `by` a signal or a command, with these times."""

    by: str
    grace: float
    lame_duck: float = 0.0
    wait_unrouted: float = 0.0
    before: float = 0.0

    @property
    def lead(self) -> float:
        """Seconds that it serves on, at the least, when it has begun to leave."""
        return self.before + min(self.lame_duck, self.wait_unrouted or self.lame_duck)

    @property
    def needs(self) -> float:
        """Seconds after which it is gone at the latest."""
        return self.before + self.lame_duck + self.grace + SPARE

    def parts(self) -> str:
        """Spell out what `needs` adds up."""
        named = (("before it is told", self.before), ("lame duck", self.lame_duck), ("grace", self.grace))
        told = [f"{seconds:g} s {name}" for name, seconds in named if seconds]
        return " + ".join([*told, f"{SPARE:g} s to end"])


class Service(msgspec.Struct, frozen=True, kw_only=True):
    """An instance as somebody runs it; `where` names the file and the place in it, `settings` are those it gets there."""

    where: str
    settings: Found
    stop: Stop
    shell: bool = False
    """A shell stands between the platform and flaskd, and gets the signals in its place."""

    def value(self, name: str) -> Any:
        """Return a setting's value."""
        return self.settings[name].value

    def said(self, name: str) -> str:
        """Write a setting in seconds, and where that is from."""
        found = self.settings[name]
        return f"{name} is {found.value:g} s ({found.source})"

    @property
    def start(self) -> float:
        """Seconds that a start may take before we give it up ourselves."""
        hook = self.value("hook_timeout") if self.value("post_load") else 0.0
        return float(self.value("start_timeout") + hook)

    @property
    def keeps_alive(self) -> bool:
        """Tell whether its engine keeps idle connections open; `auto` is one that does, but for HTTPS or WebSockets."""
        return bool(self.value("engine") != "werkzeug")


class Unit(Service, frozen=True, kw_only=True):
    """A systemd service."""

    kind: str = "simple"
    timeout_stop: float = 90.0
    timeout_start: float = 90.0
    watchdog: float = 0.0
    kill_mode: str = "control-group"
    kill_signal: str = "SIGTERM"
    stopped_by_command: bool = False
    reload: str = ""
    from_socket: bool = False
    """Its listeners are systemd's: while it is away, clients wait."""

    @property
    def asks_for_time(self) -> bool:
        """Tell whether systemd takes its word (sd_notify(3)) that it is ready, and that it needs longer."""
        return self.kind.startswith("notify")


class Probe(msgspec.Struct, frozen=True):
    """A kubelet's probe; `port` is 0 where it is no HTTP or TCP one."""

    budget: float
    port: int = 0
    path: str = ""


class Pod(Service, frozen=True, kw_only=True):
    """A pod of Kubernetes with the container that runs flaskd."""

    grace_period: float = 30.0
    replicas: int = 1
    strategy: str = "RollingUpdate"
    max_unavailable: str = "25%"
    rolled: bool = True
    """By a Deployment, which replaces pods as `strategy` says."""
    readiness: Probe | None = None
    liveness: Probe | None = None
    startup: Probe | None = None

    @property
    def away(self) -> int:
        """How many pods a rollout may take away before new ones serve: a percentage is rounded down."""
        text = self.max_unavailable
        if text.endswith("%"):
            return self.replicas * int(text[:-1]) // 100
        return int(text)


class Health(msgspec.Struct, frozen=True):
    """Docker's health check of a container; `disabled` where it is switched off."""

    budget: float = 90.0
    disabled: bool = False


class Task(Service, frozen=True, kw_only=True):
    """A service of a stack or compose file; `swarm` where it has a `deploy` section."""

    stop_grace: float = 10.0
    stop_signal: str = "SIGTERM"
    swarm: bool = False
    replicas: int = 1
    parallelism: int = 1
    order: str = "stop-first"
    delay: float = 0.0
    health: Health | None = None

    @property
    def batch(self) -> int:
        """How many tasks an update replaces at a time."""
        return self.parallelism or self.replicas


class Balancer(msgspec.Struct, frozen=True, kw_only=True):
    """One group of servers that a balancer sends requests to. Times are seconds; None where it cannot be known."""

    where: str
    product: str
    servers: int
    idle: float = 0.0
    """How long it keeps an idle connection to a server, and may send a request on it; 0: it keeps none."""
    idle_from: str = ""
    patience: float = NEVER
    """How long it waits for a response."""
    patience_from: str = ""
    checked: str = ""
    """By what it learns that a server wants to be left alone: "agent", "http"; "tcp" and "livez" do not tell, nor does ""."""
    notices: float = NEVER
    """How long it goes on sending requests to a server that has said it leaves."""
    notices_from: str = ""
    counts_in: float = 0.0
    """How long it takes to send requests to a server that has come."""
    retried: bool = True
    """A request whose connection was refused goes to another server."""
    retried_from: str = ""

    @property
    def sees_drain(self) -> bool:
        """Tell whether it learns of a lame duck or a drain."""
        return self.checked in {"agent", "http"}
