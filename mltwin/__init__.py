"""mltwin: a discrete-event simulator and digital twin of machine-learning systems."""

from pathlib import Path as _Path
from typing import TYPE_CHECKING as _TYPE_CHECKING

_root = _Path(__file__).resolve().parent.parent
if (_root / "pyproject.toml").is_file() and (_root / "sim" / "__init__.py").is_file():
    __path__.append(str(_root))  # a checkout: mltwin.sim is ../sim

__version__ = "0.1.0"

if _TYPE_CHECKING:
    from mltwin import federated as federated
    from mltwin.adapters import AdapterScenario as AdapterScenario
    from mltwin.cache_curves import miss_ratio_curve as miss_ratio_curve
    from mltwin.cache_replay import replay_cache as replay_cache
    from mltwin.caching import CachingScenario as CachingScenario
    from mltwin.comparison import Comparison as Comparison
    from mltwin.comparison import compare as compare
    from mltwin.comparison import run as run
    from mltwin.experts import ExpertScenario as ExpertScenario
    from mltwin.federated import FederatedScenario as FederatedScenario
    from mltwin.gate.check import check as check
    from mltwin.gate.outcome import CheckReport as CheckReport
    from mltwin.gate.update import make_baseline as make_baseline
    from mltwin.gate.update import update_baseline as update_baseline
    from mltwin.kv_cache import KvCacheScenario as KvCacheScenario
    from mltwin.models.training.search import search_plans as search_plans
    from mltwin.network import NetworkScenario as NetworkScenario
    from mltwin.policies import policy as policy
    from mltwin.reliability import TrainingRunScenario as TrainingRunScenario
    from mltwin.result import Result as Result
    from mltwin.scenario import Scenario as Scenario
    from mltwin.searches.cluster import smallest_cluster as smallest_cluster
    from mltwin.searches.goodput import goodput as goodput
    from mltwin.searches.optimise import optimise as optimise
    from mltwin.searches.pareto import pareto as pareto
    from mltwin.searches.planning import plan as plan
    from mltwin.searches.sensitivity import sensitivity as sensitivity
    from mltwin.semantic import SemanticScenario as SemanticScenario
    from mltwin.serving import ServingScenario as ServingScenario
    from mltwin.serving_result import ServingResult as ServingResult
    from mltwin.sim.errors import InputError as InputError
    from mltwin.sim.errors import KernelError as KernelError
    from mltwin.sim.errors import MltwinError as MltwinError
    from mltwin.sweeps.run import sweep as sweep
    from mltwin.sweeps.sweep import Sweep as Sweep
    from mltwin.topologies import collective_times as collective_times
    from mltwin.topologies import topology as topology
    from mltwin.training import TrainingScenario as TrainingScenario
    from mltwin.web import WebScenario as WebScenario
    from mltwin.workloads import objects as objects
    from mltwin.workloads.catalogue import open_trace as open_trace
    from mltwin.workloads.table import Trace as Trace

# What `import mltwin as mt` offers; each is imported when it is first used.
_OFFERED = {
    "AdapterScenario": "mltwin.adapters",
    "CachingScenario": "mltwin.caching",
    "CheckReport": "mltwin.gate.outcome",
    "Comparison": "mltwin.comparison",
    "ExpertScenario": "mltwin.experts",
    "FederatedScenario": "mltwin.federated",
    "InputError": "mltwin.sim.errors",
    "KernelError": "mltwin.sim.errors",
    "KvCacheScenario": "mltwin.kv_cache",
    "MltwinError": "mltwin.sim.errors",
    "NetworkScenario": "mltwin.network",
    "Result": "mltwin.result",
    "Scenario": "mltwin.scenario",
    "SemanticScenario": "mltwin.semantic",
    "ServingResult": "mltwin.serving_result",
    "ServingScenario": "mltwin.serving",
    "Sweep": "mltwin.sweeps.sweep",
    "Trace": "mltwin.workloads.table",
    "TrainingRunScenario": "mltwin.reliability",
    "TrainingScenario": "mltwin.training",
    "WebScenario": "mltwin.web",
    "check": "mltwin.gate.check",
    "collective_times": "mltwin.topologies",
    "compare": "mltwin.comparison",
    "federated": "mltwin.federated",
    "goodput": "mltwin.searches.goodput",
    "make_baseline": "mltwin.gate.update",
    "miss_ratio_curve": "mltwin.cache_curves",
    "objects": "mltwin.workloads.objects",
    "open_trace": "mltwin.workloads.catalogue",
    "optimise": "mltwin.searches.optimise",
    "pareto": "mltwin.searches.pareto",
    "plan": "mltwin.searches.planning",
    "policy": "mltwin.policies",
    "replay_cache": "mltwin.cache_replay",
    "run": "mltwin.comparison",
    "search_plans": "mltwin.models.training.search",
    "sensitivity": "mltwin.searches.sensitivity",
    "smallest_cluster": "mltwin.searches.cluster",
    "sweep": "mltwin.sweeps.run",
    "topology": "mltwin.topologies",
    "update_baseline": "mltwin.gate.update",
}
_MODULES = frozenset({"federated", "objects"})
__all__ = ["__version__", *_OFFERED]


def __getattr__(name: str) -> object:
    if name not in _OFFERED:
        raise AttributeError(f"module 'mltwin' has no attribute {name!r}")
    from importlib import import_module

    module = import_module(_OFFERED[name])
    value = globals()[name] = module if name in _MODULES else getattr(module, name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_OFFERED})
