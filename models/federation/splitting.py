"""Tuning a transformer that is cut between client and server: bytes, FLOPs and seconds.

The model is cut in three: head (input layer and the first blocks) and tail (the last blocks and
the output layer) at the client, body at the server, so neither samples nor labels leave the client.
Costs are of one client in one round, by counting:

- a block of P parameters takes 2 P T + 4 H D T^2 FLOPs forward for T tokens; a backward pass takes
  as much again for the gradient by its input and as much for that by its weights;
- what crosses a cut is T h numbers a sample and pass.

`full`: federated averaging of the whole model. `split`: split learning with U shape (Vepakomma et
al., arXiv 1812.00564), clients' parts averaged each round (SplitFed: Thapa et al., arXiv
2004.12088). `sfprompt`: Cao, Zhu and Gong, arXiv 2407.17533, of which the abstract and summaries
were read: local-loss steps through head and tail alone, pruning by EL2N scores, one split pass over
the samples kept, prompts and tail averaged; head and body stay as they are. Published against full
federated tuning [abstract]: 0.46 % of local compute and 53 % less traffic. `nano`: FedNano, Zhang
et al., arXiv 2506.14824 [abstract]: 95 % less storage at the client, updates of 0.01 % of the
parameters. Where the papers cut, and what else they count, could not be verified.
"""

from dataclasses import dataclass

from mltwin.models.llm import Model, precision
from mltwin.sim.errors import InputError

VITS = {"base": (768, 12, 3072, 12), "large": (1024, 24, 4096, 16), "huge": (1280, 32, 5120, 16)}
"""Hidden size, blocks, width of the feed-forward layer, heads (Dosovitskiy et al., arXiv
2010.11929, table 1)."""


@dataclass(frozen=True)
class Network:
    """A transformer as this module counts it.

    Attributes:
        tokens: T of one sample.
        hidden: h.
        layers: blocks.
        layer_parameters: P of one block that a token passes, layer_stored: that are kept.
        attention: H D.
        input_parameters, output_parameters: of the layers before and after the blocks.
        input_flops, output_flops: of one sample, forward.
        number_bytes: of a parameter or an activation.
    """

    name: str
    tokens: int
    hidden: int
    layers: int
    layer_parameters: float
    layer_stored: float
    attention: int
    input_parameters: float
    output_parameters: float
    input_flops: float
    output_flops: float
    number_bytes: float

    @property
    def parameters(self) -> float:
        """All that are kept."""
        blocks = self.layers * self.layer_stored
        return self.input_parameters + blocks + self.output_parameters

    def layer_flops(self, tokens: float) -> float:
        """FLOPs of one block, forward, for one sample of so many tokens: 2 P T + 4 H D T^2."""
        return 2.0 * self.layer_parameters * tokens + 4.0 * self.attention * tokens**2


def language(model: Model, tokens: int) -> Network:
    """A language model on sequences of so many tokens; every token's next one is predicted."""
    h = model.hidden_size
    table, head = model.embedding_parameters, model.head_parameters
    blocks = model.parameters - table - head
    active = model.active_parameters - table - head
    return Network(
        name=model.name,
        tokens=tokens,
        hidden=h,
        layers=model.layers,
        layer_parameters=active / model.layers,
        layer_stored=blocks / model.layers,
        attention=model.heads * model.head_dim,
        input_parameters=table,
        output_parameters=head,
        input_flops=0.0,
        output_flops=2.0 * h * model.vocab_size * tokens,
        number_bytes=precision(model.dtype).weight_bytes,
    )


