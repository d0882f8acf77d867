"""`CachingScenario`: objects through a cache, or through tiers of caches, as a page of TOML.

Sections: `workload` (what is asked for), `tiers` (the caches, nearest first), `origin` (what a miss
costs). The model behind them: `mltwin.models.caching`.
"""

import re
from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from mltwin.sim.errors import InputError

from .fields import Section, Spec
from .result import Result
from .scenario import Progress, Scenario

MAX_TIME_S = 1e9


class ObjectWorkload(Section):
    """What is asked for, and in which order."""

    trace: Spec = Field(
        {
            "requests": 200_000,
            "accesses": {"pattern": "zipf", "objects": 20_000, "alpha": 0.9},
        },
        description="a catalogue name, a file, or a table for a synthetic stream",
    )
    format: str = Field("auto", description="of the file; auto looks at its content")
    columns: dict[str, str] | None = Field(None, description="column map for a plain CSV file")
    options: dict[str, Any] = Field({}, description="further options of the reader")
    on_error: Literal["fail", "skip"] = Field("fail", description="what to do with bad lines")
    requests: int | None = Field(None, ge=1, le=2**40, description="only the first so many")
    unit: Literal["objects", "bytes"] = Field(
        "objects", description="what capacities count; objects ignores the sizes of the trace"
    )
    rate: float | None = Field(
        None, gt=0, description="requests per second (Poisson), else the trace's own times"
    )


class Tier(Section):
    """One cache."""

    name: str = Field("cache", description="what tables call it")
    eviction: Spec = Field("lru", description="who leaves: `mltwin policies list`, or a file.py")
    admission: Spec = Field(
        "always", description="who may enter: always, size, probability, second_hit, tinylfu"
    )
    capacity: int | None = Field(
        None, ge=1, le=2**60, description="objects, or bytes with workload.unit = 'bytes'"
    )
    share: float | None = Field(
        None, gt=0, le=1e6, description="capacity as a share of the workload's distinct objects"
    )
    max_objects: int | None = Field(None, ge=1, description="resident at once, beside capacity")
    ttl_s: float | None = Field(None, gt=0, le=MAX_TIME_S, description="objects get stale so soon")
    latency_us: float = Field(
        100.0, ge=0, le=1e12, description="of a lookup; a miss then tries the next tier"
    )
    bandwidth_gbps: float | None = Field(
        None,
        gt=0,
        le=1e6,
        description="in Gbit/s, shared equally by the bytes that cross; else unlimited",
    )
    duplex: bool = Field(
        False, description="writes have a bandwidth of their own, else they share that of reads"
    )
    dollars_per_gb_month: float = Field(0.0, ge=0, description="of its capacity in bytes")

    @field_validator("capacity", mode="before")
    @classmethod
    def _number(cls, value: Any) -> Any:
        """A capacity as the command line takes it has another form here; say which."""
        if not isinstance(value, str):
            return value
        from .cache_shelf import number_of

        try:
            number, ending = number_of(value)
        except InputError as error:  # pydantic says where
            raise ValueError(f"{error.message}; {error.mend}") from None
        mend = f"write share = {float(number) / 100:g}"
        if ending != "%":
            unit = ' and workload.unit = "bytes"' if ending.endswith("B") else ""
            mend = f"write capacity = {int(number)}{unit}"
        raise ValueError(f"{value!r} is a text; {mend}")


class Origin(Section):
    """Where a miss is served from."""

    latency_ms: float = Field(50.0, ge=0, le=1e9, description="of a miss, beside the lookups")
    bandwidth_gbps: float | None = Field(
        None, gt=0, le=1e6, description="in Gbit/s, shared by what crosses; else unlimited"
    )
    duplex: bool = Field(False, description="writes have a bandwidth of their own")
    dollars_per_gb: float = Field(0.0, ge=0, description="of the bytes that misses fetch")
    dollars_per_million: float = Field(0.0, ge=0, description="of a million misses")


