"""The error catalogue: what a caller of the client can catch, and the codes that travel in an error frame."""

from __future__ import annotations

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
    ErrorCode.not_leader, ErrorCode.busy, ErrorCode.outcome_unknown, ErrorCode.shutting_down,
})  # fmt: skip


def error_code(code: str) -> ErrorCode:
    """The code of a received failure; an unknown one counts as `internal`."""
    try:
        return ErrorCode(code)
    except ValueError:
        return ErrorCode.internal


class RingpayError(Exception):
    """Everything that the client raises on purpose."""


class Refused(RingpayError):
    """The books refused the request; nothing happened. `.status` is the reason, `.expected` what would have passed.

    `.version` is the account's version now, after a `version_conflict`; None if it could not be read.
    """

    def __init__(self, status: str, expected: str = "", version: int | None = None) -> None:
        text = f"{status}: expected {expected}" if expected else status
        super().__init__(text if version is None else f"{text}, {version}")
        self.status = status
        self.expected = expected
        self.version = version


class Busy(RingpayError):
    """The node sheds load; nothing happened. Try again after `.retry_after` seconds."""

    def __init__(self, retry_after: float, reason: str = "") -> None:
        super().__init__(f"busy, retry after {retry_after:.3f} s" + (f": {reason}" if reason else ""))
        self.retry_after = retry_after


class OutcomeUnknown(RingpayError):
    """No answer in time: the transfer `.id` may or may not have happened. Resolve it with `Client.outcome`."""

    def __init__(self, id: int, reason: str = "no answer in time") -> None:
        super().__init__(f"outcome of transfer {id:032x} is unknown: {reason}")
        self.id = id


class Unreachable(RingpayError):
    """No node answered in time. No transfer was left in doubt; an account command may have happened and can be repeated.

    An update at a version may have happened too: the account says so.
    """


class ProtocolError(RingpayError):
    """A peer (or this program) broke the protocol."""

    def __init__(self, message: str, code: ErrorCode = ErrorCode.bad_message) -> None:
        super().__init__(message)
        self.code = code
