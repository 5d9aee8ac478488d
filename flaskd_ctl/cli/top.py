"""`flaskd_ctl top`: live in a terminal; one look at everything, as text or JSON, where there is no terminal."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

from flaskd_ctl.cli.exits import Exit, code_of
from flaskd_ctl.cli.fanout import combined
from flaskd_ctl.cli.run import Run
from flaskd_ctl.cli.screen import error_as_json
from flaskd_ctl.cli.watched import choose_watched, source
from flaskd_ctl.discovery.targets import NamedTarget
from flaskd_ctl.errors import ControlError, Failed
from flaskd_ctl.text import results

if TYPE_CHECKING:
    from flaskd_ctl.live.seen import Seen


def run_top(run: Run, *, interval: float, once: bool) -> Exit:
    """Watch the instances until the user leaves, or look once."""
    chosen = choose_watched(run)
    if once or run.screen.json or not _interactive():
        return _look_once(run, chosen)
    try:
        from flaskd_ctl.top.app import watch
    except ModuleNotFoundError as error:
        if error.name not in {"textual", "rich"}:
            raise
        raise Failed(
            "`flaskd_ctl top` needs Textual, which is not installed",
            hint="install it with `pip install 'flaskd[top]'`; `flaskd_ctl top --once` does without",
        ) from None
    return Exit.FAILED if watch([source(run, each) for each in chosen], interval=interval) else Exit.DONE


def _interactive() -> bool:
    return (
        sys.stdin is not None
        and sys.stdin.isatty()
        and sys.stdout is not None
        and sys.stdout.isatty()
        and os.environ.get("TERM") not in {None, "", "dumb"}
    )


def _look_once(run: Run, chosen: list[NamedTarget]) -> Exit:
    """Ask everything once, and show it; the exit code is that of `status` for all of them."""
    import asyncio

    from flaskd_ctl.live.watch import Watch

    async def look(target: NamedTarget) -> tuple[Seen, ControlError | None]:
        watch = Watch(source(run, target), interval=0.0, changed=lambda: None)
        try:
            return watch.seen, await watch.look()
        finally:
            await watch.source.close()

    async def look_at_all() -> list[tuple[Seen, ControlError | None]]:
        return await asyncio.gather(*map(look, chosen))

    looked = asyncio.run(look_at_all())
    if run.screen.json:
        run.screen.result({seen.label: _as_json(seen, error) for seen, error in looked}, "")
    else:
        for seen, error in looked:
            if error is None:
                run.screen.result(None, _as_text(seen))
            else:
                run.screen.error(error)
    return combined(Exit.DONE if error is None else code_of(error) for _, error in looked)


def _as_json(seen: Seen, error: ControlError | None) -> dict[str, Any]:
    if error is not None:
        return {"error": error_as_json(error)}
    return {**seen.answers, "refused": seen.refused}


def _as_text(seen: Seen) -> str:
    parts = [results.as_text(method, result) for method, result in seen.answers.items()]
    parts += [f"no {method}: {why}" for method, why in seen.refused.items()]
    return "\n\n".join(parts)
