"""What a policy's function may do, read from its source.

The compiler would let a policy write into the views that it is given, keep state in globals that
it froze, read an array out of bounds or return a field's value of a misspelt name from memory; the
run would go on with wrong results. So the source is read when the policy is declared, and what a
policy may not do is refused there: it reads its arguments and constants, and writes to its own
locals and to ``memory[...]``, nothing else. Helper functions that it calls are read likewise.
"""

import ast
import builtins
import inspect
from collections.abc import Callable, Iterator
from types import FunctionType, ModuleType
from typing import Any, NamedTuple, NoReturn

import numpy as np

from mltwin.sim.errors import InputError
from mltwin.sim.hook import Hook

from .hooks import all_records, records_of
from .words import did_you_mean

TABLES = ("replicas", "tenants", "hits", "params", "memory")
LIVE_FIELDS = ("free_blocks", "decode_context")
ALL_FIELDS = sorted({name for dtype in all_records() for name in dtype.names or ()})
ARRAY_ATTRIBUTES = ("size", "shape")

BUILTINS = (
    *("abs", "bool", "divmod", "enumerate", "float", "int", "len", "max"),
    *("min", "pow", "range", "reversed", "round", "sum", "zip"),
)
REFUSED = {
    ast.Import: "an import",
    ast.ImportFrom: "an import",
    ast.Global: "a global statement",
    ast.Nonlocal: "a nonlocal statement",
    ast.Yield: "a yield",
    ast.YieldFrom: "a yield",
    ast.Await: "an await",
    ast.With: "a with statement",
    ast.Try: "a try statement",
    ast.Raise: "a raise",
    ast.Assert: "an assert",
    ast.Delete: "a del statement",
    ast.Lambda: "a lambda",
    ast.FunctionDef: "a function within it",
    ast.AsyncFunctionDef: "a function within it",
    ast.ClassDef: "a class within it",
}


class Declared(NamedTuple):
    """What the decorator says of a policy and its body must keep to."""

    params: tuple[str, ...]
    memory: int | Callable[..., int]
    live: bool
    stability: str
    queue: bool = False


def check_function(function: FunctionType, hook: Hook, declared: Declared) -> None:
    """Refuse a function that is no policy for this hook.

    Raises:
        InputError: the first thing that a policy may not do, with file and line.
    """
    _Reader(function, hook, declared, ()).check()


