"""Seeded bugs of facts and their readers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest

from node.actors.events import Query, ReplicaEvent
from node.actors.router import Call, Router
from node.core.ledger import record
from node.core.ledger.books import Books
from node.core.ledger.segment import Columns
from protocol.client.events import Subscription
from protocol.events import Event, EventBatch
from protocol.operations import Operation


def pass_whole_batches(patch: pytest.MonkeyPatch) -> None:
    """The cursor stands behind all that an answer has told, whatever of it the reader has been given."""

    def events_of(self: Subscription, batch: EventBatch) -> Iterable[Event]:
        self._positions[batch.shard] = batch.end
        for event, _ in batch.walk():
            yield event

    patch.setattr(Subscription, "events_of", events_of)


def tell_both_sides(patch: pytest.MonkeyPatch) -> None:
    """A transfer between two shards is told by both."""
    patch.setattr(record, "CREDIT_LEG", 0)


def tell_refusals(patch: pytest.MonkeyPatch) -> None:
    """What was refused is told as if it had happened."""
    honest = record._chosen

    def chosen(books: Books, source: Columns, *rest: Any) -> Any:
        happened = Columns(0)
        for name in ("count", "debit", "credit", "flags", "references", "others", "others_count"):
            setattr(happened, name, getattr(source, name))
        happened.status = source.status * 0
        return honest(books, happened, *rest)

    patch.setattr(record, "_chosen", chosen)


def answer_anywhere(patch: pytest.MonkeyPatch) -> None:
    """Any replica tells what it has applied, whether it leads or lags."""
    honest_event, honest_call = Router._event_of, Router.call_once

    def event_of(self: Router, call: Call) -> ReplicaEvent:
        event = honest_event(self, call)
        return replace(event, stale=True) if isinstance(event, Query) and call.operation == Operation.facts else event

    def call_once(self: Router, call: Call, node: int = 0) -> None:
        is_here = call.operation == Operation.facts and call.group in self.replicas
        honest_call(self, call, self.node if is_here else node)

    patch.setattr(Router, "_event_of", event_of)
    patch.setattr(Router, "call_once", call_once)
