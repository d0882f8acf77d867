"""Type-check the package: ``python tools/typecheck.py [mypy options]``.

mypy does not run import hooks, so it cannot see that ``mltwin.sim`` lives in ``sim/``. This makes
a tree of links with the shape of the installed package, ``.typing/mltwin/``, and checks that.
"""

import os
import subprocess
import sys
from pathlib import Path

from source_tree import PACKAGE, ROOT, package_dirs

TREE = ROOT / ".typing"


def link_tree() -> Path:
    """Make or mend ``.typing/mltwin/`` and return its parent, the folder to check from."""
    folders = package_dirs()
    face = folders.pop(PACKAGE)
    own = [p for p in face.iterdir() if p.is_file() or (p / "__init__.py").is_file()]
    links = {TREE / PACKAGE / path.name: path for path in own}
    links |= {TREE.joinpath(*name.split(".")): folder for name, folder in folders.items()}
    (TREE / PACKAGE).mkdir(parents=True, exist_ok=True)
    for stale in set((TREE / PACKAGE).iterdir()) - set(links):
        stale.unlink()
    for link, target in links.items():
        # Relative, so that the tree survives a move of the checkout.
        path = os.path.relpath(target, link.parent)
        if not (link.is_symlink() and os.readlink(link) == path):
            link.unlink(missing_ok=True)
            link.symlink_to(path)
    return TREE


def main(arguments: list[str]) -> int:
    """Run mypy over the link tree; the exit status is mypy's."""
    tree = link_tree()
    command = [sys.executable, "-m", "mypy", "--config-file", str(ROOT / "pyproject.toml")]
    command += ["-p", PACKAGE, *arguments]
    return subprocess.run(command, cwd=tree, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
