"""What MkDocs does for the site beyond its plugins (``hooks`` in mkdocs.yml).

Before the build: the link tree that the API pages are read from, and navigation entries that name a
folder, `Gallery: gallery/`, become the pages of the folder. The page of the Python names gets its
table from the package. After a page is rendered: its formulas
become MathML, so that no script, local or from elsewhere, has to draw them, and the roles of
docstrings go.
"""

import ast
import html
import re
from pathlib import Path
from typing import Any

from site_math import MathError, mathml
from source_tree import modules
from typecheck import link_tree

# What pymdownx.arithmatex makes of $...$ and $$...$$.
_FORMULA = re.compile(
    r'<(?P<tag>span|div) class="arithmatex">\\[\[(](?P<tex>.*?)\\[\])]</(?P=tag)>', re.S
)
_NAMES = "<!-- offered names: written by tools/site_hooks.py -->"
# Docstrings name things as :class:`Name`, which Markdown leaves as ":class:" and code.
_ROLE = re.compile(r":(?:attr|class|data|func|meth|mod):(<code>)")


def on_startup(**_: Any) -> None:
    """Make the tree of links to the package, before mkdocstrings looks for its folder."""
    link_tree()


def on_config(config: Any) -> Any:
    """Name the pages of folders in the navigation."""
    config["nav"] = with_folders(config["nav"], Path(config["docs_dir"]))
    return config


def on_page_content(content: str, page: Any, **_: Any) -> str:
    """The rendered page with its formulas as MathML.

    Raises:
        MathError: a formula that is not understood, with the page it stands on.
    """

    def drawn(found: re.Match[str]) -> str:
        tex = html.unescape(found["tex"])
        try:
            return mathml(tex, display=found["tag"] == "div")
        except MathError as error:
            raise MathError(f"{page.file.src_uri}: {error}") from None

    return _ROLE.sub(r"\1", _FORMULA.sub(drawn, content))


def on_page_markdown(markdown: str, **_: Any) -> str:
    """A page with the table of the names that the package offers, where it asks for it."""
    return markdown.replace(_NAMES, names_table()) if _NAMES in markdown else markdown


def names_table() -> str:
    """A row for each name of `import mltwin as mt`: a link into the reference, and what it is."""
    from mltwin import _OFFERED

    rows = [
        f"| [`mt.{name}`][{anchor(home, name)}] | {first_sentence(home, name)} |"
        for name, home in sorted(_OFFERED.items(), key=lambda item: item[0].lower())
    ]
    return "\n".join(["| name | what |", "|---|---|", *rows])


def anchor(module: str, name: str) -> str:
    """Where the reference describes an offered name, which may be a module itself."""
    from mltwin import _MODULES

    return module if name in _MODULES else f"{module}.{name}"


def first_sentence(module: str, name: str) -> str:
    """The beginning of a docstring, read without importing anything."""
    path = next(m.path for m in modules() if m.name == module)
    tree = ast.parse(path.read_text("utf-8"))
    if anchor(module, name) == module:
        return beginning(tree)
    nodes = tree.body
    if path.name == "__init__.py":  # offered from elsewhere within its package
        for node in nodes:
            if isinstance(node, ast.ImportFrom) and name in {a.name for a in node.names}:
                return first_sentence(f"{module}.{node.module}", name)
    found = next(n for n in nodes if getattr(n, "name", "") == name)
    assert isinstance(found, ast.FunctionDef | ast.ClassDef)
    return beginning(found)


def beginning(node: ast.Module | ast.FunctionDef | ast.ClassDef) -> str:
    """The first sentence of a docstring."""
    text = " ".join((ast.get_docstring(node) or "").split("\n\n")[0].split())
    return re.split(r"(?<=\.) ", text)[0].replace("|", "\\|")


def with_folders(nav: list[Any], docs: Path) -> list[Any]:
    """A navigation with each entry `name/` replaced by the pages of that folder, index first."""
    return [
        {title: expanded(entry, docs) for title, entry in item.items()}
        if isinstance(item, dict)
        else item
        for item in nav
    ]


def expanded(entry: Any, docs: Path) -> Any:
    """One entry of a navigation, folders replaced by their pages."""
    if isinstance(entry, list):
        return with_folders(entry, docs)
    if not entry.endswith("/"):
        return entry
    pages = sorted((docs / entry).glob("*.md"), key=lambda p: (p.name != "index.md", p.name))
    return [entry_of(page, docs) for page in pages]


def entry_of(page: Path, docs: Path) -> str | dict[str, str]:
    """A page of a folder in the navigation: by its file's name, as headings there are long."""
    path = page.relative_to(docs).as_posix()
    return path if page.stem == "index" else {page.stem.replace("_", " ").capitalize(): path}
