"""Data to learn from: real, drawn, and a user's own."""

import builtins
import sys

import numpy as np
import pytest

from mltwin.sim.errors import InputError
from mltwin.workloads.federated import datasets, from_files, splits
from mltwin.workloads.federated.drawn import gaussians, synthetic
from mltwin.workloads.federated.pool import Pool


def test_held_out_rows_are_kept_apart_and_keyed() -> None:
    x = np.arange(200.0).reshape(100, 2)
    one, same, other = (
        Pool.make(x, np.arange(100) % 3, classes=3, standardise=False, seed=s) for s in (1, 1, 2)
    )
    assert len(one) == 80 and len(one.test_y) == 20
    rows = np.concatenate((one.x, one.test_x))
    assert np.array_equal(np.sort(rows[:, 0]), x[:, 0])
    assert np.array_equal(one.test_x, same.test_x)
    assert not np.array_equal(one.test_x, other.test_x)


def test_scaling_looks_at_training_rows_only() -> None:
    rng = np.random.default_rng(5)
    x = np.column_stack([rng.normal(7, 3, 500), np.full(500, 4.0), rng.exponential(2, 500)])
    pool = Pool.make(x, np.arange(500) % 2, classes=2, seed=1)
    assert pool.x[:, [0, 2]].mean(axis=0) == pytest.approx(0.0, abs=1e-5)
    assert pool.x[:, [0, 2]].std(axis=0) == pytest.approx(1.0, rel=1e-5)
    assert (pool.x[:, 1] == 0).all() and (pool.test_x[:, 1] == 0).all()
    assert abs(pool.test_x[:, 0].mean()) > 1e-4  # scaled by the others' numbers


def test_natural_clients_lose_their_share_but_never_all() -> None:
    group = np.repeat([0, 1, 2, 3], [1, 2, 5, 100])
    pool = Pool.make(np.arange(108.0)[:, None], np.arange(108) % 2, classes=2, group=group)
    assert np.bincount(pool.group).tolist() == [1, 2, 4, 80]
    assert np.bincount(pool.test_group, minlength=4).tolist() == [0, 0, 1, 20]


def test_gaussian_classes_are_as_far_apart_as_asked() -> None:
    """Of two classes the best accuracy is Phi(half the distance of the centres)."""
    from scipy.special import ndtr

    pool = gaussians(40_000, classes=2, features=6, distance=1.5, seed=3)
    centres = np.array([pool.x[pool.y == k].mean(axis=0) for k in (0, 1)])
    nearest = ((pool.test_x[:, None] - centres) ** 2).sum(axis=2).argmin(axis=1)
    best = ndtr(0.5 * np.linalg.norm(centres[1] - centres[0]))
    assert (nearest == pool.test_y).mean() == pytest.approx(best, abs=0.015)


def test_fedprox_synthetic_differs_between_clients_as_its_variances_say() -> None:
    pool = synthetic(1.0, 1.0, clients=200, held_out=0.0, seed=2)
    assert pool.features == 60 and pool.classes == 10
    sizes = np.bincount(pool.group)
    assert sizes.min() >= 50 and sizes.max() <= 10_000
    means = np.array([pool.x[pool.group == k].mean(axis=0) for k in range(200)])
    # A feature's mean over a client: N(B_k, 1) with B_k ~ N(0, beta), so variance 2 across clients,
    # of which half is shared by a client's features.
    assert means.var() == pytest.approx(2.0, rel=0.15)
    assert means.mean(axis=1).var() == pytest.approx(1.0, rel=0.3)
    alike = synthetic(1.0, 1.0, clients=50, held_out=0.0, seed=2, same=True)
    means = np.array([alike.x[alike.group == k].mean(axis=0) for k in range(50)])
    assert means.var() < 0.02
    spread = alike.x.std(axis=0)
    assert spread == pytest.approx(np.arange(1, 61) ** -0.6, rel=0.15)


