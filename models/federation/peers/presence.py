"""When peers are there, in plain Python."""

from mltwin.models.federation.reference_parts import Presence
from mltwin.sim.ticks import NEVER

__all__ = ["NEVER", "PeerPresence"]


class PeerPresence(Presence):
    """The times at which peers come and leave."""

    def next_change(self, peer: int, now: int) -> int:
        """The first tick after now at which a peer comes or leaves; NEVER if there is none."""
        begin, end = next(self.intervals(peer, now), (NEVER, NEVER))
        return end if begin <= now else begin
