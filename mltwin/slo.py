"""SLO limits as people type them."""

from collections.abc import Iterable

from mltwin.sim.errors import InputError

from .fields import close_to


def parse_goodput(pairs: Iterable[str]) -> dict[str, float]:
    """Limits in ms from `ttft:500 tpot:50 e2el:5000`, as `vllm bench serve --goodput` has them.

    Raises InputError for another name or a value that is not above 0.
    """
    names = {"ttft": "ttft", "tpot": "tpot", "e2el": "e2e", "e2e": "e2e"}
    limits = {}
    for pair in pairs:
        name, _, text = pair.partition(":")
        if name not in names:
            raise InputError(
                f"unknown latency {name!r}",
                where="--goodput",
                mend=close_to(name, ("ttft", "tpot", "e2el")),
            )
        try:
            value = float(text)
        except ValueError:
            value = 0.0
        if not 0 < value < float("inf"):
            raise InputError(
                f"{pair!r} gives no limit above 0", where="--goodput", mend="write ttft:500 (ms)"
            )
        limits[names[name]] = value
    return limits
