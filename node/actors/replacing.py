"""Bringing a node back whose data folder is lost: its groups remove it, a new folder registers, they take it in again.

The table of members (`node.core.members`) says what is wanted; whoever leads a group makes its membership that, one change at a time,
whenever it differs. So nothing depends on who began it, and any node may die in the middle. The coordinator's node asks all leaders how
far they are, and moves the table on when the last one has followed.

Why the same number is safe though the new folder has forgotten what the old one acknowledged:

- The old folder is dead before it begins, and refused from then on, by its data id. A leader proposes the removal only when it has the
  table that says so, and with it closes the old folder's connections; so no acknowledgement of the old folder counts for the removal.
- The new folder speaks to nobody before each of its groups has removed the node by a committed change. The majority that committed
  it is one without the node, and all of it hold all that was committed before. A candidate that still counts the node among
  its voters and gets the new folder's vote needs others of that majority besides, which refuse it if it lacks anything. The same holds for
  what is committed by the remaining voters afterwards: half of the old voters without the node, and a majority of the rest, meet.
- The new folder's replicas begin as members of nothing, never campaign before a committed change has made them voters again, and become
  learners first: they count only when they have what is committed.

A group of which no majority is left without the node cannot be helped; `standing` then says `no leader`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from node.actors.actor import Failed, Outcome, Reply, not_done
from node.actors.events import ChangeMembership, MembershipQuery
from node.actors.members import MemberDesk
from node.actors.replica import Replica
from node.actors.router import Call, Router
from node.core.members import Member, MemberEvent, MemberState
from node.core.raft import Membership, MembershipChange, NodeId, Step
from node.ports import Clock
from protocol.answers import Replacement
from protocol.errors import ErrorCode
from protocol.operations import Body, PeerOperation
from protocol.placement import COORDINATOR, called
from protocol.requests import ReplaceRequest

TICKS_BETWEEN = 4  # two looks: a change takes a round of its group, and a fifth of a second a group is soon enough
CALL_SECONDS = 1.0  # for a leader's answer
LAG_ENTRIES_MAX = 4  # of a learner that becomes a voter: what is on its way to it just then
AWAY = (MemberState.leaving, MemberState.vacant)
NO_LEADER = "no leader"


class Replacing:
    """One a node. Has no task."""

    def __init__(
        self,
        members: MemberDesk,
        router: Router,
        replicas: Mapping[int, Replica],
        is_up: Callable[[int], bool],
        clock: Clock,
    ) -> None:
        self._members = members
        self._router = router
        self._replicas = replicas
        self._is_up = is_up
        self._clock = clock
        self._ticks = 0
        self._standings: dict[int, tuple[Member, dict[int, str]]] = {}
        """By node: its row, and what the leaders said of it by group."""

    def tick(self) -> None:
        """Now and then brings the groups that are led here closer to the table, and the table to what all groups have done."""
        self._ticks += 1
        if self._ticks % TICKS_BETWEEN:
            return
        for group, replica in self._replicas.items():
            if replica.is_serving:
                self._follow(group, replica)
        if self._leads():
            self._poll()
        else:
            self._standings.clear()

    def _leads(self) -> bool:
        return COORDINATOR in self._replicas and self._replicas[COORDINATOR].is_serving

    # -- at each group's leader -----------------------------------------------------------------------------------

    def _follow(self, group: int, replica: Replica) -> None:
        for node in self._router.placement.replicas[group]:
            row = self._members.table.rows.get(node)
            if row is not None and node != self._router.node and (step := _next_step(replica, node, row)) is not None:
                change = MembershipChange(((step, NodeId(node)),))
                replica.inbox.push(ChangeMembership(change, replica.membership))
                return

    def standing(self, call: Call) -> None:
        """`[node, data id, state]`: what the node is in a group that is led here: `["out"]`, `["learner"]` or `["voter"]`.

        Only if the node's row here is that one: what was so under another row says nothing of this one. The answer is a linearizable
        read of the group: a leader that has been deposed does not know that it has, and what it would say may have been undone.
        """
        node, data_id, state = call.body

        def answer(membership: Membership) -> None:
            row = self._members.table.rows.get(node)
            if row is None or (row.data_id, row.state) != (data_id, state):
                call.reply(not_done(ErrorCode.not_leader, f"{called(call.group)}: its leader has another table"))
                return
            known = "voter" if node in membership.voters else "learner"
            call.reply([known if node in membership.everyone else "out"])

        replica = self._replicas.get(call.group)
        if replica is None or not replica.inbox.offer(MembershipQuery(answer, call.reply)):
            call.reply(not_done(ErrorCode.not_leader, f"{called(call.group)}: not here, or busy"))

    # -- at the coordinator's node --------------------------------------------------------------------------------

    def _poll(self) -> None:
        for node, row in self._members.table.rows.items():
            if row.state in (MemberState.leaving, MemberState.joining):
                if node not in self._standings or self._standings[node][0] != row:
                    self._standings[node] = row, {}  # what is still under way for another row is told to nobody
                known = self._standings[node][1]
                for group in self._router.placement.groups_on(node):
                    self._ask(node, row, group, known)
                self._move_on(node, row, known)
            else:
                self._standings.pop(node, None)

    def _ask(self, node: int, row: Member, group: int, known: dict[int, str]) -> None:
        def answered(outcome: Outcome) -> None:
            (known[group],) = [NO_LEADER] if isinstance(outcome, Failed) else outcome

        asked = [node, row.data_id, int(row.state)]
        call = Call(group, PeerOperation.standing, asked, self._clock.monotonic() + CALL_SECONDS, answered)
        if self._router.leaders[group] == self._router.node:
            self.standing(call)
        else:
            self._router.call_once(call)

    def _move_on(self, node: int, row: Member, known: dict[int, str]) -> None:
        wanted, event = (
            ("out", MemberEvent.vacate) if row.state is MemberState.leaving else ("voter", MemberEvent.settle)
        )
        groups = self._router.placement.groups_on(node)
        if all(known.get(group) == wanted for group in groups):
            self._members.propose(event, node, row.data_id)
            known.clear()  # asked anew, in case the proposal is lost

    def replace(self, call: Call) -> None:
        """`[node, data id of the lost folder, or 0 to ask only]`: a `Replacement`."""
        asked: ReplaceRequest = call.request
        node, data_id = asked.node, asked.data_id
        row = self._members.table.rows.get(node)
        if not self._leads():
            call.reply(not_done(ErrorCode.not_leader, "not the coordinator"))
        elif row is None:
            call.reply(not_done(ErrorCode.bad_request, f"node {node}: expected one that has registered a data folder"))
        elif data_id == 0 or data_id != row.data_id or row.state in AWAY:
            call.reply(self._told(node, row))
        elif self._is_up(node):
            call.reply(not_done(ErrorCode.bad_request, f"node {node} runs: expected it to be stopped for good"))
        else:
            self._members.propose(MemberEvent.leave, node, data_id, self._after(node, call.reply))

    def _after(self, node: int, reply: Reply) -> Reply:
        def answered(outcome: Outcome) -> None:
            reply(outcome if isinstance(outcome, Failed) else self._told(node, self._members.table.rows[node]))

        return answered

    def _told(self, node: int, row: Member) -> Body:
        asked, known = self._standings.get(node, (row, {}))
        known = known if asked == row else {}
        standings = {group: known.get(group, "") for group in self._router.placement.groups_on(node)}
        return Replacement(row.data_id, int(row.state), standings).pack()


def _next_step(replica: Replica, node: int, row: Member) -> Step | None:
    """A leader whose table is old must not undo what others have done by a later one: only a node that joins is taken in."""
    membership = replica.membership
    is_member, is_voter = NodeId(node) in membership.everyone, NodeId(node) in membership.voters
    if membership.is_joint:
        return None
    if row.state in AWAY:
        return Step.remove if is_member else None
    if row.state is not MemberState.joining or is_voter:
        return None
    if not is_member:
        return Step.add_learner
    return Step.add_voter if replica.has_caught_up(node, LAG_ENTRIES_MAX) else None
