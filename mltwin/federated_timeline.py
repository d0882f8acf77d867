"""The timeline of a federated run: what clients did when, versions, work under way."""

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mltwin.models.federation import events
from mltwin.models.federation.tables import TICKS_PER_S
from mltwin.sim.rng_arrays import RESAMPLING, uniforms

from .timelines.opening import open_timeline
from .timelines.timeline import Timeline, Window

if TYPE_CHECKING:
    from .federated_result import FederatedResult

PS_PER_NS = 1000
"""Timelines count picoseconds."""
UNDER_WAY, UPDATE, LOST, CANCELLED = range(4)
"""How the work of a client ended."""


class Codes(NamedTuple):
    """Events of a log: work begins, brings an update, is lost, is called off; a version is made
    (its entity is the version; -1: not in the log)."""

    begin: int
    update: int
    lost: tuple[int, ...]
    cancelled: tuple[int, ...]
    version: int


def codes_of(protocol: str) -> Codes:
    """Codes of the logs of federations with a server (""), and of peers by protocol."""
    if protocol == "gossip":
        from mltwin.models.federation.peers import gossip_tables as g

        return Codes(g.E_START, g.E_DONE, (g.E_FAILED, g.E_DROPPED), (), -1)
    if protocol == "modest":
        from mltwin.models.federation.peers.modest_tables import EVENT_CODES as m

        lost = (m["dropped"], m["failed"])
        return Codes(m["train"], m["trained"], lost, (m["interrupted"],), -1)
    return Codes(
        events.E_SENT, events.E_ARRIVED, (events.E_LOST,), (events.E_CANCELLED,), events.E_STEP
    )


def run_timeline(
    result: "FederatedResult", window_s: Window | None, clients: int, seed: int
) -> Timeline:
    """See `FederatedResult.timeline`.

    Raises InputError: no such window, or a run longer than a timeline can be.
    """
    end_ns = int(result.facts["end"])
    made, window = open_timeline(result, end_ns, window_s, ticks_per_s=TICKS_PER_S)
    log, codes = result.tables["log"], codes_of(result.facts["protocol"])
    shown = _chosen(len(result.tables["clients"]["used"]), clients, seed)
    if len(shown) < len(result.tables["clients"]["used"]):
        made.notes.append(
            f"{len(shown)} of {len(result.tables['clients']['used'])} clients are shown."
        )
    _work(made, spans(log, end_ns, codes), shown, window)
    _counts(made, log, codes, window)
    return made


def _chosen(count: int, most: int, seed: int) -> np.ndarray:
    """Numbers of the clients to show, ascending; drawn evenly where there are too many."""
    if count <= most:
        return np.arange(count)
    drawn = uniforms(seed, RESAMPLING, np.arange(count))
    return np.sort(np.argsort(drawn, kind="stable")[:most])


def spans(log: Any, end: int, codes: Codes) -> tuple[np.ndarray, ...]:
    """Client, start, end (ticks) and how it ended of each piece of work, by client and start."""
    how_of = dict.fromkeys(codes.lost, LOST) | dict.fromkeys(codes.cancelled, CANCELLED)
    how_of |= {codes.update: UPDATE}
    rows = np.flatnonzero(np.isin(log["kind"], (codes.begin, *how_of)))
    order = rows[np.lexsort((rows, log["entity"][rows]))]
    kind, client, time = log["kind"][order], log["entity"][order], log["time"][order]
    begun = np.flatnonzero(kind == codes.begin)
    after = np.minimum(begun + 1, len(order) - 1)
    ended = (after > begun) & (client[after] == client[begun]) & (kind[after] != codes.begin)
    until = np.where(ended, time[after], end)
    how = np.array([how_of.get(int(one), UNDER_WAY) for one in kind[after]], np.int64)
    return client[begun], time[begun], until, np.where(ended, how, UNDER_WAY)


def _work(made: Timeline, found: tuple[np.ndarray, ...], shown: np.ndarray, window: Window) -> None:
    kinds = np.array(
        [
            made.kind("under way", text="under way", colour="#56B4E9"),
            made.kind("update", text="update", colour="#009E73"),
            made.kind("lost", text="lost", colour="#D55E00"),
            made.kind("cancelled", text="cancelled", colour="#E69F00"),
        ]
    )
    client, start, until, how = found
    start, until = start * PS_PER_NS, until * PS_PER_NS
    keep = np.isin(client, shown) & (until > window[0]) & (start < window[1])
    lanes = {int(one): made.lane("clients", f"client {one}") for one in shown}
    lane = np.array([lanes[int(one)] for one in client[keep]], np.int64)
    made.slices(lane, start[keep], until[keep], kind=kinds[how[keep]])


def _counts(made: Timeline, log: Any, codes: Codes, window: Window) -> None:
    """Work under way, and the server's version."""
    change = np.zeros(len(log["kind"]), np.int64)
    change[log["kind"] == codes.begin] = 1
    change[np.isin(log["kind"], (codes.update, *codes.lost, *codes.cancelled))] = -1
    moves = np.flatnonzero(change)
    steps = np.flatnonzero(log["kind"] == codes.version)
    for name, rows, values in (
        ("under way", moves, np.cumsum(change)[moves]),
        ("version", steps, log["entity"][steps]),
    ):
        time = log["time"][rows] * PS_PER_NS
        before = np.flatnonzero(time < window[0])[-1:]
        inside = np.flatnonzero((time >= window[0]) & (time <= window[1]))
        kept = np.concatenate([before, inside])
        if len(kept):
            times = np.maximum(time[kept], int(window[0]))
            made.counter("run", name, times, values[kept].astype(float), shown=True)
