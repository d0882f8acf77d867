"""The sections of a `FederatedScenario`: clients, data, model, training, costs, when it ends."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from mltwin.sim.errors import InputError

from .fields import Section, Spec

MAX_S = 9.2e9
LEVEL_FIELDS = {
    "hidden": ("mlp",),
    "l2": ("softmax", "mlp"),
    "loss": ("torch",),
    "parameters": ("quadratic",),
    "condition": ("quadratic",),
    "spread": ("quadratic",),
    "noise": ("quadratic",),
}
"""Fields of `Model` that only some levels have; at the others they are remarked on, so that a
scenario may be looked at by one level and by another."""


class Population(Section):
    """Who takes part: how fast, over which links, when there."""

    count: int = Field(100, ge=1, le=10**7, description="clients; of natural splits: at most")
    speed: Spec = Field(
        "homogeneous",
        description="law of the seconds per sample (and links, where it has them), or a file: see "
        "`mltwin fed clients --laws`",
    )
    availability: Spec = Field("always", description="when clients are there: a law, or a file")
    down_mbit_per_s: float | None = Field(
        None, gt=0, le=1e9, description="to each client, in place of the law's; none: unlimited"
    )
    up_mbit_per_s: float | None = Field(None, gt=0, le=1e9, description="from each client")
    down_trace: Spec | None = Field(
        None,
        description="a rate to each client that changes over time: 3g, 4g, 5g, broadband, "
        "streaming, or { name = 'files', path = a file, a folder or a pattern }",
    )
    up_trace: Spec | None = Field(None, description="the same from each client")
    radio: dict[str, float] | None = Field(
        None,
        description="links by SINR around a radio station, with its parameters ({}: as they are): "
        "rates of each client, and outage as the chance that a dispatch fails",
    )
    latency_ms: float = Field(0.0, ge=0, le=1e9, description="of each transfer")
    jitter: float = Field(
        0.0, ge=0, le=10, description="sigma of the log-normal factor on each dispatch's compute"
    )
    failure: float = Field(
        0.0, ge=0, le=1, description="probability that a dispatch ends without a result"
    )
    correlation: dict[str, float] = Field(
        {},
        description="rank correlations (Spearman) of pairs: speed_data, speed_label, "
        "speed_availability, availability_data, availability_label",
    )
    label: int | None = Field(
        None, ge=0, description="class whose share the correlations are with; none: label skew"
    )
    slow_label: int | None = Field(
        None, ge=0, description="a class whose owners are slow (stale and needed at once)"
    )
    slow_clients: int = Field(10, ge=1, le=10**7, description="slow_label: how many owners")
    slow_factor: float = Field(10.0, gt=0, le=1e6, description="slow_label: times slower")
    energy: Literal["wifi", "lte", "3g"] | None = Field(
        None, description="a radio: watts and memory of phones by class, in place of those below"
    )
    compute_w: float = Field(0.0, ge=0, le=1e6, description="watts above idle while training")
    send_w: float = Field(0.0, ge=0, le=1e6, description="watts above idle while sending")
    receive_w: float = Field(0.0, ge=0, le=1e6, description="watts above idle while receiving")
    seed: int | None = Field(
        None, ge=0, lt=2**62, description="of the population; none: the run's, so that it varies"
    )

    @model_validator(mode="after")
    def _fits(self) -> "Population":
        if self.radio is not None:
            for name in ("down_mbit_per_s", "up_mbit_per_s", "failure"):
                if getattr(self, name):
                    raise InputError(
                        "a radio link says it", where=f"clients.{name}", mend="leave it out"
                    )
        for side in ("down", "up"):
            if getattr(self, f"{side}_trace") is not None:
                self._refuse_beside(side)
        if self.energy is not None:
            for name in ("compute_w", "send_w", "receive_w"):
                if getattr(self, name):
                    raise InputError(
                        "clients.energy says it",
                        where=f"clients.{name}",
                        mend="leave one of them out",
                    )
        if self.label is not None and not any("label" in pair for pair in self.correlation):
            raise InputError(
                "there is no correlation with it", where="clients.label",
                mend="give speed_label or availability_label in clients.correlation",
            )  # fmt: skip
        return self

    def _refuse_beside(self, side: str) -> None:
        """A link whose rate follows a trace has no other rate."""
        for name in (f"{side}_mbit_per_s", "radio"):
            if getattr(self, name) is not None:
                raise InputError(
                    f"clients.{side}_trace says it",
                    where=f"clients.{name}",
                    mend="leave one of them out",
                )


class Data(Section):
    """What clients learn from, and who has what of it."""

    source: Spec = Field(
        "gaussians",
        description="gaussians, synthetic; digits, wine, breast_cancer, rand_hie (of the extra "
        "`federated`); or { name = 'arrays', path = ... }",
    )
    split: Spec = Field(
        {"name": "dirichlet", "alpha": 0.3},
        description="among clients: iid, dirichlet, shards, quantity, natural",
    )
    samples: Annotated[int, Field(ge=1, le=10**7)] | dict[str, Any] | None = Field(
        None,
        description="of each client, drawn from the whole pool: a number, or { name = 'log_normal' "
        "or 'zipf', mean = ... }; none: the pool is dealt out, each row to one client",
    )
    swap_share: float = Field(
        0.0, ge=0, le=1, description="of the labels of the clients of swap_clients, swapped"
    )
    swap_clients: float = Field(
        0.5, ge=0, le=1, description="share of clients, the last ones, whose labels are swapped"
    )
    seed: int | None = Field(
        None, ge=0, lt=2**62, description="of data and split; none: the run's, so that they vary"
    )


class Model(Section):
    """What is learned, and how big it is."""

    level: Literal["time", "quadratic", "softmax", "mlp", "torch"] = Field(
        "softmax",
        description="time: nothing is learned; quadratic: closed forms; softmax regression and "
        "mlp: compiled; torch: a module of yours (extra `measure`)",
    )
    hidden: list[Annotated[int, Field(ge=1, le=100_000)]] = Field(
        [32], min_length=1, max_length=16, description="mlp: units of each hidden layer"
    )
    l2: float = Field(0.0, ge=0, le=1e6, description="softmax, mlp: weight decay")
    module: str | None = Field(None, description="torch: file.py:function that makes the module")
    loss: str | None = Field(
        None, description="torch: file.py:function of outputs and targets; none: cross entropy"
    )
    parameters: int = Field(10, ge=1, le=100_000, description="quadratic: of the model")
    condition: float = Field(
        10.0, ge=1, le=1e9, description="quadratic: greatest over least curvature of a client"
    )
    spread: float = Field(
        1.0, ge=0, le=1e9, description="quadratic: standard deviation of the clients' optima"
    )
    noise: float = Field(0.0, ge=0, le=1e9, description="quadratic: of each gradient")
    megabytes: float | None = Field(
        None, gt=0, le=1e6, description="of one transfer, 10^6 bytes; none: 4 bytes a parameter, "
        "time: 1 MB",
    )  # fmt: skip
    compute_factor: float = Field(
        1.0, gt=0, le=1e9, description="work a sample, over that of the model that the clients' "
        "seconds per sample are of",
    )  # fmt: skip

    @model_validator(mode="after")
    def _fits(self) -> "Model":
        if (self.level == "torch") != (self.module is not None):
            raise InputError(
                "level = 'torch' and `module` go together",
                where="model",
                mend="give both or neither",
            )
        for field, name in (("module", self.module), ("loss", self.loss)):
            if name is not None and not name.rpartition(":")[0].endswith(".py"):
                raise InputError(
                    f"{name!r} is no function of a file",
                    where=f"model.{field}",
                    mend="write file.py:function",
                )
        return self


class Training(Section):
    """What a client is asked to do, and what the server does with it."""

    steps: int = Field(5, ge=1, le=10**7, description="of local SGD in a dispatch")
    epochs: float | None = Field(
        None, gt=0, le=1e6, description="instead of steps: passes over the client's data"
    )
    batch: int = Field(10, ge=0, le=10**7, description="samples of a step; 0: all of the client's")
    lr: float = Field(0.1, gt=0, le=1e6, description="local step size")
    lr_decay: float = Field(1.0, gt=0, le=1, description="of lr, every lr_decay_every versions")
    lr_decay_every: int = Field(0, ge=0, le=10**9, description="server versions; 0: never")
    overhead_s: float = Field(0.0, ge=0, le=1e6, description="of a dispatch, before it trains")
    interruption: Literal["drop", "pause", "finish"] = Field(
        "drop", description="what becomes of the work of a client that leaves"
    )
    detect_s: Annotated[float, Field(ge=0, le=1e6)] | Literal["never"] = Field(
        0.0, description="until the server knows of a loss, or 'never'"
    )
    aggregate_s: float = Field(0.0, ge=0, le=1e6, description="server time of each new version")
    aggregate_s_per_update: float = Field(
        0.0, ge=0, le=1e6, description="server time of each update in it"
    )
    evaluate_every: int = Field(1, ge=1, le=10**9, description="versions between evaluations")

    @model_validator(mode="after")
    def _fits(self) -> "Training":
        if self.lr_decay != 1.0 and self.lr_decay_every == 0:
            raise InputError(
                "it would never decay",
                where="training.lr_decay",
                mend="give training.lr_decay_every, in versions",
            )
        return self


class Stop(Section):
    """When a run ends: at the first of these; without one after 100 versions (10,000 with
    at_target)."""

    until_s: float | None = Field(None, gt=0, le=MAX_S, description="of virtual time")
    versions: int | None = Field(
        None, ge=1, le=10**9, description="of the server's model; a round makes one"
    )
    updates: int | None = Field(None, ge=1, le=10**12, description="that arrived")
    at_target: bool = Field(False, description="when target.accuracy is reached")


class Target(Section):
    """How good the model is to be: what it takes to get there becomes metrics."""

    accuracy: float | None = Field(None, gt=0, le=1, description="on held-out samples")
    loss: float | None = Field(None, ge=0, le=1e12, description="on held-out samples")


class Costs(Section):
    """Prices and watts of the server's side."""

    servers: int = Field(1, ge=0, le=10**6, description="that run all the time")
    dollars_per_server_hour: float = Field(1.0, ge=0, le=1e6, description="of one")
    server_w: float = Field(200.0, ge=0, le=1e6, description="watts of one; assumed")
    dollars_per_gb_down: float = Field(
        0.09, ge=0, le=1e4, description="10^9 bytes to clients; a usual price of cloud egress"
    )
    dollars_per_gb_up: float = Field(0.0, ge=0, le=1e4, description="10^9 bytes from clients")
    dollars_per_kwh: float = Field(0.0, ge=0, le=100, description="of the servers' energy")
    dollars_per_client_kwh: float = Field(0.0, ge=0, le=100, description="of the clients' energy")


