"""The event engine of MoDeST. Rules: `modest`; ranks and messages: `modest_tables`."""

from heapq import heappop, heappush
from typing import TYPE_CHECKING, Any

import numpy as np

from mltwin.models.federation.tables import TICKS_PER_S

from .flows import Key
from .modest_draws import Draws
from .modest_state import Collection, Letter, PeerState, Search
from .modest_tables import (
    ACK,
    AGGREGATED,
    AGGREGATION_LATE,
    CANCELLED,
    DONE,
    FLOW,
    LOST,
    MESSAGE,
    NEWS,
    PING,
    PING_AGAIN,
    PING_LATE,
    PONG,
    PRESENCE,
    TRAIN,
    TRAINED,
    USED,
    Aggregate,
    ModestRaw,
    Training,
)
from .modest_wire import Wire
from .presence import NEVER, PeerPresence
from .timeline import Setting
from .views import Views

if TYPE_CHECKING:
    from .modest import Modest


class ModestEngine(Wire):
    """One run."""

    def __init__(
        self, protocol: "Modest", setting: Setting, versions: int | None, updates: int | None
    ) -> None:
        super().__init__(protocol, setting)
        self.versions, self.updates = versions, updates
        self.draws = Draws(setting)
        self.presence = PeerPresence(setting.clients.availability)
        there = np.array([self.presence.here(p, 0) for p in range(setting.peers)])
        self.peers = [PeerState(bool(here)) for here in there]
        self.views = Views(there, protocol.inactive_rounds)
        self.ping_again = round(protocol.ping_retry_s * TICKS_PER_S)
        self.ping_late = round(protocol.ping_timeout_s * TICKS_PER_S)
        self.running = self.arrived = self.acks = 0  # trainings, updates, acks on their way

    def run(self) -> ModestRaw:
        """All events in order."""
        raw = self.raw
        for peer in range(self.setting.peers):
            self._watch(peer)
        here = np.flatnonzero([peer.there for peer in self.peers])
        for peer in self.draws.some(here, self.rule.sample, 0, 0):
            self._take_part(peer, 1, 0)
        while not raw.ended:
            if not (self.running or self.acks or self.letters or self._busy()):
                self._end("nobody trains, sends or aggregates any more: round "
                          f"{len(raw.costs) + 1} never ends", False)  # fmt: skip
            elif not self.heap or self.heap[0][0] > self.setting.until:
                self._end(f"{self.setting.plan.until_s or 0:g} s are over")
                raw.end = self.setting.until
            else:
                self._event(heappop(self.heap))
        self._settle()
        return raw

    def _busy(self) -> bool:
        return any(peer.searches or peer.collections for peer in self.peers)

    def _end(self, why: str, complete: bool = True) -> None:
        self.raw.ended, self.raw.complete, self.raw.end = why, complete, self.now

    def _event(self, event: tuple[int, ...]) -> None:
        time, rank, peer = event[:3]
        if not self._stands(event):
            return
        self.now = time
        if rank == FLOW:
            self._flowed((peer, event[3], event[4], event[5]))
        elif rank == MESSAGE:
            self._message(peer, event[3], event[4], event[5:])
        elif rank == TRAIN:
            self._trained(peer)
        elif rank == PING_AGAIN:
            self._send_ping(peer, event[3], event[4])
        elif rank == PING_LATE:
            self._no_answer(peer, event[3], event[4])
        elif rank == AGGREGATION_LATE:
            self._too_long(peer, event[3])
        else:
            self._change(peer)

    def _stands(self, event: tuple[int, ...]) -> bool:
        """Whether an event has not been taken back."""
        time, rank, peer = event[:3]
        state = self.peers[peer]
        if rank == FLOW:
            flow = self.flows.flows.get((peer, event[3], event[4], event[5]))
            return flow is not None and flow.end == time
        if rank == TRAIN:
            return state.training == event[3]
        if rank in (PING_AGAIN, PING_LATE):
            search = state.searches.get(event[4])
            return search is not None and event[3] in search.asked
        if rank == AGGREGATION_LATE:
            collection = state.collections.get(event[3])
            return collection is not None and collection.deadline == time
        return True

    # -- participants --------------------------------------------------------------------------

    def _take_part(self, peer: int, number: int, aggregate: int) -> None:
        """A model of a round has come: train it, unless that is under way or over."""
        state = self.peers[peer]
        if number > state.estimate:
            state.estimate = number
            self._stop(peer)
            state.done = False
            self.views.latest[peer] = max(self.views.latest[peer], number)
        if number != state.estimate or state.ongoing or state.done:
            return
        ticks, state.fails = self.draws.training(peer, state.dispatches)
        state.training = state.last = len(self.raw.trainings)
        state.ongoing = True
        self.raw.trainings.append(Training(peer, number, aggregate, state.dispatches, self.now))
        state.dispatches += 1
        self.running += 1
        heappush(self.heap, (self.now + ticks, TRAIN, peer, state.training))
        self._note("train", peer, number)

    def _stop(self, peer: int, status: int = CANCELLED) -> None:
        """What a peer does for a round ends."""
        state = self.peers[peer]
        if state.training >= 0:
            training = self.raw.trainings[state.training]
            training.status, training.end = status, self.now
            state.training = -1
            self.running -= 1
            self._note("interrupted" if status == CANCELLED else "dropped", peer, training.round)
        state.ongoing = state.waits = False
        for serial in [s for s, search in state.searches.items() if search.for_model < 0]:
            del state.searches[serial]

    def _trained(self, peer: int) -> None:
        state = self.peers[peer]
        training = self.raw.trainings[state.training]
        training.end = self.now
        state.training = -1
        self.running -= 1
        if state.fails:
            training.status = LOST
            state.ongoing = False
            state.done = True
            self._note("failed", peer, training.round)
            return
        training.status = DONE
        self.arrived += 1
        self._note("trained", peer, training.round)
        if self.updates is not None and self.arrived >= self.updates:
            self._end(f"{self.updates} updates have come")
            return
        self._look_for_aggregators(peer)

    def _look_for_aggregators(self, peer: int) -> None:
        state = self.peers[peer]
        index = state.estimate + 1
        queue = self.views.ordered(peer, index)
        if self.rule.fastest:
            some = queue[: self.rule.sample]
            speed = self.setting.clients.up_bytes_per_s[some]
            queue = some[np.argsort(-speed, kind="stable")]
        self._search(peer, Search(index, -1, queue.tolist(), self.rule.aggregators))

    # -- searches ------------------------------------------------------------------------------

    def _search(self, peer: int, search: Search) -> None:
        state = self.peers[peer]
        serial = state.serial
        state.serial += 1
        state.searches[serial] = search
        for _ in range(min(search.wanted, len(search.queue))):
            self._ask_next(peer, serial)
        self._check(peer, serial)

    def _ask_next(self, peer: int, serial: int) -> None:
        search = self.peers[peer].searches[serial]
        other = search.queue[search.place]
        search.place += 1
        if other == peer:
            search.found.append(peer)
            return
        search.asked.add(other)
        self._send_ping(peer, other, serial)
        if self.ping_again < self.ping_late:
            heappush(self.heap, (self.now + self.ping_again, PING_AGAIN, peer, other, serial))
        heappush(self.heap, (self.now + self.ping_late, PING_LATE, peer, other, serial))

    def _send_ping(self, peer: int, other: int, serial: int) -> None:
        self._note("ping", peer, other)
        self._send(peer, other, PING, serial, self.views.latest[peer], self.peers[peer].news - 1)

    def _no_answer(self, peer: int, other: int, serial: int) -> None:
        search = self.peers[peer].searches[serial]
        self._note("no_answer", peer, other)
        search.asked.remove(other)
        if search.place < len(search.queue):
            self._ask_next(peer, serial)
        self._check(peer, serial)

    def _check(self, peer: int, serial: int) -> None:
        """End a search that has found enough, or has nobody left to ask."""
        state = self.peers[peer]
        search = state.searches[serial]
        enough = len(search.found) >= search.wanted
        if not enough and (search.asked or search.place < len(search.queue)):
            return
        del state.searches[serial]
        self._note("found", peer, len(search.found))
        if search.for_model < 0:
            state.waits = True
            self._send_models(peer, search.found, TRAINED, search.index, state.last)
        else:
            state.collections[search.index].open_sends = len(search.found) - (peer in search.found)
            self._send_models(peer, search.found, AGGREGATED, search.index, search.for_model)
            self._close(peer, search.index)

    # -- models --------------------------------------------------------------------------------

    def _send_models(
        self, peer: int, others: list[int], kind: int, index: int, content: int
    ) -> None:
        """To all of them at once, with the sender's view; one's own model is there already."""
        view = self.views.copy(peer)
        name = "send_trained" if kind == TRAINED else "send_aggregated"
        for other in sorted(others):
            if other == peer:
                continue
            self._note(name, peer, other)
            key = (peer, other, kind, index)
            if not self.peers[other].there or key in self.letters:
                self._note("broken", peer, other)
                self._sent(key)
                continue
            self._post(key, Letter(content, view))
        self.views.flush(peer)
        if peer in others:
            if kind == TRAINED:
                self._collect(peer, peer, index, content)
            else:
                self._take_part(peer, index, content)

    def _break(self, key: Key) -> None:
        """An end of a flow has left."""
        self.flows.stop(key, self.now)
        del self.letters[key]
        self._count(self.raw.lost, key[2])
        self._note("broken", key[0], key[1])
        if self.peers[key[0]].there:
            self._sent(key)

    def _sent(self, key: Key) -> None:
        """A transfer is over, come or not."""
        if key[2] == AGGREGATED:
            collection = self.peers[key[0]].collections.get(key[3])
            if collection is not None and collection.deadline < 0:
                collection.open_sends -= 1
                self._close(key[0], key[3])

    # -- messages ------------------------------------------------------------------------------

    def _message(self, peer: int, sender: int, kind: int, content: tuple[int, ...]) -> None:
        there = self.peers[peer].there
        where = self.raw.received if there else self.raw.lost
        self._count(where, kind)
        if kind == ACK:
            self.acks -= 1
        if kind in (TRAINED, AGGREGATED):
            self._model(peer, sender, kind, content[0])
            return
        if not there:
            self._note("unheard", peer, sender)
            return
        self.raw.down_bytes[peer] += self.rule.message_bytes
        if kind in (PING, PONG):
            serial, number, index = content
            self.views.heard(peer, sender, number)
            self.views.answered(peer, sender, index)
            if kind == PING:
                self._send(peer, sender, PONG, serial, self.views.latest[peer],
                           self.peers[peer].news - 1)  # fmt: skip
                return
            self._note("pong", peer, sender)
            search = self.peers[peer].searches.get(serial)
            if search is not None and sender in search.asked:
                search.asked.remove(sender)
                search.found.append(sender)
                self._check(peer, serial)
        elif kind == NEWS:
            number, index, left = content
            self.views.changed(peer, sender, number, index, bool(left))
        else:
            self._acknowledged(peer, sender, content[0], bool(content[1]))

    def _model(self, peer: int, sender: int, kind: int, index: int) -> None:
        """A model has arrived."""
        key = (sender, peer, kind, index)
        letter = self.letters.pop(key)
        if not self.peers[peer].there:
            self._note("unheard", peer, sender)
        else:
            self.raw.down_bytes[peer] += self.model_bytes + self.view_bytes
            self.views.merge(peer, letter.view)
            self.views.heard(peer, sender, index)
            if self.peers[sender].there:
                self.views.heard(sender, peer, self.views.latest[sender])
            if kind == TRAINED:
                self._note("received_trained", peer, sender)
                self._collect(peer, sender, index, letter.content)
            else:
                self._note("received_aggregated", peer, sender)
                self._take_part(peer, index, letter.content)
        if not self.raw.ended and self.peers[sender].there:
            self._sent(key)

    def _acknowledged(self, peer: int, sender: int, number: int, success: bool) -> None:
        state = self.peers[peer]
        self._note("ack", peer, sender)
        if success:
            if state.waits and state.estimate == number:
                state.done, state.ongoing, state.waits = True, False, False
                self._note("done", peer, number)
            return
        self.views.gave_up(peer, sender, number)
        if state.waits and state.estimate == number:
            state.waits = False
            self._look_for_aggregators(peer)

    # -- aggregators ---------------------------------------------------------------------------

    def _collect(self, peer: int, sender: int, index: int, training: int) -> None:
        state = self.peers[peer]
        self.views.latest[peer] = max(self.views.latest[peer], index)
        if index in state.completed:
            self._note("late", peer, sender)
            return
        if index not in state.collections:
            deadline = self.now + round(self.rule.timeout_s * TICKS_PER_S)
            state.collections[index] = Collection(deadline)
            heappush(self.heap, (deadline, AGGREGATION_LATE, peer, index))
            self._note("aggregate", peer, index)
        state.collections[index].models[sender] = training
        if len(state.collections[index].models) >= self.rule.enough:
            self._complete(peer, index)

    def _too_long(self, peer: int, index: int) -> None:
        state = self.peers[peer]
        self._note("timeout", peer, index)
        newer = max(state.completed, default=0) > index
        if not newer and len(state.collections[index].models) >= self.rule.least:
            self._complete(peer, index)
        else:
            self._note("given_up", peer, index)
            del state.collections[index]

    def _complete(self, peer: int, index: int) -> None:
        """Average, and look for the participants of the next round."""
        state, raw = self.peers[peer], self.raw
        collection = state.collections[index]
        collection.deadline = -1
        state.completed.add(index)
        members = [collection.models[sender] for sender in sorted(collection.models)]
        for member in members:
            raw.trainings[member].status = USED
        first = len(raw.costs) < index - 1
        raw.aggregates.append(Aggregate(peer, index - 1, self.now, members, first))
        self._note("aggregated", peer, index)
        if first:
            raw.costs.append((sum(raw.down_bytes), sum(raw.up_bytes), self._joules()))
            raw.in_flight.append(self.running)
            if self.versions is not None and len(raw.costs) >= self.versions:
                self._end(f"version {self.versions} was made, the last one asked for")
                return
        queue = self.views.ordered(peer, index).tolist()
        self._search(peer, Search(index, len(raw.aggregates), queue, self.rule.sample))

    def _close(self, peer: int, index: int) -> None:
        """All participants have their model: tell those who sent theirs."""
        state = self.peers[peer]
        collection = state.collections.get(index)
        if collection is None or collection.deadline >= 0 or collection.open_sends > 0:
            return
        del state.collections[index]
        for sender in sorted(collection.models):
            if sender == peer:
                self._acknowledged(peer, peer, index - 1, True)
            else:
                self._ack(peer, sender, index - 1, True)

    def _ack(self, peer: int, other: int, number: int, success: bool) -> None:
        self.acks += 1
        self._send(peer, other, ACK, number, int(success), 0)

    # -- coming and leaving --------------------------------------------------------------------

    def _watch(self, peer: int) -> None:
        coming = self.presence.next_change(peer, self.now)
        if coming < NEVER:
            heappush(self.heap, (coming, PRESENCE, peer))

    def _change(self, peer: int) -> None:
        state = self.peers[peer]
        if state.there:
            self._leave(peer)
        else:
            state.there = True
            self._note("join", peer, state.estimate)
            everyone = np.arange(len(self.peers))
            self._news(peer, everyone[everyone != peer], False)
        self._watch(peer)

    def _leave(self, peer: int) -> None:
        state = self.peers[peer]
        self._note("leave", peer, state.estimate)
        if self.rule.graceful:
            for index in sorted(state.collections):
                self._hand_over(peer, index)
            known = self.views.known(peer)
            known[peer] = False
            self._news(peer, np.flatnonzero(known), True)
        self._stop(peer, LOST)
        state.there = False
        state.done = True
        state.searches.clear()
        state.collections.clear()
        for key in self.flows.of(peer):
            self._break(key)

    def _hand_over(self, peer: int, index: int) -> None:
        """An aggregator that leaves tells those who sent, are sending, or may send to it."""
        senders = set(self.peers[peer].collections[index].models)
        senders |= {k[0] for k in self.letters if k[1:] == (peer, TRAINED, index)}
        sample = self.views.ordered(peer, index - 1)[: self.rule.sample]
        for other in sorted(senders | set(sample.tolist())):
            if other != peer:
                self._ack(peer, other, index - 1, False)

    def _news(self, peer: int, known: Any, left: bool) -> None:
        """Tell ten samples' worth of peers."""
        state = self.peers[peer]
        for other in self.draws.some(known, 10 * self.rule.sample, peer, state.news):
            self._send(peer, other, NEWS, self.views.latest[peer], state.news, int(left))
        self.views.own(peer, state.news, left)
        state.news += 1
