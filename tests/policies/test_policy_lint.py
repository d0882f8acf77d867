"""What a policy may not do: each case is one file, refused with its line and what to do."""

from pathlib import Path

import pytest

from mltwin.policies import policy, resolve
from mltwin.policies.compiling import essence
from mltwin.sim.errors import InputError
from mltwin.sim.jit import JIT_DISABLED

HEAD = """import math
import os
import numpy as np
from mltwin.models.serving.hooks import UP
from mltwin.policies import policy
from mltwin.policies.views import serves
from mltwin.sim.rng import POLICY, keyed_uniform
LIMIT = 7
PAIR = (1, 2.5)
NAMES = ["a"]
TABLE = np.zeros(3)
"""
ROUTE = "def f(request, replicas, hits, ctx, params, memory):"
RECORD_ARGUMENTS = "request, tenants, ctx, params, memory"


def refused(folder: Path, text: str) -> str:
    """The error of a file that declares the policy f; the file's name and line stay in it."""
    (folder / "p.py").write_text(text)
    with pytest.raises(InputError) as raised:
        resolve("p.py:f", "route", folder=folder)
    assert "\n" not in str(raised.value)
    return str(raised.value).removeprefix(str(folder) + "/")


def declared(decorator: str, *body: str, define: str = ROUTE) -> str:
    return "\n".join([HEAD + decorator, define, *("    " + line for line in body), ""])


LINE = HEAD.count("\n") + 3  # where the body starts

DECORATORS = [
    ("@policy('rout')", "no hook 'rout'; did you mean 'route'?"),
    ("@policy('route', stability='statik')", "no stability 'statik'; did you mean 'static'?"),
    ("@policy('route', stability='on_event')", "a policy for 'route' cannot be 'on_event'; only"),
    ("@policy('route', params={'limit': 'x'})", "parameter 'limit' has the default 'x'; all"),
    ("@policy('route', params={'limit': True})", "parameter 'limit' has the default True; all"),
    ("@policy('route', params={'limit': float('nan')})", "parameter 'limit' has the default nan"),
    ("@policy('route', params={'a b': 1.0})", "parameter name 'a b'; use a Python name"),
    ("@policy('route', params={'name': 1.0})", "parameter name 'name'; use a Python name"),
    ("@policy('route', memory=-1)", "memory is -1; give a whole number of at least 0"),
    ("@policy('route', memory=1.5)", "memory is 1.5; give a whole number"),
    ("@policy('route', memory=True)", "memory is True; give a whole number"),
]


@pytest.mark.parametrize(("decorator", "message"), DECORATORS)
def test_wrong_declarations(tmp_path: Path, decorator: str, message: str) -> None:
    text = refused(tmp_path, declared(decorator, "return 0"))
    assert text.startswith(f"p.py:{LINE - 2}: {message}")


ARGUMENTS = [
    ("def f(request, replicas, ctx, params, memory):", "a policy for 'route' takes exactly (req"),
    ("def f(request, replicas, hits, ctx, params, memory, more):", "takes exactly (request, repli"),
    ("def f(request, replicas, hits, ctx, params, memory=None):", "takes exactly (request, repli"),
    ("def f(*arguments):", "takes exactly (request, repli"),
    ("def f(request, replica, hits, ctx, params, memory):", "argument 'replica' must be named 're"),
    ("def f(replicas, request, hits, ctx, params, memory):", "argument 'replicas' must be named '"),
]


@pytest.mark.parametrize(("define", "message"), ARGUMENTS)
def test_wrong_arguments(tmp_path: Path, define: str, message: str) -> None:
    text = refused(tmp_path, declared("@policy('route')", "return 0", define=define))
    assert text.startswith(f"p.py:{LINE - 1}: policy f: ")
    assert message in text
    assert "write def f(request, replicas, hits, ctx, params, memory)" in text


