"""The messages of a connection: each is a msgpack list whose first item is its `Kind`, followed by its fields in order.

`decode` checks the type and range of every field, not its meaning; the lists inside (a request's body, a placement, the
messages of the replicated log) are checked by those who read them.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, fields
from enum import IntEnum, StrEnum, unique
from operator import attrgetter
from typing import Any, Final

from protocol import frames
from protocol.errors import ErrorCode, ProtocolError

PROTOCOL_VERSION: Final = 1
TEXT_CHARACTERS_MAX: Final = 4_096  # one text field: room for an error with its context, or a signed token
ANY_GROUP: Final = -1  # a request's group when the node shall find it out
NEVER_MS: Final = 2**63 - 1  # `expires_ms` of what may come at any time, as only a question may
CONNECTION: Final = 0  # the id of a failure that is about the connection, not a request


@unique
class Kind(IntEnum):
    """The first item of a message."""

    hello = 1
    welcome = 2
    request = 3
    reply = 4
    failure = 5
    placed = 6
    goodbye = 7
    raft = 8
    snapshot_piece = 9
    snapshot_ack = 10
    recollection = 11
    acknowledgements = 12


@unique
class Role(StrEnum):
    """Who opens a connection."""

    client = "client"
    peer = "peer"


@dataclass(frozen=True, slots=True)
class Hello:
    """The first message of a connection, from the side that opened it."""

    version: int  # PROTOCOL_VERSION of the sender
    cluster: str  # id of the cluster it means; a client that does not know it yet leaves it empty
    role: str  # a `Role`
    node: int  # id of the connecting node, 0 for a client
    token: str  # credentials of its role
    data_id: int  # names the data folder of a connecting node, 0 for a client
    identity: int = 0  # random number of the cluster that it knows, 0 for none yet
    settings: str = ""  # of a connecting node: what all nodes must have alike, `name=value` with blanks between
    start: int = 0  # of a connecting node: random number of this start of its process


@dataclass(frozen=True, slots=True)
class Welcome:
    """The answer to an accepted Hello."""

    version: int  # the version spoken from here on
    cluster: str  # id of the cluster
    node: int  # id of the answering node
    shards: int  # arcs of the ring; groups are numbered 1 to shards, group 0 is the cluster's own
    placement: list[Any]  # `Placement.pack()`
    leaders: list[int]  # node id of each group's leader, group 0 first; 0 where unknown
    frame_bytes_max: int  # longest body that this node accepts on this connection
    inflight_max: int  # requests that may wait for their answer at once; more are answered `busy`
    split: list[str] = field(default_factory=list)  # ids of the split accounts that the node knows
    identity: int = 0  # random number of the cluster, made with it; 0 to a peer by a node that knows none yet
    data_id: int = 0  # to a peer: names the answering node's data folder
    settings: str = ""  # to a peer: as in Hello
    clock_ms: int = 0  # the node's clock, which starts anywhere and never goes back: `expires_ms` is told by it


@dataclass(frozen=True, slots=True)
class Request:
    """Asks a node, or a peer on behalf of its client, to do something."""

    id: int  # chosen by the sender, unique among its unanswered requests of the connection, above 0
    operation: str  # an `Operation`, or between nodes a name of theirs
    group: int  # whose group it concerns, ANY_GROUP when the node shall find it out
    expires_ms: int  # when it is void, by the receiver's clock as this connection knows it (`clocks.RemoteClock`)
    placement_version: int  # of the table that the sender routed by, 0 for none; no node looks at it yet
    body: list[Any]  # shaped by the operation


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer to a request that was carried out, whatever its business outcome."""

    id: int  # of the request
    body: list[Any]  # shaped by the operation
    clock_ms: int = 0  # as in Welcome


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a request was not carried out, or, with the id CONNECTION, why the connection ends."""

    id: int  # of the request, or CONNECTION
    code: str  # an `ErrorCode`; an unknown one is to be treated as `internal`
    message: str  # for a person
    retry_after_ms: int  # how long to wait before the next try, 0 for no advice
    hint: int  # node id of the leader, 0 where unknown
    may_have_happened: bool = False  # whether what was asked for may have been done, or may yet be done
    clock_ms: int = 0  # as in Welcome


@dataclass(frozen=True, slots=True)
class Placed:
    """Pushed by a node whenever the placement or a leader changes, or a split account is opened."""

    placement: list[Any]  # `Placement.pack()`
    leaders: list[int]  # as in Welcome
    split: list[str] = field(default_factory=list)  # split accounts that the receiver may not know; none is taken back
    terms: list[int] = field(default_factory=list)  # in which they lead, as far as known: the highest is the newest
    members: list[Any] = field(default_factory=list)  # to a peer: the table of the nodes' data folders, if known


@dataclass(frozen=True, slots=True)
class Goodbye:
    """The sender stops gracefully: it answers what it has accepted, takes no new requests, then closes."""

    reason: str  # for a person


@dataclass(frozen=True, slots=True)
class Raft:
    """What all groups of one node have to say to their replicas on another, in order."""

    messages: list[Any]  # items are [group, packed message of the replicated log]


@dataclass(frozen=True, slots=True)
class SnapshotPiece:
    """One piece of a group's state for a replica that is too far behind its log."""

    group: int
    snapshot_id: int  # chosen by the sender, another one for each attempt
    index: int  # the last entry that the snapshot holds
    term: int  # of that entry
    chain: int  # checksum of the log up to that entry
    number: int  # of the piece, from 0
    last: bool  # whether it is the last piece
    data: bytes
    checksum: int  # CRC32 of all data up to and including this piece