def test_digits_copies_are_moved_images_of_training_rows() -> None:
    pytest.importorskip("sklearn")
    pool = datasets.digits(seed=4)
    assert (len(pool), pool.features, len(pool.test_y)) == (1438, 64, 359)
    assert pool.x.min() == 0.0 and pool.x.max() == 1.0
    more = datasets.digits(seed=4, copies=3)
    assert len(more) == 4 * 1438
    assert np.array_equal(more.test_x, pool.test_x)
    source, made = more.x[:1438].reshape(-1, 8, 8), more.x[1438:].reshape(3, -1, 8, 8)
    assert np.array_equal(more.y, np.tile(pool.y, 4))
    moves = set()
    for copy in made:
        for image, moved in zip(source[:60], copy[:60], strict=True):
            framed = np.pad(image, 1)
            found = [
                (i, j)
                for i in range(3)
                for j in range(3)
                if np.array_equal(framed[i : i + 8, j : j + 8], moved)
            ]
            assert found
            moves |= set(found[:1])
    assert len(moves) == 8
    noisy = datasets.digits(seed=4, copies=1, noise=0.1)
    assert noisy.x.min() >= 0.0 and noisy.x.max() <= 1.0
    assert 0.03 < (noisy.x[1438:] - more.x[1438 : 2 * 1438]).std() < 0.1


@pytest.mark.parametrize(
    ("name", "rows", "features", "classes"),
    [("wine", 178, 13, 3), ("breast_cancer", 569, 30, 2)],
)
def test_small_real_data(name: str, rows: int, features: int, classes: int) -> None:
    pytest.importorskip("sklearn")
    pool = getattr(datasets, name)(seed=1)
    assert len(pool) + len(pool.test_y) == rows
    assert (pool.features, pool.classes) == (features, classes)
    assert pool.x.std(axis=0) == pytest.approx(1.0, rel=1e-4)
    assert set(pool.y.tolist()) == set(range(classes))


def test_rand_hie_has_natural_clients() -> None:
    pytest.importorskip("statsmodels")
    people = datasets.rand_hie(seed=1)
    assert len(people) + len(people.test_y) == 20_186
    assert people.features == 18 and people.classes == 2
    split = splits.natural(people)
    # 5,912 persons less four who have no complete row.
    assert split.clients == 5908 and split.samples.max() <= 5
    assert people.y.mean() == pytest.approx(0.78, abs=0.01)
    sites = datasets.rand_hie(clients="site", target="visits")
    assert splits.natural(sites).clients == 6 and sites.classes == 0


