"""Checks of payments whose amount the books find, and of holds, by what the clients were told and when."""

from __future__ import annotations

from protocol.status import Status
from tests.simulation.records import Records, Transfer

Bound = tuple[int, int]
"""The least and the most that may have been there, or owed."""

NOT_FOUND = Status.hold_not_found.name
LONG_SECONDS = 3_600  # a hold that lives so long has not ended by itself in a run


def check_balancing(records: Records) -> list[str]:
    """Each has moved something, never more than was asked, there and owed, and never less than all of these allowed."""
    broken = []
    created = records.created()
    for one in created:
        if not one.balancing:
            continue
        bounds = [_rest(one, records, created)] if one.balancing == "rest" else _funds(one, records, created)
        bounds += [(one.limit, one.limit)] if one.limit else []
        least, most = min(bound[0] for bound in bounds), min(bound[1] for bound in bounds)
        if not max(1, least) <= one.amount <= most:
            told = f"limit {one.limit}, {least} to {most} was there"
            broken.append(f"transfer {one.id:032x} balances {one.balancing} with {one.amount}: {told}")
    return broken


def _funds(one: Transfer, records: Records, created: list[Transfer]) -> list[Bound]:
    bounds = []
    if one.balancing in ("debit", "both") and one.debit not in records.unlimited:
        least, most = _posted(one.debit, one, created)
        overdraft = records.overdrafts.get(one.debit, 0)
        bounds.append((least + overdraft, most + overdraft))
    if one.balancing in ("credit", "both"):
        least, most = _posted(one.credit, one, created)
        bounds.append((-most, -least))
    return bounds


def _posted(name: str, at: Transfer, created: list[Transfer]) -> Bound:
    """Of an account, at the turn of a transfer; the least is without all that was ever put aside."""
    least = most = 0
    for one in created:
        if one is at:
            continue
        is_surely_in, may_be_in = one.accepted_at < at.invoked_at, one.invoked_at <= at.accepted_at
        if name == one.credit and one.kind in ("plain", "capture"):
            least += one.amount * is_surely_in
            most += one.amount * may_be_in
        if name == one.debit and one.kind != "void":
            least -= one.amount * may_be_in
            most -= one.amount * (is_surely_in and one.kind != "hold")
    return least, most


def _rest(one: Transfer, records: Records, created: list[Transfer]) -> Bound:
    others = [each for each in created if each.kind == "capture" and each.hold == one.hold and each is not one]
    whole = records.transfers[one.hold].amount
    least = whole - sum(each.amount for each in others if each.invoked_at <= one.accepted_at)
    return least, whole - sum(each.amount for each in others if each.accepted_at < one.invoked_at)


def check_holds(records: Records) -> list[str]:
    """Of none more is captured than was put aside; one void or final capture ends it, and nothing is captured behind that.

    One that somebody knows to be open is found.
    """
    broken = []
    for one in records.transfers.values():
        if one.final == NOT_FOUND and one.hold and records.transfers[one.hold].accepted_at < one.invoked_at:
            broken.append(f"hold {one.hold:032x} was accepted, and then not found")
    for hold, ends in _ends_of(records):
        captured = sum(one.amount for one in ends if one.kind == "capture")
        if captured > hold.amount * hold.is_created:
            broken.append(f"hold {hold.id:032x}: {captured} captured of {hold.amount * hold.is_created}")
        last = [one for one in ends if _is_last(one)]
        if len(last) > 1:
            broken.append(f"hold {hold.id:032x} was ended {len(last)} times")
        if any(one.invoked_at > end.accepted_at for end in last for one in ends):
            broken.append(f"hold {hold.id:032x} was ended, and captured behind that")
    return broken


def check_held(name: str, held: int, records: Records) -> list[str]:
    """What was captured, or given back, is no longer held at the end; what was neither is, while its time lasts."""
    least = most = 0
    for hold, ends in _ends_of(records):
        if name == hold.debit and hold.is_created and not any(map(_is_last, ends)):
            rest = hold.amount - sum(one.amount for one in ends)
            least += rest if hold.ttl >= LONG_SECONDS else 0
            most += rest
    return [] if least <= held <= most else [f"{name}: {held} is held, not {least} to {most}"]


def _is_last(end: Transfer) -> bool:
    return end.kind == "void" or end.is_final


def _ends_of(records: Records) -> list[tuple[Transfer, list[Transfer]]]:
    """Each hold, with what has ended it or a part of it."""
    ends: dict[int, list[Transfer]] = {one.id: [] for one in records.transfers.values() if one.kind == "hold"}
    for one in records.created():
        if one.kind in ("capture", "void"):
            ends[one.hold].append(one)
    return [(records.transfers[id], found) for id, found in ends.items()]