@dataclass(frozen=True, slots=True)
class SnapshotAck:
    """A piece has arrived and is stored, or the whole attempt is given up."""

    group: int
    snapshot_id: int
    number: int  # of the piece
    ok: bool  # false: start again with a new snapshot_id
    archived: int  # answering piece 0: rows of each numbered archive that the receiver has already; else 0


@dataclass(frozen=True, slots=True)
class Recollection:
    """Comes behind Welcome to a peer, which says nothing before: what an old disk of the receiver would not know."""

    starts: list[int]  # other ones of the receiver that the sender has heard of
    groups: list[Any]
    """Items are [group, sender's term, last term, last index], then [term, index, entry term] of what was acknowledged."""


@dataclass(frozen=True, slots=True)
class Acknowledgements:
    """What a leader has been told by the replicas of its groups, for others to remember."""

    rows: list[Any]  # items are [node, start, group, term, index, entry term]


Message = (
    Hello
    | Welcome
    | Request
    | Reply
    | Failure
    | Placed
    | Goodbye
    | Raft
    | SnapshotPiece
    | SnapshotAck
    | Recollection
    | Acknowledgements
)


@dataclass(frozen=True, slots=True)
class _Check:
    """What a field must be."""

    expected: str  # for the error
    holds: Callable[[Any], bool]


def _is_groups(value: Any) -> bool:
    return type(value) is list and all(
        type(item) is list and len(item) == 2 and _GROUP.holds(item[0]) and type(item[1]) is list for item in value
    )


def _is_leaders(value: Any) -> bool:
    return type(value) is list and all(map(_NODE.holds, value))


def _is_numbers(value: Any) -> bool:
    return type(value) is list and all(map(_LARGE.holds, value))


def _is_texts(value: Any) -> bool:
    return type(value) is list and all(map(_TEXT.holds, value))


def _is_rows(value: Any, length: int) -> bool:
    return type(value) is list and all(
        type(row) is list and len(row) == length and all(map(_LARGE.holds, row)) for row in value
    )


_SMALL = _Check("an integer of 0 to 2**32 - 1", lambda value: type(value) is int and 0 <= value < 2**32)
_LARGE = _Check("an integer of 0 to 2**63 - 1", lambda value: type(value) is int and 0 <= value < 2**63)
_POSITIVE = _Check("an integer of 1 to 2**63 - 1", lambda value: type(value) is int and 0 < value < 2**63)
_NODE = _Check("a node id of 0 to 2**31 - 1", lambda value: type(value) is int and 0 <= value < 2**31)
_GROUP = _Check("a group of 0 to 2**31 - 1", lambda value: type(value) is int and 0 <= value < 2**31)
_GROUP_OR_ANY = _Check("a group, or -1", lambda value: type(value) is int and ANY_GROUP <= value < 2**31)
_TEXT = _Check(
    f"text of at most {TEXT_CHARACTERS_MAX} characters",
    lambda value: type(value) is str and len(value) <= TEXT_CHARACTERS_MAX,
)
_ROLE = _Check("client or peer", lambda value: value in ("client", "peer"))
_LIST = _Check("a list", lambda value: type(value) is list)
_LEADERS = _Check("a list of node ids", _is_leaders)
_TERMS = _Check("a list of terms", _is_numbers)
_STARTS = _Check("a list of starts", _is_numbers)
_TEXTS = _Check("a list of texts", _is_texts)
_GROUPS = _Check("a list of [group, message]", _is_groups)
_SEVENS = _Check("a list of lists of 7 integers", lambda value: _is_rows(value, 7))
_SIXES = _Check("a list of lists of 6 integers", lambda value: _is_rows(value, 6))
_BYTES = _Check("bytes", lambda value: type(value) is bytes)
_BOOL = _Check("true or false", lambda value: type(value) is bool)

