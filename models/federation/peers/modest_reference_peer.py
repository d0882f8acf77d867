"""One peer of the SimPy twin of MoDeST: its methods are the protocol, in the words of the paper."""

from collections.abc import Callable
from functools import partial
from hashlib import md5
from typing import TYPE_CHECKING

import numpy as np

from mltwin.models.federation.tables import TICKS_PER_S

from .modest_tables import (
    ACK,
    AGGREGATED,
    AGGREGATION_LATE,
    CANCELLED,
    DONE,
    LOST,
    NEWS,
    PING,
    PING_AGAIN,
    PING_LATE,
    TRAIN,
    TRAINED,
    Training,
)

if TYPE_CHECKING:
    from .modest_reference import Due, ModestReference

View = dict[int, tuple[int, int, bool]]
"""Peer -> last round, number of its last change of membership, whether it left."""


class Transfer:
    """A model and a view from peer to peer."""

    def __init__(self, a: "Peer", b: "Peer", kind: int, index: int, content: int) -> None:
        self.a, self.b, self.kind, self.index, self.content = a, b, kind, index, content
        self.view = dict(a.view)
        self.flowing = False
        self.left, self.rate, self.since = 0.0, 0.0, 0
        self.due: Due | None = None

    @property
    def key(self) -> tuple[int, int, int, int]:
        return self.a.number, self.b.number, self.kind, self.index


class Asking:
    """A search for peers that answer, and what to do with them."""

    def __init__(self, serial: int, queue: list[int], wanted: int, then: Callable) -> None:
        self.serial, self.queue, self.wanted, self.then = serial, list(queue), wanted, then
        self.asked: dict[int, list[Due]] = {}
        self.found: list[int] = []


class Round:
    """What an aggregator has of a round."""

    def __init__(self) -> None:
        self.models: dict[int, int] = {}
        self.late: Due | None = None
        self.closed = False
        self.open_sends = 0


