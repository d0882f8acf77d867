"""Learning without a server: peers that train and exchange models over an overlay.

`simulate_peers` runs a protocol among peers (rows of `Clients`) and gives back the `FederatedRun`
of a federation with a server, so that both can be compared.

| protocol | module | time | twin |
|---|---|---|---|
| `DPSGD`: rounds with neighbours | `rounds` | (max, +) | a loop (tests) |
| `Gossip`: asynchronous, push or pairwise (AD-PSGD) | `gossip` | compiled events | SimPy |
| `Modest`: MoDeST/Plexus, rounds of a hashed sample | `modest` | events | SimPy |
| `Matchmaking`: partners by a bandit (after KNEXA-FL) | `matching` | rounds with a barrier | - |

Time is int64 ticks of 1 ns; each duration becomes ticks once. A peer trains as long as the same
client does under a server (`phases`; same seed, same draws). What it sends shares its uplink, and
the receiver's downlink, in equal parts with whatever else goes over them at the time: the rate of a
transfer is the lesser of the two parts. A part that another transfer cannot use is not given on:
equal parts are simpler than max-min fair ones, and never faster. Then comes the latency, own link
of both ends plus that between their sites.

Order of events at one tick:

| rank | gossip | MoDeST |
|---|---|---|
| 0 | transfers end or arrive, by sender | flows end, by sender, receiver |
| 1 | trainings end or begin, by peer | messages arrive, by receiver, sender |
| 2 | peers come and leave | trainings end |
| 3 | | pings are repeated |
| 4 | | pings time out |
| 5 | | aggregations time out |
| 6 | | peers come and leave |

First the clock, then the learning: when peers train and send does not depend on what they learn
(but for match-making), so learning walks along the finished timeline, and trains whatever is
pending in one batch. Models of peers are float64, what travels and what training starts from is
float32.

Laws, checked at the end of each run: trainings begun = arrived + lost + cancelled + in flight;
arrived = used + discarded + pending; bytes sent = received + lost + under way, by kind.

Not modelled: links shared beyond the two ends, lost packets, codecs and attacks on what peers send,
peers that do not follow the protocol. Interruptions: D-PSGD with neighbours' barriers knows none,
by a coordinator and MoDeST drop the work, gossip has all three.
"""