_SHAPES: Final[dict[int, tuple[type[Message], tuple[_Check, ...]]]] = {
    Kind.hello: (Hello, (_SMALL, _TEXT, _ROLE, _NODE, _TEXT, _LARGE, _LARGE, _TEXT, _LARGE)),
    Kind.welcome: (
        Welcome,
        (_SMALL, _TEXT, _NODE, _SMALL, _LIST, _LEADERS, _SMALL, _SMALL, _TEXTS, _LARGE, _LARGE, _TEXT, _LARGE),
    ),
    Kind.request: (Request, (_POSITIVE, _TEXT, _GROUP_OR_ANY, _LARGE, _LARGE, _LIST)),
    Kind.reply: (Reply, (_POSITIVE, _LIST, _LARGE)),
    Kind.failure: (Failure, (_LARGE, _TEXT, _TEXT, _SMALL, _NODE, _BOOL, _LARGE)),
    Kind.placed: (Placed, (_LIST, _LEADERS, _TEXTS, _TERMS, _LIST)),
    Kind.goodbye: (Goodbye, (_TEXT,)),
    Kind.raft: (Raft, (_GROUPS,)),
    Kind.snapshot_piece: (SnapshotPiece, (_GROUP, _LARGE, _LARGE, _LARGE, _LARGE, _SMALL, _BOOL, _BYTES, _SMALL)),
    Kind.snapshot_ack: (SnapshotAck, (_GROUP, _LARGE, _SMALL, _BOOL, _LARGE)),
    Kind.recollection: (Recollection, (_STARTS, _SEVENS)),
    Kind.acknowledgements: (Acknowledgements, (_SIXES,)),
}
_KINDS: Final[dict[type[Message], int]] = {shape[0]: int(kind) for kind, shape in _SHAPES.items()}
_NAMES: Final[dict[type[Message], tuple[str, ...]]] = {
    shape[0]: tuple(field.name for field in fields(shape[0])) for shape in _SHAPES.values()
}


def _getter(names: tuple[str, ...]) -> Callable[[Message], tuple[Any, ...]]:
    """Takes the values of these fields. With one name, attrgetter gives no tuple."""
    return attrgetter(*names) if len(names) > 1 else lambda message: (getattr(message, names[0]),)


_VALUES: Final = {message_class: _getter(names) for message_class, names in _NAMES.items()}


def encode(message: Message) -> bytes:
    """The body of a message. Text beyond TEXT_CHARACTERS_MAX is refused by the other side."""
    kind = type(message)
    return frames.pack([_KINDS[kind], *_VALUES[kind](message)])


def decode(body: frames.Buffer) -> Message:
    """The message in a body. Raises ProtocolError(bad_message) that names the field for anything else."""
    row = frames.unpack(body)
    if type(row) is not list or not row:
        raise ProtocolError("message: expected a list that begins with its kind")
    shape = _SHAPES.get(row[0]) if type(row[0]) is int else None
    if shape is None:
        raise ProtocolError(f"message: unknown kind {str(row[0])[:40]}")
    message_class, checks = shape
    values = row[1:]
    if len(values) != len(checks):
        raise ProtocolError(f"{message_class.__name__}: expected {len(checks)} fields, got {len(values)}")
    for place, check in enumerate(checks):
        if not check.holds(values[place]):
            name = _NAMES[message_class][place]
            raise ProtocolError(f"{message_class.__name__}: {name} must be {check.expected}")
    return _build(message_class, values)


def _build(message_class: Callable[..., Message], values: list[Any]) -> Message:
    return message_class(*values)


