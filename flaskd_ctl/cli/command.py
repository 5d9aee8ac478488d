"""A command of `flaskd_ctl` as click has it: for one instance, or for several targets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import click

from flaskd_ctl.cli.exits import Exit, code_of
from flaskd_ctl.cli.options import shared_options
from flaskd_ctl.cli.run import Run
from flaskd_ctl.errors import BadPlace, ControlError

STREAMS: Final = ("follow", "watch")
"""Options with which a command shows one result after the other."""


class CliCommand(click.Command):
    """A command that calls `work` with the Run and its own options, and turns failures into exit codes.

    `changes`: it changes something at the instance. `no_targets`: it cannot be used with --target. `own_targets`: it finds the
    instances of several targets itself.
    """

    def __init__(
        self,
        name: str,
        work: Callable[..., Exit],
        *,
        options: Sequence[click.Parameter] = (),
        changes: bool = False,
        no_targets: bool = False,
        own_targets: bool = False,
        **attrs: Any,
    ) -> None:
        own = {option.name for option in options}
        shared = [option for option in shared_options() if option.name not in own]
        super().__init__(name, params=[*options, *shared], **attrs)
        self.work = work
        self.changes = changes
        self.no_targets = no_targets
        self.own_targets = own_targets

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Take a negative number (`scale -1`) for a number, not for an option."""
        ctx.ignore_unknown_options = any(arg[:1] == "-" and arg[1:].isdecimal() for arg in args)
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            from flaskd_ctl.cli.guesses import with_hint

            raise with_hint(error, ctx) from None

    def invoke(self, ctx: click.Context) -> Exit:
        """Run the command; every failure becomes a sentence and an exit code."""
        run: Run = ctx.obj
        try:
            if run.targets and not self.own_targets:
                return self._for_targets(run, ctx)
            return self.work(run, **ctx.params)
        except ControlError as error:
            run.screen.error(error)
            return code_of(error, method=ctx.info_name or "")
        finally:
            run.screen.clear()

    def _for_targets(self, run: Run, ctx: click.Context) -> Exit:
        from flaskd_ctl.discovery.targets import Keys, choose

        if self.no_targets or run.name or run.endpoint:
            other = ctx.info_name if self.no_targets else "--name" if run.name else "--endpoint"
            raise BadPlace(f"--target does not go together with {other}", hint="give one of them")
        chosen, several = choose(run.targets, run.instances, keys=Keys(run.key, run.server_key))
        if not several:
            run.chosen = chosen[0]
            return self.work(run, **ctx.params)
        if ctx.params.get("output"):
            raise BadPlace(
                "--output names one file, and there are several targets", hint="profile them one by one"
            )
        from flaskd_ctl.cli.fanout import fan_out

        return fan_out(
            run,
            chosen,
            lambda own: self.work(own, **ctx.params),
            name=ctx.info_name or "",
            changes=self.changes,
            waits=not ctx.params.get("no_wait"),
            streams=ctx.info_name == "events" or any(ctx.params.get(each) for each in STREAMS),
        )
