"""Outcomes of transfers and of account commands, one byte each; states of accounts; limits of what is asked for.

The numeric order is the order of precedence: where several reasons apply, the smallest number is reported. `created` is
0, so that "all went well" is one comparison over a column. Names follow TigerBeetle's where it has one for the same
thing.
"""

from __future__ import annotations

from enum import IntEnum, unique


class Named(IntEnum):
    """Numbers on the wire that people read by name: `str` and f-strings give it, as `.name` does."""

    def __str__(self) -> str:
        return self.name

    def __format__(self, spec: str) -> str:
        return format(self.name, spec)


@unique
class Status(Named):
    """What became of one transfer."""

    created = 0
    exists = 1

    # The shape of the request: the same for ever, so nothing is recorded under the id.
    linked_event_failed = 2
    linked_event_chain_open = 3
    id_must_not_be_zero = 4
    id_must_not_be_int_max = 5
    reserved_flag = 6
    flags_are_mutually_exclusive = 7
    ttl_reserved_for_hold = 8
    hold_must_have_ttl = 9
    hold_id_must_be_zero = 10
    hold_id_must_not_be_zero = 11
    hold_id_must_be_different = 12
    amount_must_not_be_zero = 13
    amount_must_not_be_negative = 14
    accounts_must_be_different = 15
    ttl_too_long = 16
    reference_too_long = 17
    if_version_must_be_zero = 18
    final_reserved_for_capture = 19

    # The id was used before, for something else.
    exists_with_different_flags = 20
    exists_with_different_hold_id = 21
    exists_with_different_debit_account = 22
    exists_with_different_credit_account = 23
    exists_with_different_amount = 24
    exists_with_different_code = 25
    exists_with_different_reference = 26
    exists_with_different_ttl = 27
    exists_with_different_currency = 28
    exists_with_different_metadata = 29
    exists_with_different_reverses = 30

    # The state of the books: recorded under the id, so that a repeated request gets the same answer for ever.
    reversed_transfer_not_found = 31
    reversed_transfer_has_different_accounts = 32
    hold_cannot_be_reversed = 33
    reversal_cannot_be_reversed = 34
    transfer_already_reversed = 35
    exceeds_reversible_amount = 36
    transfer_must_have_the_same_currency_as_accounts = 37
    lock_not_held = 38
    version_conflict = 39
    debit_account_not_found = 40
    credit_account_not_found = 41
    accounts_must_have_the_same_currency = 42
    hold_not_found = 43
    hold_has_different_debit_account = 44
    hold_has_different_credit_account = 45
    hold_already_captured = 46
    hold_already_voided = 47
    hold_expired = 48
    exceeds_hold_amount = 49
    debit_account_closed = 50
    credit_account_closed = 51
    debit_account_frozen = 52
    credit_account_frozen = 53
    overflows_debit_account = 54
    overflows_credit_account = 55
    insufficient_funds = 56
    exceeds_maximum_balance = 57
    cancelled = 58
    exceeds_allowance = 59
    hold_has_different_amount = 60
    nothing_owed = 61
    balancing_needs_limit = 62
    split_account_must_not_balance = 63

    # About a split debit account; nodes settle it among themselves, so it is never the answer to a client.
    elsewhere = 98  # its share for this payment is in another shard
    share_short = 99  # its share here has not enough, which says nothing of the others

    # Not decided yet; never the final answer to a client. The same request may be tried again.
    undecided = 100
    retry = 101

    @property
    def is_transient(self) -> bool:
        """Whether trying the same request again can give another answer."""
        return self >= Status.elsewhere

    @property
    def is_recorded(self) -> bool:
        """Whether the books remember this outcome under the transfer's id."""
        return (
            self == Status.created
            or Status.reversed_transfer_not_found <= self <= Status.split_account_must_not_balance
        )

    @property
    def is_of_amount(self) -> bool:
        """Whether the same request with another amount, or behind one that has moved another, may not be refused so."""
        return self in (
            Status.overflows_debit_account, Status.overflows_credit_account, Status.insufficient_funds,
            Status.exceeds_maximum_balance, Status.exceeds_allowance, Status.nothing_owed,
        )  # fmt: skip


REPEATED = 0x80  # in an answered status byte: the id was refused so before, and keeps that; see `split_status`


