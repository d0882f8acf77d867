"""Worlds: both compiled kinds (or the plain one without the compiler) under the same tests."""

import copy
import gc
import pickle
import weakref

import numpy as np
import pytest
from numba import float64, int64, njit, typeof

from mltwin.sim.heap import heap_set, heap_time, make_timers
from mltwin.sim.jit import JIT_DISABLED, array_type, handler, kernel
from mltwin.sim.records import record, table
from mltwin.sim.world import KIND, World, world_type

KINDS = [World]
if KIND == "pointer":
    from mltwin.sim.world_structref import StructrefWorld

    KINDS.append(StructrefWorld)

NEEDS_JIT = pytest.mark.skipif(JIT_DISABLED, reason="needs the compiler")
ROW = record("ROW", [("count", "i4"), ("total", "i8"), ("weight", "f8")])
SIG = int64(int64, array_type(ROW))


@kernel(SIG)
def count_of(i, rows):
    return rows[i].total


@kernel(SIG)
def minus_one(i, rows):
    if i == 2:
        raise ValueError("row two")
    return -1


@kernel()
def sum_of(S):
    """Of integers that nobody writes to."""
    return S.given.sum()


@kernel()
def work(S, i):
    """Uses record, integer and float tables, a heap, and a hook."""
    S.rows[i].total += 10
    S.rows[i].weight *= 2.0
    S.numbers[i] += S.pick(i, S.rows)
    S.share[0] = S.rows[i].weight / len(S.rows)
    heap_set(S, i, 100 - i, 0)
    return S.numbers[i] + heap_time(S)


@pytest.fixture(params=KINDS, ids=lambda kind: kind.__name__)
def kind(request):
    return request.param


def make(kind, n=4, pick=count_of):
    world = kind(
        rows=table(n, ROW, total=np.arange(n), weight=1.0),
        numbers=np.arange(n),
        share=np.zeros(1),
        **make_timers(n),
    )
    return world.bind(pick=(SIG, pick))


def test_kernel_reads_and_writes_tables_and_calls_hooks(kind):
    world = make(kind)
    assert work(world, 1) == 1 + 11 + 99
    assert work(world, 3) == 3 + 13 + 97
    assert world.rows.total.tolist() == [0, 11, 2, 13]
    assert world.numbers.tolist() == [0, 12, 2, 16]
    assert world.share[0] == 2.0 / 4
    assert world.timer_count[0] == 2


def test_rebind_and_replace_keep_the_type(kind):
    world = make(kind)
    before = None if JIT_DISABLED else typeof(world)
    work(world, 1)
    world.rebind(pick=minus_one)
    assert work(world, 1) == 12 - 1 + 99
    other = table(9, ROW, total=5, weight=3.0)
    world.replace(rows=other, numbers=np.full(9, 40)).rebind(pick=count_of)
    assert work(world, 0) == 40 + 15 + 99
    assert world.rows is other and other.total.tolist() == [15] + [5] * 8
    assert world.share[0] == 6.0 / 9
    assert before is None or typeof(world) == before


def test_hook_error_reaches_the_caller(kind):
    world = make(kind, pick=minus_one)
    with pytest.raises(ValueError, match="row two"):
        work(world, 2)
    assert work(world, 1) == 1 - 1 + 99


def test_copy_is_independent(kind):
    world = make(kind)
    work(world, 1)
    twin = world.copy()
    assert work(twin, 1) == 12 + 21 + 99
    assert world.rows[1].total == 11 and twin.rows[1].total == 21
    assert twin.hooks() == world.hooks()


def test_tables_live_as_long_as_the_world(kind):
    world = make(kind)
    gc.collect()
    junk = [np.full(4, 7) for _ in range(1000)]  # would land where a freed table was
    assert work(world, 1) == 1 + 11 + 99
    assert len(junk) == 1000


def test_replaced_table_is_let_go(kind):
    world = make(kind)
    old = weakref.ref(world.numbers)
    work(world, 1)
    world.replace(numbers=np.arange(4))
    gc.collect()
    assert old() is None
    assert work(world, 1) == 1 + 21 + 99


def test_world_is_let_go(kind):
    world = make(kind)
    work(world, 1)
    table_of_it, itself = weakref.ref(world.rows), weakref.ref(world)
    del world
    gc.collect()
    assert itself() is None and table_of_it() is None


@NEEDS_JIT
def test_type_depends_on_names_and_dtypes_only(kind):
    small, large = make(kind, 4), make(kind, 9)
    assert typeof(small) == typeof(large) == typeof(make(kind, pick=minus_one))
    assert len(typeof(small).name) < 40
    assert typeof(kind(a=np.zeros(1), b=np.zeros(2))) == typeof(kind(b=np.zeros(3), a=np.zeros(4)))
    assert typeof(kind(a=np.zeros(1))) != typeof(kind(b=np.zeros(1)))
    assert typeof(kind(a=np.zeros(1))) != typeof(kind(a=np.zeros(1, np.int64)))
    assert typeof(kind(a=np.zeros(1))) != typeof(kind(a=np.zeros(1)).bind(f=(SIG, count_of)))


