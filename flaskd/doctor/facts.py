"""The facts that the rules check: what the files say, in seconds and plain values. Pure."""

from typing import Any, Final

import msgspec

from flaskd.settings.sources import Found

SPARE: Final = 5.0
"""Seconds after the grace period in which a stop reports what it cut, cleans up, and ends its processes."""

NEVER: Final = float("inf")
GRACEFUL: Final = ("SIGTERM", "SIGINT")


class Stop(msgspec.Struct, frozen=True):
    """How the platform stops an instance: it waits for `before` seconds, then sends a signal or runs a command (`by`)."""

    by: str
    grace: float
    lame_duck: float = 0.0
    wait_unrouted: float = 0.0
    before: float = 0.0

    @property
    def lead(self) -> float:
        """The least number of seconds that it still serves after the stop began."""
        return self.before + min(self.lame_duck, self.wait_unrouted or self.lame_duck)

    @property
    def needs(self) -> float:
        """The largest number of seconds that the stop may take."""
        return self.before + self.lame_duck + self.grace + SPARE

    def parts(self) -> str:
        """List the parts of `needs`."""
        named = (("before", self.before), ("lame duck", self.lame_duck), ("grace", self.grace))
        parts = [f"{seconds:g} s {name}" for name, seconds in named if seconds]
        return " + ".join([*parts, f"{SPARE:g} s to end"])


class Service(msgspec.Struct, frozen=True, kw_only=True):
    """An instance; `where` names the file that starts it and the place in that file, `settings` are those it gets there."""

    where: str
    settings: Found
    stop: Stop
    shell: bool = False
    """A shell runs flaskd and receives its signals."""
    from_socket: bool = False
    """systemd holds its listeners: clients wait while it is not running."""
    cpus: float = 0.0
    """How many CPUs' time it may use; 0 if its file sets no limit."""

    def value(self, name: str) -> Any:
        """Return a setting's value."""
        return self.settings[name].value

    def quoted(self, name: str) -> str:
        """Write a setting in seconds, with its source."""
        found = self.settings[name]
        return f"{name} is {found.value:g} s ({found.source})"

    @property
    def start(self) -> float:
        """The number of seconds after which flaskd gives up a start."""
        hook = self.value("hook_timeout") if self.value("post_load") else 0.0
        return float(self.value("start_timeout") + hook)

    @property
    def keeps_alive(self) -> bool:
        """Whether its engine keeps idle connections open; `auto` does, except for HTTPS or WebSockets."""
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

    @property
    def asks_for_time(self) -> bool:
        """Whether systemd listens to it (sd_notify(3)): that it is ready, or needs more time."""
        return self.kind.startswith("notify")


class Probe(msgspec.Struct, frozen=True):
    """A probe of the kubelet; `port` is 0 if it is neither HTTP nor TCP."""

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
    """A Deployment replaces its pods, as `strategy` says."""
    readiness: Probe | None = None
    liveness: Probe | None = None
    startup: Probe | None = None

    @property
    def health(self) -> str:
        """The address of the health listener."""
        return str(self.value("health") or "not set")

    @property
    def health_port(self) -> int:
        """The port of the health listener; -1 if there is none."""
        port = self.health.rpartition(":")[2]
        return int(port) if port.isdecimal() else -1

    @property
    def away(self) -> int:
        """The number of pods that a rollout may remove before new ones serve: a percentage is rounded down."""
        text = self.max_unavailable
        if text.endswith("%"):
            return self.replicas * int(text[:-1]) // 100
        return int(text)


class Health(msgspec.Struct, frozen=True):
    """Docker's health check of a container."""

    budget: float = 90.0
    disabled: bool = False


class Task(Service, frozen=True, kw_only=True):
    """A service of a stack or compose file; `swarm` if it has a `deploy` section."""

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
        """The number of tasks that an update replaces at a time."""
        return self.parallelism or self.replicas


class Balancer(msgspec.Struct, frozen=True, kw_only=True):
    """One group of servers that a balancer sends requests to. Times are in seconds."""

    where: str
    product: str
    servers: int
    idle: float = 0.0
    """How long it keeps an idle connection to a server; 0 if it keeps none."""
    idle_from: str = ""
    patience: float = NEVER
    """How long it waits for a response."""
    patience_from: str = ""
    checked: str = ""
    """The check of its servers: "agent" and "http" notice a drain; "tcp", "livez" and "" do not."""
    notices: float = NEVER
    """How long it still sends requests to a server that has announced its stop."""
    notices_from: str = ""
    counts_in: float = 0.0
    """How long it waits before it sends requests to a new server."""
    retried: bool = True
    """It sends a request whose connection was refused to another server."""

    @property
    def sees_drain(self) -> bool:
        """Whether it notices a lame duck or a drain."""
        return self.checked in {"agent", "http"}
