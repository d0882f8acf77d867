"""`DerivedResult`: a result all of whose metrics follow from its tables and facts."""

from collections.abc import Iterable, Mapping
from typing import Any, Self

from .result import Columns, Result

Derived = tuple[Mapping[str, float], list[str], list[str]]
"""Metrics, notes, violations."""


class DerivedResult(Result):
    """Base of results that are made from tables and facts, after a run and from the store alike.

    A system fills `derive`.
    """

    @classmethod
    def derive(cls, tables: Mapping[str, Columns], facts: Mapping[str, Any]) -> Derived:
        """What follows from tables and facts: metrics, notes, violations."""
        raise NotImplementedError(f"{cls.__name__} does not say what its metrics are")

    @classmethod
    def derived(
        cls,
        tables: Mapping[str, Columns],
        facts: Mapping[str, Any],
        *,
        notes: Iterable[str] | None = None,
        trace_sha256: str = "",
    ) -> Self:
        """The result of tables and facts; `notes` in place of those that follow from them."""
        metrics, usual, violations = cls.derive(tables, facts)
        return cls(
            metrics,
            tables,
            facts=facts,
            notes=usual if notes is None else notes,
            violations=violations,
            trace_sha256=trace_sha256,
        )

    @classmethod
    def restored(
        cls, metrics: Mapping[str, float], tables: Mapping[str, Columns], about: Mapping[str, Any]
    ) -> Self:
        """A result from what `save` stored; its metrics are computed anew."""
        del metrics
        return cls.derived(tables, about["facts"], notes=about["notes"])
