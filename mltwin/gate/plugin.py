"""The pytest plugin of the gate: fixtures for projects that guard their policies in their tests.

`mltwin_check("baselines/chat.json")` fails the test with a table where a metric got worse;
`pytest --mltwin-update "why"` writes the baselines anew instead. Nothing of mltwin is imported
before a test uses the fixture.
"""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from mltwin.gate.outcome import CheckReport
    from mltwin.scenario import Scenario


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--mltwin-update`."""
    group = parser.getgroup("mltwin", "policy metrics held against baselines")
    group.addoption(
        "--mltwin-update",
        metavar="REASON",
        default=None,
        help="write the baselines that mltwin_check uses anew, for this reason",
    )


@pytest.fixture
def mltwin_check(request: pytest.FixtureRequest) -> "Checker":
    """Hold a scenario against its baseline: `mltwin_check("baselines/chat.json")`."""
    return Checker(
        folder=request.path.parent,
        root=request.config.rootpath,
        test=request.node.nodeid,
        reason=request.config.getoption("--mltwin-update"),
    )


class Checker:
    """What the fixture gives: call it with a baseline, or a scenario and its baseline.

    folder, root: where relative paths are looked for, in this order.
    test: the test's name, for the command that repeats it.
    reason: of `--mltwin-update`, None without it.
    """

    def __init__(self, folder: Path, root: Path, test: str, reason: str | None) -> None:
        self.folder, self.root, self.test, self.reason = folder, root, test, reason

    def __call__(
        self,
        item: "str | Path | Scenario",
        baseline: str | Path | None = None,
        **options: Any,
    ) -> "CheckReport":
        """Check, and fail the test where the gate does.

        Args:
            item: a baseline's file; or, with `baseline`, a scenario or its file.
            baseline: the baseline's file.
            options: those of `mltwin.check`: `exact`, `strict`, `max_seeds`, ... With
                `--mltwin-update` and no baseline yet: `seeds`, `hold`, `metrics`, `tolerances`.

        Raises AssertionError with the whole report, or where there is no baseline yet.
        """
        __tracebackhide__ = True
        from mltwin.gate.check import check
        from mltwin.scenario import Scenario

        making = {name: options.pop(name) for name in _MAKING if name in options}
        if baseline is None:
            if isinstance(item, Scenario):
                raise TypeError("a scenario needs baseline='baselines/name.json'")
            place, scenario = self._found(item), None
        else:
            place = self._found(baseline)
            scenario = item if isinstance(item, Scenario) else Scenario.load(self._found(item))
        if self.reason is not None:
            self._update(place, item if baseline is not None else None, scenario, making)
        again = "pytest " + shlex.quote(self.test)
        report = check(place, scenario=scenario, again=again, **options)
        if not report.passed:
            raise AssertionError(f"{report}\n\n{self._advice()}")
        return report

    def _found(self, given: str | Path) -> Path:
        """A path from the test's folder, else from the root, else as it stands."""
        path = Path(given)
        for place in (self.folder / path, self.root / path):
            if place.exists():
                return place
        return path if path.is_absolute() else self.folder / path

    def _update(
        self,
        place: Path,
        item: "str | Path | Scenario | None",
        scenario: "Scenario | None",
        making: dict[str, Any],
    ) -> None:
        from mltwin.gate.update import make_baseline, update_baseline
        from mltwin.scenario import Scenario

        assert self.reason is not None
        if place.is_file():
            update_baseline(place, reason=self.reason, scenario=scenario)
            return
        source: Any = item
        if item is None:
            source = place.with_suffix(".toml")
        elif not isinstance(item, Scenario):
            source = self._found(item)
        make_baseline(source, place, reason=self.reason, **making)

    def _advice(self) -> str:
        again = shlex.quote(self.test)
        return f"where the change is meant: pytest {again} --mltwin-update 'why it is'"


_MAKING = ("seeds", "hold", "metrics", "tolerances")
