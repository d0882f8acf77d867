"""A bounded memory of things that are costly to make, shared by threads."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Value = TypeVar("Value")


class _Slot(Generic[Value]):
    """A value, or the wait for the thread that makes it."""

    def __init__(self) -> None:
        self.making = threading.Lock()
        self.made: list[Value] = []
        self.weight = 0


class Remembered(Generic[Value]):
    """Values by key; the longest unused are forgotten when all weigh too much.

    Each is made once, by the first thread that asks; others that ask for it wait, those that ask
    for another do not. What cannot be made is not remembered.

    Args:
        weigh: the weight of a value, such as its bytes.
        most: what all may weigh together; the newest is kept whatever it weighs.
    """

    def __init__(self, weigh: Callable[[Value], int], most: int) -> None:
        self._weigh = weigh
        self._most = most
        self._slots: OrderedDict[Hashable, _Slot[Value]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable, make: Callable[[], Value]) -> Value:
        """The value of a key, made if it is not there."""
        with self._lock:
            slot = self._slots.setdefault(key, _Slot())
            self._slots.move_to_end(key)
        with slot.making:
            if slot.made:
                return slot.made[0]
            try:
                value = make()
            except BaseException:
                with self._lock:
                    if self._slots.get(key) is slot:
                        del self._slots[key]
                raise
            slot.made.append(value)
        with self._lock:
            slot.weight = self._weigh(value)
            self._forget_the_oldest()
        return value

    def __len__(self) -> int:
        with self._lock:
            return len(self._slots)

    def _forget_the_oldest(self) -> None:
        total = sum(slot.weight for slot in self._slots.values())
        for key in list(self._slots)[:-1]:
            if total <= self._most:
                return
            total -= self._slots.pop(key).weight
