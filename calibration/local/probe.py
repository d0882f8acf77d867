"""Was the machine quiet? Judged by what others took and by drift, never by the run's latencies."""

import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

# The rule, fixed before any run was looked at.
MOST_STEAL = 0.01
MOST_OTHERS = 0.05
MOST_DRIFT = 0.05


@dataclass(frozen=True)
class Reading:
    """Counters of the machine at one moment: seconds of processor time, of the clock.

    ``busy``: all processes together; ``steal``: taken by the host; ``own``: this process. Zero
    ``cores``: the machine does not say.
    """

    clock: float
    busy: float
    steal: float
    own: float
    cores: int


@dataclass(frozen=True)
class Quiet:
    """How quiet a stretch of time was, as shares of all the machine's processor time.

    ``steal``: taken by the host; ``others``: used by other processes; ``drift``: |speed after /
    speed before - 1| of the bursts around the run; ``known``: whether the first two could be read.
    """

    steal: float
    others: float
    drift: float
    known: bool = True

    @property
    def passed(self) -> bool:
        """Whether the rule holds (what cannot be read does not fail)."""
        return not self.reasons()

    def reasons(self) -> list[str]:
        """What breaks the rule, in words."""
        checks = (
            ("steal", self.steal, MOST_STEAL),
            ("other processes", self.others, MOST_OTHERS),
            ("drift", self.drift, MOST_DRIFT),
        )
        return [
            f"{name} {100 * value:.1f} % > {100 * most:g} %"
            for name, value, most in checks
            if value > most
        ]

    def data(self) -> dict[str, Any]:
        """The shares, and whether the rule holds."""
        return {**asdict(self), "passed": self.passed}


def read_machine() -> Reading:
    """Counters now, from ``/proc/stat`` (Linux); elsewhere only this process is known."""
    clock, times = time.perf_counter(), os.times()
    own = times.user + times.system
    try:
        lines = Path("/proc/stat").read_text(encoding="ascii").splitlines()
        fields = [int(word) for word in lines[0].split()[1:9]]
        cores = sum(line.startswith("cpu") for line in lines) - 1
    except (OSError, ValueError, IndexError):
        return Reading(clock, 0.0, 0.0, own, 0)
    second = os.sysconf("SC_CLK_TCK")
    user, nice, system, _idle, _wait, irq, softirq, steal = (*fields, *[0] * 8)[:8]
    busy = (user + nice + system + irq + softirq) / second
    return Reading(clock, busy, steal / second, own, cores)


def judge(before: Reading, after: Reading, drift: float = 0.0) -> Quiet:
    """How quiet it was between two readings; ``drift`` as in :class:`Quiet`."""
    room = (after.clock - before.clock) * min(before.cores, after.cores)
    if room <= 0:
        return Quiet(0.0, 0.0, drift, known=False)
    others = (after.busy - before.busy) - (after.own - before.own)
    # Counters tick in hundredths of a second: a little less than nothing is nothing.
    return Quiet((after.steal - before.steal) / room, max(0.0, others / room), drift)