BODIES = [
    # it may write to its locals and to memory only
    ("request.prompt = 3", "writes to request.prompt; a policy may write only to its locals and"),
    ("replicas[0].role = 3", "writes to replicas[0].role"),
    ("replicas[0].role += 3", "writes to replicas[0].role"),
    ("replicas.role[0] = 3", "writes to replicas.role[0]"),
    ("hits[0] = 3", "writes to hits[0]"),
    ("params[0] = 3.0", "writes to params[0]"),
    ("a, hits[0] = 1, 2", "writes to hits[0]"),
    ("for hits[0] in range(3): pass", "writes to hits[0]"),
    ("r = replicas[0]; r.role = 1", "writes to r.role"),
    ("m = memory; m[0] = 1.0", "writes to m[0]"),
    ("memory = hits", "assigns to its argument 'memory'; use another name"),
    ("for request in replicas: pass", "assigns to its argument 'request'"),
    ("memory.fill(0.0)", "memory.fill: there is no 'fill'; choose one of shape, size"),
    ("replicas.sort()", "replicas.sort: there is no 'sort'"),
    # no hidden state, no side effects, no other source of chance
    ("x = NAMES[0]", "reads the global 'NAMES', a list that may change; use a number"),
    ("x = TABLE[0]", "reads the global 'TABLE', a ndarray that may change"),
    ("x = os.getpid()", "uses module os; use math, numpy or mltwin.sim"),
    ("x = np.random.rand()", "draws from np.random; use keyed_uniform of mltwin.sim.rng"),
    ("print(request.prompt)", "uses print; a policy only computes; of the built-in functions it"),
    ("x = open('f')", "uses open; a policy only computes"),
    ("x = eval('1')", "uses eval; a policy only computes"),
    ("import time", "has an import; a policy only computes and returns its answer"),
    ("from time import time", "has an import"),
    ("global LIMIT", "has a global statement"),
    ("raise ValueError", "has a raise"),
    ("assert LIMIT", "has an assert"),
    ("x = lambda: 1", "has a lambda"),
    ("def g(): return 1", "has a function within it"),
    ("with LIMIT: pass", "has a with statement"),
    ("yield 1", "has a yield"),
    # names and places that are not there
    ("x = request.promt", "request.promt: there is no 'promt'; did you mean 'prompt'?"),
    ("x = replicas[0].outstandig", "there is no 'outstandig'; did you mean 'outstanding'?"),
    ("x = ctx.replcia", "ctx.replcia: there is no 'replcia'; did you mean 'replica'?"),
    ("r = replicas[0]; x = r.tokens", "r.tokens: there is no 'tokens'"),
    ("x = undefined", "the name 'undefined' is not defined above it; define it above, or import"),
    ("x = math.sqroot(2.0)", "no 'sqroot' in math; did you mean 'sqrt'?"),
    ("x = params[1]", "params[1], but it declares 1; declare it in @policy(params=)"),
    ("x = params[-2]", "params[-2], but it declares 1"),
    ("memory[2] = 1.0", "memory[2], but it declares 2; declare it in @policy(memory=)"),
    # what is kept only for those that say that they read it
    ("x = replicas[0].free_blocks", "reads free_blocks, which is kept only for live policies; add"),
    ("x = replicas[0].decode_context", "reads decode_context, which is kept only for live poli"),
]


@pytest.mark.parametrize(("body", "message"), BODIES)
def test_what_a_body_may_not_do(tmp_path: Path, body: str, message: str) -> None:
    decorator = "@policy('route', params={'a': 1.0}, memory=2)"
    text = refused(tmp_path, declared(decorator, body, "return 0"))
    assert text.startswith(f"p.py:{LINE}: policy f: ")
    assert message in text


ALLOWED = [
    "x = LIMIT + PAIR[1]",
    "x = math.sqrt(2.0) + np.floor(2.5) + min(1, 2) + abs(-3)",
    "x = keyed_uniform(ctx.seed, POLICY, ctx.request, 0)",
    "x = serves(replicas[0], 1)",
    "memory[0] += 1.0; memory[1] = ctx.now; memory[:] = 0.0",
    "a, b = 1, 2; (c := a + b)",
    "x = replicas[0].state == UP and len(replicas) == hits.size",
    "for i in range(3): x = i",
    "r = replicas[0]; x = r.outstanding",
]


@pytest.mark.parametrize("body", ALLOWED)
def test_what_a_body_may_do(tmp_path: Path, body: str) -> None:
    decorator = "@policy('route', params={'a': 1.0}, memory=2)"
    (tmp_path / "p.py").write_text(declared(decorator, body, "return 0"))
    assert resolve("p.py:f", "route", folder=tmp_path)[0].name == "f"


def test_memory_must_be_declared(tmp_path: Path) -> None:
    text = refused(tmp_path, declared("@policy('route')", "memory[0] = 1.0", "return 0"))
    assert "uses memory and declares none; add memory=1 to @policy" in text


def test_live_policies_may_read_live_fields(tmp_path: Path) -> None:
    body = "x = replicas[0].free_blocks"
    (tmp_path / "p.py").write_text(declared("@policy('route', live=True)", body, "return 0"))
    assert resolve("p.py:f", "route", folder=tmp_path)[0].live


def test_wanted_needs_queue(tmp_path: Path) -> None:
    define = "def f(block, ctx, params, memory):"
    text = refused(
        tmp_path, declared("@policy('evict')", "return 1.0 * block.wanted", define=define)
    )
    assert "reads wanted, which is counted only for queue policies; add queue=True" in text
    allowed = declared("@policy('evict', queue=True)", "return 1.0 * block.wanted", define=define)
    (tmp_path / "p.py").write_text(allowed)
    assert resolve("p.py:f", "evict", folder=tmp_path)[0].queue
    text = refused(tmp_path, declared("@policy('route', queue=True)", "return 0"))
    assert "a policy for 'route' has no use for queue=True" in text


@pytest.mark.parametrize("stability", ["static", "on_event"])
def test_output_served_needs_every_iteration(tmp_path: Path, stability: str) -> None:
    decorator = f"@policy('priority', stability='{stability}')"
    define = f"def f({RECORD_ARGUMENTS}):"
    body = "return float(tenants[0].output_served)"
    text = refused(tmp_path, declared(decorator, body, define=define))
    assert "reads output_served, which is kept only for policies asked at each iteration" in text
    allowed = declared(decorator.replace(stability, "every_iteration"), body, define=define)
    (tmp_path / "p.py").write_text(allowed)
    assert resolve("p.py:f", "priority", folder=tmp_path)[0].stability == "every_iteration"


