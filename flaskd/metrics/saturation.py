"""When an instance is saturated: many requests are answered 503 because they waited too long. Pure.

One such request says little: balancers that turned to other instances for it would overload the next one. So it takes a share
of the requests, and it is over only when for some time hardly any was rejected.
"""

from typing import Final, NamedTuple

LOOK: Final = 1.0
"""Seconds between two looks at the counters. There are none while no request is rejected."""

BEGIN_SHARE: Final = 0.1
"""The share of the requests answered since the last look that were rejected, from which on an instance is saturated."""

END_SHARE: Final = 0.01
"""The share below which a look is calm."""

CALM_LOOKS: Final = 5
"""Calm looks in a row after which an instance is not saturated any more."""


class Saturation(NamedTuple):
    """What is known after some looks: how many calm ones there were in a row, and how many without any rejection."""

    saturated: bool = False
    calm: int = 0
    quiet: int = 0

    def after(self, *, rejected: int, answered: int) -> "Saturation":
        """Return what is known after another look: the requests since the last one; `answered` has the rejected ones too."""
        share = rejected / max(rejected, answered, 1)
        calm = self.calm + 1 if share < END_SHARE else 0
        quiet = self.quiet + 1 if not rejected else 0
        saturated = calm < CALM_LOOKS if self.saturated else share >= BEGIN_SHARE
        return Saturation(saturated, calm, quiet)

    @property
    def over(self) -> bool:
        """Whether there is nothing to look at until the next rejection."""
        return not self.saturated and self.quiet >= CALM_LOOKS