class _Reader:
    """Reads one function: the policy itself (with a hook) or a helper (without)."""

    def __init__(
        self,
        function: FunctionType,
        hook: Hook | None,
        declared: Declared,
        callers: tuple[FunctionType, ...],
    ) -> None:
        self.function, self.hook, self.declared = function, hook, declared
        self.callers = (*callers, function)
        self.node, self.offset = self._parse()
        self.arguments = [a.arg for a in self.node.args.args]
        body = [n for statement in self.node.body for n in ast.walk(statement)]
        self.nodes = body
        self.locals = {
            n.id for n in body if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)
        }

    def check(self) -> None:
        self._check_arguments()
        if _falls_through(self.node.body):
            self.fail(self.node, "does not return on every path", "end it with a return")
        for node in self.nodes:
            self._check_node(node)

    def fail(self, node: ast.AST | None, message: str, mend: str) -> NoReturn:
        line = getattr(node, "lineno", 1) + self.offset
        kind = "policy" if self.hook else "helper"
        raise InputError(
            f"{kind} {self.function.__name__}: {message}",
            where=f"{self.function.__code__.co_filename}:{line}",
            mend=mend,
        )

    def _parse(self) -> tuple[ast.FunctionDef, int]:
        """The function's syntax tree, and what to add to its lines to get those of the file."""
        name, first = self.function.__name__, self.function.__code__.co_firstlineno
        try:
            source = inspect.getsource(self.function)
        except (OSError, TypeError):
            source = ""
        indented = source[:1].isspace()
        try:
            tree = ast.parse("if True:\n" + source if indented else source)
        except SyntaxError:
            tree = ast.Module([], [])
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef) and node.name == name:
                return node, first - 1 - indented
        self.offset = first - 1
        self.fail(None, "its source cannot be read", "define it with def, in a file")

    # -- its signature ------------------------------------------------------------------------

    def _check_arguments(self) -> None:
        given = self.node.args
        extra = given.vararg or given.kwarg or given.kwonlyargs or given.posonlyargs
        if not self.hook:
            if extra or given.defaults:
                self.fail(self.node, "takes defaults or *arguments", "use plain arguments")
            return
        wanted = ", ".join(self.hook.arguments)
        mend = f"write def {self.function.__name__}({wanted})"
        if extra or given.defaults or len(self.arguments) != len(self.hook.arguments):
            self.fail(self.node, f"a policy for {self.hook.name!r} takes exactly ({wanted})", mend)
        for mine, theirs in zip(self.arguments, self.hook.arguments, strict=True):
            if mine not in (theirs, "_" + theirs):
                self.fail(self.node, f"argument {mine!r} must be named {theirs!r}", mend)

    # -- what stands in its body --------------------------------------------------------------

    def _check_node(self, node: ast.AST) -> None:
        for kind, words in REFUSED.items():
            if isinstance(node, kind):
                self.fail(node, f"has {words}", "a policy only computes and returns its answer")
        if isinstance(node, ast.Assign):
            for target in node.targets:
                self._check_target(target)
        elif isinstance(node, ast.AugAssign | ast.AnnAssign | ast.For | ast.NamedExpr):
            self._check_target(node.target)
        elif isinstance(node, ast.Attribute):
            self._check_attribute(node)
        elif isinstance(node, ast.Subscript):
            self._check_index(node)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            self._check_name(node)

    def _check_target(self, target: ast.expr) -> None:
        if isinstance(target, ast.Tuple | ast.List):
            for part in target.elts:
                self._check_target(part)
        elif isinstance(target, ast.Name):
            kept = self.arguments if self.hook else ("memory",)
            if target.id in kept:
                self.fail(target, f"assigns to its argument {target.id!r}", "use another name")
        elif not (
            isinstance(target, ast.Subscript)
            and isinstance(target.value, ast.Name)
            and target.value.id == "memory"
        ):
            self.fail(
                target,
                f"writes to {ast.unparse(target)}",
                "a policy may write only to its locals and memory[...]",
            )

    def _check_attribute(self, node: ast.Attribute) -> None:
        base = node.value
        if isinstance(base, ast.Subscript):
            base = base.value
        if isinstance(base, ast.Name) and base.id not in (*self.arguments, *self.locals):
            owner = self._lookup(base)
            if isinstance(owner, ModuleType):
                self._check_module_attribute(node, owner)
            return
        if isinstance(base, ast.Attribute) and isinstance(_root(base), ast.Name):
            root = _root(base)
            if root.id not in (*self.arguments, *self.locals):
                return  # a module's inner part, judged where its outer part is
        allowed = self._fields_of(base, isinstance(node.value, ast.Subscript))
        if node.attr not in allowed:
            self.fail(
                node,
                f"{ast.unparse(node)}: there is no {node.attr!r}",
                did_you_mean(node.attr, allowed),
            )
        if self.hook:
            self._check_freshness(node)

    def _check_module_attribute(self, node: ast.Attribute, module: ModuleType) -> None:
        if node.attr == "random":
            self.fail(
                node,
                f"draws from {ast.unparse(node)}",
                "use keyed_uniform of mltwin.sim.rng, with stream POLICY",
            )
        if not hasattr(module, node.attr):
            self.fail(
                node, f"no {node.attr!r} in {module.__name__}", did_you_mean(node.attr, dir(module))
            )

    def _fields_of(self, base: ast.expr, indexed: bool) -> list[str]:
        """What may stand behind the dot of base (or of base[...])."""
        name = base.id if isinstance(base, ast.Name) else ""
        if not self.hook or name not in self.arguments:
            return [*ALL_FIELDS, *ARRAY_ATTRIBUTES]
        records = records_of(self.hook.name)
        fields = list(records[name].names or ()) if name in records else []
        if name in TABLES and not indexed:
            return [*fields, *ARRAY_ATTRIBUTES]
        return fields

    def _check_freshness(self, node: ast.Attribute) -> None:
        if node.attr in LIVE_FIELDS and not self.declared.live:
            self.fail(
                node, f"reads {node.attr}, which is kept only for live policies", "add live=True"
            )
        if node.attr == "wanted" and not self.declared.queue:
            self.fail(
                node, "reads wanted, which is counted only for queue policies", "add queue=True"
            )
        if node.attr == "output_served" and self.declared.stability != "every_iteration":
            self.fail(
                node,
                "reads output_served, which is kept only for policies asked at each iteration",
                "make it a priority with stability='every_iteration', or read another field",
            )

    def _check_index(self, node: ast.Subscript) -> None:
        if not (self.hook and isinstance(node.value, ast.Name)):
            return
        name, index = node.value.id, _constant_index(node.slice)
        if name == "params":
            size: Any = len(self.declared.params)
        elif name == "memory":
            size = self.declared.memory
        else:
            return
        if name == "memory" and size == 0:
            return  # told by _check_name
        if index is not None and isinstance(size, int) and not -size <= index < size:
            self.fail(
                node, f"{name}[{index}], but it declares {size}", f"declare it in @policy({name}=)"
            )

    def _check_name(self, node: ast.Name) -> None:
        if node.id in self.arguments:
            if self.hook and node.id == "memory" and self.declared.memory == 0:
                self.fail(node, "uses memory and declares none", "add memory=1 to @policy")
        elif node.id not in self.locals:
            self._check_global(node, self._lookup(node))

    # -- names from outside -------------------------------------------------------------------

    def _lookup(self, node: ast.Name) -> Any:
        """The value of a name that is no argument or local."""
        name = node.id
        if name in self.function.__code__.co_freevars:
            cell = (self.function.__closure__ or ())[self.function.__code__.co_freevars.index(name)]
            return _cell_value(cell)
        if name in self.function.__globals__:
            return self.function.__globals__[name]
        if name in BUILTINS:
            return getattr(builtins, name)
        if hasattr(builtins, name):
            self.fail(
                node,
                f"uses {name}",
                "a policy only computes; of the built-in functions it may use "
                + ", ".join(BUILTINS),
            )
        self.fail(node, f"the name {name!r} is not defined above it", "define it above, or import")

    def _check_global(self, node: ast.Name, value: Any) -> None:
        inner = getattr(value, "py_func", value)
        if isinstance(inner, FunctionType):
            self._check_helper(node, inner)
        elif isinstance(value, ModuleType):
            if value.__name__ not in ("math", "numpy") and not _is_ours(value.__name__):
                self.fail(node, f"uses module {value.__name__}", "use math, numpy or mltwin.sim")
        elif not _is_constant(value):
            self.fail(
                node,
                f"reads the global {node.id!r}, a {type(value).__name__} that may change",
                "use a number, a tuple of numbers, a parameter or memory",
            )

    def _check_helper(self, node: ast.Name, helper: FunctionType) -> None:
        if (helper.__module__ or "").startswith(("numpy", "mltwin.sim")):
            return
        if helper in self.callers:
            self.fail(node, f"{helper.__name__} calls itself", "use a loop")
        if node.id in self.function.__code__.co_freevars:
            self.fail(node, f"the helper {node.id!r} is local", "define it at the top of the file")
        _Reader(helper, None, self.declared, self.callers).check()


