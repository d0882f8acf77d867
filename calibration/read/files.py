"""Files of measurements: where they are, what they hold, which rows are held out."""

import hashlib
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from mltwin.sim.errors import InputError


def source_path(data: str | Path, relative: str) -> Path:
    """The file ``kernels/<relative>`` under ``data``.

    Raises:
        InputError: it is not there.
    """
    path = Path(data) / "kernels" / relative
    if not path.is_file():
        raise InputError(
            "no such measurement file", where=str(path), mend="point --data at the data folder"
        )
    return path


def source_folder(data: str | Path, relative: str) -> Path:
    """The folder ``kernels/<relative>`` under ``data`` (it may be missing)."""
    return Path(data) / "kernels" / relative


def sha256(path: Path) -> str:
    """Hex digest of the file as stored."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def read_columns(path: Path, columns: tuple[str, ...]) -> pd.DataFrame:
    """The table at ``path``, which must have the columns.

    Raises:
        InputError: a column is missing.
    """
    frame = pd.read_csv(path)
    missing = [c for c in columns if c not in frame]
    if missing:
        raise InputError(f"columns {missing} are missing", where=str(path))
    return frame


def held_out(*keys: npt.ArrayLike, share: int = 5) -> npt.NDArray[np.bool_]:
    """True for one key in ``share``, chosen by a hash of the key.

    Rows with equal keys fall on the same side, so a held-out shape was never seen in the fit.
    """
    columns = [np.asarray(key).astype(str) for key in keys]
    names = [",".join(row) for row in zip(*columns, strict=True)]
    verdict = {
        name: int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") % share == 0
        for name in set(names)
    }
    return np.array([verdict[name] for name in names], dtype=bool)
