"""The rules of the house, held against the files: who may import whom, and what may not be there.

The table of layers is that of docs/architecture.md. A rule broken here is mended in the code; where
the rule is wrong, change it in both places.
"""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path

import pytest
from lock import requirements
from source_tree import (
    PACKAGE,
    ROOT,
    Module,
    listed_packages,
    modules,
    package_dirs,
    package_folder,
    pyproject,
    repository_files,
)

# Layer -> the modules it may import besides its own. A bare "mltwin" layer is the face: the files
# of mltwin/ itself.
SIM = ("mltwin.sim", "mltwin.sim.*")
MODELS = ("mltwin.models", "mltwin.models.*")
FACE = "the face"
MAY_IMPORT = {
    "mltwin.sim": (),
    "mltwin.models": SIM,
    "mltwin.workloads": (*SIM, "mltwin.models.*.tables"),
    "mltwin.policies": (*SIM, "mltwin.models.*.hooks"),
    "mltwin.calibration": (*SIM, *MODELS),
    "mltwin": (
        *SIM,
        *MODELS,
        *("mltwin.workloads", "mltwin.workloads.*"),
        *("mltwin.policies", "mltwin.policies.*"),
        *("mltwin.calibration", "mltwin.calibration.*"),
    ),
    "mltwin.app": (FACE,),
}
ENTRY_POINT = "mltwin.__main__"  # `python -m mltwin` is the app's command line
MAX_LINES = 500

MODULES = modules()
NAMES = {module.name for module in MODULES}


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"), str(path))


def layer(name: str) -> str:
    """The layer a module belongs to: its mapped folder, or the face."""
    parent = ".".join(name.split(".")[:2])
    return parent if parent in MAY_IMPORT else PACKAGE


def absolute(module: Module, node: ast.ImportFrom) -> str:
    """The dotted name that ``from ... import`` names, with leading dots resolved."""
    if not node.level:
        return node.module or ""
    keep = node.level - 1 if module.is_package else node.level
    base = module.name.split(".")
    return ".".join([*base[: len(base) - keep], *([node.module] if node.module else [])])


