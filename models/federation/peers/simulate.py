"""`simulate_peers`: a run without a server."""

from dataclasses import replace

from mltwin.models.federation.hooks import Task
from mltwin.models.federation.outcome import FederatedRun
from mltwin.models.federation.simulate import check
from mltwin.models.federation.tables import Clients, Plan

from .overlay import Overlay
from .protocol import Protocol
from .timeline import Setting, outcome


def simulate_peers(
    clients: Clients,
    overlay: Overlay,
    protocol: Protocol,
    plan: Plan,
    *,
    task: Task | None = None,
    seed: int = 0,
    evaluate_peers: int = 16,
    reference: bool = False,
    record: bool = False,
) -> FederatedRun:
    """Run a protocol among peers.

    Args:
        clients: the peers: speed, links, availability, data.
        overlay: who talks to whom, and how far they are apart (in MoDeST any peer talks to any).
        protocol: `DPSGD`, `Gossip`, `Modest` or `Matchmaking`.
        plan: local training, and when the run ends; its fields on the server's time do not apply.
        task: what is learned; None: time only.
        seed: of all draws.
        evaluate_peers: peers whose own models are evaluated, beside the mean of all models.
        reference: the SimPy twin, where the protocol has one (the others have closed forms).
        record: keep the event log.

    Returns:
        As a federation with a server. A version is a round (gossip: N updates). `down_bytes` is
        what peers received, `up_bytes` what they sent. Where each peer has a model of its own,
        `loss`, `accuracy`, ... are those of the mean of all models, `peers_loss`, ... the mean over
        peers, `consensus` the root mean square distance of models from their mean. `facts` has
        bytes by kind of message.

    Raises:
        InputError: an overlay of another size, nothing that ends the run, or what the protocol
            refuses.
    """
    setting = Setting(clients, overlay, plan, task, seed, evaluate_peers, record, reference)
    check(clients, plan, task)
    setting.check()
    protocol.check(setting)
    line = protocol.timeline(setting, None)
    if not setting.learns:
        return outcome(line, None, plan)
    learned = protocol.learn(setting, line)
    if learned.stop == 0:  # the first model ends it: nothing happens after time 0
        line = protocol.timeline(replace(setting, plan=replace(plan, until_s=0.0)), None)
    elif learned.stop is not None and learned.stop < len(line.versions):
        line = protocol.timeline(setting, learned.stop)
    return outcome(line, learned, plan)
