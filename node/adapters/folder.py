"""What a node's data folder says of itself (`node.json`) and of the other nodes (`members.json`): small checksummed files."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from node.adapters.checked import read_checked, write_checked
from node.notices import AddressChanged
from node.ports import UNHEARD, Damaged, OperatorLog, StorageFailed

DATA_FORMAT = 1  # of the data folder; a newer one is refused
IDENTITY_FILE = "node.json"
MEMBERS_FILE = "members.json"
DATA_SUFFIXES = (".db", ".db-wal", ".promises", ".json")  # of files that come behind node.json


class DataFolder:
    """Implements `NodeFolder`. `owner` is what the settings say that the folder must be: cluster, node, shards and so on.

    `address` is where they say that the node listens. A whole cluster may move to others, so another one is only told: a node whose
    peers have not moved meets nobody who could say what is wrong.
    """

    def __init__(
        self, folder: Path, owner: Mapping[str, object], address: str, operator: OperatorLog = UNHEARD
    ) -> None:
        """Makes a new folder's identity file, or reads it. Raises StorageFailed where it is damaged, newer or another's."""
        self._path, self._members = folder / IDENTITY_FILE, folder / MEMBERS_FILE
        self._owner = {"format": DATA_FORMAT, **owner}
        self._address = address
        self._operator = operator
        self.place = str(folder)
        self.is_new = not self._path.exists()
        if not self.is_new:
            found = self._read()
        elif any(child.suffix in DATA_SUFFIXES for child in folder.iterdir()):
            raise Damaged(f"{folder}: holds data but no {IDENTITY_FILE}; it is foreign or damaged")
        else:
            found = {"data_id": secrets.randbits(62) + 1, "identity": 0, "is_replacement": False}
        self.data_id: int = found["data_id"]
        self.identity: int = found["identity"]
        self.is_replacement: bool = found["is_replacement"]
        self._keep_address(found.get("address"))
        remembered, is_sound = read_checked(self._members)
        self.table: list[Any] = remembered["table"] if is_sound else []

    def _keep_address(self, before: str | None) -> None:
        if before == self._address:
            return
        if before is not None:
            self._operator.tell(AddressChanged(before, self._address))
        self.admit(self.identity, self.is_replacement)

    def _read(self) -> dict[str, Any]:
        found, is_sound = read_checked(self._path)
        version = found.get("format")
        if type(version) is int and version > DATA_FORMAT:
            text = f"{self._path}: written by a newer version (format {version}, this is {DATA_FORMAT})"
            raise StorageFailed(text)
        if not is_sound:
            raise Damaged(f"{self._path}: damaged")
        for name, value in self._owner.items():
            if found.get(name) != value:
                raise StorageFailed(f"{self._path.parent}: belongs to {name} {found.get(name)!r}, started as {value!r}")
        return found

    def admit(self, identity: int, is_replacement: bool) -> None:
        """The folder belongs to this cluster from now on."""
        mine = {
            "data_id": self.data_id, "identity": identity, "is_replacement": is_replacement, "address": self._address,
        }  # fmt: skip
        write_checked(self._path, {**self._owner, **mine})
        self.identity, self.is_replacement = identity, is_replacement

    def remember(self, table: list[Any]) -> None:
        """Keeps the table of all nodes' folders. A file that is damaged counts as none: group 0 and the peers tell it again."""
        write_checked(self._members, {"table": table})
        self.table = table
