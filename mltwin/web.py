"""`WebScenario`: friends' browsers that serve each other (WebCloud), or a CDN, as a page of TOML.

`kind = "friends"` uses the sections `graph`, `activity`, `sessions` and `browser`; `kind = "cdn"`
the sections `requests` and `cdn`. The models behind them: `mltwin.models.web`.
"""

from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from mltwin.sim.errors import InputError

from .fields import Section
from .result import Result
from .scenario import Scenario


class SocialGraph(Section):
    """Who is whose friend."""

    kind: Literal["watts_strogatz", "barabasi_albert", "file"] = Field(
        "watts_strogatz", description="a small world, one with hubs, or a file of edges"
    )
    users: int = Field(1000, ge=2, le=1_000_000, description="of a drawn graph")
    degree: int = Field(20, ge=1, le=10_000, description="friends of a user on average")
    rewire: float = Field(0.1, ge=0, le=1, description="small world: share of edges drawn anew")
    edges: str | None = Field(
        None, description="file: two names a line, between commas, tabs or blanks"
    )

    @model_validator(mode="after")
    def _fits(self) -> "SocialGraph":
        if (self.kind == "file") != (self.edges is not None):
            raise InputError(
                "kind = 'file' and `edges` go together", where="graph", mend="give both or neither"
            )
        if self.kind != "file" and self.degree >= self.users:
            raise InputError(
                f"{self.degree} friends among {self.users} users",
                where="graph.degree",
                mend="fewer friends or more users",
            )
        return self


class Activity(Section):
    """What is published, and how views spread from friend to friend."""

    hours: float = Field(24.0, gt=0, le=2000, description="simulated")
    objects: int = Field(2000, ge=1, le=10_000_000, description="published at even times")
    size_mb: float = Field(0.2, gt=0, le=1e5, description="median size, 10^6 bytes; lognormal")
    size_sigma: float = Field(1.0, ge=0, le=5, description="of the sizes' logarithm")
    view_probability: float = Field(
        0.3, ge=0, le=1, description="that a friend views what is published or shared"
    )
    share_probability: float = Field(
        0.05, ge=0, le=1, description="that a viewer shares it with his own friends"
    )
    delay_minutes: float = Field(
        60.0, ge=0, le=1e6, description="mean time to a view; then the viewer has to be online"
    )
    repeat_probability: float = Field(0.1, ge=0, le=1, description="that a viewer comes back to it")
    publisher_skew: float = Field(
        0.0, ge=0, le=10, description="Zipf exponent of how much users publish; 0: all alike"
    )


class OnlineSessions(Section):
    """When users are online."""

    online_share: float = Field(
        0.3, gt=0, le=1, description="of the time, on average; 1: everybody always"
    )
    minutes: float = Field(30.0, gt=0, le=1e6, description="mean length of a session")
    diurnal: float = Field(0.0, ge=0, lt=1, description="strength of day and night")
    peak_hour: float = Field(20.0, ge=0, le=24, description="of the day")


class Browser(Section):
    """What a browser keeps and sends, and how far away things are."""

    cache_mb: float = Field(50.0, ge=0, le=1e7, description="of each browser, 10^6 bytes, LRU")
    upload_mbit_per_s: float = Field(5.0, gt=0, le=1e6, description="shared by a user's uploads")
    uploads: int = Field(4, ge=1, le=64, description="of a user at a time, at most")
    download_mbit_per_s: float = Field(50.0, gt=0, le=1e6, description="from the origin")
    ask_friends: bool = Field(True, description="false: the origin serves all")
    choose: Literal["least_busy", "random"] = Field(
        "least_busy", description="which of the friends that can"
    )
    publisher_keeps: bool = Field(True, description="the publisher's browser holds the object")
    resume: bool = Field(False, description="the origin sends only the rest of a cut upload")
    redirector_ms: float = Field(20.0, ge=0, le=1e6, description="to ask where the object is")
    friend_ms: float = Field(60.0, ge=0, le=1e6, description="to a friend's browser and back")
    origin_ms: float = Field(80.0, ge=0, le=1e6, description="to the origin and back")


