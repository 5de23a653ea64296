"""PROTOCOL.md and the code say the same."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

import protocol
from node.daemon import make_operations
from protocol import frames, ids, messages, money, placement
from protocol.columns import Flag, Transfers
from protocol.errors import ErrorCode
from protocol.operations import Operation
from protocol.placement import Placement
from protocol.status import AccountState, AccountStatus, AllowanceStatus, LockStatus, Status

DOCUMENT = (Path(str(protocol.__file__)).parent / "PROTOCOL.md").read_text("utf-8")


def block(name: str) -> list[str]:
    """The lines of the one vector block of that name."""
    (found,) = re.findall(rf"```vector {name}\n(.*?)```", DOCUMENT, re.DOTALL)
    return str(found).strip().split("\n")


def pairs(name: str) -> list[tuple[str, str]]:
    """(left, right) of a block's arrows, each within a line or over two."""
    parts = [part.strip() for part in re.split(r"\s*-> |\n", "\n".join(block(name))) if part.strip()]
    return list(zip(parts[::2], parts[1::2], strict=True))


def value_of(notation: str) -> Any:
    def bytes_or_map(found: dict[str, Any]) -> Any:
        return bytes.fromhex(found["hex"]) if list(found) == ["hex"] else found

    return json.loads(re.sub(r"h'([0-9a-f]*)'", r'{"hex": "\1"}', notation), object_hook=bytes_or_map)


def rows_of(section: str) -> list[list[str]]:
    """The cells of all table rows of a section, code marks taken off."""
    (text,) = re.findall(rf"\n## {section}\n(.*?)(?:\n## |\Z)", DOCUMENT, re.DOTALL)
    lines = [line for line in text.split("\n") if line.startswith("| ")]
    return [[cell.strip().strip("`") for cell in line.split("|")[1:-1]] for line in lines]


def test_frames() -> None:
    """A body gives the frame of the document, and the frame the body."""
    for body_hex, frame_hex in pairs("frame"):
        body = bytes.fromhex(body_hex.replace("(empty)", ""))
        assert frames.encode_body(body).hex() == frame_hex
        assert frames.FrameDecoder(100).feed(bytes.fromhex(frame_hex)) == [body]


def test_messages() -> None:
    """Each kind is shown at least once, and its bytes are those of the code in both directions."""
    shown = []
    for notation, body_hex in pairs("message"):
        message = messages.decode(bytes.fromhex(body_hex))
        assert messages.encode(message).hex() == body_hex
        assert frames.unpack(bytes.fromhex(body_hex)) == value_of(notation)
        shown.append(value_of(notation)[0])
        if isinstance(message, messages.Welcome | messages.Placed):
            assert Placement.unpack(message.placement).pack() == message.placement
    assert sorted(dict.fromkeys(shown)) == [int(kind) for kind in messages.Kind]


def test_kinds() -> None:
    """The table of messages names every kind and every field in order."""
    table = {(row[0], row[1]): row for row in rows_of("3. Messages")}
    for message_class, kind in messages._KINDS.items():
        fields = table[str(kind), messages.Kind(kind).name][3]
        places = [fields.index(name) for name in message_class.__dataclass_fields__]
        assert places == sorted(places)


def test_ring() -> None:
    """Points and shards are those of the document."""
    for notation, numbers in pairs("ring"):
        account_id = json.loads(notation)
        shards = placement.group_of(account_id, 16), placement.group_of(account_id, 1_000)
        assert numbers == f"{placement.point(account_id):08x} {shards[0]} {shards[1]}"


def test_ids() -> None:
    """A generator makes the ids of the document."""
    for arguments, text in pairs("id"):
        now_ms, random_value = map(int, arguments.split())
        generator = ids.IdGenerator(lambda now_ms=now_ms: now_ms, lambda _bits, value=random_value: value)  # type: ignore[misc]  # defaults bind the loop's values
        assert ids.format(generator.next()) == text


def test_money() -> None:
    """Amounts are read and written as in the document."""
    for amount, minor in pairs("money"):
        text, currency = amount.split()
        assert money.parse(text, currency) == int(minor)
        assert money.format(int(minor), currency) == text


def test_columns() -> None:
    """The batch of the document is read, and packed alike."""
    for notation, packed_hex in pairs("columns"):
        row = value_of(notation)
        assert frames.pack(row).hex() == packed_hex
        batch = Transfers.unpack(row)
        assert batch.pack() == row
        assert batch.amounts().tolist() == [1_000, 2_000]
        assert batch.flag_bits().tolist() == [Flag.none, Flag.hold]
    table = [(row[0], row[1]) for row in rows_of("8. Columns of transfers")]
    for number, name in enumerate(Transfers.__dataclass_fields__):
        assert (str(number), name) in table
    for flag in Flag:
        assert (str(int(flag)), flag.name) in table


def test_statuses() -> None:
    """Every status is in its table with its number and nature, and no other."""
    rows = [row for row in rows_of("10. Statuses") if row[0].isdecimal()]
    transfers = [row for row in rows if len(row) == 4]
    accounts = [row for row in rows if len(row) == 2]
    assert [(int(row[0]), row[1]) for row in transfers] == [(int(s), s.name) for s in Status]
    assert [(row[2] == "yes", row[3] == "yes") for row in transfers] == [
        (status.is_recorded, status.is_transient) for status in Status
    ]
    of_accounts, of_allowances = accounts[: len(AccountStatus)], accounts[len(AccountStatus) :]
    assert [(int(row[0]), row[1]) for row in of_accounts] == [(int(s), s.name) for s in AccountStatus]
    assert [(int(row[0]), row[1]) for row in of_allowances] == [(int(s), s.name) for s in AllowanceStatus]
    locks = [row for row in rows if len(row) == 3]
    assert [(int(row[0]), row[1]) for row in locks] == [(int(s), s.name) for s in LockStatus]


def test_errors() -> None:
    """Every code of a failure is in the table with its nature."""
    rows = {row[0]: row for row in rows_of("11. Errors")[1:] if len(row) == 4}
    assert list(rows) == [code.value for code in ErrorCode]
    for code in ErrorCode:
        assert (rows[code][1] == "yes", rows[code][2] == "yes") == (code.closes, code.is_transient)


def test_operations() -> None:
    """Every operation is in the table, and a node serves exactly these."""
    names = [row[0] for row in rows_of("9. Operations")[1:]]
    assert names == [operation.value for operation in Operation]
    assert sorted(names) == sorted(make_operations())


def test_account_states() -> None:
    """The numbers of the states of an account are named."""
    assert ", ".join(f"{int(state)} {state.name}" for state in AccountState) in DOCUMENT


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (frames.HELLO_FRAME_BYTES_MAX, "8 KiB"),
        (frames.CLIENT_FRAME_BYTES_MAX, "4 MiB"),
        (frames.FRAME_BYTES_MAX, "16 MiB"),
    ],
)
def test_frame_limits(number: int, text: str) -> None:
    """The limits of frames are named as they are."""
    amount, unit = text.split()
    assert number == int(amount) * {"KiB": 1_024, "MiB": 1_048_576}[unit]
    assert text in DOCUMENT


def test_value_limits() -> None:
    """The limits of values and texts are named as they are."""
    for number in (frames.ARRAY_ITEMS_MAX, frames.MAP_ITEMS_MAX, frames.DEPTH_MAX, messages.TEXT_CHARACTERS_MAX):
        assert f" {number:,} " in DOCUMENT.replace("\n", " ")
    assert f"version {messages.PROTOCOL_VERSION}\n" in DOCUMENT
