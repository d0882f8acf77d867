"""mltwin: a discrete-event simulator and digital twin of machine-learning systems."""

from pathlib import Path as _Path
from typing import TYPE_CHECKING as _TYPE_CHECKING

_root = _Path(__file__).resolve().parent.parent
if (_root / "pyproject.toml").is_file() and (_root / "sim" / "__init__.py").is_file():
    __path__.append(str(_root))  # a checkout: mltwin.sim is ../sim

__version__ = "0.1.0"

if _TYPE_CHECKING:
    from mltwin.comparison import Comparison as Comparison
    from mltwin.comparison import compare as compare
    from mltwin.comparison import run as run
    from mltwin.policies import policy as policy
    from mltwin.result import Result as Result
    from mltwin.scenario import Scenario as Scenario
    from mltwin.serving import ServingScenario as ServingScenario
    from mltwin.serving_result import ServingResult as ServingResult
    from mltwin.sim.errors import InputError as InputError
    from mltwin.sim.errors import KernelError as KernelError
    from mltwin.sim.errors import MltwinError as MltwinError
    from mltwin.workloads.catalogue import open_trace as open_trace
    from mltwin.workloads.table import Trace as Trace

# What `import mltwin as mt` offers; each is imported when it is first used.
_OFFERED = {
    "Comparison": "mltwin.comparison",
    "InputError": "mltwin.sim.errors",
    "KernelError": "mltwin.sim.errors",
    "MltwinError": "mltwin.sim.errors",
    "Result": "mltwin.result",
    "Scenario": "mltwin.scenario",
    "ServingResult": "mltwin.serving_result",
    "ServingScenario": "mltwin.serving",
    "Trace": "mltwin.workloads.table",
    "compare": "mltwin.comparison",
    "open_trace": "mltwin.workloads.catalogue",
    "policy": "mltwin.policies",
    "run": "mltwin.comparison",
}
__all__ = ["__version__", *_OFFERED]


def __getattr__(name: str) -> object:
    if name not in _OFFERED:
        raise AttributeError(f"module 'mltwin' has no attribute {name!r}")
    from importlib import import_module

    value = globals()[name] = getattr(import_module(_OFFERED[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_OFFERED})
