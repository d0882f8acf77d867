"""A run with what its timeline needs."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mltwin.result import Result
    from mltwin.scenario import Scenario


def run_with_logs(scenario: "Scenario", seed: int | None = None, **options: Any) -> "Result":
    """Run a scenario of any system, keeping what `Result.timeline` needs of it."""
    module, _, name = scenario.result_class.partition(":")
    kind: type[Result] = getattr(import_module(module), name)
    return scenario.run(seed, **kind.timeline_options, **options)
