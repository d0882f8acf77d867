"""Declaring, finding and compiling policies."""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from numba import typeof, types
from policy_views import ask, block, context, find, replicas, request

from mltwin.models.serving.hooks import HOOKS, STABILITIES, signature
from mltwin.policies import Policy, Sizes, defaults, list_policies, policy, policy_params, resolve
from mltwin.sim.errors import InputError
from mltwin.sim.jit import JIT_DISABLED, array_type, kernel
from mltwin.sim.world import World

ALL = list_policies()
ROUTE_ARGUMENTS = "request, replicas, hits, ctx, params, memory"


@pytest.fixture
def user_file(tmp_path: Path) -> Path:
    """A file with two policies, one with a parameter, one with a helper."""
    path = tmp_path / "mine.py"
    path.write_text(
        f'''
from mltwin.models.serving.hooks import UP
from mltwin.policies import policy

@policy("route", params={{"offset": 1.0, "step": 2.0}})
def shifted({ROUTE_ARGUMENTS}):
    """Where the parameters say."""
    return int(params[0] + params[1])

def last_up(replicas):
    best = -1
    for i in range(len(replicas)):
        if is_up(replicas[i]):
            best = i
    return best

def is_up(replica):
    return replica.state == UP

@policy("route", name="the_last", memory=2)
def last({ROUTE_ARGUMENTS}):
    """The last that is up."""
    memory[1] += 1.0
    return last_up(replicas)

@policy("evict")
def oldest(block, ctx, params, memory):
    return ctx.now

def plain({ROUTE_ARGUMENTS}):
    return 0
'''
    )
    return path


def one_line(raised) -> str:
    text = str(raised.value)
    assert "\n" not in text
    return text


# -- the built-in ones ------------------------------------------------------------------------


@pytest.mark.parametrize("built_in", ALL, ids=lambda p: f"{p.hook}-{p.name}")
def test_each_built_in_policy_is_sound(built_in: Policy) -> None:
    assert built_in.summary
    assert built_in.summary.endswith((".", ")", ":"))
    assert built_in.stability in STABILITIES
    assert f"def {built_in.function.__name__}(" in built_in.source
    file, _, line = built_in.location.rpartition(":")
    assert Path(file).is_file()
    assert int(line) > 0
    assert built_in.memory_size(Sizes(5, 2, 0, 3)) >= 0
    assert resolve(built_in.name, built_in.hook)[0] is built_in
    assert isinstance(ask(built_in, memory=np.zeros(8)), int | float)
    assert built_in.compiled() is built_in.compiled(), "compiled once"


def test_every_parameter_is_described() -> None:
    missing = [
        f"{p.hook}/{p.name}: {name}" for p in ALL for name in p.params if f"`{name}`" not in p.doc
    ]
    assert not missing


def test_every_hook_has_a_default_and_unique_names() -> None:
    assert set(defaults()) == set(HOOKS)
    assert {hook: p.hook for hook, p in defaults().items()} == {hook: hook for hook in HOOKS}
    assert defaults("no such system") == {}
    assert len({(p.hook, p.name) for p in ALL}) == len(ALL)
    assert [p.default_for for p in ALL].count("serving") == len(HOOKS)


def test_listing_follows_the_hooks() -> None:
    assert [p.hook for p in ALL] == sorted((p.hook for p in ALL), key=list(HOOKS).index)
    assert {p.name for p in list_policies("admit")} >= {"always", "queue_limit"}
    with pytest.raises(InputError, match=r"no hook 'rout'; did you mean 'route'\?"):
        list_policies("rout")


# -- parameters -------------------------------------------------------------------------------


def test_params_keep_their_order() -> None:
    vtc = find("vtc", "priority")
    assert policy_params(vtc).tolist() == [1.0, 2.0]
    values = policy_params(vtc, {"output_weight": 4})
    assert values.tolist() == [1.0, 4.0]
    assert values.dtype == np.float64
    assert policy_params(find("fcfs", "priority")).shape == (0,)
    assert vtc.params == {"prompt_weight": 1.0, "output_weight": 2.0}, "defaults are untouched"


@pytest.mark.parametrize(
    ("name", "overrides", "message"),
    [
        (
            "vtc",
            {"promt_weight": 1},
            "policy.priority.promt_weight: policy 'vtc' has no parameter 'promt_weight'; "
            "did you mean 'prompt_weight'?",
        ),
        ("fcfs", {"weight": 1}, "policy 'fcfs' has no parameter 'weight'; it has none"),
        ("vtc", {"prompt_weight": "two"}, "policy.priority.prompt_weight: 'two' is no number"),
        ("vtc", {"prompt_weight": True}, "True is no number"),
        ("vtc", {"prompt_weight": float("nan")}, "nan is no number"),
    ],
)
def test_bad_parameters(name: str, overrides: dict, message: str) -> None:
    with pytest.raises(InputError) as raised:
        resolve({"name": name, **overrides}, "priority")
    assert message in one_line(raised)


# -- what a scenario may say ------------------------------------------------------------------


