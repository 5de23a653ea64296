"""Messages for tests, and strategies that make them."""

from __future__ import annotations

from hypothesis import strategies as st

from protocol.messages import (
    Acknowledgements,
    Failure,
    Goodbye,
    Hello,
    Message,
    Placed,
    Raft,
    Recollection,
    Reply,
    Request,
    SnapshotAck,
    SnapshotPiece,
    Welcome,
)

SMALL = st.integers(0, 2**32 - 1)
LARGE = st.integers(0, 2**63 - 1)
POSITIVE = st.integers(1, 2**63 - 1)
NODE = st.integers(0, 2**31 - 1)
TEXT = st.text(max_size=40)
ROLE = st.sampled_from(["client", "peer"])
LEAF = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | TEXT | st.binary(max_size=40)
BODY = st.lists(LEAF | st.lists(LEAF, max_size=3), max_size=4)
TEXTS = st.lists(TEXT, max_size=3)
LEADERS = st.lists(NODE, max_size=5)

MESSAGES: st.SearchStrategy[Message] = st.one_of(
    st.builds(Hello, SMALL, TEXT, ROLE, NODE, TEXT, LARGE, LARGE, TEXT, LARGE),
    st.builds(Welcome, SMALL, TEXT, NODE, SMALL, BODY, LEADERS, SMALL, SMALL, TEXTS, LARGE, LARGE, TEXT, LARGE),
    st.builds(Request, POSITIVE, TEXT, st.integers(-1, 2**31 - 1), LARGE, LARGE, BODY),
    st.builds(Reply, POSITIVE, BODY, LARGE),
    st.builds(Failure, LARGE, TEXT, TEXT, SMALL, NODE, st.booleans(), LARGE),
    st.builds(Placed, BODY, LEADERS, TEXTS, st.lists(LARGE, max_size=5), BODY),
    st.builds(Goodbye, TEXT),
    st.builds(Raft, st.lists(st.tuples(NODE, BODY).map(list), max_size=3)),
    st.builds(SnapshotPiece, NODE, LARGE, LARGE, LARGE, LARGE, SMALL, st.booleans(), st.binary(max_size=40), SMALL),
    st.builds(SnapshotAck, NODE, LARGE, SMALL, st.booleans(), LARGE),
    st.builds(Recollection, st.lists(LARGE, max_size=3), st.lists(st.lists(LARGE, min_size=7, max_size=7), max_size=3)),
    st.builds(Acknowledgements, st.lists(st.lists(LARGE, min_size=6, max_size=6), max_size=3)),
)
