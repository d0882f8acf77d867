"""Uploads: stored by content, bounded, shown by the name they had."""

from pathlib import Path

from mltwin.app.explorer import uploads, workspace


def test_a_file_is_named_by_its_content(tmp_path: Path) -> None:
    one = uploads.keep(tmp_path, "../../evil name.jsonl.gz", b"abc")
    assert one.parent == tmp_path and one.name.endswith(".jsonl.gz") and len(one.stem) >= 32
    assert one.read_bytes() == b"abc" and one.stat().st_mode & 0o077 == 0
    assert uploads.called(one) == "evil name.jsonl.gz"
    assert uploads.keep(tmp_path, "other.jsonl.gz", b"abc") == one


def test_odd_endings_are_cleaned(tmp_path: Path) -> None:
    path = uploads.keep(tmp_path, "x.c s/v;\n", b"1")
    assert path.parent == tmp_path and path.is_file()


def test_the_oldest_make_room(tmp_path: Path) -> None:
    kept = [uploads.keep(tmp_path, f"{i}.csv", bytes([i])) for i in range(uploads.MOST + 3)]
    assert not kept[0].exists() and not kept[2].exists() and kept[3].exists()
    assert len([p for p in tmp_path.iterdir() if p.suffix == ".csv"]) == uploads.MOST


def test_old_visitors_are_forgotten(tmp_path: Path) -> None:
    import os

    old, new, stranger = (tmp_path / n for n in (workspace.new_token(), workspace.new_token(), "x"))
    for folder in (old, new, stranger):
        folder.mkdir()
        uploads.keep(folder, "a.csv", b"1")
    for folder in (old, stranger):
        os.utime(folder, (0, 0))
    uploads.prune(tmp_path)
    assert not old.exists() and new.exists() and stranger.exists()