class CdnRequests(Section):
    """What clients ask for: Zipf and Poisson, or a trace of objects."""

    trace: str | None = Field(None, description="a trace of objects (any format of the readers)")
    format: str = Field("auto", description="of the trace; auto looks at its content")
    columns: dict[str, str] | None = Field(
        None, description="column map for a plain CSV: which of its columns is what"
    )
    requests: int = Field(100_000, ge=1, le=10**9, description="how many; of a trace: at most")
    objects: int = Field(20_000, ge=1, le=10**8, description="drawn from")
    skew: float = Field(0.8, ge=0, le=10, description="Zipf exponent of popularity")
    rate_per_s: float = Field(
        200.0, gt=0, le=1e9, description="Poisson; of a trace without times too"
    )
    size_mb: float = Field(0.2, gt=0, le=1e5, description="median size, 10^6 bytes; lognormal")
    size_sigma: float = Field(1.0, ge=0, le=5, description="of the sizes' logarithm")


class Cdn(Section):
    """Edges, their regional parent and the origin; a client's edge is drawn by request."""

    edges: int = Field(4, ge=1, le=1000, description="how many")
    policy: Literal["lru", "fifo", "sieve"] = Field("lru", description="of all caches")
    edge_gb: float = Field(0.5, ge=0, le=1e6, description="of each edge, 10^9 bytes")
    parent_gb: float = Field(2.0, ge=0, le=1e6, description="of the parent, 10^9 bytes")
    parent: bool = Field(True, description="false: edges ask the origin themselves")
    collapse: bool = Field(True, description="requests for what is on its way wait for it")
    edge_ms: float = Field(5.0, ge=0, le=1e6, description="client to edge, one way")
    edge_mbit_per_s: float = Field(50.0, gt=0, le=1e9, description="of each client")
    parent_ms: float = Field(10.0, ge=0, le=1e6, description="edge to parent, one way")
    parent_gbit_per_s: float = Field(1.0, gt=0, le=1e9, description="of each transfer")
    origin_ms: float = Field(40.0, ge=0, le=1e6, description="parent to origin, one way")
    origin_gbit_per_s: float = Field(0.5, gt=0, le=1e9, description="of each transfer")


FRIENDS_TABLES = ("graph", "activity", "sessions", "browser")
CDN_TABLES = ("requests", "cdn")
"""The tables that each kind looks at."""


class WebScenario(Scenario):
    """Content from friends' browsers, or from the edges of a CDN: offload and latency."""

    system: Literal["web-cache"] = "web-cache"
    kind: Literal["friends", "cdn"] = Field("friends", description="which of the two")
    graph: SocialGraph = Field(SocialGraph(), description="friends: who knows whom")
    activity: Activity = Field(Activity(), description="friends: what is published and viewed")
    sessions: OnlineSessions = Field(OnlineSessions(), description="friends: who is online when")
    browser: Browser = Field(Browser(), description="friends: caches and uploads")
    requests: CdnRequests = Field(CdnRequests(), description="cdn: what clients ask for")
    cdn: Cdn = Field(Cdn(), description="cdn: caches and hops")

    result_class: ClassVar[str] = "mltwin.web_result:WebResult"

    def simulate(self, seed: int, *, reference: bool = False, **others: Any) -> Result:
        """One run.

        Args:
            seed: of graph, sessions, views and requests.
            reference: by the plain-Python twin (slow); same result.
            others: options of other systems; ignored.
        """
        from .web_run import run_web

        del others
        return run_web(self, seed, reference=reference)

    def check(self) -> None:
        """Look up the files that the scenario names.

        Raises InputError for one that is not there.
        """
        for field, name in (("graph.edges", self.graph.edges), ("requests.trace", self.trace_file)):
            if name is not None and not self.resolve_path(name).is_file():
                raise InputError(f"no file {name!r}", where=field, mend="check the path")

    @property
    def trace_file(self) -> str | None:
        """The file of requests, if the scenario uses one."""
        return self.requests.trace if self.kind == "cdn" else None
