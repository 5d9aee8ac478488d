"""gunicorn's server hooks, and where their work is done here."""

from typing import Final

from flaskd.migrate.option import Option, elsewhere, missing

_APPLICATION: Final = (
    "the function gets the application instead of gunicorn's objects, and is named `module:function`"
)

HOOKS: Final = tuple(
    option._replace(hook=True)
    for option in (
        Option("on_starting", here=elsewhere("`ExecStartPre=` in the unit, or a line before `flaskd run`")),
        Option("on_reload", here=elsewhere("run it in the deployment, before `flaskd_ctl reload`")),
        Option(
            "when_ready",
            here=elsewhere(
                "`flaskd_ctl wait --for ready`; under systemd the unit becomes active then, and `ExecStartPost=` runs"
            ),
        ),
        Option(
            "pre_fork",
            here=elsewhere(f"with `preload`, `pre_fork`, once before all forks: {_APPLICATION}"),
        ),
        Option("post_fork", here=elsewhere(f"`post_load`, in each worker before it serves: {_APPLICATION}")),
        Option(
            "post_worker_init",
            here=elsewhere(f"`post_load`, in each worker before it serves: {_APPLICATION}"),
        ),
        Option(
            "worker_int",
            here=elsewhere(f"`pre_stop`, in each worker after its last response: {_APPLICATION}"),
        ),
        Option(
            "worker_abort",
            here=elsewhere(
                "`flaskd_ctl incidents` keeps the stacks and the requests of a worker that was killed because it hung"
            ),
        ),
        Option(
            "pre_exec",
            here=missing("a reload replaces workers; the supervisor is restarted by the service manager"),
        ),
        Option("pre_request", here=elsewhere("`@app.before_request` in the application, or WSGI middleware")),
        Option(
            "post_request",
            here=elsewhere("`@app.after_request` or `@app.teardown_request`, or WSGI middleware"),
        ),
        Option(
            "child_exit", here=elsewhere("`flaskd_ctl events` and `incidents` report each worker that ends")
        ),
        Option(
            "worker_exit",
            here=elsewhere(f"`pre_stop`, in each worker after its last response: {_APPLICATION}"),
        ),
        Option("nworkers_changed", here=elsewhere("`flaskd_ctl events` reports each change")),
        Option("on_exit", here=elsewhere("`ExecStopPost=` in the unit; `pre_stop` for each worker")),
        Option(
            "ssl_context",
            here=missing(
                "`tls_cert` and `tls_key` are what can be chosen; terminate TLS in a proxy for more"
            ),
        ),
    )
)
"""The hooks of gunicorn.conf.py, found there by their names."""

DIRTY_HOOKS: Final = tuple(
    Option(name, hook=True, here=missing("there are no dirty workers: run a task queue for long work"))
    for name in ("on_dirty_starting", "dirty_post_fork", "dirty_worker_init", "dirty_worker_exit")
)