@pytest.mark.parametrize("name", ["digits", "rand_hie"])
def test_a_missing_extra_is_one_line(name: str, monkeypatch) -> None:
    import importlib.util

    real = builtins.__import__

    def refuse(module, *rest, **more):
        if module.split(".")[0] in ("sklearn", "statsmodels"):
            raise ImportError(module)
        return real(module, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", refuse)
    monkeypatch.setattr(importlib.util, "find_spec", lambda module: None)
    with pytest.raises(InputError, match=r"not installed; pip install mltwin\[federated\]"):
        getattr(datasets, name)()


def test_nothing_heavy_is_imported_with_the_readers() -> None:
    import subprocess

    code = (
        "import sys, mltwin.workloads.federated.datasets, mltwin.workloads.federated.populations;"
        "print([m for m in ('sklearn', 'statsmodels', 'pandas', 'scipy', 'numba') "
        "if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


CSV = "a,hospital,label,b\n1,north,yes,2\n3,south,no,4\n5,north,no,6\n7,south,yes,9\n"


def test_a_csv_with_text_labels_and_clients(tmp_path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text(CSV)
    pool = from_files.arrays(path, client="hospital", held_out=0.0, standardise=False)
    assert pool.x.tolist() == [[1, 2], [3, 4], [5, 6], [7, 9]]
    assert pool.y.tolist() == [1, 0, 0, 1] and pool.facts["labels"] == ["no", "yes"]
    assert pool.group.tolist() == [0, 1, 0, 1] and pool.names == ("north", "south")
    assert splits.natural(pool).samples.tolist() == [2, 2]
    one = from_files.arrays(path, features=["b"], regression=False, held_out=0.0)
    assert one.features == 1
    target = from_files.arrays(
        path, label="b", features=["a"], regression=True, held_out=0.0, standardise=False
    )
    assert target.classes == 0 and target.y.tolist() == [2, 4, 6, 9]


def test_parquet_and_npz_give_the_same_pool(tmp_path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rng = np.random.default_rng(1)
    x, y, client = rng.normal(size=(60, 3)), np.arange(60) % 4, np.arange(60) // 6
    np.savez(tmp_path / "mine.npz", x=x, y=y, client=client)
    columns = {f"f{k}": x[:, k] for k in range(3)} | {"label": y, "client": client}
    pq.write_table(pa.table(columns), tmp_path / "mine.parquet")
    a, b = (from_files.arrays(tmp_path / f"mine.{kind}", seed=3) for kind in ("npz", "parquet"))
    for name in ("x", "y", "group", "test_x", "test_y", "test_group"):
        assert np.array_equal(getattr(a, name), getattr(b, name)), name


def test_an_npz_may_bring_its_tests(tmp_path) -> None:
    x = np.array([[0.0], [2.0], [4.0], [6.0]])
    np.savez(tmp_path / "t.npz", x=x, y=list("abab"), test_x=[[3.0], [8.0]], test_y=["b", "a"])
    pool = from_files.arrays(tmp_path / "t.npz")
    assert len(pool) == 4 and pool.test_y.tolist() == [1, 0]
    assert pool.test_x[:, 0].tolist() == pytest.approx([0.0, 5 / np.sqrt(5)])


def write(tmp_path, text: str, name: str = "bad.csv"):
    path = tmp_path / name
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("text", "options", "says"),
    [
        (CSV, {"label": "lable"}, "no column 'lable'"),
        (CSV, {}, "bad.csv, line 2, column 'hospital': 'north' is not a finite number"),
        (CSV.replace(",6", ","), {"client": "hospital"}, "line 4, column 'b'"),
        (CSV.replace("\n5", "\n\n5").replace(",6", ",nan"), {"client": "hospital"}, "line 5"),
        (CSV.replace("yes", ""), {"client": "hospital"}, "line 2, column 'label': has no label"),
        (CSV.replace("no", "yes"), {"client": "hospital"}, "all labels are 'yes'"),
        (CSV + "1,2\n", {"client": "hospital"}, "line 6: 2 columns, the header has 4"),
        ("a,label\n", {}, "has no rows"),
        ("a,a,label\n1,2,3\n", {}, "column 'a' stands there twice"),
        ("label\nx\ny\n", {}, "has no column to learn from"),
    ],
)
def test_bad_tables_are_one_line(tmp_path, text, options, says) -> None:
    with pytest.raises(InputError) as found:
        from_files.arrays(write(tmp_path, text), **options)
    assert says in str(found.value) and "\n" not in str(found.value)


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({"x": np.ones((3, 2))}, "has no array 'y'; there are x"),
        ({"x": np.ones((3, 2)), "y": [0, 1]}, "3 rows of x, 2 of y"),
        ({"x": np.ones(3), "y": [0, 1, 1]}, "x has shape (3,)"),
        ({"x": [[1.0], [np.inf]], "y": [0, 1]}, "x[1, 0] is inf"),
        (
            {"x": np.ones((2, 1)), "y": [0, 1], "test_x": np.ones((1, 1))},
            "one of test_x and test_y",
        ),
        ({"x": np.array([[object()]]), "y": [0]}, "cannot be read as .npz"),
    ],
)
def test_bad_npz_files_are_one_line(tmp_path, arrays, says) -> None:
    np.savez(tmp_path / "bad.npz", **arrays)
    with pytest.raises(InputError) as found:
        from_files.arrays(tmp_path / "bad.npz")
    assert says in str(found.value) and "\n" not in str(found.value)


@pytest.mark.parametrize("name", ["none.npz", "none.csv", "none.parquet", "mine.xlsx"])
def test_missing_and_unknown_files_are_one_line(tmp_path, name: str) -> None:
    with pytest.raises(InputError, match=name.replace(".", r"\.")):
        from_files.arrays(tmp_path / name)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: gaussians(3, classes=5), "3 samples of 5 classes"),
        (lambda: synthetic(-1.0, 1.0), "alpha -1.0"),
        (lambda: datasets.rand_hie(clients="plan"), "clients is 'plan'"),
        (lambda: datasets.rand_hie(target="cost"), "target is 'cost'"),
        (lambda: datasets.digits(held_out=1.0), "held_out is 1.0"),
        (lambda: datasets.digits(copies=-1), "copies is -1"),
    ],
)
def test_impossible_data_is_one_line(make, says: str) -> None:
    with pytest.raises(InputError) as found:
        make()
    assert says in str(found.value)
