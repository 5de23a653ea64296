"""Messages: round trip, garbage, and the handshake."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import frames, messages
from protocol.errors import ErrorCode, ProtocolError
from protocol.messages import Hello, Kind, Message, Reply, Request, SnapshotAck, Welcome
from tests.protocol.wire_examples import LEAF, MESSAGES

SETTINGS = "nodes=3 replication=3"
HELLO = Hello(messages.PROTOCOL_VERSION, "demo", "peer", 2, "secret", 1, 77, SETTINGS)
EXPECTED = Welcome(messages.PROTOCOL_VERSION, "demo", 1, 1, [], [], 1, 1, [], 77, 5, SETTINGS)


@given(MESSAGES)
def test_round_trip(message: Message) -> None:
    """Every message arrives as it was sent."""
    assert messages.decode(messages.encode(message)) == message


@given(MESSAGES)
def test_byte_at_a_time(message: Message) -> None:
    """A message that drips in is the same message."""
    decoder = frames.FrameDecoder(frames.FRAME_BYTES_MAX)
    stream = frames.encode_body(messages.encode(message))
    bodies = [body for byte in stream for body in decoder.feed(bytes([byte]))]
    assert [messages.decode(body) for body in bodies] == [message]


def decode_or_refuse(body: bytes) -> None:
    try:
        message = messages.decode(body)
    except ProtocolError as error:
        assert error.code == ErrorCode.bad_message
        assert len(str(error)) < messages.TEXT_CHARACTERS_MAX
    else:
        messages.encode(message)


@given(st.binary(max_size=100))
def test_garbage_gives_protocol_error_only(body: bytes) -> None:
    """Random bytes are a message or a ProtocolError."""
    decode_or_refuse(body)


@given(MESSAGES, st.data())
def test_mutated_bodies_give_protocol_error_only(message: Message, data: st.DataObject) -> None:
    """Valid bodies with bytes changed, cut or added are a message or a ProtocolError."""
    body = bytearray(messages.encode(message))
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(body)))
        body[place : place + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=3))
    decode_or_refuse(bytes(body))


@given(MESSAGES, st.data())
def test_mutated_fields_give_protocol_error_only(message: Message, data: st.DataObject) -> None:
    """Valid messages with a field of another type or one more or less are a message or a ProtocolError."""
    row: list[Any] = frames.unpack(messages.encode(message))
    place = data.draw(st.integers(0, len(row)))
    values: list[Any] = data.draw(st.lists(LEAF | st.lists(LEAF, max_size=2) | st.floats(), max_size=2))
    row[place : place + 1] = values
    decode_or_refuse(frames.pack(row))


@pytest.mark.parametrize("row", [[], {}, 1, "x", None, [99], ["1"], [True], [None], [[]], [1.0], [-1], [2**64 - 1]])
def test_no_kind_no_message(row: object) -> None:
    """A body must be a list that begins with a known kind."""
    with pytest.raises(ProtocolError, match="message"):
        messages.decode(frames.pack(row))


@pytest.mark.parametrize(
    ("message", "field", "value"),
    [
        (Reply(1, []), "id", 0),
        (Reply(1, []), "id", 2**63),
        (Reply(1, []), "id", True),
        (Request(1, "audit", -1, 0, 0, []), "group", -2),
        (Request(1, "audit", -1, 0, 0, []), "operation", "x" * 4_097),
        (Request(1, "audit", -1, 0, 0, []), "body", {}),
        (SnapshotAck(1, 1, 1, True, 0), "ok", 1),
        (HELLO, "role", "admin"),
        (HELLO, "role", ["peer"]),
    ],
)
def test_field_errors_name_the_field(message: Message, field: str, value: object) -> None:
    """A field out of range is named."""
    row: list[Any] = frames.unpack(messages.encode(message))
    row[1 + [each.name for each in dataclasses.fields(message)].index(field)] = value
    with pytest.raises(ProtocolError, match=f"{type(message).__name__}: {field} must be"):
        messages.decode(frames.pack(row))


def test_every_kind_has_its_message() -> None:
    """Kinds and message classes stand one to one."""
    made = [frames.unpack(messages.encode(message))[0] for message in _one_of_each()]
    assert sorted(made) == [int(kind) for kind in Kind]


def _one_of_each() -> list[Message]:
    return [
        HELLO, Welcome(1, "", 1, 1, [], [], 1, 1), Request(1, "", 0, 0, 0, []), Reply(1, []),
        messages.Failure(0, "", "", 0, 0), messages.Placed([], []), messages.Goodbye(""), messages.Raft([]),
        messages.SnapshotPiece(0, 0, 0, 0, 0, 0, True, b"", 0), SnapshotAck(0, 0, 0, True, 0),
        messages.Recollection([], []), messages.Acknowledgements([]),
    ]  # fmt: skip


def refusal(**changes: Any) -> ErrorCode | None:
    hello = dataclasses.replace(HELLO, **changes)
    error = messages.check_hello(hello, EXPECTED, client_token="public", peer_token="secret", peers=(1, 2, 3))
    return error.code if error else None


def test_handshake_of_a_peer() -> None:
    """A peer names the version, the cluster, its secret and itself rightly; the first thing wrong is told."""
    assert refusal() is None
    assert refusal(version=2, cluster="other") == ErrorCode.wrong_version
    assert refusal(cluster="other", token="") == ErrorCode.wrong_cluster
    assert refusal(cluster="") == ErrorCode.wrong_cluster
    assert refusal(token="public", node=9) == ErrorCode.not_authenticated
    assert refusal(token="sécret") == ErrorCode.not_authenticated
    assert refusal(settings="nodes=3 replication=1", node=9) == ErrorCode.wrong_settings
    assert refusal(node=9, identity=78) == ErrorCode.unknown_peer
    assert refusal(identity=78) == ErrorCode.wrong_cluster
    assert refusal(identity=0) is None
    assert refusal(node=0) == ErrorCode.unknown_peer


def test_handshake_of_a_client() -> None:
    """A client may leave the cluster open, and has a token of its own."""
    assert refusal(role="client", node=0, token="public", cluster="") is None
    assert refusal(role="client", node=0, token="public", cluster="other") == ErrorCode.wrong_cluster
    assert refusal(role="client", node=0, token="secret") == ErrorCode.not_authenticated
    assert refusal(role="client", node=1, token="public") == ErrorCode.bad_message
    assert refusal(role="client", node=0, token="public", settings="", identity=78) == ErrorCode.wrong_cluster
    assert refusal(role="client", node=0, token="public", settings="", identity=0) is None
    assert messages.check_hello(Hello(1, "", "client", 0, "", 0), EXPECTED) is None


@pytest.mark.parametrize("role", ["client", "peer"])
def test_a_token_where_none_is_set_is_told(role: str) -> None:
    """Who shows a token believes that nobody gets in without: it is not swallowed."""
    error = messages.check_hello(dataclasses.replace(HELLO, role=role), EXPECTED, peers=(1, 2, 3))
    assert error is not None and error.code is ErrorCode.not_authenticated
    assert f"this cluster has no {role}_token: show none, or set it" in str(error)


def test_the_setting_that_differs_is_named() -> None:
    """On both sides, with what the other one has."""
    hello = dataclasses.replace(HELLO, token="", settings="nodes=3 replication=1")
    for error in (messages.check_hello(hello, EXPECTED), messages.check_welcome(EXPECTED, hello, 1)):
        assert error is not None and error.code is ErrorCode.wrong_settings
        assert "replication" in str(error) and "nodes" not in str(error).partition(":")[0]


def test_another_cluster_is_told_in_full() -> None:
    """A person reads which cluster was expected, which one answered, and what that means."""
    error = messages.check_hello(dataclasses.replace(HELLO, role="client", node=0, token="", identity=78), EXPECTED)
    text = str(error)
    assert f"{77:016x}" in text and f"{78:016x}" in text and "another cluster" in text


def test_welcome_is_checked() -> None:
    """Who connected hangs up on another version, cluster or node than expected."""

    def error(hello: Hello, dialled: int = 0, /, **changes: Any) -> ErrorCode | None:
        found = messages.check_welcome(dataclasses.replace(EXPECTED, **changes), hello, dialled)
        return found.code if found else None

    client = dataclasses.replace(HELLO, cluster="", role="client", node=0, identity=0, settings="")
    assert error(client) is None and error(HELLO, 1) is None
    assert error(HELLO, 1, version=2, cluster="other") == ErrorCode.wrong_version
    assert error(HELLO, 1, cluster="other", node=3) == ErrorCode.wrong_cluster
    assert error(HELLO, 1, node=3, settings="") == ErrorCode.unknown_peer
    assert error(HELLO, 1, settings="", identity=78) == ErrorCode.wrong_settings
    assert error(HELLO, 1, identity=78) == ErrorCode.wrong_cluster
    assert error(dataclasses.replace(client, identity=78)) == ErrorCode.wrong_cluster
    assert error(HELLO, 1, identity=0) is None


@pytest.mark.parametrize("name", ["demo", "a/b", "a/0123456789abcdeg", "", "/", "ümlaut/"])
@pytest.mark.parametrize("identity", [0, 1, 2**63 - 1])
def test_a_clusters_full_name(name: str, identity: int) -> None:
    """Written and read again it is the same, whatever the name is."""
    assert messages.split_full_name(messages.full_name(name, identity)) == (name, identity)


def test_an_identity_of_zeros_is_a_name() -> None:
    """No cluster has it; it must not pass for "any"."""
    assert messages.split_full_name("ringpay/" + "0" * 16) == ("ringpay/" + "0" * 16, 0)


def test_failure_fits_the_wire() -> None:
    """However long an error's text is, its failure can be sent."""
    message = messages.failure(ProtocolError("x" * 10_000, ErrorCode.busy), 5, 20, 3)
    assert messages.decode(messages.encode(message)) == message
    assert (message.code, message.id, message.retry_after_ms, message.hint) == ("busy", 5, 20, 3)
