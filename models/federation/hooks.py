"""What decides in a federation, and what it may see.

A `Strategy` is told what happened and acts on the `Server` it is given: it dispatches clients,
waits for so many updates or for a timer, trains what arrived and steps the model. Beside it stand
four smaller policies: a `Selection` chooses clients, a `Codec` says how an update travels, an
`Attack` spoils the updates of some clients, a `Combine` makes one change of many.

The same objects run on the compiled kernel and on its SimPy twin.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

import numpy as np
import numpy.typing as npt

from .tables import TICKS_PER_S as TICKS_PER_S
from .tables import Clients, Plan

Array = npt.NDArray[Any]

DONE, OFFLINE, FAILED = range(3)
STATUSES = ("done", "offline", "failed")


@dataclass(frozen=True, eq=False)
class Arrivals:
    """n dispatches that ended, in the order in which the server learned of it.

    Attributes:
        client: int32[n].
        dispatch: int64[n], number of this dispatch among those of its client, from 0; with the
            client the key of its random draws.
        held: int64[n], the server version that it trained from.
        sent, arrived: int64[n] ticks of 1 ns.
        steps: int64[n], local steps.
        status: int8[n], DONE, or why there is no update.
        tag: int64[n], what the strategy gave with the dispatch, 0 by default.
        spent: int64[n], ticks that the client worked for it (download, training, upload).
    """

    client: Array
    dispatch: Array
    held: Array
    sent: Array
    arrived: Array
    steps: Array
    status: Array
    tag: Array
    spent: Array | None = None

    def __len__(self) -> int:
        return len(self.client)

    def where(self, mask: Array | slice) -> "Arrivals":
        """The rows of a mask, of an array of row numbers or of a slice."""
        return Arrivals(
            self.client[mask],
            self.dispatch[mask],
            self.held[mask],
            self.sent[mask],
            self.arrived[mask],
            self.steps[mask],
            self.status[mask],
            self.tag[mask],
            None if self.spent is None else self.spent[mask],
        )

    @property
    def done(self) -> "Arrivals":
        """Those that brought an update; the same object at each call."""
        if "_done" not in self.__dict__:
            done = self.status == DONE
            if done.all():
                self.known_done()
            else:
                self.__dict__["_done"] = self.where(done).known_done()
        found: Arrivals | None = self.__dict__["_done"]
        return self if found is None else found

    def known_done(self) -> "Arrivals":
        """These, of which all are known to have brought an update."""
        self.__dict__["_done"] = None
        return self

    def singly(self) -> Iterator["Arrivals"]:
        """Each row alone, in order."""
        if len(self) == 1:
            yield self
            return
        for row in range(len(self)):
            yield self.where(slice(row, row + 1))


@dataclass(frozen=True, eq=False)
class Local:
    """How clients train, beyond the steps of each dispatch.

    Attributes:
        lr: step size, one for all or float64[n].
        batch: samples of a step, 0: all of the client's.
        prox: mu of the proximal term mu/2 |w - w_held|^2 (FedProx).
        correction: added to every gradient: float[d] or float[n, d]; None: nothing.
        momentum: of local SGD (heavy ball), reset at each dispatch.
        clip: the gradient's norm is cut to it; 0: not.
        anchor: float[d], the first direction of variance-reduced steps (FedAMD's miners):
            g_0 = anchor, g_k = g_{k-1} + grad(x_k; b) - grad(x_{k-1}; b); None: plain SGD.
        adapt: float[d], a direction d by which the step size adapts (FedHyper's clients): it is
            multiplied by b, at first 1; after a step but the first, which changed the weights by
            s_k, b *= min(1.1, 1 + <s_k, s_{k-1}> + pull <s_k, d>), kept within 0.1 and 10, with d
            for the first s; None: it stays.
        pull: of `adapt`.
    """

    lr: float | Array = 0.1
    batch: int = 10
    prox: float = 0.0
    correction: Array | None = None
    momentum: float = 0.0
    clip: float = 0.0
    anchor: Array | None = None
    adapt: Array | None = None
    pull: float = 0.0


@dataclass(frozen=True, eq=False)
class Updates:
    """What n clients made.

    Attributes:
        delta: float32[n, d], w_end - w_held.
        loss: float64[n], mean loss over the samples of the local steps, each before its step.
        squared: float64[n], mean of the squared per-sample losses (Oort's utility).
    """

    delta: Array
    loss: Array
    squared: Array


class Task(Protocol):
    """A model to be learned from the data of N clients."""

    parameters: int
    """d; 0: time only."""
    flops_per_sample: float
    """Of forward and backward pass."""
    # A task may say `separable = True`: what `train` gives for a dispatch is the same bits whatever
    # else is trained in the call. Then dispatches of many steps are trained at a time.

    def initial(self, seed: int) -> Array:
        """float64[d], the first model."""

    def train(
        self,
        versions: Array,
        which: Array,
        clients: Array,
        dispatches: Array,
        steps: Array,
        local: Local,
        seed: int,
    ) -> Updates:
        """Local training of n dispatches.

        Args:
            versions: float32[V, d], models; which: int64[n], the row that each starts from.
            clients, dispatches, steps: int[n].
            seed: with client and dispatch the key of the order of data.
        """

    def evaluate(self, weights: Array) -> dict[str, float]:
        """Metrics of a model on held-out data: `loss`, `accuracy` where there is one, ..."""

    def losses(self, weights: Array, clients: Array) -> Array:
        """float64[n], mean loss of a model on all data of each client."""

    def gradients(self, weights: Array, clients: Array) -> Array:
        """float32[n, d], full gradient of a model on the data of each client."""


class Server(Protocol):
    """What a strategy sees and does."""

    clients: Clients
    plan: Plan
    task: Task
    seed: int
    selection: "Selection | None"
    """The run's; None: uniform. For its `chances`; clients are chosen by `select`."""
    weights: Array
    """float64[d], the current model; replaced by `step`, not to be written to."""
    ended: str | None
    """Why the run has ended (a limit, a target, a model that is not finite); None: it goes on."""

    @property
    def now(self) -> int:
        """Ticks of 1 ns."""

    @property
    def version(self) -> int:
        """Steps of the model so far."""

    @property
    def in_flight(self) -> int:
        """Dispatches that the server believes under way."""

    def idle(self) -> Array:
        """int32[...], clients that are there and not at work, ascending. Costs O(N)."""

    def select(self, count: int) -> Array:
        """int32[<= count], distinct idle clients chosen by the run's selection policy."""

    def uniform(self, count: int) -> Array:
        """int32[<= count], distinct idle clients drawn uniformly; without looking at all N."""

    def next_available(self) -> int | None:
        """The earliest tick after now at which an idle client that is away returns, if any."""

    def dispatch(
        self,
        clients: Array,
        *,
        steps: Array | int | None = None,
        tags: Array | int = 0,
        scale: Array | float = 1.0,
        down_bytes: Array | float | None = None,
        up_bytes: Array | float | None = None,
    ) -> None:
        """Send the current version to idle clients.

        Args:
            clients: int[n], distinct and idle.
            steps: local steps; None: the plan's.
            tags: come back in `Arrivals.tag`.
            scale: of the compute time (a smaller model).
            down_bytes, up_bytes: of the transfers; None: the model's, as the codec says.

        Raises:
            InputError: a client that is at work or away.
        """

    def wait(self, count: int) -> None:
        """Call `arrived` when so many updates have come since it was last called.

        Also when nothing is under way any more and nothing will be, with what there is; a lost
        dispatch of which the server never learns (`Plan.detect_s` is None) stays under way. The
        count stays until it is changed; 1 at the start. 0: once, as soon as this hook has returned,
        with what there is, perhaps nothing (a deadline rang); the count before stands again.
        """

    def refill(self, concurrency: int) -> None:
        """Keep so many dispatches under way with the current version and the plan's steps.

        At the end of each instant, after its arrivals and timers; clients come from `select`.
        Where none is idle, as soon as one returns. 0: stop.
        """

    def timer(self, number: int, at: int | None) -> None:
        """Call `timer` at a tick (now or later); None takes it back. One instant a number."""

    def cancel(self, clients: Array) -> None:
        """End the work of clients; what they spent is wasted. Nothing arrives of it.

        Clients that are not at work are left alone (an update that waits to be handed over has
        arrived: it still comes).
        """

    def train(self, arrivals: Arrivals, **local: Any) -> Updates:
        """The updates of arrivals with status DONE, as the server decodes them.

        Only within the hook that was given them: later the versions that they held are gone.
        Keywords replace fields of `Local`.
        """

    def held(self, arrivals: Arrivals) -> Array:
        """float32[n, d], the models that arrivals trained from; as `train` only within the hook."""

    def combine(self, coefficients: Array, deltas: Array) -> Array:
        """float64[d], sum of coefficients[i] * deltas[i], or what the run's `Combine` makes of it.

        The order of the sum is fixed.
        """

    def step(self, change: Array | None, *, used: int | Arrivals) -> None:
        """weights += change, version += 1; `used` updates went into it for the first time.

        Args:
            change: float64[d]; None where only time is simulated.
            used: which, or how many: then those that were handed over first and are neither used
                nor discarded.
        """

    def discard(self, arrivals: Arrivals) -> None:
        """Count updates as wasted (too stale, too late)."""

    def staleness(self, arrivals: Arrivals) -> Array:
        """int64[n], server version minus the version held."""

    def draws(self, counter: int, count: int) -> Array:
        """float64[count], uniform on [0, 1): the strategy's own, keyed by (seed, counter)."""

    def finish(self, why: str) -> None:
        """End the run."""

    def fail(self, why: str) -> None:
        """End the run, which cannot do what was asked for."""


@dataclass(frozen=True)
class Lesson:
    """A step that is a sum over its updates, with weights by their staleness and client.

    w+ = w + sum over i of c_i D_i, and, where it `mixes`, + c (w_held - w) of the one update.

    Attributes:
        weigh: float64[n] c of int64[n] staleness and int32[n] clients; what it gives for one
            update does not depend on the others.
        mixes: models, not updates, are added; for steps of one update.
        local: fields of `Local`.
    """

    weigh: Callable[[Array, Array], Array]
    mixes: bool = False
    local: dict[str, Any] = field(default_factory=dict)


class Strategy(ABC):
    """How a federation learns. Subclasses are dataclasses: their fields are the parameters."""

    down_models: ClassVar[float] = 1.0
    """Transfers to a client, in models (2 where control variates travel along)."""
    up_models: ClassVar[float] = 1.0
    ignores: ClassVar[frozenset[str]] = frozenset()
    """What a run may give that this strategy settles itself: kinds of policies (selection, codec,
    attack, combine) and fields of `Plan` (steps, epochs, lr)."""

    @abstractmethod
    def start(self, server: Server) -> None:
        """Dispatch the first clients; set timers."""

    @abstractmethod
    def arrived(self, server: Server, arrivals: Arrivals) -> None:
        """Updates (and losses that the server learned of) since the last call."""

    def timer(self, server: Server, number: int) -> None:  # noqa: B027 (may stay empty)
        """A timer rang."""

    def check(self, clients: Clients, plan: Plan) -> None:  # noqa: B027 (may stay empty)
        """Refuse what cannot be (InputError), before the run."""

    @property
    def told(self) -> dict[str, Any]:
        """What there is to say of a run that has ended: becomes part of `FederatedRun.facts`."""
        return {}

    @property
    def automatic(self) -> tuple[int, int] | None:
        """(buffer, concurrency) if the strategy only counts: a step every `buffer` updates, work
        for `concurrency` clients (0: all). Then runs without a model need not call it, nor those
        with one where there is a `lesson`. Holds for the class that says so, not for subclasses.
        """
        return None

    @property
    def lesson(self) -> Lesson | None:
        """What a step of an automatic strategy learns, if that is all; as `arrived` would do it."""
        return None


class Selection(ABC):
    """Which of the idle clients work next."""

    uniform: ClassVar[bool] = False
    """True: `Server.uniform` may stand in for it."""
    fills: ClassVar[bool] = False
    """True: where no more are idle than are asked for, it takes them all."""

    @abstractmethod
    def choose(self, server: Server, count: int) -> Array:
        """int32[<= count], distinct idle clients."""

    def chances(self, server: Server, count: int) -> Array | None:
        """float64[N], the chance of each client to be among `count`; None: not known."""
        return None

    def report(  # noqa: B027 (may stay empty)
        self, server: Server, arrivals: Arrivals, updates: Updates | None
    ) -> None:
        """What came of earlier choices; without a model there are no updates."""


class Codec(ABC):
    """How an update travels, and what is left of it."""

    steady: ClassVar[bool] = False
    """True: the sizes for a client never change in a run, so the engine need not ask each time."""

    @abstractmethod
    def up_bytes(self, server: Server, clients: Array) -> Array:
        """float64[n], of the update of each client, known when it is dispatched."""

    def down_bytes(self, server: Server, clients: Array, model_bytes: float) -> Array:
        """float64[n], of the model sent to each client."""
        return np.full(len(clients), model_bytes)

    @abstractmethod
    def apply(self, server: Server, arrivals: Arrivals, updates: Updates) -> Updates:
        """What the server decodes."""


class Attack(ABC):
    """Clients that do not send what they should."""

    @abstractmethod
    def apply(self, server: Server, arrivals: Arrivals, updates: Updates) -> Updates:
        """What the server receives, after the codec."""


class Combine(ABC):
    """One change out of many updates."""

    @abstractmethod
    def combine(self, server: Server, coefficients: Array, deltas: Array) -> Array:
        """float64[d]; coefficients float64[n] as the strategy would weigh them, deltas [n, d]."""


@dataclass
class Policies:
    """All that decides in a run."""

    strategy: Strategy
    selection: Selection | None = None
    """None: uniform."""
    codec: Codec | None = None
    attack: Attack | None = None
    combine: Combine | None = None
    """None: the weighted sum."""
    facts: dict[str, Any] = field(default_factory=dict)