class CachingScenario(Scenario):
    """Objects through caches."""

    system: Literal["caching"] = "caching"
    workload: ObjectWorkload = ObjectWorkload()
    tiers: list[Tier] = Field(
        [Tier(share=0.1)], min_length=1, max_length=4, description="nearest first"
    )
    origin: Origin = Origin()
    timing: Literal["auto", "none", "events"] = Field(
        "auto",
        description="events: requests meet in time, wait for one another and share bandwidth; "
        "none: one after the other; auto: events for several tiers whose requests have times",
    )
    mode: Literal["inclusive", "exclusive"] = Field(
        "inclusive",
        description="whether an object that was fetched enters all nearer tiers, or the nearest "
        "only, whose victims then move down",
    )
    strict: bool = Field(
        False, description="inclusive: what a tier loses, all nearer tiers lose too"
    )
    write: Literal["through", "back"] = Field(
        "through",
        description="where the SETs of a trace go: through all tiers to the origin, or into the "
        "nearest, and further only when they leave it",
    )
    promote_after: int = Field(
        1, ge=1, le=2**30, description="an object moves up only at its n-th hit in a lower tier"
    )
    quotas: dict[str, float] = Field(
        {}, description="share of the first tier that a tenant has for itself, by name"
    )

    result_class: ClassVar[str] = "mltwin.caching_result:CachingResult"

    @model_validator(mode="after")
    def _whole(self) -> "CachingScenario":
        _check_tiers(self)
        _check_quotas(self)
        _check_rules(self)
        return self

    def simulate(
        self,
        seed: int,
        *,
        check: bool = False,
        reference: bool = False,
        progress: Progress | None = None,
        **unknown: Any,
    ) -> Result:
        """Run once.

        Args:
            seed: of all draws.
            check: nothing more; the laws of conservation are checked after every run.
            reference: replay through the plain-Python policies instead (very slow).
            progress: called with the share done, once at the end.
        """
        del check
        if unknown:
            raise TypeError(f"unknown options: {', '.join(unknown)}")
        from .caching_run import run_caching

        result = run_caching(self, seed, reference=reference)
        if progress is not None:
            progress(1.0, 0.0)
        return result

    def check(self) -> None:
        """Look up policies and trace by their names.

        Raises InputError for the first that is not there, or a policy's parameter that it has not.
        """
        from .caching_run import check_names

        check_names(self)


_TAKEN = {"origin", "byte", "write", "delayed", "hit", "miss", "mean", "max"}


def metric_name(tier: str) -> str:
    """A tier's name as a part of the names of metrics."""
    return re.sub(r"\W+", "_", tier.lower()).strip("_") or "tier"


def _check_tiers(scenario: CachingScenario) -> None:
    names = [tier.name for tier in scenario.tiers]
    for i, tier in enumerate(scenario.tiers):
        where = f"tiers.{i}"
        if (tier.capacity is None) == (tier.share is None):
            raise InputError(
                "needs either capacity or share", where=where, mend="give exactly one of them"
            )
        if len(names) > 1 and metric_name(tier.name) in _TAKEN:
            raise InputError(
                f"{tier.name!r} would confuse the names of metrics",
                where=f"{where}.name",
                mend="give it another name",
            )
        if [metric_name(name) for name in names].count(metric_name(tier.name)) > 1:
            raise InputError(
                f"{tier.name!r} is the name of two tiers", where=f"{where}.name", mend="change one"
            )


def _check_rules(scenario: CachingScenario) -> None:
    if scenario.strict and (scenario.mode != "inclusive" or scenario.write != "through"):
        raise InputError(
            "strict needs inclusive tiers and writes that go through",
            where="strict",
            mend='set mode = "inclusive" and write = "through", or leave strict out',
        )
    if scenario.quotas and (len(scenario.tiers) > 1 or scenario.timing == "events"):
        raise InputError(
            "quotas are for one tier without timing",
            where="quotas",
            mend='give one tier and timing = "none", or leave the quotas out',
        )


def _check_quotas(scenario: CachingScenario) -> None:
    for name, share in scenario.quotas.items():
        if not share > 0:
            raise InputError(f"share {share} is not above 0", where=f"quotas.{name}")
    if sum(scenario.quotas.values()) > 1 + 1e-9:
        raise InputError(
            f"the shares sum to {sum(scenario.quotas.values()):g}", where="quotas", mend="at most 1"
        )
