"""Every public thing says what it is, and every example in a docstring is true."""

import ast
import doctest
import importlib
import pkgutil

import pytest
from source_tree import Module, listed_packages, modules

MODULES = modules()
WITH_EXAMPLES = [m.name for m in MODULES if ">>>" in m.path.read_text("utf-8")]


def undocumented(module: Module) -> list[str]:
    """Names of the public functions and classes of a module that have no docstring."""
    tree = ast.parse(module.path.read_text("utf-8"))
    found = [] if ast.get_docstring(tree) else ["the module"]
    found += [
        f"{node.name} (line {node.lineno})"
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        and not node.name.startswith("_")
        and not ast.get_docstring(node)
        and not is_overload(node)
    ]
    return found


def is_overload(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> bool:
    """Whether this is one of the typed signatures of a function that stands below it."""
    return any(isinstance(d, ast.Name) and d.id == "overload" for d in node.decorator_list)


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.name)
def test_public_names_have_docstrings(module: Module) -> None:
    missing = undocumented(module)
    assert not missing, f"{module.name}: no docstring: {', '.join(missing)}"


def test_a_missing_docstring_is_seen(tmp_path) -> None:
    path = tmp_path / "bare.py"
    path.write_text("def shown():\n    pass\n\n\ndef _hidden():\n    pass\n")
    assert undocumented(Module("bare", path)) == ["the module", "shown (line 1)"]


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_examples_are_true(name: str) -> None:
    result = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert result.attempted > 0, f"{name}: its examples stand where doctest does not look"
    assert result.failed == 0


def test_the_import_system_finds_every_module() -> None:
    """The folders that Python searches are those that the map in pyproject.toml names."""
    found = set(listed_packages())
    for package in listed_packages():
        folders = importlib.import_module(package).__path__
        found |= {f"{package}.{info.name}" for info in pkgutil.iter_modules(folders)}
    missing = {module.name for module in MODULES} - found - {"mltwin.__main__"}
    assert not missing