RETURNS = [
    (["if request.prompt > 3:", "    return 1"], False),
    (["if request.prompt > 3:", "    return 1", "else:", "    x = 2"], False),
    (["for i in range(3):", "    return i"], False),
    (["while True:", "    break"], False),
    (["while True:", "    for i in range(3):", "        break"], True),
    (["if request.prompt > 3:", "    return 1", "elif hits[0]:", "    return 2", "return 3"], True),
    (["if request.prompt > 3:", "    return 1", "else:", "    return 2"], True),
]


@pytest.mark.parametrize(("body", "complete"), RETURNS)
def test_every_path_returns(tmp_path: Path, body: list[str], complete: bool) -> None:
    text = declared("@policy('route')", *body)
    if complete:
        (tmp_path / "p.py").write_text(text)
        assert resolve("p.py:f", "route", folder=tmp_path)
    else:
        assert "policy f: does not return on every path; end it with a ret" in refused(
            tmp_path, text
        )


HELPERS = [
    ("def g(replicas):\n    replicas[0].role = 1\n    return 0\n", "writes to replicas[0].role"),
    ("def g(x):\n    return len(NAMES)\n", "reads the global 'NAMES', a list"),
    ("def g(x):\n    print(1)\n    return 0\n", "uses print"),
    ("def g(x):\n    return g(x)\n", "g calls itself; use a loop"),
    ("def g(x=1):\n    return x\n", "takes defaults or *arguments"),
    ("def g(x):\n    y = 1\n", "does not return on every path"),
]


@pytest.mark.parametrize(("helper", "message"), HELPERS)
def test_helpers_are_read_too(tmp_path: Path, helper: str, message: str) -> None:
    text = HEAD + helper + f"@policy('route')\n{ROUTE}\n    return g(replicas)\n"
    told = refused(tmp_path, text)
    assert told.startswith("p.py:")
    assert "helper g: " in told
    assert message in told


def test_a_helper_may_write_memory(tmp_path: Path) -> None:
    helper = "def g(memory):\n    memory[0] += 1.0\n    return 0\n"
    decorated = f"@policy('route', memory=1)\n{ROUTE}\n    return g(memory)\n"
    (tmp_path / "p.py").write_text(HEAD + helper + decorated)
    assert resolve("p.py:f", "route", folder=tmp_path)


def test_what_is_no_plain_function() -> None:
    with pytest.raises(InputError, match="put it on a plain Python function"):
        policy("route")(len)
    with pytest.raises(InputError, match="its source cannot be read; define it with def"):
        policy("route")(lambda request, replicas, hits, ctx, params, memory: 0)
    scope: dict = {}
    exec(f"{ROUTE}\n    return 0", scope)
    with pytest.raises(InputError, match="its source cannot be read; define it with def"):
        policy("route")(scope["f"])


def test_closures_over_numbers_but_not_over_lists() -> None:
    def made(value):
        @policy("scale")
        def f(replicas, ctx, params, memory):
            return int(value)

        return f

    assert made(3)(None, None, None, None) == 3
    assert made(3).compiled() is not None
    with pytest.raises(InputError, match="reads the global 'value', a list that may change"):
        made([3])


COMPILE_FAILURES = [
    (["x = 'a' + request.prompt", "return 0"], 0, "No implementation of function"),
    (
        ["best = None", "return hits[best]"],
        1,
        "No conversion from array(int32, 2d, C) to int64",
    ),
    (["r = replicas[0]", "return r.prompt"], None, "there is no field 'prompt'"),
    (["return replicas[0]"], 0, "No conversion from Replica to int64"),
    (["return 1.5"], 0, "answers with a fraction where 'route' wants a whole number; return int"),
    (["if hits[0]:", "    return 1", "return hits[0] / 2"], 2, "answers with a fraction"),
]


@pytest.mark.skipif(JIT_DISABLED, reason="needs the compiler")
@pytest.mark.parametrize(("body", "line", "message"), COMPILE_FAILURES)
def test_what_numba_refuses_is_told_in_a_line(
    tmp_path: Path, body: list[str], line: int | None, message: str
) -> None:
    (tmp_path / "p.py").write_text(declared("@policy('route')", *body))
    found = resolve("p.py:f", "route", folder=tmp_path)[0]
    with pytest.raises(InputError) as raised:
        found.compiled()
    text = str(raised.value)
    assert "\n" not in text
    assert len(text.removeprefix(str(tmp_path))) < 300
    assert "Record(" not in text
    assert "defined at None" not in text
    assert f"p.py:{LINE - 2 if line is None else LINE + line}: policy f: " in text
    assert message in text


def test_the_essence_of_an_error_without_words() -> None:
    assert essence(RuntimeError()) == "RuntimeError"
    assert essence(ValueError("Failed in nopython mode\n\nthe reason\nmore")) == "the reason"
