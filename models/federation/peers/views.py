"""What each peer of MoDeST knows of the others, and the order of a round's sample."""

from hashlib import md5
from typing import Any

import numpy as np
import numpy.typing as npt

from mltwin.sim.errors import InputError

Array = npt.NDArray[Any]
Copy = tuple[Array, Array, Array]

MOST_PEERS = 8192
NO_ROUND = -1


class Views:
    """N views of N peers: the last round in which a peer was heard of, the number of its last
    change of membership, and whether that was to leave.

    Plexus, dlsim/core/peer_manager.py.

    Raises InputError: more peers than memory would hold N^2 entries for.
    """

    def __init__(self, there: Array, inactive: int) -> None:
        count = len(there)
        if count > MOST_PEERS:
            raise InputError(
                f"{count} peers, each with a view of all: at most {MOST_PEERS}", where="protocol"
            )
        self.inactive = inactive
        self.round = np.full((count, count), NO_ROUND, np.int32)
        self.index = np.zeros((count, count), np.int32)
        self.left = np.tile(~there, (count, 1))
        self.latest = [0] * count
        """The highest round that a peer has heard of."""
        self.pending: list[dict[int, tuple[int, int]]] = [{} for _ in range(count)]
        self._orders: dict[int, Array] = {}
        self._names = [str(peer).encode() for peer in range(count)]

    def heard(self, peer: int, other: int, number: int) -> None:
        """`other` was active in a round."""
        number = max(number, self.latest[peer])
        self.latest[peer] = number
        if number > self.round[peer, other]:
            self.round[peer, other] = number

    def answered(self, peer: int, other: int, index: int) -> None:
        """`other` is there after its change of membership with this number."""
        if index > self.index[peer, other]:
            self.index[peer, other] = index
            self.left[peer, other] = False

    def changed(self, peer: int, other: int, number: int, index: int, left: bool) -> None:
        """`other` says that it comes (known from the next model on) or leaves (at once)."""
        number = max(number, self.latest[peer])
        if not left:
            self.pending[peer][other] = number, index
            return
        self.latest[peer] = number
        self.round[peer, other] = number
        self.index[peer, other] = index
        self.left[peer, other] = True

    def gave_up(self, peer: int, other: int, number: int) -> None:
        """The aggregator `other` says that it leaves in a round."""
        self.round[peer, other] = number
        self.index[peer, other] = 0
        self.left[peer, other] = True

    def copy(self, peer: int) -> Copy:
        """What a peer sends along with a model."""
        return self.round[peer].copy(), self.index[peer].copy(), self.left[peer].copy()

    def merge(self, peer: int, given: Copy) -> None:
        """Take what is newer in another's view."""
        rounds, indices, left = given
        np.maximum(self.round[peer], rounds, out=self.round[peer])
        newer = indices > self.index[peer]
        self.index[peer][newer] = indices[newer]
        self.left[peer][newer] = left[newer]
        self.latest[peer] = max(self.latest[peer], int(rounds.max()))

    def flush(self, peer: int) -> None:
        """Take in those who came."""
        for other, (number, index) in self.pending[peer].items():
            self.round[peer, other] = max(number, self.round[peer, other])
            self.latest[peer] = max(self.latest[peer], number)
            self.answered(peer, other, index)
        self.pending[peer] = {}

    def own(self, peer: int, index: int, left: bool) -> None:
        """A peer notes its own change of membership."""
        self.index[peer, peer] = index
        self.left[peer, peer] = left

    def known(self, peer: int) -> Array:
        """bool[N], those that have not said that they leave; itself always."""
        there = ~self.left[peer]
        there[peer] = True
        return there

    def ordered(self, peer: int, number: int) -> Array:
        """The active peers of a view in the order of a round's sample.

        By md5(peer "-" round), peers as decimal numbers; active: heard of within the last
        `inactive` rounds (Plexus, dlsim/plexus/sample_manager.py).
        """
        active = self.known(peer) & (self.round[peer] >= number - self.inactive)
        active[peer] = True
        order = self.order(number)
        return order[active[order]]

    def order(self, number: int) -> Array:
        """int[N], all peers in the order of a round."""
        if number not in self._orders:
            if len(self._orders) > 16:
                self._orders.clear()
            tail = b"-%d" % number
            hashes = [md5(name + tail, usedforsecurity=False).digest() for name in self._names]
            self._orders[number] = np.array(sorted(range(len(hashes)), key=hashes.__getitem__))
        return self._orders[number]