def split_status(answered: int) -> tuple[Status, bool]:
    """What a node answers of a transfer: its status, and whether this repeats a refusal that is on record under its id.

    Raises ValueError for a status that there is not.
    """
    return Status(answered & ~REPEATED), answered >= REPEATED


@unique
class AccountStatus(Named):
    """What became of one account command."""

    created = 0
    exists = 1
    updated = 2
    id_must_not_be_empty = 10
    id_too_long = 11
    id_has_invalid_characters = 12
    currency_unknown = 13
    minimum_exceeds_maximum_balance = 14
    balance_limit_out_of_range = 15
    owner_too_long = 16
    metadata_too_large = 17
    if_version_must_be_zero = 18
    split_account_must_have_no_maximum = 19
    exists_with_different_currency = 20
    exists_with_different_minimum_balance = 21
    exists_with_different_maximum_balance = 22
    exists_with_different_owner = 23
    exists_with_different_metadata = 24
    exists_with_different_split = 25
    version_conflict = 29
    account_not_found = 30
    account_closed = 31
    account_already_closed = 32
    account_not_empty = 33
    limit_excludes_balance = 34
    split_account_must_stay_open = 35
    split_account_must_keep_having_a_minimum = 36
    too_many_split_accounts = 37
    elsewhere = 98  # the account is split, and its other shares must be told too; never the answer to a client
    retry = 101


@unique
class AllowanceStatus(Named):
    """What became of a change of an allowance."""

    set = 0
    account_not_found = 10
    amount_out_of_range = 11
    time_zone_unknown = 12
    version_conflict = 29  # somebody else has changed it since it was read
    retry = 101  # its day was over when it came: found out again by the node, never the answer to a client


@unique
class LockStatus(Named):
    """What became of one word to the locks."""

    granted = 0
    renewed = 1
    released = 2
    waiting = 3  # still in the queue; ask again with the same claim
    lock_not_held = 10
    lock_already_claimed = 11
    lock_is_held = 12
    lock_queue_full = 13
    claim_is_over = 14  # or too old to know: make another claim, with the ticket of this answer
    lock_name_must_not_be_empty = 20
    lock_name_too_long = 21
    lock_name_has_invalid_characters = 22
    lock_ttl_out_of_range = 23

    @property
    def is_refusal(self) -> bool:
        """Whether nothing was done."""
        return self >= LockStatus.lock_not_held


@unique
class AccountState(Named):
    """What an account lets happen."""

    open = 0
    frozen = 1
    closed = 2


ACCOUNT_ID_BYTES_MAX = 64  # fits a prefixed UUID with a tag and a currency; keeps a million ids well under 200 MB
TRANSFERS_MAX = 8_192  # a request: large enough that fixed costs vanish, small enough to stay under a frame of 1 MiB
AMOUNT_MAX = 2**62 - 1  # one amount, and every balance within plus or minus this; sums are proven before they are added
MERGED_LENGTH_MAX = 2**21  # of one merged command, as `Transfers.length` counts: at most 10 MiB, so it fits a frame
REFERENCE_BYTES_MAX = 64  # an ISO 20022 EndToEndId has 35 characters
OWNER_BYTES_MAX = 64  # an account id's length: owners are often accounts or users
METADATA_BYTES_MAX = 1_024  # a few labels; documents belong elsewhere
METADATA_KEYS_MAX = 8  # of a transfer's metadata: what it is about, not what is known of that
METADATA_KEY_BYTES_MAX = 32  # a word or two
METADATA_TEXT_BYTES_MAX = 64  # a reference's length
TRANSFER_METADATA_BYTES_MAX = 256  # as JSON: at most doubles what a transfer takes in the record
LOCK_NAME_BYTES_MAX = 64  # locks are often named after an account
LOCK_TTL_MS_MIN = 100  # a shorter lease would end while its owner waits for an answer
LOCK_TTL_MS_MAX = 3_600_000  # so long may a dead owner keep others waiting
TTL_SECONDS_MAX = 366 * 86_400  # a card authorisation lives for days; a year bounds the memory that a hold keeps
SPLIT_ACCOUNTS_MAX = 1_024  # every node and client knows their ids; merchants and platforms are few
BALANCES_MAX = 1_024  # accounts in one read: a millisecond of a node's time, an answer of a megabyte at the most
HISTORY_ROWS_MAX = 1_000  # a page: one segment's worth of work at the most, well under a frame
