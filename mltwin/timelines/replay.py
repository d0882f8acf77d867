"""The replay view's tables: small enough for a browser, kept in a folder and read back.

The command line makes them, the explorer draws them (`chart`).
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mltwin.sim.errors import InputError

from .timeline import Timeline, Window

if TYPE_CHECKING:
    import altair as alt
    import pandas as pd

_ABOUT, _SLICES, _COUNTERS = "replay.json", "slices.parquet", "counters.parquet"
# For kinds that say no colour of their own.
_PALETTE = ("#4c8bd6", "#e8833a", "#3aa17e", "#8f6bc9", "#e3c34a", "#d64550", "#7a9a3c", "#b56576")


@dataclass(frozen=True)
class Replay:
    """What happened in a window.

    title: of the run; run_s: how long it lasts; window_s: what is shown. lanes: names of rows in
    order; colours: of the kinds. slices, counters: as `Timeline.frame` and `counter_frame` give
    them, with each slice's `row`. notes: what is merged or left out.
    """

    title: str
    run_s: float
    window_s: Window
    lanes: list[str]
    colours: dict[str, str]
    slices: "pd.DataFrame"
    counters: "pd.DataFrame"
    notes: list[str]

    def chart(self) -> "alt.VConcatChart":
        """Lanes over time, counters below, a brush at the bottom to look closer.

        Raises InputError where nothing happened, or altair is not installed.
        """
        from .chart import replay_chart

        return replay_chart(self)

    def save(self, folder: str | Path) -> Path:
        """Write it into a folder (made if need be) of Parquet and JSON.

        Raises InputError where that is not possible.
        """
        place = Path(folder)
        names = ("title", "run_s", "window_s", "lanes", "colours", "notes")
        about = json.dumps({name: getattr(self, name) for name in names}, indent=1)
        try:
            place.mkdir(parents=True, exist_ok=True)
            self.slices.to_parquet(place / _SLICES, index=False)
            self.counters.to_parquet(place / _COUNTERS, index=False)
            (place / _ABOUT).write_text(about, encoding="utf-8")
        except OSError as error:
            raise InputError(f"cannot be written: {error.strerror}", where=str(place)) from None
        return place

    @classmethod
    def load(cls, folder: str | Path) -> "Replay":
        """Read what `save` wrote.

        Raises InputError where there is none.
        """
        import pandas as pd

        place = Path(folder)
        try:
            about: dict[str, Any] = json.loads((place / _ABOUT).read_text("utf-8"))
            about["window_s"] = tuple(about["window_s"])
            about |= {"slices": pd.read_parquet(place / _SLICES)}
            return cls(**about, counters=pd.read_parquet(place / _COUNTERS))
        except (OSError, ValueError, KeyError, TypeError):
            raise InputError("holds no replay view", where=str(place)) from None


def replay_of(timeline: Timeline, window_s: Window | None, rows: int) -> Replay:
    """See `Timeline.replay`."""
    slices = timeline.frame(window_s, rows=rows)
    counters = timeline.counter_frame(window_s, rows=rows)
    names = lane_names(timeline)
    slices["row"] = [names[lane] for lane in zip(slices["process"], slices["lane"], strict=True)]
    used = set(slices["row"])
    run_s = timeline.span_s()[1] if timeline.run_s is None else timeline.run_s
    low, high = window_s or timeline.span_s()
    notes = list(timeline.notes)
    if len(slices) < slices["count"].sum():
        notes.append(
            f"{slices['count'].sum():,} slices are drawn as {len(slices):,}: those of a kind that "
            "lie close together on a lane are one, as long as they took together"
        )
    return Replay(
        timeline.title,
        run_s,
        (low, max(low, min(high, run_s))),
        [name for name in names.values() if name in used],
        kind_colours(timeline),
        slices,
        counters,
        notes,
    )


def lane_names(timeline: Timeline) -> dict[tuple[str, str], str]:
    """What the rows are called: by their thread, and by their process where there are several."""
    many = len({lane.process for lane in timeline.lanes}) > 1
    return {
        lane: f"{lane.process.partition(' (')[0]}: {lane.thread}" if many else lane.thread
        for lane in timeline.lanes
    }


def kind_colours(timeline: Timeline) -> dict[str, str]:
    """A colour for each kind of slice, in the order in which the timeline names them."""
    spare = iter(_PALETTE * (1 + len(timeline.kinds) // len(_PALETTE)))
    return {kind.name: kind.colour or next(spare) for kind in timeline.kinds}
