"""What a protocol of peers has to offer."""

from abc import ABC, abstractmethod

from .timeline import Learned, Setting, Timeline


class Protocol(ABC):
    """How peers learn without a server. Subclasses are dataclasses: fields are parameters."""

    def check(self, setting: Setting) -> None:  # noqa: B027 (may stay empty)
        """Refuse what cannot be (InputError), before the run."""

    @abstractmethod
    def timeline(self, setting: Setting, versions: int | None) -> Timeline:
        """When everything happens, until a limit of the plan; at most so many versions."""

    @abstractmethod
    def learn(self, setting: Setting, line: Timeline) -> Learned:
        """Walk along the timeline with models. Called only where there is a task with a model."""
