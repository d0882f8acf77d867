"""`Scenario`: a question as data. Any system of the house plugs in with one subclass.

A system is a subclass with a literal `system` field and a `simulate` method that gives a
`mltwin.result.Result`. It gets TOML files, overrides, hashes, runs, comparisons, the result store
and the command line from here:

    class CoinScenario(Scenario):
        system: Literal["coin"] = "coin"
        flips: int = 100

        def simulate(self, seed, **options):
            heads = int((uniforms(seed, 0, np.arange(self.flips)) < 0.5).sum())
            return Result(metrics={"heads": float(heads)})
"""

import importlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import Field, PrivateAttr

from mltwin.sim.errors import InputError

from .fields import Section, build, close_to
from .tomlfile import read_toml, write_toml

if TYPE_CHECKING:
    from .result import Result

Progress = Callable[[float, float], None]
"""Called with the share done (0 to 1) and the simulated seconds."""

# Systems of this package, imported when a scenario first names them.
_BUILTIN = {
    "adapter-cache": "mltwin.adapters",
    "caching": "mltwin.caching",
    "expert-cache": "mltwin.experts",
    "federated": "mltwin.federated",
    "kv-cache": "mltwin.kv_cache",
    "network": "mltwin.network",
    "semantic-cache": "mltwin.semantic",
    "serving": "mltwin.serving",
    "training": "mltwin.training",
    "training-run": "mltwin.reliability",
    "web-cache": "mltwin.web",
}
_SYSTEMS: dict[str, type["Scenario"]] = {}
_LABELS = frozenset({"name", "seed"})


class Scenario(Section):
    """Base of the scenarios of all systems: load, save, hash, override, run."""

    system: str = Field("", description="which system is simulated")
    name: str = Field("", description="a label for tables and plots; does not change the hash")
    seed: int = Field(0, ge=0, lt=2**62, description="of all random draws")

    _folder: Path | None = PrivateAttr(default=None)

    result_class: ClassVar[str] = "mltwin.result:Result"

    @classmethod
    def __pydantic_init_subclass__(cls, **_: Any) -> None:
        system = cls.model_fields["system"].default
        if system:
            _SYSTEMS[system] = cls

    def simulate(self, seed: int, **options: Any) -> "Result":
        """Run once; `options` are the system's own (such as `progress`). Subclasses fill this."""
        raise NotImplementedError(f"{type(self).__name__} does not say how to simulate")

    def check(self) -> None:
        """Look up the names that the fields give (policies, models, files), before anything runs.

        Systems with such names fill this. Raises InputError for the first that is not there.
        """

    def redraw(self, result: "Result", index: int, **options: Any) -> "Result":
        """The run of `result` once more under the `index`-th draw of its models' fitted parameters.

        Systems whose models were fitted to measurements fill this; `options` are those of the run.
        Raises InputError where there is nothing to draw from.
        """
        raise InputError(
            f"a {self.system or type(self).__name__} run has no fitted parameters to draw from",
            where="error_bars",
            mend="leave the error bars out",
        )

    def run(
        self,
        seed: int | None = None,
        *,
        error_bars: int | None = None,
        workers: int | None = None,
        **options: Any,
    ) -> "Result":
        """Simulate with this seed (default: the scenario's own).

        Args:
            seed: of all random draws.
            error_bars: run this many times more under draws of the fitted parameters, for
                intervals on all metrics (`result.error_bars`, `mltwin.uncertainty`).
            workers: threads for those draws, by default one for each core.
            options: the system's own.

        Raises InputError for whatever in the scenario turns out to be wrong.
        """
        chosen = self.seed if seed is None else int(seed)
        if error_bars is not None:
            from .uncertainty import run_with_error_bars

            return run_with_error_bars(self, chosen, error_bars, workers=workers, **options)
        result = self.simulate(chosen, **options)
        result.scenario, result.seed = self, chosen
        return result

    @classmethod
    def parse(cls, data: Mapping[str, Any], *, where: str | None = None) -> "Scenario":
        """A scenario of the system that `data["system"]` names.

        Raises InputError: unknown system, or a bad field.
        """
        if cls is not Scenario and "system" not in data:
            return build(cls, data, where=where)
        return build(system_class(data.get("system"), where=where), data, where=where)

    @classmethod
    def load(cls, path: str | Path) -> "Scenario":
        """Read a TOML file; relative paths in it are taken from its folder."""
        scenario = cls.parse(read_toml(path), where=str(path))
        scenario._folder = Path(path).resolve().parent
        if not scenario.name:
            return scenario.set("name", Path(path).stem)
        return scenario

    def save(self, path: str | Path, *, full: bool = False) -> None:
        """Write a TOML file with what differs from the defaults (`full`: all)."""
        text = write_toml(self.data(full=full))
        try:
            Path(path).write_text(text, encoding="utf-8")
        except OSError as error:
            raise InputError(f"cannot be written: {error.strerror}", where=str(path)) from None

    def data(self, *, full: bool = True) -> dict[str, Any]:
        """The scenario as plain data."""
        found = self.model_dump(mode="json", exclude_defaults=not full, exclude_none=True)
        return {"system": self.system, **found}

    def __eq__(self, other: object) -> bool:
        """Whether the fields are equal, wherever the two were loaded from."""
        return type(self) is type(other) and self.data() == other.data()

    def __hash__(self) -> int:
        return hash(self.hash)

    @property
    def hash(self) -> str:
        """SHA-256 (hex) of everything that shapes a run: not of `name` and `seed`."""
        from mltwin.sim.runspec import content_hash

        return content_hash({k: v for k, v in self.data().items() if k not in _LABELS})

    @property
    def label(self) -> str:
        """The name, or the system and the start of the hash."""
        return self.name or f"{self.system}-{self.hash[:8]}"

    def set(self, path: str, value: Any) -> Self:
        """A copy with one field changed: `scenario.set("cluster.prefill.replicas", 4)`.

        Raises InputError for a path that does not exist or a value that does not fit.
        """
        return self.changed({path: value})

    def with_(self, **overrides: Any) -> Self:
        """A copy with fields changed; `__` stands for the dot: `with_(workload__rate=5.0)`."""
        return self.changed({k.replace("__", "."): v for k, v in overrides.items()})

    def changed(self, overrides: Mapping[str, Any]) -> Self:
        """A copy with several dotted paths changed at once, checked as a whole."""
        data = self.data()
        for path, value in overrides.items():
            self._refuse_new_section(path)
            _put(data, path, value)
        copy = build(type(self), data)
        copy._folder = self._folder
        return copy

    def _refuse_new_section(self, path: str) -> None:
        """A misspelt name in a path must not make a new section (of `cluster`, say) in silence."""
        top, _, rest = path.partition(".")
        name, _, field = rest.partition(".")
        known = getattr(self, top, None)
        if not field or not isinstance(known, dict) or name in known:
            return
        if known and all(isinstance(value, Section) for value in known.values()):
            raise InputError(
                f"there is no {name!r}",
                where=top,
                mend=f"{close_to(name, known)} (a new one is set as a whole: {top}.{name})",
            )

    def resolve_path(self, given: str) -> Path:
        """A path of the scenario: as it stands, or from the folder of the scenario's file."""
        path = Path(given).expanduser()
        if self._folder is not None and not path.is_absolute():
            beside = self._folder / path
            if beside.exists():
                return beside
        return path


