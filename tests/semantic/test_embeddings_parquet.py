"""A user's embeddings from Parquet, and what is wrong with those that cannot be read."""

import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mltwin.sim.errors import InputError
from mltwin.workloads.embeddings_parquet import read_embeddings

GOOD: dict[str, Any] = {
    "embedding": [[3.0, 4.0], [0.0, 2.0], [1.0, 0.0]],
    "time": [10.0, 10.5, 12.0],
    "category": ["code", "chat", "code"],
    "intent": ["a", "b", "a"],
    "version": [0, 4, 1],
}


def write(folder: Path, **columns: Any) -> Path:
    """A file with these columns; None leaves one out."""
    data = {k: v for k, v in {**GOOD, **columns}.items() if v is not None}
    path = folder / "queries.parquet"
    pq.write_table(pa.table(data), path)
    return path


def test_all_columns(tmp_path: Path) -> None:
    queries = read_embeddings(write(tmp_path))
    assert queries.embedding.dtype == np.float32
    assert np.allclose(queries.embedding, [[0.6, 0.8], [0, 1], [1, 0]])
    assert queries.arrival.tolist() == [0, 500_000_000, 2_000_000_000]
    assert queries.categories == ("code", "chat") and queries.category.tolist() == [0, 1, 0]
    assert queries.intent.tolist() == [0, 1, 0] and queries.version.tolist() == [0, 4, 1]
    assert queries.source.endswith("queries.parquet")


def test_the_embedding_alone(tmp_path: Path) -> None:
    path = write(tmp_path, time=None, category=None, intent=None, version=None)
    queries = read_embeddings(path, rate=4.0)
    assert queries.arrival.tolist() == [0, 250_000_000, 500_000_000]
    assert queries.categories == ("all",)
    assert set(queries.intent) == set(queries.version) == {-1}
    assert len(read_embeddings(path, limit=2)) == 2


def test_other_names_and_types(tmp_path: Path) -> None:
    start = datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC)
    table = pa.table(
        {
            "vector": pa.array(GOOD["embedding"], pa.list_(pa.float32(), 2)),
            "at": pa.array([start + datetime.timedelta(milliseconds=k) for k in (0, 1, 5)]),
            "kind": pa.array([7, 7, 9]),
            "answer": pa.array(["x", "y", "x"]).dictionary_encode(),
        }
    )
    path = tmp_path / "other.parquet"
    pq.write_table(table, path)
    columns = {"embedding": "vector", "time": "at", "category": "kind", "intent": "answer"}
    queries = read_embeddings(path, columns=columns)
    assert queries.arrival.tolist() == [0, 1_000_000, 5_000_000]
    assert queries.categories == ("7", "9") and queries.intent.tolist() == [0, 1, 0]


NAN = float("nan")
WRONG = {
    "nan": ({"embedding": [[1.0], [NAN], [1.0]]}, r"row 2, column 'embedding': holds NaN"),
    "infinite": ({"embedding": [[1.0], [1.0], [float("inf")]]}, "row 3, .*NaN or infinity"),
    "zero": ({"embedding": [[1.0, 0.0], [0.0, 0.0], [1.0, 1.0]]}, "row 2, .*length 0"),
    "ragged": ({"embedding": [[1.0, 2.0], [1.0, 2.0], [1.0]]}, "row 3, .*has 1 numbers .* has 2"),
    "empty": ({"embedding": pa.array([[], [], []], pa.list_(pa.float32()))}, "holds no numbers"),
    "null row": ({"embedding": [[1.0], None, [1.0]]}, "row 2, .*is empty"),
    "null number": ({"embedding": [[1.0], [None], [1.0]]}, "row 2, .*empty number"),
    "no list": ({"embedding": [1.0, 2.0, 3.0]}, "holds double, not lists of numbers"),
    "text list": ({"embedding": [["a"], ["b"], ["c"]]}, "not lists of numbers"),
    "falling": ({"time": [1.0, 3.0, 2.0]}, "row 3, column 'time': is before the row above"),
    "nan time": ({"time": [1.0, NAN, 2.0]}, "row 2, column 'time': is NaN"),
    "text time": ({"time": ["a", "b", "c"]}, "not seconds or timestamps"),
    "no category": ({"category": ["a", None, "b"]}, "row 2, column 'category': is empty"),
    "float intent": ({"intent": [1.5, 2.5, 3.5]}, "not text or whole numbers"),
    "low version": ({"version": [0, -1, 2]}, "row 2, column 'version': is not within"),
    "float version": ({"version": [0.5, 1.0, 2.0]}, "not whole numbers"),
    "no rows": ({k: [] for k in GOOD}, "holds no rows"),
    "no embedding": ({"embedding": None}, "has no column 'embedding'; its columns are time"),
}


@pytest.mark.parametrize(("columns", "why"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_said(tmp_path: Path, columns: dict[str, Any], why: str) -> None:
    with pytest.raises(InputError, match=why) as caught:
        read_embeddings(write(tmp_path, **columns))
    assert "queries.parquet" in str(caught.value) and caught.value.mend


def test_wrong_maps_and_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="'vector' is no column of embeddings"):
        read_embeddings(write(tmp_path), columns={"vector": "embedding"})
    with pytest.raises(InputError, match="has no column 'when'"):
        read_embeddings(write(tmp_path), columns={"time": "when"})
    text = tmp_path / "a.parquet"
    text.write_text("embedding\n1\n")
    with pytest.raises(InputError, match="not whole Parquet"):
        read_embeddings(text)
    with pytest.raises(InputError):
        read_embeddings(tmp_path / "none.parquet")
