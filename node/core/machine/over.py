"""Which rounds are carried out everywhere, so that nobody needs to remember them."""

from __future__ import annotations

from dataclasses import dataclass

from node.core.machine.operation import Body

ROUND_BITS = 40  # round id = epoch << 40 | number: a million rounds a second last twelve days an epoch


@dataclass(frozen=True, slots=True)
class Over:
    """As a coordinator knows it, in the epoch that it says this in."""

    below: int = 0  # all rounds below are over
    own: int = 0  # those of the epoch below this one are over
    lasting: tuple[int, ...] = ()  # but for these

    def pack(self) -> Body:
        """`[below, own, *lasting]`."""
        return [self.below, self.own, *self.lasting]

    @classmethod
    def unpack(cls, body: Body) -> Over:
        """From what `pack` made."""
        below, own, *lasting = body
        return cls(below, own, tuple(lasting))

    def holds(self, round_id: int, epoch: int) -> bool:
        """Whether the round is over, said in this epoch."""
        is_own = round_id >> ROUND_BITS == epoch
        return round_id < self.below or (is_own and round_id < self.own and round_id not in self.lasting)

    def join(self, said: Over) -> Over:
        """Calls may overtake each other: the highest bound counts, and for that the shortest list of rounds that last."""
        if said.own > self.own:
            lasting = said.lasting
        else:
            lasting = tuple(n for n in self.lasting if said.own < self.own or n in said.lasting)
        return Over(max(self.below, said.below), max(self.own, said.own), lasting)
