"""What there is for a cache: traces by name or file, capacities as people write them, policies."""

import re
from decimal import Decimal
from pathlib import Path
from typing import Any

from mltwin.models.caching.registry import EVICTIONS
from mltwin.policies import list_policies
from mltwin.sim.errors import InputError
from mltwin.workloads.objects.table import ObjectTrace

from .text import Table

_CAPACITY = re.compile(r"([0-9]*\.?[0-9]+(?:e[0-9]{1,2})?)\s*(%|[kMGT]i?B?|B)?")
_HOW = "write 5000, 10%, or of bytes 64MiB or 1.5GB"


def open_objects(trace: str | Path, format: str = "auto", **options: Any) -> ObjectTrace:
    """An object trace by catalogue name or file; `options` go to the reader of files."""
    from mltwin.workloads.objects.catalogue import open_objects as opened

    given: dict[str, Any] = {} if format == "auto" else {"format": format}
    return opened(str(trace), **given, **options)


def fetch_objects(name: str) -> Path:
    """Download an object trace of the catalogue from its owner, check it, keep it; its file.

    Raises InputError: no such trace, no network, other content, or nothing to fetch.
    """
    from mltwin.workloads.objects.catalogue import fetch

    return fetch(name)


def size_of(text: str, trace: ObjectTrace, unit: str) -> int:
    """A capacity as people write it: `5000`, `10%` of the footprint, `64MiB`, `1.5GB`.

    Raises InputError for what is none of these, below 1, a part of an object, or bytes where
    objects are counted.
    """
    number, ending = number_of(text)
    if ending.endswith("B") and unit == "objects":
        raise InputError(
            f"{text!r} counts bytes, but capacities count objects here",
            where="capacity",
            mend='count bytes (unit = "bytes", --unit bytes), or give a number of objects',
        )
    if ending == "%":
        whole = trace.unique if unit == "objects" else trace.footprint_bytes
        return max(1, int(number * whole / 100)) if number else _too_small(text)
    if number != int(number) and not ending:
        raise InputError(f"{text!r} is no whole number", where="capacity", mend=_HOW)
    return int(number) if number >= 1 else _too_small(text)


def number_of(text: str) -> tuple[Decimal, str]:
    """The number that a capacity starts with, times its prefix, and its ending ("", %, B, MiB).

    Raises InputError for what is no capacity.
    """
    match = _CAPACITY.fullmatch(text.strip())
    if match is None:
        raise InputError(f"{text!r} is no capacity", where="capacity", mend=_HOW)
    number, ending = Decimal(match[1]), match[2] or ""
    if ending not in ("", "%", "B"):
        step = 1024 if "i" in ending else 1000
        number *= step ** (1 + "kMGT".index(ending[0]))
    return number, ending


def _too_small(text: str) -> int:
    raise InputError(f"{text!r} is less than 1", where="capacity", mend="give more")


def eviction_table() -> Table:
    """The eviction policies: what they do, their parameters, what they need."""
    rows: list[list[Any]] = []
    for kernel in EVICTIONS.values():
        flags = (("future", kernel.future), ("seed", kernel.random))
        needs = ", ".join(word for word, set_ in flags if set_)
        rows.append([kernel.name, kernel.about, _listed(kernel.params), needs or None])
    for score in list_policies("evict_object"):
        rows.append([score.name, _brief(score.summary), _listed(score.params), None])
    return Table(
        ["policy", "who leaves", "parameters", "needs"],
        rows,
        title="Eviction policies",
        caption="a score of your own stands where a name would, as mine.py:my_score "
        "(mltwin policies new evict_object mine.py)",
    )


def _brief(summary: str) -> str:
    """The first sentence without what stands in brackets, as the kernels' own are written."""
    first = re.split(r" \(|\. |\.$|: ", summary)[0]
    return first[:1].lower() + first[1:]


def _listed(params: Any) -> str | None:
    return ", ".join(f"{name} = {value:g}" for name, value in params.items()) or None


def object_traces_table() -> Table:
    """The object traces of the catalogue: requests, licence, and whether they are here."""
    from mltwin.workloads.objects.catalogue import info, list_objects, locate

    rows: list[list[Any]] = []
    for name in list_objects():
        entry = info(name)
        away = "fetch" if entry.url else "by hand"
        here = "here" if locate(name, verify=False) else away
        place = "shipped" if entry.synthetic else here
        rows.append([name, entry.rows, place, entry.licence, entry.title])
    return Table(
        ["trace", "requests", "where", "licence", "what"],
        rows,
        title="Object traces",
        caption="fetch: mltwin cache fetch NAME gets it from its owner; by hand: get it yourself "
        "and let MLTWIN_DATA name its folder",
    )
