"""A data folder's small files: durable, checksummed, and told apart where they are damaged, newer or another's."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from node.adapters.folder import DataFolder
from node.adapters.operator_log import MemoryOperatorLog
from node.notices import AddressChanged
from node.ports import StorageFailed

OWNER = {"cluster": "demo", "node": 2, "shards": 4}
ADDRESS = "127.0.0.1:7102"
TABLE = [3, 777, [[1, 55, 0], [2, 66, 1]]]


def test_what_it_is_told_is_durable(tmp_path: Path) -> None:
    """The data id is made once; cluster and table are there after a restart."""
    folder = DataFolder(tmp_path, OWNER, ADDRESS)
    assert folder.identity == 0 and folder.table == [] and not folder.is_replacement
    folder.admit(777, is_replacement=True)
    folder.remember(TABLE)
    again = DataFolder(tmp_path, OWNER, ADDRESS)
    assert (again.data_id, again.identity, again.is_replacement, again.table) == (folder.data_id, 777, True, TABLE)
    (tmp_path / "other").mkdir()
    assert DataFolder(tmp_path / "other", OWNER, ADDRESS).data_id != folder.data_id


def test_one_flipped_digit_is_noticed(tmp_path: Path) -> None:
    """Any digit of either file: the folder's own identity is refused, the copy of the others' counts as lost."""
    folder = DataFolder(tmp_path, OWNER, ADDRESS)
    folder.admit(777, is_replacement=False)
    folder.remember(TABLE)
    for name in ("node.json", "members.json"):
        text = (tmp_path / name).read_text()
        for place in [place for place, letter in enumerate(text) if letter.isdigit()]:
            (tmp_path / name).write_text(text[:place] + str((int(text[place]) + 1) % 10) + text[place + 1 :])
            if name == "node.json":
                with pytest.raises(StorageFailed, match=r"damaged|newer version"):
                    DataFolder(tmp_path, OWNER, ADDRESS)
            else:
                assert DataFolder(tmp_path, OWNER, ADDRESS).table == []
        (tmp_path / name).write_text(text)
    assert DataFolder(tmp_path, OWNER, ADDRESS).table == TABLE


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff\xfe", b"null", b"[" * 5_000, b'{"crc": 1}'])
def test_files_that_are_no_such_files(tmp_path: Path, content: bytes) -> None:
    """Torn, empty, or something else: the same as a flipped digit."""
    DataFolder(tmp_path, OWNER, ADDRESS).remember(TABLE)
    (tmp_path / "members.json").write_bytes(content)
    assert DataFolder(tmp_path, OWNER, ADDRESS).table == []
    (tmp_path / "node.json").write_bytes(content)
    with pytest.raises(StorageFailed, match=r"node\.json: damaged"):
        DataFolder(tmp_path, OWNER, ADDRESS)


def test_another_nodes_folder(tmp_path: Path) -> None:
    """What it belongs to is said, beside what was expected."""
    DataFolder(tmp_path, OWNER, ADDRESS)
    with pytest.raises(StorageFailed, match="belongs to node 2, started as 3"):
        DataFolder(tmp_path, {**OWNER, "node": 3}, ADDRESS)


def test_a_newer_folder(tmp_path: Path) -> None:
    """A version that this one cannot read is not called damaged, whatever is in it."""
    DataFolder(tmp_path, OWNER, ADDRESS)
    (tmp_path / "node.json").write_text(json.dumps({"format": 99, "shape": "unknown"}))
    with pytest.raises(StorageFailed, match="newer version"):
        DataFolder(tmp_path, OWNER, ADDRESS)


def test_databases_without_an_identity(tmp_path: Path) -> None:
    """Foreign, or the one file is lost: nothing is made in it."""
    (tmp_path / "photos.db").write_bytes(b"")
    with pytest.raises(StorageFailed, match="foreign or damaged"):
        DataFolder(tmp_path, OWNER, ADDRESS)
    assert [path.name for path in tmp_path.iterdir()] == ["photos.db"]


def test_another_address_is_told_once(tmp_path: Path) -> None:
    """Where the peers have moved as well it is right; where they have not, nobody else can tell."""
    data_id = DataFolder(tmp_path, OWNER, ADDRESS).data_id
    for address, count in ((ADDRESS, 0), ("127.0.0.1:7202", 1), ("127.0.0.1:7202", 0)):
        operator = MemoryOperatorLog(lambda: 0.0)
        assert DataFolder(tmp_path, OWNER, address, operator).data_id == data_id
        assert [one.notice for one in operator.told] == count * [AddressChanged(ADDRESS, address)]