class Network(Section):
    """Links that transfers share, max-min fairly, beside each client's own."""

    down_gbit_per_s: float | None = Field(
        None, gt=0, le=1e6, description="from the server, all clients together; none: unlimited"
    )
    up_gbit_per_s: float | None = Field(
        None, gt=0, le=1e6, description="to the server, all clients together; none: unlimited"
    )
    cells: int = Field(
        0, ge=0, le=10**6, description="base stations or sites, to which clients are dealt in turn"
    )
    cell_down_mbit_per_s: float | None = Field(
        None, gt=0, le=1e9, description="to the clients of a cell, all together; none: unlimited"
    )
    cell_up_mbit_per_s: float | None = Field(
        None, gt=0, le=1e9, description="from the clients of a cell, all together"
    )
    topology: Spec | None = Field(
        None, description="a network of its own, in place of all above: a builder or {file = ...}"
    )
    server: int = Field(0, ge=0, description="topology: the server's rank; clients have the others")

    @model_validator(mode="after")
    def _fits(self) -> "Network":
        cells = (self.cell_down_mbit_per_s, self.cell_up_mbit_per_s)
        if self.cells == 0 and any(rate is not None for rate in cells):
            raise InputError(
                "rates of cells, of which there are none", where="network.cells", mend="give cells"
            )
        if self.cells and self.topology is None and all(rate is None for rate in cells):
            raise InputError(
                "cells without a rate limit nothing",
                where="network.cells",
                mend="give cell_down_mbit_per_s or cell_up_mbit_per_s",
            )
        if self.server and self.topology is None:
            raise InputError(
                "is a rank of a topology, and there is none",
                where="network.server",
                mend="give network.topology, or leave it out",
            )
        others = (self.down_gbit_per_s, self.up_gbit_per_s, *cells)
        if self.topology is not None and (self.cells or any(rate is not None for rate in others)):
            raise InputError(
                "a topology has all links", where="network.topology", mend="give nothing beside it"
            )
        return self


class Peers(Section):
    """Learning without a server, in place of a strategy."""

    protocol: Spec = Field("dpsgd", description="dpsgd, gossip, modest, matchmaking")
    overlay: Spec = Field(
        "ring", description="who talks to whom: ring, torus, complete, star, exponential, regular"
    )
    latency_file: str | None = Field(
        None, description="a square matrix of one-way milliseconds between sites"
    )
    across_ms: float = Field(
        0.0, ge=0, le=1e6, description="else: peers stand at random in a square of this side"
    )

    @model_validator(mode="after")
    def _fits(self) -> "Peers":
        if _name(self.protocol) == "modest" and _name(self.overlay) not in ("ring", "complete"):
            raise InputError(
                "MoDeST draws its samples from all peers",
                where="peers.overlay",
                mend="leave it out",
            )
        if self.latency_file is not None and self.across_ms:
            raise InputError(
                "peers.latency_file says it", where="peers.across_ms", mend="leave one of them out"
            )
        return self


def _name(spec: Spec) -> Any:
    """The name of a specification; None where it has none."""
    return spec if isinstance(spec, str) else spec.get("name")
