"""How an answer came about: which table, and how far from what was measured."""

from dataclasses import dataclass, field

EXACT, INTERPOLATED, SCALED, EMPIRICAL = "exact", "interpolated", "scaled", "empirical"
CONFIDENCE = {EXACT: 1.0, INTERPOLATED: 0.9, SCALED: 0.6, EMPIRICAL: 0.3}


@dataclass
class Answers:
    """What the tables were asked for, by operator.

    ``kinds`` holds the worst kind of answer for each operator: ``exact`` (the shape was measured),
    ``interpolated`` (between measured shapes), ``scaled`` (from the nearest shape, kernel or
    GPU), ``empirical`` (a formula); ``notes`` says from what.
    """

    kinds: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def add(self, operator: str, kind: str, note: str = "") -> None:
        """Note an answer; the worst kind of each operator stays."""
        known = self.kinds.get(operator, EXACT)
        if CONFIDENCE[kind] <= CONFIDENCE[known]:
            self.kinds[operator] = kind
        if note and note not in self.notes:
            self.notes.append(note)

    @property
    def confidence(self) -> float:
        """The product over operators, between 0 and 1."""
        found = 1.0
        for kind in self.kinds.values():
            found *= CONFIDENCE[kind]
        return found