def vit(size: str, *, classes: int = 100, image: int = 224, patch: int = 16) -> Network:
    """A vision transformer with float32 numbers; one token a patch and one for the class.

    Raises InputError: an unknown size.
    """
    if size not in VITS:
        raise InputError(f"unknown size {size!r}", where="vit", mend=f"use one of {list(VITS)}")
    h, layers, wide, heads = VITS[size]
    patches = (image // patch) ** 2
    pixels = 3 * patch * patch
    block = 4 * h * h + 4 * h + 2 * h * wide + wide + h + 4 * h
    return Network(
        name=f"vit-{size}-{patch}",
        tokens=patches + 1,
        hidden=h,
        layers=layers,
        layer_parameters=block,
        layer_stored=block,
        attention=heads * (h // heads),
        input_parameters=pixels * h + h + h + (patches + 1) * h,
        output_parameters=2 * h + (h + 1) * classes,
        input_flops=2.0 * pixels * h * patches,
        output_flops=2.0 * h * classes,
        number_bytes=4.0,
    )


@dataclass(frozen=True)
class Work:
    """What one client does in one round.

    Attributes:
        samples: that it has.
        epochs: passes of `full` and `split`; local-loss passes of `sfprompt`.
        batch: samples of a step.
        head_layers, tail_layers: blocks at the client beside input and output layer.
        prompts: tokens of the soft prompt of `sfprompt`.
        kept: share of samples that pruning leaves for its split pass.
    """

    samples: int
    epochs: int = 1
    batch: int = 32
    head_layers: int = 0
    tail_layers: int = 0
    prompts: int = 16
    kept: float = 1.0

    def __post_init__(self) -> None:
        if min(self.samples, self.batch) < 1 or min(self.epochs, self.prompts) < 0:
            raise InputError(f"samples {self.samples}, batch {self.batch}", where="work")
        if not 0.0 <= self.kept <= 1.0 or min(self.head_layers, self.tail_layers) < 0:
            raise InputError(
                f"kept {self.kept}, layers {self.head_layers} and {self.tail_layers}", where="work"
            )


@dataclass(frozen=True)
class Cost:
    """Of one client in one round.

    Attributes:
        client_flops, server_flops: forward and backward.
        up_bytes, down_bytes: of the client.
        transfers: messages one after the other, each of which waits for a latency.
        client_parameters: numbers that the client keeps.
    """

    client_flops: float
    server_flops: float
    up_bytes: float
    down_bytes: float
    transfers: int
    client_parameters: float

    def seconds(
        self,
        *,
        client_flops_per_s: float,
        server_flops_per_s: float,
        up_bytes_per_s: float,
        down_bytes_per_s: float,
        latency_s: float = 0.0,
    ) -> float:
        """Time of the round, one thing after the other (nothing overlaps).

        Rates are those reached, not peaks.
        """
        work = self.client_flops / client_flops_per_s + self.server_flops / server_flops_per_s
        way = self.up_bytes / up_bytes_per_s + self.down_bytes / down_bytes_per_s
        return work + way + self.transfers * latency_s


@dataclass(frozen=True)
class Lowered:
    """A cost as columns and fields of `tables.Clients` and `tables.Plan`, for whole rounds of it.

    A dispatch of one full-batch step (`steps` 1, `batch` 0) then takes `Cost.seconds`.

    Attributes:
        s_per_sample: of the client.
        overhead_s: the server's share of the work, and the latencies but for the first and last.
        up_bytes, down_bytes: for codec `sized`.
    """

    s_per_sample: float
    overhead_s: float
    up_bytes: float
    down_bytes: float


def lowered(
    cost: Cost,
    samples: int,
    *,
    client_flops_per_s: float,
    server_flops_per_s: float,
    latency_s: float = 0.0,
) -> Lowered:
    """What the simulator needs to run clients at this cost.

    All that is sent within a round stands before and after the work, so a link that clients share
    sees the bytes at other moments than it would.
    """
    waits = max(0, cost.transfers - 2) * latency_s
    return Lowered(
        cost.client_flops / client_flops_per_s / samples,
        cost.server_flops / server_flops_per_s + waits,
        cost.up_bytes,
        cost.down_bytes,
    )


def full(network: Network, work: Work) -> Cost:
    """Federated averaging: the whole model down, trained and up."""
    forward = network.input_flops + network.output_flops
    forward += network.layers * network.layer_flops(network.tokens)
    size = network.parameters * network.number_bytes
    flops = 3.0 * forward * work.samples * work.epochs
    return Cost(flops, 0.0, size, size, 2, network.parameters)


def split(network: Network, work: Work) -> Cost:
    """Split learning: each step sends both cuts' activations and gradients; all is trained."""
    cut = _Cut(network, work, network.tokens)
    seen = work.samples * work.epochs
    steps = -(-work.samples // work.batch) * work.epochs
    own = cut.kept_parameters * network.number_bytes
    return Cost(
        client_flops=3.0 * (cut.head_flops + cut.tail_flops) * seen,
        server_flops=3.0 * cut.body_flops * seen,
        up_bytes=2.0 * cut.crossing_bytes * seen + own,
        down_bytes=2.0 * cut.crossing_bytes * seen + own,
        transfers=4 * steps + 2,
        client_parameters=cut.kept_parameters,
    )


def sfprompt(network: Network, work: Work) -> Cost:
    """SFPrompt: local-loss passes, scores, one split pass over the samples kept.

    A local pass takes the head forward and back to the prompts, and the tail forward and back with
    its weights' gradients; the server's body goes forward and back without them.
    """
    cut = _Cut(network, work, network.tokens + work.prompts)
    kept = round(work.samples * work.kept)
    head = 2.0 * cut.head_flops - network.input_flops  # no gradient goes back into the input layer
    one = head + 3.0 * cut.tail_flops
    scores = (cut.head_flops + cut.tail_flops) * work.samples * (work.kept < 1.0)
    trained = (work.prompts * network.hidden + cut.tail_parameters) * network.number_bytes
    return Cost(
        client_flops=one * (work.samples * work.epochs + kept) + scores,
        server_flops=2.0 * cut.body_flops * kept,
        up_bytes=2.0 * cut.crossing_bytes * kept + trained,
        down_bytes=2.0 * cut.crossing_bytes * kept + trained,
        transfers=4 * -(-kept // work.batch) + 2,
        client_parameters=cut.kept_parameters + work.prompts * network.hidden,
    )


class _Cut:
    """The parts of a network that is cut, for samples of so many tokens."""

    def __init__(self, network: Network, work: Work, tokens: int) -> None:
        body = network.layers - work.head_layers - work.tail_layers
        if body < 0:
            raise InputError(
                f"{work.head_layers} and {work.tail_layers} blocks of {network.layers}",
                where=network.name,
                mend="leave at least none to the server",
            )
        layer = network.layer_flops(tokens)
        self.head_flops = network.input_flops + work.head_layers * layer
        self.tail_flops = network.output_flops + work.tail_layers * layer
        self.body_flops = body * layer
        self.tail_parameters = network.output_parameters + work.tail_layers * network.layer_stored
        head = network.input_parameters + work.head_layers * network.layer_stored
        self.kept_parameters = head + self.tail_parameters
        self.crossing_bytes = tokens * network.hidden * network.number_bytes


@dataclass(frozen=True)
class Nano:
    """FedNano's client of a multimodal model, in one round.

    Attributes:
        adapter_parameters: trained and averaged, 2 r h an adapter.
        adapter_share: of all parameters.
        storage_saved: share of all parameters that the client need not keep.
        cost: with what crosses the cut: the embedded sample up and its gradient down, a pass.
    """

    adapter_parameters: float
    adapter_share: float
    storage_saved: float
    cost: Cost


def nano(
    model: Network,
    encoder: Network,
    *,
    samples: int,
    epochs: int = 1,
    batch: int = 32,
    rank: int = 64,
    adapters: int = 2,
) -> Nano:
    """The language model at the server; encoder, connector and low-rank adapters at the client.

    The connector is two layers, encoder width to h to h (LLaVA-1.5: Liu et al., arXiv 2310.03744).
    An adapter (one each for image and text tokens) maps h to r to h. The paper's 0.01 % counts the
    adapters alone; here what crosses the cut in training is counted too. The loss is made at the
    server, so labels go there.
    """
    h = model.hidden
    connector = (encoder.hidden + 1) * h + (h + 1) * h
    own = 2.0 * rank * h * adapters
    everything = model.parameters + encoder.parameters + connector + own
    kept = encoder.parameters + connector + own
    tokens = model.tokens
    forward = encoder.input_flops + encoder.layers * encoder.layer_flops(encoder.tokens)
    forward += 2.0 * connector * encoder.tokens
    seen = samples * epochs
    served = model.output_flops + model.layers * model.layer_flops(tokens)
    crossing = tokens * h * model.number_bytes * seen
    sent = own * model.number_bytes
    cost = Cost(
        client_flops=(forward + 3.0 * 2.0 * own * tokens / max(adapters, 1)) * seen,
        server_flops=2.0 * served * seen,
        up_bytes=crossing + sent,
        down_bytes=crossing + sent,
        transfers=2 * -(-samples // batch) * epochs + 2,
        client_parameters=kept,
    )
    return Nano(own, own / everything, 1.0 - kept / everything, cost)