def check_hello(
    hello: Hello, expected: Welcome, client_token: str = "", peer_token: str = "", peers: Collection[int] = ()
) -> ProtocolError | None:
    """Why a connection must be refused, or None. An empty token of ours lets everyone of that role in who shows none.

    `expected` is what this node would answer, `peers` are the node ids that may connect as peers. The cheapest and most telling
    reason is given first.
    """
    if hello.version != PROTOCOL_VERSION:
        text = f"protocol version {hello.version}: this node speaks {PROTOCOL_VERSION}"
        return ProtocolError(text, ErrorCode.wrong_version)
    is_peer = hello.role == Role.peer
    if hello.cluster != expected.cluster and (is_peer or hello.cluster):
        asked, here = full_name(hello.cluster, hello.identity), full_name(expected.cluster, expected.identity)
        return ProtocolError(f"cluster {asked!r}: this is {here!r}", ErrorCode.wrong_cluster)
    token, setting = (peer_token, "peer_token") if is_peer else (client_token, "client_token")
    if hello.token and not token:  # who shows one believes that nobody gets in without
        text = (
            f"a token was shown, but this cluster has no {setting}: show none, or set it in every node's cluster.toml"
        )
        return ProtocolError(text, ErrorCode.not_authenticated)
    if token and not hmac.compare_digest(token.encode(), hello.token.encode()):
        remedy = ": expected the peer_token of every other node's cluster.toml" if is_peer else ""
        return ProtocolError(f"token of the {hello.role} is not accepted{remedy}", ErrorCode.not_authenticated)
    if is_peer and hello.settings != expected.settings:
        return _other_settings(f"node {hello.node}", hello.settings, f"node {expected.node}", expected.settings)
    if is_peer and hello.node not in peers:
        return ProtocolError(f"node {hello.node} is not a member of this cluster", ErrorCode.unknown_peer)
    if not is_peer and hello.node:
        return ProtocolError(f"a client must give node 0, not {hello.node}")
    if hello.identity and expected.identity and hello.identity != expected.identity:
        who = f"node {hello.node} belongs to" if is_peer else "this client was with"
        return _other_cluster(f"{who} cluster {full_name(hello.cluster, hello.identity)}", expected)
    return None


def check_welcome(welcome: Welcome, hello: Hello, node: int = 0) -> ProtocolError | None:
    """Why the side that connected with this hello must hang up, or None; `node` 0 accepts any."""
    if welcome.version != PROTOCOL_VERSION:
        text = f"protocol version {welcome.version}: expected {PROTOCOL_VERSION}"
        return ProtocolError(text, ErrorCode.wrong_version)
    if hello.cluster and welcome.cluster != hello.cluster:
        asked, found = full_name(hello.cluster, hello.identity), full_name(welcome.cluster, welcome.identity)
        return ProtocolError(f"cluster {found!r}: expected {asked!r}", ErrorCode.wrong_cluster)
    if node and welcome.node != node:
        return ProtocolError(f"node {welcome.node} answered: expected {node}", ErrorCode.unknown_peer)
    if node and welcome.settings != hello.settings:
        return _other_settings(f"node {welcome.node}", welcome.settings, f"node {hello.node}", hello.settings)
    if hello.identity and welcome.identity and hello.identity != welcome.identity:
        who = f"node {hello.node} belongs to" if node else "this client was with"
        return _other_cluster(f"{who} cluster {full_name(hello.cluster, hello.identity)}", welcome)
    return None


def full_name(cluster: str, identity: int) -> str:
    """What tells a cluster from every other one in one word, `name/identity`; the name alone while the identity is not known."""
    return f"{cluster}/{identity:016x}" if identity else cluster


def split_full_name(text: str) -> tuple[str, int]:
    """The inverse: name, and identity or 0."""
    name, slash, identity = text.rpartition("/")
    is_full = bool(slash) and len(identity) == 16 and all(digit in "0123456789abcdef" for digit in identity)
    number = int(identity, 16) if is_full else 0
    return (name, number) if number else (text, 0)


def _other_cluster(who: str, welcome: Welcome) -> ProtocolError:
    text = f"{who}, but node {welcome.node} to cluster {full_name(welcome.cluster, welcome.identity)}"
    meaning = "another cluster has taken these addresses, and its books say nothing of the first one's"
    return ProtocolError(f"{text}: {meaning}", ErrorCode.wrong_cluster)


def _other_settings(who: str, settings: str, other: str, others: str) -> ProtocolError:
    one, two = (dict(part.partition("=")[::2] for part in text.split()) for text in (settings, others))
    names = [name for name in dict.fromkeys([*one, *two]) if one.get(name) != two.get(name)]
    found = ", ".join(f"{name} {one.get(name, 'none')} and not {two.get(name, 'none')}" for name in names)
    text = f"{who} has {found} as {other}: expected the same cluster.toml, and version of ringpay, on every node"
    return ProtocolError(text, ErrorCode.wrong_settings)


def failure(error: ProtocolError, id: int = CONNECTION, retry_after_ms: int = 0, hint: int = 0) -> Failure:
    """The message that tells the other side of an error."""
    return Failure(id, error.code.value, str(error)[:TEXT_CHARACTERS_MAX], retry_after_ms, hint)
