"""Templates of a service and its socket.

The service gets only what it needs (docs/systemd.md explains each line). These stricter options are left out on purpose:

PrivateUsers=   callers are known by their uid (SO_PEERCRED); all users but root and the service's own would become nobody.
ProtectProc=    the audit log names the command line of a caller; the processes of other users would be hidden.
~@resources     `flaskd run` raises its limit of descriptors to the hard limit (prlimit64), and libzmq sets the scheduling
                policy of its threads (sched_setscheduler), or aborts the process if it may not (src/thread.cpp).
~AF_NETLINK     sock_diag(7) counts connections twenty times faster than /proc does.
"""

from typing import Final

SERVICE: Final = """\
{header}
[Unit]
Description=The Flask application {app}
After=network.target
{after}StartLimitIntervalSec=0

[Service]
{type}
{user}
WorkingDirectory={directory}
{pwd}RuntimeDirectory=flaskd/{name}
RuntimeDirectoryMode=0700
StateDirectory=flaskd/{name}
StateDirectoryMode=0700
{logs}ExecStart={flaskd} run {arguments}
ExecReload={flaskd}_ctl --name {name} reload
ExecStop={flaskd}_ctl --name {name} shutdown --missing-ok
TimeoutStartSec={start_timeout}
TimeoutStopSec={stop_timeout}
KillMode=mixed
Restart=on-failure
RestartPreventExitStatus=6
RestartSec=2
OOMPolicy=continue
{watchdog}
NoNewPrivileges=yes
{capabilities}
ProtectSystem=strict
ProtectHome={home}
PrivateTmp=yes
PrivateDevices=yes
PrivateMounts=yes
DevicePolicy=closed
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
RemoveIPC=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
UMask=0077
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
SystemCallFilter=prlimit64 setrlimit sched_setscheduler
SystemCallErrorNumber=EPERM

[Install]
WantedBy=multi-user.target
{also}"""
"""StartLimitIntervalSec=0, because systemd also closes the socket of a service that it gives up."""

SOCKET: Final = """\
{header}
[Unit]
Description=Listening sockets of the Flask application {app}

[Socket]
{listen}
Backlog={backlog}
FileDescriptorName=http
{remove}
[Install]
WantedBy=sockets.target
"""
