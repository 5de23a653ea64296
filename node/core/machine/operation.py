"""What a part serves: the requests that clients may send it, declared once. Router, session and pipeline only look it up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

Body = list[Any]
"""A command's or an answer's body: a list for msgpack whose first item names the command.

A command that has not been resolved yet may hold what `Served.decode` has made, as it stays in this process.
"""


@dataclass(frozen=True, slots=True)
class Merging:
    """How commands of several clients become one command of the log."""

    length: Callable[[Body], int]  # of a command's body, in characters and bytes
    is_open: Callable[[Body], bool]  # whether what follows it would belong to its last transaction
    merge: Callable[[Sequence[Body]], Body]


Request = TypeVar("Request")


@dataclass(frozen=True, slots=True)
class Served(Generic[Request]):
    """An operation of a part.

    `decode` makes of a request's body what all other functions are given; it raises ProtocolError for a wrong form. `is_work` and
    `answer_bytes` are asked before, of the body as it came. A request goes to the shard of its accounts; where those are several,
    body and answer have an item for each, and `take(places)` of the request makes one for some of them. One that names no account goes
    to the group that `group` gives, or to all shards, whose answers `merge_all` makes one.
    """

    name: str  # as clients send it
    part: str
    is_command: bool  # else it is a question
    decode: Callable[[Body], Request]
    accounts: Callable[[Request], list[str]]
    to_part: Callable[[Request], Body]  # the request as the part takes it
    to_client: Callable[[Body], Body]  # the part's answer as the client is told
    is_work: bool = False  # whether an overloaded node may refuse it: it takes a place in a log or a queue
    # What the answer to a read may weigh, which stands for its time, too.
    answer_bytes: Callable[[Body], int] = lambda _: 0
    # A question that takes more than a moment where all is in memory.
    is_heavy: Callable[[Request], bool] = lambda _: False
    size: Callable[[Request], int] = lambda _: 1  # of a command, in transfers
    group: Callable[[Request], int] | None = None
    merge_all: Callable[[Sequence[Body]], Body] | None = None
    merging: Merging | None = None
    is_early: Callable[[Request], bool] = lambda _: (
        False
    )  # a question to which news that are applied are an answer, whatever else has been committed by now
    wait_ms: Callable[[Request], int] = lambda _: (
        0
    )  # how long a question waits where there is no news to answer it with


def check_apart(what: str, names: Sequence[str]) -> None:
    """Raises ValueError, naming it, if a name comes twice: a composition that is wrong, told at the start."""
    if doubled := [name for name, count in Counter(names).items() if count > 1]:
        raise ValueError(f"two {what} of one name: {', '.join(doubled)}")


def after_first(answer: Body) -> Body:
    """A part's answer without its name."""
    return answer[1:]
