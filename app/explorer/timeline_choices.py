"""The choices of the timeline page: those of the serving page, and a part of the run."""

import math
import pprint
from collections.abc import Mapping, Sequence
from typing import Any

from mltwin import InputError, Scenario

from .serving_choices import DEFAULTS as SERVING
from .view import link_of

SLUG = "timeline"
DEFAULTS: dict[str, Any] = {**SERVING, "window": [], "shown": 500}
"""window: [from, to] in seconds of the run, [] for all of it; shown: requests in the file."""


def timeline_link(choices: Mapping[str, Any]) -> str:
    """A relative URL of the timeline page for the choices of the serving page."""
    known = {name: choices.get(name, default) for name, default in DEFAULTS.items()}
    return link_of(SLUG, known, DEFAULTS)


def check_choices(choices: Mapping[str, Any]) -> None:
    """Raises InputError for a window or a number of requests that a link got wrong."""
    window = choices["window"]
    numbers = [isinstance(w, int | float) and not isinstance(w, bool) for w in window]
    good = not window or (len(window) == 2 and all(numbers) and 0 <= window[0] < window[1])
    if not good or not all(math.isfinite(w) for w in window):
        raise InputError(f"{window!r} is no window", where="window", mend="write [from,to] in s")
    if not 0 <= choices["shown"] <= 5000:
        raise InputError(f"{choices['shown']} is not in 0..5000", where="shown")


def window_words(window: Sequence[float]) -> list[str]:
    """Options of `mltwin timeline` for a window."""
    return ["--window", f"{window[0]:g}:{window[1]:g}"] if window else []


def python_text(scenario: Scenario, window: Sequence[float]) -> str:
    """A script that writes the file and draws the replay view."""
    text = pprint.pformat(scenario.data(full=False), width=80, sort_dicts=False)
    part = f"window_s=({window[0]:g}, {window[1]:g})" if window else ""
    lines = [
        "import mltwin as mt",
        "",
        f"scenario = mt.Scenario.parse({text})",
        "result = scenario.run(log=True, batches=True)",
        f"timeline = result.timeline({part})",
        'timeline.save("timeline.json.gz")  # open it at ui.perfetto.dev',
        'timeline.chart().save("timeline.html")',
    ]
    return "\n".join(lines) + "\n"
