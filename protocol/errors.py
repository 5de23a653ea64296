"""The error catalogue: what a caller of the client can catch, and the codes that travel in an error frame."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum, unique


@unique
class ErrorCode(StrEnum):
    """Codes of an error frame. A connection-level error closes the connection; the others answer one request."""

    bad_frame = "bad_frame"
    frame_too_large = "frame_too_large"
    bad_message = "bad_message"
    wrong_version = "wrong_version"
    wrong_cluster = "wrong_cluster"
    wrong_settings = "wrong_settings"
    not_authenticated = "not_authenticated"
    unknown_peer = "unknown_peer"
    unknown_operation = "unknown_operation"
    bad_request = "bad_request"
    not_leader = "not_leader"
    busy = "busy"
    overdue = "overdue"
    outcome_unknown = "outcome_unknown"
    shutting_down = "shutting_down"
    internal = "internal"

    @property
    def closes(self) -> bool:
        """Whether the connection is closed after an error of this code."""
        return self in _CLOSING

    @property
    def is_transient(self) -> bool:
        """Whether the same request can succeed a little later, perhaps at another node."""
        return self in _TRANSIENT


_CLOSING = frozenset({
    ErrorCode.bad_frame, ErrorCode.frame_too_large, ErrorCode.bad_message, ErrorCode.wrong_version,
    ErrorCode.wrong_cluster, ErrorCode.wrong_settings, ErrorCode.not_authenticated, ErrorCode.unknown_peer,
})  # fmt: skip
_TRANSIENT = frozenset({
    ErrorCode.not_leader, ErrorCode.busy, ErrorCode.overdue, ErrorCode.outcome_unknown, ErrorCode.shutting_down,
})  # fmt: skip


def error_code(code: str) -> ErrorCode:
    """The code of a received failure; an unknown one counts as `internal`."""
    try:
        return ErrorCode(code)
    except ValueError:
        return ErrorCode.internal


class RingpayError(Exception):
    """Everything that the client raises on purpose. Only after an `OutcomeUnknown` may what was asked for have happened."""


class Refused(RingpayError):
    """The books refused the request; nothing happened. `.status` is the reason, `.expected` what would have passed.

    `.version` is the account's version now, after a `version_conflict`; None if it could not be read at once.
    `.leg` is the place of the leg of a transaction that was refused, counted from 0; None where it is no transaction.
    `.id` is the payment's, or the leg's; None where it is no payment, or nothing was sent.

    A transfer's id keeps its refusal, whatever changes later. Where it had been refused before this request, `.is_repeat` is
    true, `.expected` is what was expected then, and `.first_refused_at` is when, by the clock of its shard's leader; None if
    that could not be read at once. Another attempt to pay needs a new id.
    """

    def __init__(
        self,
        status: str,
        expected: str = "",
        version: int | None = None,
        *,
        is_repeat: bool = False,
        first_refused_at: datetime | None = None,
        leg: int | None = None,
        id: int | None = None,
    ) -> None:
        text = f"{status}: expected {expected}" if expected else status
        if is_repeat:
            when = "" if first_refused_at is None else f" at {first_refused_at:%Y-%m-%dT%H:%M:%S.%fZ}"
            text = f"{status}: this id was refused before{when} and stays refused; to pay now, use a new id"
        if leg is not None:
            text = f"leg {leg}: {text}"
        super().__init__(text if version is None else f"{text}, {version}")
        self.status = status
        self.expected = expected
        self.version = version
        self.is_repeat = is_repeat
        self.first_refused_at = first_refused_at
        self.leg = leg
        self.id = id


class Busy(RingpayError):
    """The node sheds load; of this call nothing happened. Try again after `.retry_after` seconds.

    It says nothing of an earlier call with the same ids: what that left unknown still is.
    """

    def __init__(self, retry_after: float, reason: str = "") -> None:
        super().__init__(f"busy, retry after {retry_after:.3f} s" + (f": {reason}" if reason else ""))
        self.retry_after = retry_after


class OutcomeUnknown(RingpayError):
    """No definite answer in time: what was asked for may have happened, or may not, or in part.

    `.ids` are the transfers in doubt, all of a batch, `.id` is the first: resolve each with `Client.outcome`. After an update `.id`
    is the account's `last_update` if it has happened and none has followed. Accounts to be opened have no such ids (`.ids` is
    empty, `.id` is 0): open them again, they are opened once.
    """

    def __init__(self, ids: int | Sequence[int], reason: str = "no answer in time", what: str = "transfer") -> None:
        self.ids = (ids,) if isinstance(ids, int) else tuple(ids)
        self.id = self.ids[0] if self.ids else 0
        name = f" {self.id:032x}" if self.ids else ""
        more = f" and {len(self.ids) - 1} more" if len(self.ids) > 1 else ""
        super().__init__(f"outcome of {what}{name}{more} is unknown: {reason}")


class Unreachable(RingpayError):
    """No node answered in time, and nothing has happened."""


class ProtocolError(RingpayError):
    """A peer (or this program) broke the protocol."""

    def __init__(self, message: str, code: ErrorCode = ErrorCode.bad_message) -> None:
        super().__init__(message)
        self.code = code


class BadArgument(ProtocolError, ValueError):
    """What a caller gave cannot be, whoever found that out: trying again is of no use."""

    def __init__(self, message: str) -> None:
        super().__init__(message, ErrorCode.bad_request)


class CursorTooOld(ProtocolError):
    """What stands at the cursor is not kept any more. `.oldest` is the cursor, all else as it was, from which on everything is."""

    def __init__(self, shard: str, fact: int, oldest_fact: int, oldest: str) -> None:
        text = (
            f"the cursor is too old: {shard} has forgotten fact {fact} of its journal; expected {oldest_fact} or later"
        )
        super().__init__(f"{text}: the oldest cursor is {oldest}", ErrorCode.bad_request)
        self.oldest = oldest
