"""A new data folder outlasts a loss of power, with its parents."""

from __future__ import annotations

from pathlib import Path

import pytest

from node.adapters import sqlite
from node.adapters.sqlite import make_folder


def test_the_name_of_every_new_folder_is_made_durable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the folder above it, once it is there; nothing is done for what was there before."""
    synced: list[tuple[str, bool]] = []
    target = tmp_path / "a" / "b"

    def sync(folder: Path) -> None:
        synced.append((folder.name, (folder / target.relative_to(folder).parts[0]).is_dir()))

    monkeypatch.setattr(sqlite, "sync_folder", sync)
    make_folder(target)
    make_folder(target)
    assert target.is_dir() and synced == [(tmp_path.name, True), ("a", True)]


def test_a_file_in_the_way_is_an_error(tmp_path: Path) -> None:
    """Said by whoever asked."""
    (tmp_path / "a").touch()
    with pytest.raises(OSError, match="a"):
        make_folder(tmp_path / "a" / "b")
