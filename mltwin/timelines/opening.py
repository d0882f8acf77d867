"""How the timeline of a finished run begins: whose it is, how long the run was, what is shown."""

from typing import TYPE_CHECKING

from mltwin.sim.errors import InputError
from mltwin.sim.ticks import MAX_S, TICKS_PER_S

from .timeline import Timeline, Window, window_ticks

if TYPE_CHECKING:
    from mltwin.result import Result


def open_timeline(
    result: "Result", end: int, window_s: Window | None, *, ticks_per_s: int = TICKS_PER_S
) -> tuple[Timeline, tuple[int, int]]:
    """An empty timeline of a run, and the window to fill in the timeline's ticks.

    Args:
        result: the run.
        end: of the run, in its own ticks.
        window_s: what is shown, cut to the run; None: all of it.
        ticks_per_s: of the run, a divisor of the timeline's.

    Raises InputError: no such window, or a run longer than a timeline can be.
    """
    if end / ticks_per_s > MAX_S:
        raise InputError(
            f"the run lasts {end / ticks_per_s / 86400:,.0f} days, a timeline at most "
            f"{MAX_S / 86400:,.0f}",
            where=result.label,
            mend="show a shorter run",
        )
    end = end * (TICKS_PER_S // ticks_per_s)
    low, high = (0, end) if window_s is None else window_ticks(window_s)
    window = (low, max(low, min(high, end)))
    about = {"scenario": result.label, "seed": result.seed, "digest": result.digest}
    made = Timeline(result.label, None if window_s is None else window, about)
    made.run_s = end / TICKS_PER_S
    return made, window
