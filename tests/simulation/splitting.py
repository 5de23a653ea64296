"""A bank among whose accounts are split ones, opened while it is told that others are not."""

from __future__ import annotations

from tests.simulation.bank import CURRENCIES, CUSTOMERS, FUNDS, Bank
from tests.simulation.records import Transfer

SHOPS = 2  # split accounts a currency


class SplitBank(Bank):
    """A `Workload`. Now and then its client forgets which accounts are split."""

    async def open(self) -> None:
        """Opens the accounts and puts money on them."""
        for currency in CURRENCIES:
            await self.client.create_account(f"source:{currency}", currency, minimum_balance=None)
            self._records.unlimited[f"source:{currency}"] = None
            names = [f"payer{number}:{currency}" for number in range(CUSTOMERS)]
            shops = [f"shop{number}:{currency}" for number in range(SHOPS)]
            for name in [*names, *shops]:
                await self.client.create_account(name, currency, split=name in shops)
            self._records.split.update(dict.fromkeys(shops))
            self._records.accounts |= dict.fromkeys([f"source:{currency}", *names, *shops], currency)
            for name in [*names, *shops]:
                await self._send(Transfer(self.client.new_id(), f"source:{currency}", name, FUNDS))

    def _pair(self) -> tuple[str, str]:
        if self._random.random() < 0.1:
            self.client._calls.split.clear()
        currency = self._random.choice(CURRENCIES)
        names = [name for name, other in self._records.accounts.items() if other == currency]
        shop = self._random.choice([name for name in names if name in self._records.split])
        other = self._random.choice([name for name in names if name != shop])
        return (shop, other) if self._random.random() < 0.5 else (other, shop)