def imported(module: Module) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of each import in a module, wherever it stands, whatever its form."""
    for node in ast.walk(tree(module.path)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = absolute(module, node)
            for alias in node.names:
                deeper = f"{base}.{alias.name}"
                yield node.lineno, deeper if deeper in NAMES else base
        elif isinstance(node, ast.Call) and node.args and called(node.func) in _IMPORTERS:
            argument = node.args[0]
            if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                yield node.lineno, argument.value


_IMPORTERS = {"import_module", "__import__"}


def called(function: ast.expr) -> str:
    """The last part of a called name: ``a.b.c()`` gives "c"."""
    return getattr(function, "attr", getattr(function, "id", ""))


def at(path: Path, line: int) -> str:
    return f"{path.relative_to(ROOT)}:{line}"


def allowed(source: str, target: str) -> bool:
    """Whether module ``source`` may import module ``target``."""
    if target.split(".")[0] != PACKAGE:
        return True
    from_layer, to_layer = layer(source), layer(target)
    if from_layer == to_layer:
        return True
    if source == ENTRY_POINT and to_layer == "mltwin.app":
        return True
    patterns = MAY_IMPORT[from_layer]
    if to_layer == PACKAGE:
        return FACE in patterns
    return any(fnmatchcase(target, pattern) for pattern in patterns)


@pytest.mark.parametrize("folder", sorted(MAY_IMPORT))
def test_layers_import_only_what_they_may(folder: str) -> None:
    wrong = [
        f"{at(module.path, line)}: {folder} may not import {target}"
        for module in MODULES
        if layer(module.name) == folder
        for line, target in imported(module)
        if not allowed(module.name, target)
    ]
    assert not wrong, "\n".join(wrong)


def test_the_layer_rule_can_say_no() -> None:
    assert not allowed("mltwin.sim.heap", "mltwin.models.gpu")
    assert not allowed("mltwin.models.serving.kernel", "mltwin.policies.routing")
    assert not allowed("mltwin.policies.routing", "mltwin.models.serving.kernel")
    assert not allowed("mltwin.workloads.table", "mltwin.models.serving.hooks")
    assert not allowed("mltwin.serving", "mltwin.app.cli")
    assert not allowed("mltwin.sim.heap", "mltwin")
    assert allowed("mltwin.policies.routing", "mltwin.models.serving.hooks")
    assert allowed("mltwin.app.cli", "mltwin.serving")
    assert allowed("mltwin.__main__", "mltwin.app.cli")


def test_every_mapped_folder_has_a_rule() -> None:
    assert set(package_dirs()) == set(MAY_IMPORT)


def test_relative_imports_stay_in_their_folder() -> None:
    wrong = []
    for module in MODULES:
        here = module.name if module.is_package else module.name.rpartition(".")[0]
        for node in ast.walk(tree(module.path)):
            if isinstance(node, ast.ImportFrom) and node.level > 1:
                wrong.append(f"{at(module.path, node.lineno)}: climbs out of {here}")
    assert not wrong, "\n".join(wrong)


def test_nothing_imports_a_folder_by_its_bare_name() -> None:
    bare = {name.rpartition(".")[2] for name in package_dirs() if name != PACKAGE}
    wrong = []
    for path in repository_files(".py"):
        for node in ast.walk(tree(path)):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module or ""]
            wrong += [f"{at(path, node.lineno)}: {n}" for n in names if n.split(".")[0] in bare]
    assert not wrong, "\n".join(wrong)


# The rules that make it exact: each is one construct that must not appear in the named layers.
EVERYWHERE = tuple(MAY_IMPORT)
SIMULATED = ("mltwin.models", "mltwin.policies")
FORBIDDEN_IMPORTS = [
    (EVERYWHERE, r"pickle|_pickle|cPickle|dill|cloudpickle|shelve|marshal", "no pickle anywhere"),
    (SIMULATED, r"time|datetime|uuid", "no wall clock in what is simulated"),
    (
        ("mltwin.sim", *SIMULATED, "mltwin.workloads"),
        r"random|secrets|numpy\.random",
        "every draw is keyed (mltwin.sim.rng)",
    ),
]


# Results travel between processes of one run as loky sends them; nothing is read from a file so.
ALLOWED_IMPORTS = {("mltwin.sim.executors", "cloudpickle")}


@pytest.mark.parametrize(
    ("layers", "pattern", "why"), FORBIDDEN_IMPORTS, ids=["pickle", "clock", "random"]
)
def test_forbidden_imports(layers: tuple[str, ...], pattern: str, why: str) -> None:
    wrong = [
        f"{at(module.path, line)}: {target}: {why}"
        for module in MODULES
        if layer(module.name) in layers
        for line, target in imported(module)
        if (module.name, target) not in ALLOWED_IMPORTS
        if re.match(rf"({pattern})(\.|$)", target)
    ]
    assert not wrong, "\n".join(wrong)


def inexact(node: ast.AST) -> str | None:
    """Why a construct would make results depend on more than their inputs, or None."""
    if isinstance(node, ast.keyword) and node.arg in {"fastmath", "parallel", "allow_pickle"}:
        off = isinstance(node.value, ast.Constant) and node.value.value is False
        return None if off else f"{node.arg}="
    if isinstance(node, ast.Attribute) and node.attr == "random":
        return "np.random" if called(node.value) in {"np", "numpy"} else None
    name = getattr(node, "id", getattr(node, "attr", ""))
    return name if name == "prange" else None


def test_no_inexact_constructs() -> None:
    wrong = [
        f"{at(module.path, getattr(node, 'lineno', 0))}: {why}"
        for module in MODULES
        for node in ast.walk(tree(module.path))
        if (why := inexact(node))
    ]
    assert not wrong, "\n".join(wrong)


def test_packages_are_listed() -> None:
    found = {module.name for module in MODULES if module.is_package}
    assert sorted(listed_packages()) == sorted(found), "tool.setuptools.packages in pyproject.toml"


def test_modules_stand_in_packages() -> None:
    packages = {module.name for module in MODULES if module.is_package}
    stray = [
        m.name for m in MODULES if not m.is_package and m.name.rpartition(".")[0] not in packages
    ]
    assert not stray, "a folder of modules without __init__.py would be missing from the wheel"


def data_files() -> set[Path]:
    """Every file under the mapped folders that is no Python source."""
    return {
        path
        for path in repository_files()
        if path.suffix not in {".py", ".pyc"}
        and any(path.is_relative_to(folder) for folder in package_dirs().values())
    }


def test_package_data_is_whole() -> None:
    patterns = pyproject()["tool"]["setuptools"]["package-data"]
    matched: set[Path] = set()
    for package, globs in patterns.items():
        for pattern in globs:
            files = {path for path in package_folder(package).glob(pattern) if path.is_file()}
            assert files, f"package-data {package}: {pattern} matches no file"
            matched |= files
    missing = sorted(str(path.relative_to(ROOT)) for path in data_files() - matched)
    assert not missing, "not in the wheel: mend tool.setuptools.package-data in pyproject.toml"


@pytest.mark.parametrize("suffix", [".py", ".sh"])
def test_files_are_short(suffix: str) -> None:
    lengths = {
        path.relative_to(ROOT): path.read_text("utf-8").count("\n")
        for path in repository_files(suffix)
    }
    long = {str(path): lines for path, lines in lengths.items() if lines > MAX_LINES}
    assert not long, f"a file is one idea, of at most {MAX_LINES} lines"


# Spelt in pieces, so that this file does not hold them.
FORBIDDEN_WORDS = [
    (r"(?<![\w.~*/-])/(work|root|home|Users|opt|mnt)/", "a path of one machine"),
    ("py" + r"pi\.(org|python)|python" + r"hosted\.org", "a registry host"),
    (r"--(extra-)?index" + "-url|--find" + "-links|--trusted" + "-host", "a registry option"),
    ("anaconda" + r"\.org|npm" + r"js\.org", "a registry host"),
]


@pytest.mark.parametrize(("pattern", "why"), FORBIDDEN_WORDS)
def test_no_forbidden_words(pattern: str, why: str) -> None:
    expression = re.compile(pattern)
    wrong = []
    for path in repository_files():
        try:
            lines = path.read_text("utf-8").splitlines()
        except UnicodeDecodeError:
            continue  # a picture or an archive
        wrong += [
            f"{at(path, n)}: {why}" for n, line in enumerate(lines, 1) if expression.search(line)
        ]
    assert not wrong, "\n".join(wrong)


def test_the_lock_holds_every_dependency() -> None:
    project = pyproject()["project"]
    wanted = project["dependencies"] + requirements("dev", project["optional-dependencies"])
    pinned = re.compile(r"^([A-Za-z0-9_.-]+)==[0-9][^ ]*( ; python_version .*)?$")
    locked = set()
    for line in (ROOT / "constraints.txt").read_text("utf-8").splitlines():
        if not line.startswith("#"):
            match = pinned.match(line)
            assert match, f"constraints.txt: {line!r} is not name==version; run `make lock`"
            locked.add(match.group(1).lower().replace("_", "-"))
    missing = [name for name in wanted if re.split(r"[<>=!~ ;\[]", name)[0].lower() not in locked]
    assert not missing, "not in constraints.txt: run `make lock`"


GUARD = """
import importlib, sys
sys.path.insert(0, {root!r})
for name in {names!r}:
    try:
        importlib.import_module(name)
    except ImportError as error:
        assert "mltwin." + name in str(error), error
    else:
        raise SystemExit(name + " was imported by its bare name")
"""


def test_bare_folder_names_are_refused() -> None:
    """`import sim` in a checkout would make a second copy of every module: it must say so."""
    names = [name.rpartition(".")[2] for name in package_dirs() if name != PACKAGE]
    script = GUARD.format(root=str(ROOT), names=names)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
