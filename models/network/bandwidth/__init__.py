"""Links whose bandwidth changes with time: traces of capacity, and what they make of a link."""

from .following import link_changes
from .tables import CapacityTrace

__all__ = ["CapacityTrace", "link_changes"]
