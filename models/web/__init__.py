"""Web caches: browsers of friends that serve each other (WebCloud), and a CDN with its origin.

Friends (`friends_*`). WebCloud (Zhou et al., arXiv 1109.3791): a browser that shows an object keeps
it; when a friend views the same object, a redirector sends him to an online friend's browser that
holds it, else to the origin. What is modelled, at a view of object o by user u:

1. u's own browser holds o: *local*. It is fetching o: the view *joins* the fetch.
2. Among u's friends that are online, hold o and have an upload slot free, one is chosen: the one
   with fewest uploads now (then with fewest bytes uploaded, then of the lowest number), or one
   drawn. It sends o; its upload bandwidth is shared equally among its uploads.
3. None: *origin*. It sends at the viewer's download bandwidth, and is never the bottleneck.
4. An uploader that goes offline cuts its uploads; those views fall back to the origin, for the
   whole object or for the rest of it.
5. What arrives is kept by an LRU cache of the browser's bytes. Uploading is no use of one's own.

With w units left (2**-26 byte) and n uploads at rate c units a tick, an upload runs at
floor(c / n) and ends after ceil(w / floor(c / n)) ticks, unless n changes. Latencies are added to
what the viewer waits, not to the uploader's time. Event ranks at one tick: ends of uploads by
uploader, ends of origin transfers by view, users that come and go, views and publications in their
order.

Not modelled: viewers that leave during a download (they wait), downlinks shared by several uploads,
NAT traversal, uploads of a publisher to the origin, views that are not of friends.

CDN (`cdn_*`). Requests at edges; an edge that lacks an object asks its regional parent, that asks
the origin. Each node holds bytes by LRU, FIFO or SIEVE (Zhang et al., NSDI 2024). A hop has a
latency (one way) and a bandwidth of each transfer; what arrives is stored and passed on whole
(store and forward). With collapsed forwarding, requests for what is on its way wait for it. Ranks
at one tick: arrivals from the origin at the parent, arrivals at edges, requests at the parent,
clients.

Not modelled: links shared by transfers, revalidation and expiry, range requests, cache peers.

Time is int64 ticks of 1 ns in both (`TICKS_PER_S`).
"""

from .cdn_tables import CdnPlan
from .friends_tables import TICKS_PER_S, FriendsPlan
from .simulate import CdnOutcome, FriendsOutcome, run_cdn, run_friends

__all__ = [
    "TICKS_PER_S",
    "CdnOutcome",
    "CdnPlan",
    "FriendsOutcome",
    "FriendsPlan",
    "run_cdn",
    "run_friends",
]
