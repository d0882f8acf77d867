"""How fast other public simulators of LLM serving answered, for scale.

Measured once, on one shared machine with 4 cores, one process each, on the Azure 2023 conversation
lengths with Poisson arrivals; not run again here. They model other things in other detail, so the
table says what a run costs its user, not who is better.
"""

from typing import NamedTuple

REMARK = "measured once on one shared machine with 4 cores, not run again here"


class Peer(NamedTuple):
    """One run: the simulator, what it simulated, requests, and requests per second of wall time."""

    name: str
    setup: str
    requests: int
    req_per_s: float
    remark: str = ""


PEERS = (
    Peer(
        "splitwise-sim",
        "40 DGX-H100, 25 prefill + 15 decode, mixed pool, BLOOM-176B, 70 req/s",
        20_000,
        256,
    ),
    Peer("simdistserve", "OPT-13B, 1 prefill + 1 decode, 2 req/s", 20_000, 445),
    Peer("simdistserve", "OPT-13B, vLLM mode, 1 instance", 20_000, 533),
    Peer(
        "Vidur",
        "Llama-3-8B on 1 A100, Sarathi 512, 6.45 req/s",
        2_000,
        500,
        "event loop alone; 73 with start-up from warm caches; attention times were placeholders",
    ),
    Peer(
        "Vidur",
        "the same on 4 replicas, 25 req/s",
        8_000,
        421,
        "event loop alone; 157 with start-up",
    ),
    Peer("BLIS", "Qwen3-14B on 1 H100", 20_000, 655, "it makes token ids for every request"),
    Peer("BLIS", "40 instances, 70 req/s", 2_000, 263),
    Peer("inference-lab 0.2.1", "8B roofline, WebAssembly", 2_000, 2_778, "503 at 20,000 requests"),
)