@NEEDS_JIT
def test_world_type_needs_no_arrays():
    world = make(World)
    dtypes = {name: array.dtype for name, array in world.tables().items()}
    numba_type = world_type(dtypes, {"pick": SIG})
    assert numba_type == typeof(world)

    @kernel(int64(numba_type, int64))
    def first(S, i):
        return S.rows[i].total

    assert first(world, 3) == 3
    with pytest.raises(TypeError, match="No matching definition"):
        first(World(rows=np.zeros(4)), 3)


def test_any_name_may_be_a_table(kind):
    names = ["new", "make", "world", "value", "numba_type", "structref", "self", "data", "size"]

    @kernel()
    def total(S):
        return S.new[0] + S.make[0] + S.world[0] + S.value[0] + S.numba_type[0] + S.data[0]

    tables = {name: np.full(1, 2**i) for i, name in enumerate(names)}
    assert total(kind(**tables)) == 0b10011111


@NEEDS_JIT
def test_kinds_agree():
    results = []
    for kind in KINDS:
        world = make(kind, 50)
        results.append([work(world, i) for i in range(50)] + world.rows.total.tolist())
    assert all(result == results[0] for result in results)


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ({"a": [1, 2]}, "not an array: list"),
        ({"a": np.zeros((2, 2))}, "1-D and contiguous"),
        ({"a": np.zeros(9)[::2]}, "1-D and contiguous"),
        ({"a": np.zeros(3, ">i8")}, "not native"),
        ({"a": np.zeros(3, object)}, "not native"),
        ({"a": np.zeros(3, ROW)}, "recarray"),
        ({"bind": np.zeros(3)}, "cannot name"),
        ({"_a": np.zeros(3)}, "cannot name"),
        ({"view": np.zeros(3)}, "cannot name"),
    ],
)
def test_bad_tables_are_refused(kind, tables, message):
    with pytest.raises((TypeError, ValueError), match=message):
        kind(**tables)


def test_read_only_table_is_refused(kind):
    fixed = np.zeros(3)
    fixed.flags.writeable = False
    with pytest.raises(ValueError, match="writable"):
        kind(a=fixed)


def test_kernel_reads_tables_that_need_not_be_writable(kind):
    first, second = np.arange(5), np.arange(7)
    first.flags.writeable = second.flags.writeable = False
    world = kind(read_only=["given"], given=first)
    assert sum_of(world) == 10
    assert sum_of(world.replace(given=second)) == 21
    assert sum_of(world.replace(given=np.arange(3))) == 3
    assert sum_of(kind(read_only=["given"], given=np.arange(4))) == 6


def test_bad_replacements_are_refused_and_change_nothing(kind):
    world = make(kind)
    with pytest.raises(TypeError, match="'numbers' holds int64, not float64"):
        world.replace(rows=table(2, ROW), numbers=np.zeros(4))
    with pytest.raises(ValueError, match="no table 'more'"):
        world.replace(more=np.zeros(4))
    with pytest.raises(ValueError, match="no hook 'route'"):
        world.rebind(route=count_of)
    with pytest.raises(ValueError, match="a table has that name"):
        world.bind(rows=(SIG, count_of))
    assert len(world.rows) == 4 and work(world, 1) == 1 + 11 + 99


def test_attributes_cannot_be_assigned_and_worlds_not_pickled(kind):
    world = make(kind)
    with pytest.raises(AttributeError, match=r"replace\(\)"):
        world.rows = table(4, ROW)
    with pytest.raises(AttributeError, match="cannot delete"):
        del world.rows
    with pytest.raises(AttributeError, match="no table or hook 'rowz'"):
        _ = world.rowz
    for send in (pickle.dumps, copy.copy):
        with pytest.raises(TypeError, match="cannot be pickled"):
            send(world)
    assert "rows[4]" in repr(world) and "pick" in repr(world)


@NEEDS_JIT
@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda i, rows: 1, r"not compiled; decorate it with @kernel\(int64\(int64, array"),
        (handler(lambda i, rows: 1), "is a @handler"),
        (njit(int64(int64))(lambda i: i), "does not fit"),
        (kernel(float64(int64, array_type(ROW)))(lambda i, rows: 1.0), "return"),
        (njit(lambda i, rows: rows[i].nothing), "does not fit"),
    ],
    ids=["plain", "handler", "arguments", "return", "body"],
)
def test_functions_that_do_not_fit_the_hook_are_refused(kind, function, message):
    world = make(kind)
    for attach in (lambda: world.bind(pick=(SIG, function)), lambda: world.rebind(pick=function)):
        with pytest.raises(TypeError, match=message):
            attach()
    assert work(world, 1) in (1 + 11 + 99, 12 + 21 + 99)


def test_hook_must_be_callable(kind):
    with pytest.raises(TypeError, match="hook 'pick'"):
        make(kind, pick=3)
