"""The ledger's commands about accounts, and its answers, by name: each is packed and unpacked here alone.

As a rule they are logged as they were asked, and every replica finds the account; transfers are columns, see `batch`.
"""

from __future__ import annotations

from dataclasses import dataclass

from node.core.machine.operation import Body
from protocol.errors import ProtocolError
from protocol.requests import AccountsRequest, OutcomeRequest, SplitRequest, UpdateRequest
from protocol.requests.checks import is_version
from protocol.rows import NewAccount
from protocol.status import AccountState, AccountStatus, Status

UPDATE, UPDATE_SHARE = "update", "update_share"


@dataclass(frozen=True, slots=True)
class AccountsCommand:
    """Opens accounts, as it is logged."""

    accounts: list[NewAccount]
    wrong: dict[int, AccountStatus]  # by row: what its form is refused with

    @staticmethod
    def ask(asked: AccountsRequest) -> Body:
        """As it is asked in this process."""
        return ["accounts", asked]

    @staticmethod
    def asked_in(body: Body) -> list[NewAccount]:
        """Reads `ask`, or rows instead of the request. Raises ProtocolError."""
        _, rows = body
        if isinstance(rows, AccountsRequest):
            return rows.accounts
        if not isinstance(rows, list):
            raise ProtocolError("accounts: expected rows")
        return AccountsRequest.unpack(rows).accounts

    def pack(self) -> Body:
        """As it is logged."""
        return ["accounts", self.accounts, [[place, int(status)] for place, status in self.wrong.items()]]

    @staticmethod
    def unpack(body: Body) -> AccountsCommand:
        """Reads `pack`."""
        _, rows, wrong = body
        return AccountsCommand(
            [NewAccount(*row) for row in rows], {place: AccountStatus(code) for place, code in wrong}
        )


@dataclass(frozen=True, slots=True)
class ShareCommand:
    """Opens a shard's share of a split account."""

    account: NewAccount  # as this share is to be
    shard: int
    shards: int

    def pack(self) -> Body:
        """As it is asked and logged."""
        return ["share", list(self.account), self.shard, self.shards]

    @staticmethod
    def unpack(body: Body) -> ShareCommand:
        """Reads `pack`. Raises ProtocolError."""
        match body:
            case [_, list(row), int(shard), int(shards)]:
                return ShareCommand(SplitRequest.unpack(row).account, shard, shards)
        raise ProtocolError("share: expected an account, a shard and their count")


@dataclass(frozen=True, slots=True)
class UpdateCommand:
    """Changes an account."""

    asked: UpdateRequest
    is_for_share: bool  # of a split account: the others follow

    def pack(self) -> Body:
        """As it is asked and logged."""
        return [UPDATE_SHARE if self.is_for_share else UPDATE, *self.asked.pack()]

    @staticmethod
    def unpack(body: Body) -> UpdateCommand:
        """Reads `pack`. Raises ProtocolError."""
        name, *asked = body
        return UpdateCommand(UpdateRequest.unpack(asked), name == UPDATE_SHARE)


@dataclass(frozen=True, slots=True)
class FollowCommand:
    """Puts a share into the state that its home share had from a version on."""

    account: str
    state: AccountState
    version: int  # of the home share

    def pack(self) -> Body:
        """As it is asked and logged."""
        return ["follow", self.account, int(self.state), self.version]

    @staticmethod
    def unpack(body: Body) -> FollowCommand:
        """Reads `pack`. Raises ProtocolError."""
        match body:
            case [_, str(account), int(state), version] if state in tuple(AccountState) and is_version(version):
                return FollowCommand(account, AccountState(state), version)
        raise ProtocolError("follow: expected an account id, a state and a version")


@dataclass(frozen=True, slots=True)
class OutcomeAnswer:
    """What is on record of an id."""

    status: Status
    timestamp_ns: int = 0

    def pack(self) -> Body:
        """As it travels."""
        return ["outcome", int(self.status), self.timestamp_ns]

    @staticmethod
    def unpack(body: Body) -> OutcomeAnswer:
        """Reads `pack`."""
        _, status, timestamp_ns = body
        return OutcomeAnswer(Status(status), timestamp_ns)

    @property
    def waits(self) -> bool:
        """For an open round."""
        return self.status in (Status.undecided, Status.retry)


@dataclass(frozen=True, slots=True)
class CancelCommand:
    """Cancels an id that is not on record, as it is logged."""

    asked: OutcomeRequest
    through: int  # sealed segments that were searched
    known: OutcomeAnswer | None  # what is on record in them

    @staticmethod
    def ask(asked: OutcomeRequest) -> Body:
        """As it is asked."""
        return ["cancel", *asked.pack()]

    @staticmethod
    def asked_in(body: Body) -> OutcomeRequest:
        """Reads `ask`. Raises ProtocolError."""
        _, *asked = body
        return OutcomeRequest.unpack(asked)

    def pack(self) -> Body:
        """As it is logged."""
        return ["cancel", self.asked.pack(), self.through, None if self.known is None else self.known.pack()]

    @staticmethod
    def unpack(body: Body) -> CancelCommand:
        """Reads `pack`."""
        _, asked, through, known = body
        return CancelCommand(
            OutcomeRequest.unpack(asked), through, None if known is None else OutcomeAnswer.unpack(known)
        )


@dataclass(frozen=True, slots=True)
class UpdateAnswer:
    """What became of an update."""

    status: AccountStatus
    version: int  # that the account has then

    def pack(self) -> Body:
        """As it travels."""
        return ["update", int(self.status), self.version]

    @staticmethod
    def unpack(body: Body) -> UpdateAnswer:
        """Reads `pack`."""
        _, status, version = body
        return UpdateAnswer(AccountStatus(status), version)

    @property
    def waits(self) -> bool:
        """For an open round."""
        return self.status == AccountStatus.retry
