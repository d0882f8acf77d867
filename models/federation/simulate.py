"""A run of a federation: an engine that moves time, a server, and the policies that decide."""

import numpy as np

from mltwin.sim.errors import InputError
from mltwin.sim.ticks import NEVER

from .engine import KernelEngine
from .events import (
    AWAITED,
    FORCED,
    LEARN,
    LIMIT,
    OVER,
    REFILL,
    STUCK,
    TIMER,
    Engine,
    Limits,
)
from .hooks import Policies, Task
from .lessons import DivergedError, Lessons, lesson_of
from .links import SharedLinks
from .outcome import FederatedRun
from .results import outcome_of
from .server import RunServer
from .tables import INTERRUPTIONS, TICKS_PER_S, Clients, Plan

LATEST = 5 * 10**18
"""Ticks (158 years): no run goes on longer."""

HOOKS_AN_INSTANT = 20_000
"""Calls of a strategy at one tick, and four a client, after which it goes in circles."""


def simulate(
    clients: Clients,
    policies: Policies,
    plan: Plan,
    *,
    task: Task | None = None,
    seed: int = 0,
    network: SharedLinks | None = None,
    reference: bool = False,
    record: bool = False,
) -> FederatedRun:
    """Run a federation until the plan, the strategy or the want of clients ends it.

    Args:
        clients, policies, plan: who, what decides, what is asked for.
        task: the model to be learned; None: only time.
        seed: key of all random draws.
        network: links that transfers share; None: each client is alone on its own.
        reference: run on the SimPy twin, which is slow and readable.
        record: keep the event log.

    Raises:
        InputError: nothing ends the run, or a plan or policy cannot be.
    """
    check(clients, plan, task)
    policies.strategy.check(clients, plan)
    limits = _limits(clients, plan)
    if reference:
        server = RunServer(
            clients, policies, plan, task, seed, _twin(clients, limits, seed, network)
        )
        _drive(server, limits)
        return outcome_of(server, record=record)
    for hooked in (False, True):
        engine = KernelEngine(clients, limits, seed, record=record, network=network)
        server = RunServer(clients, policies, plan, task, seed, engine)
        lessons = None if hooked else _automatic(server, engine)
        try:
            _drive(server, limits, lessons)
            break
        except DivergedError:
            pass  # found after the events: again, so that the run ends where it happened
    return outcome_of(server, record=record)


def _automatic(server: RunServer, engine: KernelEngine) -> Lessons | None:
    """Leave steps to the engine where the strategy only counts; what they learn, if they do."""
    plan, strategy = server.plan, server.policies.strategy
    # A subclass may do something else when it is asked, and does not say so.
    alone = strategy.automatic if "automatic" in vars(type(strategy)) else None
    lesson = lesson_of(server.policies, plan, server.task)
    if not alone or engine.selects or plan.aggregation or (server.task is not None and not lesson):
        return None
    seconds = plan.aggregate_s + plan.aggregate_s_per_update * alone[0]
    versions = NEVER if plan.versions is None else plan.versions
    engine.automatic(alone[0], versions, round(seconds * TICKS_PER_S))
    if lesson is None:
        return None
    engine.learn(plan.evaluate_every)
    return Lessons(server, engine, lesson)


def _twin(clients: Clients, limits: Limits, seed: int, network: SharedLinks | None) -> Engine:
    if network is not None:
        from .reference_shared import SharedReference

        return SharedReference(clients, limits, seed, network)
    from .reference import Reference

    return Reference(clients, limits, seed)


def check(clients: Clients, plan: Plan, task: Task | None = None) -> None:
    """Refuse what cannot be run (InputError)."""
    ends = (plan.until_s, plan.versions, plan.updates, plan.target)
    if all(end is None for end in ends):
        raise InputError(
            "nothing ends the run",
            where="plan",
            mend="give versions, updates, until_s or target",
        )
    if plan.interruption not in INTERRUPTIONS:
        raise InputError(
            f"interruption is {plan.interruption!r}",
            where="plan.interruption",
            mend=f"use one of {INTERRUPTIONS}",
        )
    lowest: dict[str, tuple[float | None, float]] = {
        "steps": (plan.steps, 0),
        "batch": (plan.batch, 0),
        "epochs": (plan.epochs, 0),
        "lr_decay_every": (plan.lr_decay_every, 0),
        "model_bytes": (plan.model_bytes, 0),
        "compute_factor": (plan.compute_factor, 0),
        "overhead_s": (plan.overhead_s, 0),
        "detect_s": (plan.detect_s, 0),
        "aggregate_s": (plan.aggregate_s, 0),
        "aggregate_s_per_update": (plan.aggregate_s_per_update, 0),
        "until_s": (plan.until_s, 0),
        "versions": (plan.versions, 1),
        "updates": (plan.updates, 1),
        "evaluate_every": (plan.evaluate_every, 1),
    }
    for name, (value, least) in lowest.items():
        if value is not None and not (least <= value < np.inf):
            raise InputError(
                f"{name} is {value}", where=f"plan.{name}", mend=f"give {least} or more"
            )
    if plan.target is not None and task is None:
        raise InputError("there is no model whose accuracy could reach it", where="plan.target")


def _limits(clients: Clients, plan: Plan) -> Limits:
    until = LATEST if plan.until_s is None else min(LATEST, round(plan.until_s * TICKS_PER_S))
    return Limits(
        interruption=INTERRUPTIONS.index(plan.interruption),
        detect=-1 if plan.detect_s is None else round(plan.detect_s * TICKS_PER_S),
        until=until,
        updates=NEVER if plan.updates is None else plan.updates,
        losses=1000 + 10 * len(clients),
        overhead_s=plan.overhead_s,
    )


def _drive(server: RunServer, limits: Limits, lessons: Lessons | None = None) -> None:
    """Ask the policies whenever the engine stops, until the run ends."""
    engine, strategy = server.engine, server.policies.strategy
    server.evaluate()
    strategy.start(server)
    instant, calls = 0, 0
    while server.ended is None:
        reason = engine.advance()
        if lessons is not None:
            lessons.catch_up()
        calls = calls + 1 if engine.now == instant else 0
        instant = engine.now
        if calls > HOOKS_AN_INSTANT + 4 * len(server.clients):
            server.fail(f"the strategy goes in circles at {instant / TICKS_PER_S:g} s")
        elif reason in (AWAITED, FORCED):
            arrivals, slots = engine.take()
            server.receive(arrivals, slots)
            strategy.arrived(server, arrivals)
            server.release()
        elif reason == TIMER:
            strategy.timer(server, server.rung())
        elif reason == REFILL:
            server.refill_now()
        elif reason == LEARN:
            if server.version % server.plan.evaluate_every == 0:
                server.evaluate()
        else:
            _end(server, reason, limits)
    server.evaluate()


def _end(server: RunServer, reason: int, limits: Limits) -> None:
    """The engine cannot or must not go on."""
    engine = server.engine
    if reason == LIMIT:
        server.limit()
    elif reason == OVER:
        server.over(limits.until)
    elif reason == STUCK:
        server.fail(f"the last {limits.losses} dispatches were all lost: no round can fill")
    elif engine.in_flight:
        lost = engine.in_flight
        what = "a dispatch was" if lost == 1 else f"{lost} dispatches were"
        server.fail(f"{what} lost and the server never learns of it: give detect_s or a deadline")
    elif len(engine.idle()):
        server.fail("nothing is under way and the strategy waits for nothing that can come")
    elif engine.next_available() is None:
        server.fail("no client is there any more: no round can fill")
    else:
        server.fail("no client is there and the strategy does not wait for one to return")