def test_specs_of_each_kind(user_file: Path) -> None:
    by_name, parameters = resolve({"name": "cost_based", "load_weight": 3}, "route")
    assert by_name.name == "cost_based"
    assert parameters.tolist() == [3.0]
    mine, parameters = resolve({"name": f"{user_file}:shifted", "step": 5}, "route")
    assert mine.name == "shifted"
    assert mine.summary == "Where the parameters say."
    assert parameters.tolist() == [1.0, 5.0]
    assert resolve("mine.py:last", "route", folder=user_file.parent)[0].name == "the_last"
    assert resolve(f"{user_file}:the_last", "route")[0].name == "the_last"
    assert resolve(f"{user_file}", "evict")[0].name == "oldest"
    assert resolve("mltwin.policies.routing:least_work", "route")[0] is find("least_work", "route")
    assert resolve(mine, "route")[0] is mine
    assert resolve({"name": mine, "offset": 9.0}, "route")[1][0] == 9.0


def test_a_users_policies_run(user_file: Path) -> None:
    view = replicas(state=[2, 2, 4])
    mine = resolve(f"{user_file}:shifted", "route")[0]
    assert ask(mine, settings={"step": 0.0}) == 1
    memory = np.zeros(2)
    last = resolve(f"{user_file}:last", "route")[0]
    assert [ask(last, replicas=view, memory=memory) for _ in range(2)] == [1, 1]
    assert memory.tolist() == [0, 2]


@pytest.mark.parametrize(
    ("spec", "hook", "message"),
    [
        ("least_token", "route", "policy.route: no policy 'least_token'; did you mean 'least_tok"),
        ("xyzzy", "evict", "no policy 'xyzzy'; choose one of cost_aware, deepest_first, fifo"),
        ("fcfs", "rout", "no hook 'rout'; did you mean 'route'?"),
        ({"weight": 1}, "route", "names no policy; give a name"),
        ("", "route", "names no policy; give a name"),
        (7, "route", "7 names no policy; give a name"),
        (
            "mltwin.policies.routing:least_work",
            "evict",
            "policy 'least_work' is for 'route', not 'evict'; use it as policy.route",
        ),
        ("no_such_module_here:f", "route", "no module 'no_such_module_here'; give file.py:fun"),
        ("mltwin.policies.routing:leest_work", "route", "did you mean 'least_work'?"),
        ("absent.py:f", "route", "absent.py: cannot read the policy file: No such file"),
    ],
)
def test_bad_specs(spec, hook: str, message: str) -> None:
    with pytest.raises(InputError) as raised:
        resolve(spec, hook)
    assert message in one_line(raised)


def test_bad_names_in_a_file(user_file: Path) -> None:
    for spec, hook, message in (
        ("mine.py:shiftet", "route", "no policy 'shiftet' in it; did you mean 'shifted'?"),
        ("mine.py:plain", "route", "'plain' is no policy; put @policy('route') above its def"),
        ("mine.py", "route", "policies for 'route' in it: the_last, shifted; name one: mine.py:"),
        ("mine.py", "admit", "policies for 'admit' in it: none; name one"),
        ("mine.py:oldest", "route", "policy 'oldest' is for 'evict', not 'route'"),
    ):
        with pytest.raises(InputError) as raised:
            resolve(spec, hook, folder=user_file.parent)
        assert message in one_line(raised)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1\ndef f(:\n", "bad.py:2: not valid Python: "),
        ("x = 1\n\ny = x / 0\n", "bad.py:3: ZeroDivisionError: division by zero; mend the file"),
        ("import numpyy\n", "bad.py:1: ModuleNotFoundError: No module named 'numpyy'"),
        ("raise SystemExit(0)\n", "bad.py:1: SystemExit: 0"),
        ("x = '\0'\n", "bad.py"),
        ("# coding: nonsense\n", "bad.py:1: not valid Python: unknown encoding"),
    ],
)
def test_a_file_with_a_mistake(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "bad.py").write_text(text)
    with pytest.raises(InputError) as raised:
        resolve("bad.py:f", "route", folder=tmp_path)
    assert message in one_line(raised)


def test_an_interrupt_is_no_mistake_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text("raise KeyboardInterrupt\n")
    with pytest.raises(KeyboardInterrupt):
        resolve("slow.py:f", "route", folder=tmp_path)


def test_an_edited_file_is_loaded_anew(tmp_path: Path) -> None:
    """Also when length and second of change are the same; an unchanged one is not."""
    path = tmp_path / "answer.py"
    text = (
        "from mltwin.policies import policy\n\n"
        "@policy('scale')\ndef f(replicas, ctx, params, memory):\n    return {}\n"
    )
    found = []
    for answer in (3, 4):
        path.write_text(text.format(answer))
        os.utime(path, (1_000_000_000, 1_000_000_000))
        policy_now = resolve(f"{path}:f", "scale")[0]
        assert ask(policy_now) == answer
        assert f"return {answer}" in policy_now.source
        found.append(policy_now)
    assert found[0] is not found[1]
    assert ask(found[0]) == 3
    assert resolve(f"{path}:f", "scale")[0] is found[1]


# -- the decorator ----------------------------------------------------------------------------


