"""How federations learn: strategies, selections of clients, codecs, attacks and rules against them.

Each is a short dataclass registered by name (`registry.named`); its fields are its parameters.

| module | holds |
|---|---|
| `synchronous` | the frame of rounds (`Rounds`); FedAvg, FedProx, FedAvgM, FedNova, SCAFFOLD |
| `adaptive` | FedAdagrad, FedAdam, FedYogi, FedHyper, FedAMD |
| `heavy_ball` | GHBM, LocalGHBM, FedHBM |
| `participation` | clients that come as they will; FedAU, MIFA, known chances |
| `variance` | FedStale, FedVARP, unbiased FedAvg |
| `asynchronous`, `compass`, `fixed_time`, `anarchic`, `stale`, `wireless` | no rounds |
| `selection`, `oort` | which idle clients work next |
| `quantise`, `randomness`, `submodels`, ... | what travels |
| `attacks`, `robust` | Byzantine clients, and combining what they send |

`memory`, `traces`, `limits` and `eigen` are what several of them use.

A rule of your own is a subclass of a class in `mltwin.models.federation.hooks`; a synchronous
algorithm is a subclass of `synchronous.Rounds` with a `change`.
"""
