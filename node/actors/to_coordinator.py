"""The ways to the coordinator: into the inbox of the one on this node, and to wherever it is with the word that somebody waits."""

from __future__ import annotations

from collections.abc import Callable

from node.actors.actor import RETRY_AFTER_MS, Failed, Reply, not_done
from node.actors.coordinator import CoordinatorEvent, Finish, Hurry, MakeCut, Submit
from node.actors.router import Call, Router
from node.ports import Clock
from protocol.columns import Transfers
from protocol.errors import ErrorCode, ProtocolError
from protocol.operations import PeerOperation
from protocol.placement import COORDINATOR

HURRY_SECONDS = 1.0  # for the word to arrive; whoever waits says it again


class ToCoordinator:
    """One a node. Where its inbox is full, whoever comes is told `busy`."""

    def __init__(
        self, router: Router, clock: Clock, offer: Callable[[CoordinatorEvent], bool], push: Callable[[Finish], None]
    ) -> None:
        """`offer` and `push` are those of the inbox of this node's coordinator."""
        self._router = router
        self._clock = clock
        self._offer = offer
        self._push = push

    def submit(self, submit: Submit) -> None:
        """Starts transfers over several shards, or shares a round with others."""
        self._offer_or_refuse(submit, submit.reply)

    def transfers(self, call: Call) -> None:
        """The same, as a client has asked for it."""
        batch: Transfers = call.request
        self.submit(Submit(batch, *self._router.groups_of(batch), call.deadline, call.reply, call.source))

    def make_cut(self, asked: MakeCut) -> None:
        """Asks for a consistent cut."""
        self._offer_or_refuse(asked, lambda outcome: asked.reply("", outcome if isinstance(outcome, Failed) else {}))

    def finish(self, then: Callable[[], None]) -> None:
        """Group 0's leadership is about to move from here."""
        self._push(Finish(then))

    def hurry(self, group: int) -> None:
        """Tells the coordinator, wherever it is, that somebody waits for a decision in this group: `[group]`."""
        deadline = self._clock.monotonic() + HURRY_SECONDS
        self._router.call_once(Call(COORDINATOR, PeerOperation.hurry, [group], deadline, lambda _: None))

    def hurried(self, call: Call) -> None:
        """A node has said so. Raises ProtocolError for anything else."""
        match call.body:
            case [int(group)]:
                self._offer_or_refuse(Hurry(group), lambda _: None)
                call.reply([])
            case _:
                raise ProtocolError("hurry: expected [group]")

    def _offer_or_refuse(self, event: Submit | MakeCut | Hurry, reply: Reply) -> None:
        if not self._offer(event):
            reply(not_done(ErrorCode.busy, "the coordinator's inbox holds all that it can", RETRY_AFTER_MS))