def test_a_policy_is_its_function() -> None:
    @policy("evict", params={"weight": 2})
    def mine(block, ctx, params, _memory):
        """Short.

        And longer.
        """
        return params[0] * block.hits

    assert isinstance(mine, Policy)
    assert (mine.hook, mine.name, mine.stability, mine.live) == ("evict", "mine", "static", False)
    assert mine.summary == "Short."
    assert mine.doc.endswith("And longer.")
    assert ask(mine, block=block(hits=3)) == 6.0
    assert mine.params == {"weight": 2.0}


def test_memory_by_sizes() -> None:
    sizes = Sizes(requests=10, tenants=3, sessions=4, replicas=2)
    assert find("vtc", "priority").memory_size(sizes) == 4
    assert find("session_sticky", "route").memory_size(sizes) == 4
    assert find("round_robin", "route").memory_size(sizes) == 1

    @policy("scale", memory=lambda sizes: sizes.tenants / 2)
    def odd(replicas, ctx, params, memory):
        return int(memory[0])

    with pytest.raises(InputError, match=r"test_policy_registry.py:\d+: policy odd: memory for"):
        odd.memory_size(sizes)


# -- machine code -----------------------------------------------------------------------------


@pytest.mark.skipif(JIT_DISABLED, reason="needs the compiler")
def test_a_kernel_calls_policies_through_pointers() -> None:
    """Bound to a World, exchanged without a new type, and an exception comes out."""
    view = replicas(outstanding=[2, 1], outstanding_tokens=[10, 20])
    tables = {
        "requests": request().reshape(1).view(np.recarray),
        "replicas": view,
        "hits": np.zeros(2, np.int32),
        "ctx": context().reshape(1).view(np.recarray),
        "params": np.zeros(1),
        "memory": np.zeros(1),
    }
    world = World(**tables).bind(
        route=(signature("route"), find("least_requests", "route").compiled())
    )

    @kernel(types.int64(typeof(world)))
    def ask_once(S):
        return S.route(S.requests[0], S.replicas, S.hits, S.ctx[0], S.params, S.memory)

    assert ask_once(world) == 1
    world.rebind(route=find("least_tokens", "route").compiled())
    assert ask_once(world) == 0

    @policy("route", params={"zero": 0.0})
    def divides(request, replicas, hits, ctx, params, memory):
        return int(1 / params[0])

    world.rebind(route=divides.compiled())
    with pytest.raises(ZeroDivisionError):
        ask_once(world)
    assert array_type(view.dtype) == signature("route").args[1]


CACHE_PROBE = """
import json
from mltwin.policies import resolve
names = [("power_of_two", "route"), ("vtc", "priority"), ("dynamic_roles", "scale")]
stats = [resolve(name, hook)[0].compiled().stats for name, hook in names]
print(json.dumps([sum(sum(s.cache_hits.values()) for s in stats),
                  sum(sum(s.cache_misses.values()) for s in stats)]))
"""


@pytest.mark.skipif(JIT_DISABLED, reason="needs the compiler")
def test_built_in_policies_are_compiled_once_for_all_processes(tmp_path: Path) -> None:
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}

    def hits_and_misses() -> list[int]:
        done = subprocess.run(
            [sys.executable, "-c", CACHE_PROBE],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        return json.loads(done.stdout)

    assert hits_and_misses() == [0, 3]
    assert hits_and_misses() == [3, 0]


PLAIN_PROBE = """
from policy_views import ask, context, find, replicas
view = replicas(outstanding=[3, 1, 2])
policies = [find(name, "route") for name in ("least_requests", "power_of_two", "random")]
assert policies[0].compiled() is policies[0].function
print([ask(p, replicas=view, ctx=context(request=5, seed=1)) for p in policies])
"""


def test_without_the_compiler_answers_are_the_same() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PLAIN_PROBE],
        env={**os.environ, "NUMBA_DISABLE_JIT": "1", "PYTHONPATH": str(Path(__file__).parent)},
        capture_output=True,
        text=True,
        check=True,
    )
    view = replicas(outstanding=[3, 1, 2])
    names = ("least_requests", "power_of_two", "random")
    mine = [ask(find(n, "route"), replicas=view, ctx=context(request=5, seed=1)) for n in names]
    assert done.stdout.strip() == str(mine)


def test_names_are_found_without_the_compiler() -> None:
    """A scenario is checked without importing Numba, which takes 0.3 s."""
    script = (
        "import sys; from mltwin.policies import resolve; resolve('vtc', 'priority'); "
        "print('numba' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"


def test_threads_never_see_half_a_file(tmp_path):
    """The first threads that name a file wait until one of them has run it."""
    file = tmp_path / "slow.py"
    file.write_text(
        "import time\n"
        "time.sleep(0.2)\n"
        "from mltwin.policies import policy\n"
        "@policy('route')\n"
        "def last(request, replicas, hits, ctx, params, memory):\n"
        "    '''The last replica.'''\n"
        "    return len(replicas) - 1\n"
    )
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: resolve(f"{file}:last", "route")[0].name, range(8)))
    assert len(set(found)) == 1