def system_names() -> list[str]:
    """Names of the systems that a scenario may choose."""
    return sorted({*_BUILTIN, *_SYSTEMS})


def system_class(name: Any, *, where: str | None = None) -> type[Scenario]:
    """The scenario class of a system.

    Raises InputError for a missing or unknown name.
    """
    place = f"{where}: system" if where else "system"
    if name is None:
        known = ", ".join(system_names())
        raise InputError("is missing", where=place, mend=f"say which system it is: {known}")
    if isinstance(name, str) and name not in _SYSTEMS and name in _BUILTIN:
        importlib.import_module(_BUILTIN[name])
    if not isinstance(name, str) or name not in _SYSTEMS:
        raise InputError(
            f"unknown system {name!r}", where=place, mend=close_to(str(name), system_names())
        )
    return _SYSTEMS[name]


def _put(data: dict[str, Any], path: str, value: Any) -> None:
    """Set a dotted path in nested dicts and lists, making tables on the way.

    A text in the way is a name that now gets parameters: `"lru"` becomes `{"name": "lru"}`.
    """
    *steps, last = path.split(".")
    here: Any = data
    for step in steps:
        if isinstance(here, list):
            here = here[_index(here, step, path)]
        else:
            if isinstance(here.get(step), str):
                here[step] = {"name": here[step]}
            elif not isinstance(here.get(step), dict | list):
                here[step] = {}
            here = here[step]
    if isinstance(here, list):
        here[_index(here, last, path)] = value
    elif value is None:
        here.pop(last, None)
    else:
        here[last] = value


def _index(rows: list[Any], step: str, path: str) -> int:
    if not step.isdigit() or int(step) >= len(rows):
        raise InputError(
            f"{step!r} is not the number of one of the {len(rows)} entries", where=path
        )
    return int(step)