class Peer:
    """One peer; the methods are the protocol."""

    def __init__(self, world: "ModestReference", number: int, there: bool) -> None:
        self.world, self.number, self.there = world, number, there
        self.view: View = {}
        self.latest = 0
        self.newcomers: dict[int, tuple[int, int]] = {}
        self.estimate = self.dispatches = self.serial = 0
        self.news = 1
        self.training: tuple[int, Due] | None = None
        self.last = -1
        self.asking: dict[int, tuple[Asking, bool]] = {}  # serial -> search, for aggregators
        self.ongoing = self.done = self.waits = False
        self.rounds: dict[int, Round] = {}
        self.completed: set[int] = set()

    def note(self, kind: str, value: int) -> None:
        self.world.note(kind, self.number, value)

    # -- views -----------------------------------------------------------------------------------

    def hear(self, other: int, number: int) -> None:
        """Another one was active."""
        self.latest = max(self.latest, number)
        seen, index, left = self.view[other]
        self.view[other] = max(seen, self.latest), index, left

    def answered(self, other: int, index: int) -> None:
        seen, mine, _ = self.view[other]
        if index > mine:
            self.view[other] = seen, index, False

    def merge(self, view: View) -> None:
        for other, (seen, index, left) in view.items():
            mine = self.view[other]
            change = (index, left) if index > mine[1] else mine[1:]
            self.view[other] = max(seen, mine[0]), *change
            self.latest = max(self.latest, seen)

    def flush(self) -> None:
        for other, (seen, index) in self.newcomers.items():
            self.merge({other: (seen, index, False)})
        self.newcomers = {}

    def sample(self, number: int) -> list[int]:
        """Who is active, in the order of a round."""
        oldest = number - self.world.rule.inactive_rounds
        active = [other for other, (seen, _, left) in self.view.items()
                  if other == self.number or (not left and seen >= oldest)]  # fmt: skip
        return sorted(active, key=lambda p: md5(f"{p}-{number}".encode()).digest())

    # -- taking part -----------------------------------------------------------------------------

    def take_part(self, number: int, aggregate: int) -> None:
        if number > self.estimate:
            self.stop(CANCELLED)
            self.estimate, self.done = number, False
            self.latest = max(self.latest, number)
        if number != self.estimate or self.ongoing or self.done:
            return
        world = self.world
        ticks, fails = world.draws.training(self.number, self.dispatches)
        self.last = len(world.raw.trainings)
        world.raw.trainings.append(
            Training(self.number, number, aggregate, self.dispatches, world.now)
        )
        self.dispatches += 1
        self.ongoing = True
        due = world.at(
            world.now + ticks, (TRAIN, self.number, self.last), partial(self.trained, fails)
        )
        self.training = self.last, due
        self.note("train", number)

    def stop(self, status: int) -> None:
        """What it does for a round ends."""
        if self.training is not None:
            training = self.world.raw.trainings[self.training[0]]
            training.status, training.end = status, self.world.now
            self.training[1].take_back()
            self.training = None
            self.note("interrupted" if status == CANCELLED else "dropped", training.round)
        self.ongoing = self.waits = False
        for serial, (asking, for_aggregators) in list(self.asking.items()):
            if for_aggregators:
                self.give_up(asking)
                del self.asking[serial]

    @staticmethod
    def give_up(asking: Asking) -> None:
        for dues in asking.asked.values():
            for due in dues:
                due.take_back()

    def trained(self, fails: bool) -> None:
        world = self.world
        training = world.raw.trainings[self.last]
        training.end, self.training = world.now, None
        training.status = LOST if fails else DONE
        self.note("failed" if fails else "trained", training.round)
        if fails:
            self.ongoing, self.done = False, True
            return
        world.arrived += 1
        if world.updates is not None and world.arrived >= world.updates:
            world.end(f"{world.updates} updates have come")
        else:
            self.forward()

    def forward(self) -> None:
        """Look for the aggregators of the next sample."""
        rule, index = self.world.rule, self.estimate + 1
        queue = self.sample(index)
        if rule.fastest:
            up = self.world.setting.clients.up_bytes_per_s
            queue = sorted(queue[: rule.sample], key=lambda p: -up[p])
        self.ask(queue, rule.aggregators, True, partial(self.send_trained, index))

    def send_trained(self, index: int, others: list[int]) -> None:
        self.waits = True
        self.send_models("send_trained", TRAINED, index, self.last, others)

    # -- asking ----------------------------------------------------------------------------------

    def ask(self, queue: list[int], wanted: int, aggregators: bool, then: Callable) -> None:
        asking = Asking(self.serial, queue, wanted, then)
        self.asking[self.serial] = asking, aggregators
        self.serial += 1
        for _ in range(min(wanted, len(queue))):
            self.ask_next(asking)
        self.check(asking)

    def ask_next(self, asking: Asking) -> None:
        world, rule = self.world, self.world.rule
        other = asking.queue.pop(0)
        if other == self.number:
            asking.found.append(other)
            return
        again, late = (round(s * TICKS_PER_S) for s in (rule.ping_retry_s, rule.ping_timeout_s))
        key = (self.number, other, asking.serial)
        dues = [world.at(world.now + late, (PING_LATE, *key),
                         partial(self.no_answer, asking, other))]  # fmt: skip
        if again < late:
            ping = partial(self.ping, asking, other)
            dues.append(world.at(world.now + again, (PING_AGAIN, *key), ping))
        asking.asked[other] = dues
        self.ping(asking, other)

    def ping(self, asking: Asking, other: int) -> None:
        self.note("ping", other)
        self.world.send(self, other, PING, asking.serial, self.latest, self.news - 1)

    def no_answer(self, asking: Asking, other: int) -> None:
        self.note("no_answer", other)
        for due in asking.asked.pop(other):
            due.take_back()
        if asking.queue:
            self.ask_next(asking)
        self.check(asking)

    def pong(self, other: int, serial: int) -> None:
        self.note("pong", other)
        asking, _ = self.asking.get(serial, (None, False))
        if asking is not None and other in asking.asked:
            for due in asking.asked.pop(other):
                due.take_back()
            asking.found.append(other)
            self.check(asking)

    def check(self, asking: Asking) -> None:
        if len(asking.found) < asking.wanted and (asking.asked or asking.queue):
            return
        self.give_up(asking)
        del self.asking[asking.serial]
        self.note("found", len(asking.found))
        asking.then(asking.found)

    # -- sending models --------------------------------------------------------------------------

    def send_models(
        self, name: str, kind: int, index: int, content: int, others: list[int]
    ) -> None:
        world = self.world
        letters = [Transfer(self, world.peers[other], kind, index, content)
                   for other in sorted(others) if other != self.number]  # fmt: skip
        for letter in letters:
            self.note(name, letter.b.number)
            if letter.b.there and letter.key not in world.transfers:
                world.start(letter)
            else:
                self.note("broken", letter.b.number)
                self.sent(letter)
        self.flush()
        if self.number in others and kind == TRAINED:
            self.collect(self.number, index, content)
        elif self.number in others:
            self.take_part(index, content)

    def sent(self, letter: Transfer) -> None:
        """A transfer of its own is over."""
        made = self.rounds.get(letter.index)
        if letter.kind == AGGREGATED and made is not None and made.closed:
            made.open_sends -= 1
            self.close(letter.index)

    def got(self, letter: Transfer) -> None:
        """A model has come."""
        sender = letter.a
        self.merge(letter.view)
        self.hear(sender.number, letter.index)
        if sender.there:
            sender.hear(self.number, sender.latest)
        if letter.kind == TRAINED:
            self.note("received_trained", sender.number)
            self.collect(sender.number, letter.index, letter.content)
        else:
            self.note("received_aggregated", sender.number)
            self.take_part(letter.index, letter.content)

    # -- aggregating -----------------------------------------------------------------------------

    def collect(self, sender: int, index: int, training: int) -> None:
        world, rule = self.world, self.world.rule
        self.latest = max(self.latest, index)
        if index in self.completed:
            self.note("late", sender)
            return
        if index not in self.rounds:
            made = self.rounds[index] = Round()
            time = world.now + round(rule.timeout_s * TICKS_PER_S)
            order = (AGGREGATION_LATE, self.number, index)
            made.late = world.at(time, order, partial(self.too_long, index))
            self.note("aggregate", index)
        self.rounds[index].models[sender] = training
        if len(self.rounds[index].models) >= rule.enough:
            self.complete(index)

    def too_long(self, index: int) -> None:
        self.note("timeout", index)
        passed = any(other > index for other in self.completed)
        if len(self.rounds[index].models) >= self.world.rule.least and not passed:
            self.complete(index)
        else:
            self.note("given_up", index)
            del self.rounds[index]

    def complete(self, index: int) -> None:
        world, made = self.world, self.rounds[index]
        if made.late is not None:
            made.late.take_back()
        made.closed = True
        self.completed.add(index)
        number = world.average(self, index, [made.models[p] for p in sorted(made.models)])
        if not world.raw.ended:
            self.ask(self.sample(index), world.rule.sample, False,
                     partial(self.send_average, index, number))  # fmt: skip

    def send_average(self, index: int, number: int, others: list[int]) -> None:
        self.rounds[index].open_sends = len([p for p in others if p != self.number])
        self.send_models("send_aggregated", AGGREGATED, index, number, others)
        self.close(index)

    def close(self, index: int) -> None:
        made = self.rounds.get(index)
        if made is None or not made.closed or made.open_sends > 0:
            return
        del self.rounds[index]
        for sender in sorted(made.models):
            if sender == self.number:
                self.acknowledged(sender, index - 1, True)
            else:
                self.world.send(self, sender, ACK, index - 1, 1, 0)

    def acknowledged(self, sender: int, number: int, success: bool) -> None:
        self.note("ack", sender)
        mine = self.waits and self.estimate == number
        if success and mine:
            self.done, self.ongoing, self.waits = True, False, False
            self.note("done", number)
        elif not success:
            self.view[sender] = number, 0, True
            if mine:
                self.waits = False
                self.forward()

    # -- coming and leaving ----------------------------------------------------------------------

    def tell(self, known: list[int], left: bool) -> None:
        world = self.world
        chosen = world.draws.some(np.array(known, np.int64), 10 * world.rule.sample, self.number,
                                  self.news)  # fmt: skip
        for other in chosen:
            world.send(self, other, NEWS, self.latest, self.news, int(left))
        self.view[self.number] = self.view[self.number][0], self.news, left
        self.news += 1

    def told(self, other: int, number: int, index: int, left: bool) -> None:
        number = max(number, self.latest)
        if left:
            self.latest = number
            self.view[other] = number, index, True
        else:
            self.newcomers[other] = number, index

    def join(self) -> None:
        self.there = True
        self.note("join", self.estimate)
        self.tell([p for p in self.view if p != self.number], False)

    def leave(self) -> None:
        world = self.world
        self.note("leave", self.estimate)
        if world.rule.graceful:
            for index in sorted(self.rounds):
                self.hand_over(index)
            known = [p for p, (_, _, left) in self.view.items() if not left and p != self.number]
            self.tell(known, True)
        self.stop(LOST)
        self.there, self.done = False, True
        for asking, _ in self.asking.values():
            self.give_up(asking)
        for made in self.rounds.values():
            if made.late is not None:
                made.late.take_back()
        self.asking, self.rounds = {}, {}
        world.break_off(self)

    def hand_over(self, index: int) -> None:
        coming = [t.a.number for t in self.world.transfers.values()
                  if t.b is self and t.kind == TRAINED and t.index == index]  # fmt: skip
        sample = self.sample(index - 1)[: self.world.rule.sample]
        for other in sorted({*self.rounds[index].models, *coming, *sample}):
            if other != self.number:
                self.world.send(self, other, ACK, index - 1, 0, 0)
