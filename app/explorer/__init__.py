"""The explorer: pages in a browser over the same commands and results."""

from pathlib import Path


def main_script() -> Path:
    """The file that Streamlit runs. It stands outside this folder, as Streamlit would take the
    `pages/` beside it for pages of its own kind."""
    return Path(__file__).parent.parent / "explorer_main.py"
