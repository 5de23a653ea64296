"""What would have passed, for every refusal but what nodes settle among themselves."""

from __future__ import annotations

from protocol.names import found
from protocol.status import (
    METADATA_BYTES_MAX,
    OWNER_BYTES_MAX,
    REFERENCE_BYTES_MAX,
    TTL_SECONDS_MAX,
    AccountStatus,
    AllowanceStatus,
    LockStatus,
    Status,
)

EXPECTED = {
    Status.amount_must_not_be_zero: "an amount above 0, in minor units",
    Status.amount_must_not_be_negative: "an amount above 0, in minor units",
    Status.accounts_must_be_different: "two different accounts",
    Status.reversed_transfer_not_found: "the id of a transfer that has happened, by an earlier request",
    Status.reversed_transfer_has_different_accounts: "the accounts of the transfer that is reversed, the other way round",
    Status.hold_cannot_be_reversed: "a transfer or a capture: a hold moves nothing, and is given back by a void",
    Status.reversal_cannot_be_reversed: "a transfer that is no reversal itself",
    Status.transfer_already_reversed: "a transfer of which something is left to be reversed",
    Status.exceeds_reversible_amount: "an amount within what is left of the transfer that is reversed",
    Status.transfer_must_have_the_same_currency_as_accounts: "the currency of both accounts, or none",
    Status.lock_not_held: "the name and the token of a lock that is held now",
    Status.version_conflict: "the version that the debit account has now",
    Status.debit_account_not_found: "a debit account that was created",
    Status.credit_account_not_found: "a credit account that was created",
    Status.accounts_must_have_the_same_currency: "two accounts of one currency",
    Status.insufficient_funds: "an amount within the debit account's available balance",
    Status.exceeds_maximum_balance: "an amount that keeps the credit account within its maximum balance",
    Status.exceeds_allowance: "an amount within what the debit account may still pay out today",
    Status.hold_not_found: "the id of an accepted hold",
    Status.exceeds_hold_amount: "an amount within what is left of the hold",
    Status.debit_account_frozen: "a debit account that is open",
    Status.credit_account_frozen: "a credit account that is open",
    Status.debit_account_closed: "a debit account that is open",
    Status.credit_account_closed: "a credit account that is open",
    Status.if_version_must_be_zero: "no if_version where the debit account is split: each share has a version of its own",
    Status.hold_must_have_ttl: "a time to live above 0 seconds",
    Status.ttl_too_long: f"a time to live of at most {TTL_SECONDS_MAX} seconds",
    Status.reference_too_long: f"a reference of at most {REFERENCE_BYTES_MAX} bytes",
    Status.id_must_not_be_zero: "an id above 0, such as client.new_id() gives",
    Status.id_must_not_be_int_max: "an id below 2^128 - 1, such as client.new_id() gives",
    Status.cancelled: "a new id: this one was asked about before it happened, and never will",
    Status.hold_expired: "a hold whose time has not run out",
    Status.hold_already_captured: "a hold of which something is left",
    Status.hold_already_voided: "a hold that is open",
    Status.overflows_debit_account: "an amount that keeps the debit account above -2^62",
    Status.overflows_credit_account: "an amount that keeps the credit account below 2^62",
    Status.exists: "an id of its own for each leg, or all legs as they were sent: this one has happened, and not with all the others",
    Status.linked_event_failed: "all transfers of the chain to pass: another one of it was refused",
    Status.linked_event_chain_open: "a chain that ends with a transfer that is not linked",
    Status.reserved_flag: "no other flags than those of protocol.columns.Flag",
    Status.flags_are_mutually_exclusive: (
        "at most one of hold, capture, void and reversal; balancing_credit with none of them, balancing_debit with no void or reversal"
    ),
    Status.ttl_reserved_for_hold: "no time to live but a hold's",
    Status.hold_id_must_be_zero: "no hold_id but for a capture, a void or a reversal",
    Status.hold_id_must_not_be_zero: "the id of the hold that is captured or voided, or of the transfer that is reversed",
    Status.hold_id_must_be_different: "an id of its own, other than that of the hold or of the transfer that is reversed",
    Status.hold_has_different_debit_account: "the debit account of the hold",
    Status.hold_has_different_credit_account: "the credit account of the hold",
    Status.hold_has_different_amount: "no amount for a void, or the one that the hold was opened with",
    Status.nothing_owed: "a credit account with a balance below 0",
    Status.balancing_needs_limit: "an amount as the limit, since the debit account has no minimum balance",
    Status.split_account_must_not_balance: "a balancing account that is not split",
    Status.final_reserved_for_capture: "final=True for a capture alone",
}
DIFFERENT = "exists_with_different_"
EXPECTED |= {
    status: f"the {status.name.removeprefix(DIFFERENT).replace('_', ' ')} that this id was first used with, or a new id"
    for status in Status
    if status.name.startswith(DIFFERENT)
} | {
    Status.exists_with_different_reverses: "the transfer that this id was first used to reverse, or a new id",
    Status.exists_with_different_currency: "the currency of the transfer that this id was first used with, or a new id",
}
EXPECTED_OF_ACCOUNT = {
    AccountStatus.id_must_not_be_empty: "an id of 1 to 64 bytes",
    AccountStatus.id_too_long: "an id of 1 to 64 bytes",
    AccountStatus.id_has_invalid_characters: "an id in NFC, without spaces and characters that do not show",
    AccountStatus.currency_unknown: "an ISO 4217 code",
    AccountStatus.version_conflict: "the version that the account has now",
    AccountStatus.account_not_found: "an account that was created",
    AccountStatus.account_not_empty: "an account without balance, holds and incoming credits",
    AccountStatus.account_closed: "an account that is not closed",
    AccountStatus.if_version_must_be_zero: "no if_version for a split account: each share has a version of its own",
    AccountStatus.split_account_must_have_no_maximum: "no maximum balance for a split account",
    AccountStatus.exists_with_different_split: "split=True where the account was opened so, and not elsewhere",
    AccountStatus.split_account_must_stay_open: "a split account to be open or frozen: its shares cannot close at once",
    AccountStatus.split_account_must_keep_having_a_minimum: (
        "a number where a split account was opened with one, None where with None"
    ),
    AccountStatus.minimum_exceeds_maximum_balance: "a minimum balance up to the maximum balance",
    AccountStatus.balance_limit_out_of_range: "limits from -2^62 to 2^62 - 1",
    AccountStatus.limit_excludes_balance: "limits that the balance keeps now, which is 0 when an account is opened",
    AccountStatus.owner_too_long: f"an owner of at most {OWNER_BYTES_MAX} bytes",
    AccountStatus.metadata_too_large: f"metadata of at most {METADATA_BYTES_MAX} bytes",
    AccountStatus.account_already_closed: "an account that is not closed",
    AccountStatus.too_many_split_accounts: "at most 1,024 split accounts in a cluster",
}
EXPECTED_OF_ACCOUNT |= {
    status: f"the {status.name.removeprefix(DIFFERENT).replace('_', ' ')} that this account was opened with, or another id"
    for status in AccountStatus
    if status.name.startswith(DIFFERENT) and status not in EXPECTED_OF_ACCOUNT
}
EXPECTED_OF_ALLOWANCE = {
    AllowanceStatus.account_not_found: "an account that was created",
    AllowanceStatus.amount_out_of_range: "an amount from 0 to 2^62 - 1 in minor units, or None for no allowance",
    AllowanceStatus.time_zone_unknown: "a name of the tz database, such as Europe/Berlin or UTC",
    AllowanceStatus.version_conflict: "the allowance to be as it was read",
}
EXPECTED_OF_LOCK = {
    LockStatus.lock_not_held: "the name and the token of a lock that is held now",
    LockStatus.lock_already_claimed: "an owner that neither holds this lock nor waits for it",
    LockStatus.lock_is_held: "a lock that is free within the time to wait",
    LockStatus.lock_queue_full: "at most 10,000 claims to one lock and 50,000 to all",
    LockStatus.claim_is_over: "a claim that has neither ended nor grown old on its way",
    LockStatus.lock_name_must_not_be_empty: "a name of 1 to 64 bytes",
    LockStatus.lock_name_too_long: "a name of 1 to 64 bytes",
    LockStatus.lock_name_has_invalid_characters: "a name in NFC, without characters that do not show, spaces only inside",
    LockStatus.lock_ttl_out_of_range: "a time to live of 100 ms to 1 h",
}


def expected_of_name(status: AccountStatus | LockStatus, name: str) -> str:
    """What would have passed in place of an account id or a lock's name, and what was found where that is hard to see."""
    text = (
        EXPECTED_OF_ACCOUNT.get(status, "") if isinstance(status, AccountStatus) else EXPECTED_OF_LOCK.get(status, "")
    )
    is_hidden = status in (AccountStatus.id_has_invalid_characters, LockStatus.lock_name_has_invalid_characters)
    what = found(name, spaces=isinstance(status, LockStatus)) if is_hidden else ""
    return f"{text}; got {what}" if what else text