def _root(node: ast.expr) -> Any:
    while isinstance(node, ast.Attribute):
        node = node.value
    return node


def _constant_index(node: ast.expr) -> int | None:
    try:
        value = ast.literal_eval(node)
    except ValueError:
        return None
    return value if isinstance(value, int) else None


def _cell_value(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not yet filled
        return []


def _is_ours(module: str) -> bool:
    return module.split(".")[0] == "mltwin"


def _is_constant(value: Any) -> bool:
    if isinstance(value, tuple):
        return all(_is_constant(part) for part in value)
    if isinstance(value, bool | int | float | str | None | np.generic | np.ufunc | type):
        return True
    # functions of NumPy, math and the built-in ones (which `_lookup` has judged)
    module = str(getattr(value, "__module__", "")).split(".")[0]
    return callable(value) and module in ("numpy", "math", "builtins")


def _falls_through(body: list[ast.stmt]) -> bool:
    """Whether control can leave the end of these statements."""
    last = body[-1]
    if isinstance(last, ast.Return | ast.Raise | ast.Continue | ast.Break):
        return False
    if isinstance(last, ast.If):
        return not last.orelse or _falls_through(last.body) or _falls_through(last.orelse)
    if isinstance(last, ast.While) and isinstance(last.test, ast.Constant) and last.test.value:
        return any(isinstance(node, ast.Break) for node in _own_statements(last.body))
    return True


def _own_statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements of a loop, without those of loops within it."""
    for statement in body:
        yield statement
        if not isinstance(statement, ast.For | ast.While):
            for part in ("body", "orelse"):
                yield from _own_statements(getattr(statement, part, []))
