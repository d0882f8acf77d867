"""Learning along the event log of gossip."""

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .gossip_tables import E_DONE, E_MERGE, E_SEND, E_START
from .learner import Learner
from .timeline import Learned, Setting, Timeline

if TYPE_CHECKING:
    from .gossip import Gossip

Array = npt.NDArray[Any]


class _Trainings:
    """Trainings begun and not yet needed; as soon as one is, all of them are made as one batch."""

    def __init__(self, learner: Learner, rows: Any) -> None:
        self.learner = learner
        done = rows[rows["kind"] == E_DONE]
        self.ends = set(zip(done["entity"].tolist(), done["value"].tolist(), strict=True))
        self.begun: dict[int, tuple[int, int, Array]] = {}  # peer -> dispatch, version, model
        self.made: dict[int, Array] = {}

    def begin(self, peer: int, dispatch: int, version: int, model: Array) -> None:
        """A training that will end; one that will not need not be made."""
        if (peer, dispatch) in self.ends:
            self.begun[peer] = dispatch, version, model.astype(np.float32)

    def end(self, peer: int) -> Array:
        """float64[d], what the peer's training made."""
        if peer not in self.made:
            for version in sorted({begun[1] for begun in self.begun.values()}):
                self._make(version)
        return self.made.pop(peer)

    def _make(self, version: int) -> None:
        peers = sorted(peer for peer, begun in self.begun.items() if begun[1] == version)
        chosen = [self.begun.pop(peer) for peer in peers]
        deltas = self.learner.train(
            np.stack([model for _, _, model in chosen]),
            np.array(peers),
            np.array([dispatch for dispatch, _, _ in chosen]),
            version,
        )
        self.made.update(zip(peers, deltas, strict=True))


@np.errstate(over="ignore", invalid="ignore")  # what diverges ends the run at the next version
def follow(protocol: "Gossip", setting: Setting, line: Timeline, learner: Learner) -> Learned:
    """Train, send and merge models in the order of the log."""
    rows = line.steps
    models = np.tile(learner.initial, (setting.peers, 1))
    age = np.zeros(setting.peers)
    letters: dict[int, tuple[Array, float]] = {}
    trainings = _Trainings(learner, rows)
    pair, by_age = protocol.mode == "pair", protocol.merge == "age"
    done = version = 0
    if learner.version(0, models):
        return learner.learned
    for kind, i, value in zip(
        rows["kind"].tolist(), rows["entity"].tolist(), rows["value"].tolist(), strict=True
    ):
        if kind == E_START:
            trainings.begin(i, value, version, models[i])
        elif kind == E_DONE:
            models[i] += trainings.end(i)
            age[i] += learner.steps[i]
            done += 1
            if done % setting.peers == 0:
                version += 1
                if learner.version(version, models):
                    break
        elif kind == E_SEND and not pair:
            letters[i] = models[i].astype(np.float32), float(age[i])
        elif kind == E_MERGE and pair:
            models[i] = models[value] = 0.5 * (models[i] + models[value])
        elif kind == E_MERGE:
            model, sender_age = letters.pop(value)
            total = sender_age + age[i]
            part = sender_age / total if by_age and total > 0 else 0.5
            models[i] += part * (model.astype(np.float64) - models[i])
            age[i] = max(age[i], sender_age)
    return learner.learned
