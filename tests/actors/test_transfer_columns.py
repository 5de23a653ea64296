"""What a transfer may carry besides its amount: within a shard and over shards, by both protocols."""

from __future__ import annotations

import asyncio

import pytest

from protocol.columns import Flag
from protocol.errors import ProtocolError, Refused
from protocol.operations import Operation
from protocol.status import Status
from tests.actors.quiet import World, play

COMMITS = ["2pc", "3pc"]


def names(world: World) -> tuple[str, str, str]:
    """Two accounts of one shard, and one of another."""
    return world.name_in(1, "payer"), world.name_in(1, "near"), world.name_in(2, "far")


@pytest.mark.parametrize("commit", COMMITS)
def test_a_currency_is_that_of_both_accounts(commit: str) -> None:
    """Whichever of the two differs, wherever it lives: the refusal names what each is kept in, and nothing has moved."""

    async def story(world: World) -> None:
        client, (payer, near, far) = world.client, names(world)
        await world.open(payer, near, far, funds=100)
        dollars = world.name_in(2, "dollars")
        await client.create_account(dollars, "USD")
        for payee in (near, far):
            receipt = await client.transfer(payer, payee, 1, currency="EUR", commit=commit)
            assert receipt.status == Status.created
            for call in (
                client.transfer(payer, payee, 1, currency="USD", commit=commit),
                client.hold(payer, payee, 1, ttl=10, currency="USD", commit=commit),
            ):
                with pytest.raises(Refused) as refused:
                    await call
                assert refused.value.status == "transfer_must_have_the_same_currency_as_accounts"
                assert f"{payer} is kept in EUR, {payee} is kept in EUR" in str(refused.value)
        with pytest.raises(Refused, match=f"{payer} is kept in EUR, {dollars} is kept in USD"):
            await client.transfer(payer, dollars, 1, currency="EUR", commit=commit)
        currencies = ["EUR", "USD", ""] * 4
        payees = [near, far, far, near] * 3
        statuses = await client.transfer_many([payer] * 12, payees, [1] * 12, currency=currencies, commit=commit)
        wrong = Status.transfer_must_have_the_same_currency_as_accounts
        assert statuses == [wrong if currency == "USD" else Status.created for currency in currencies]
        account = await client.account(payer)
        assert (account.posted, account.held) == (90, 0)

    play(story, shards=2)


@pytest.mark.parametrize("commit", COMMITS)
def test_metadata_is_kept_with_a_transfer(commit: str) -> None:
    """History of both sides and `find` show it, typed; a repeat that differs in it is told so."""

    async def story(world: World) -> None:
        client, (payer, near, far) = world.client, names(world)
        await world.open(payer, near, far, funds=100)
        about: dict[str, str | int | bool] = {"order": "Ä-17\n", "count": 3, "is_gift": True}
        for payee in (near, far):
            id = client.new_id()
            await client.transfer(payer, payee, 1, id=id, metadata=about, commit=commit)
            assert (
                await client.transfer(payer, payee, 1, id=id, metadata=about, commit=commit)
            ).status == Status.exists
            with pytest.raises(Refused, match="exists_with_different_metadata: expected the metadata that this id was"):
                await client.transfer(payer, payee, 1, id=id, metadata=about | {"count": True}, commit=commit)
            found = await client.find(id)
            assert found is not None and found.metadata == about and found.metadata["is_gift"] is True
            hold = await client.hold(payer, payee, 1, ttl=10, metadata={"n": 2}, commit=commit)
            assert [entry.metadata async for entry in client.history(payee, newest_first=True, limit=2)] == [
                {"n": 2},
                about,
            ]
            (last,) = [entry async for entry in client.history(payer, newest_first=True, limit=1)]
            assert (last.id, last.metadata) == (hold.id, {"n": 2})
        each: list[dict[str, int]] = [{"row": row} if row % 3 else {} for row in range(12)]
        statuses = await client.transfer_many([payer] * 12, [near, far] * 6, [1] * 12, metadata=each, commit=commit)
        assert statuses == [Status.created] * 12
        entries = [entry async for entry in client.history(payer, newest_first=True, limit=12)]
        assert sorted(entry.metadata.get("row", 0) for entry in entries) == sorted(row.get("row", 0) for row in each)

    play(story, shards=2)


def test_a_node_refuses_metadata_of_another_form() -> None:
    """A client of another hand may send any text."""

    async def story(world: World) -> None:
        await world.open("a", "b", funds=10)
        columns: list[object] = [
            bytes(15) + b"\1",
            "a",
            "b",
            bytes([1]) + bytes(7),
            *(b"", b"", "", b"", b"", b"", "", b"", "", b""),
        ]
        for text in ('{"a": 1}', "{}", "x", '{"b":1,"a":1}'):
            with pytest.raises(ProtocolError, match="keys in order and no blanks"):
                await world.client._calls.ask(Operation.transfers, ["a", "b"], [*columns, text], 5.0)
        assert await world.client._calls.ask(Operation.transfers, ["a", "b"], [*columns, '{"a":1}'], 5.0) == [b"\0"]

    play(story)


@pytest.mark.parametrize("commit", COMMITS)
@pytest.mark.parametrize("where", ["near", "far"])
def test_a_reversal_gives_back_what_was_moved(where: str, commit: str) -> None:
    """Within a shard and over two: in parts, by many at once, never more; each no has its name."""

    async def story(world: World) -> None:
        client, (payer, near, far) = world.client, names(world)
        await world.open(payer, near, far, funds=100)
        shop, other = (near, far) if where == "near" else (far, near)
        paid = await client.transfer(payer, shop, 90, commit=commit)
        back = await client.transfer(shop, payer, 20, reverses=paid.id, commit=commit)
        assert (
            await client.transfer(shop, payer, 20, id=back.id, reverses=paid.id, commit=commit)
        ).status == Status.exists
        given = [client.transfer(shop, payer, 15, reverses=paid.id, commit=commit) for _ in range(12)]
        told = await asyncio.gather(*given, return_exceptions=True)
        refused = [str(each) for each in told if isinstance(each, Refused)]
        assert len(told) - len(refused) == 4 and all("exceeds_reversible_amount" in each for each in refused), told
        hold = await client.hold(payer, shop, 5, ttl=60, commit=commit)
        captured = await client.capture(hold.id, 5, commit=commit)
        wrong = {
            "exceeds_reversible_amount": (shop, payer, 11, paid.id), "reversed_transfer_not_found": (shop, payer, 1, client.new_id()),
            "reversed_transfer_has_different_accounts": (other, payer, 1, paid.id), "hold_cannot_be_reversed": (shop, payer, 1, hold.id),
            "reversal_cannot_be_reversed": (payer, shop, 1, back.id),
        }  # fmt: skip
        for status, (debit, credit, amount, of) in wrong.items():
            with pytest.raises(Refused, match=f"{status}: expected "):
                await client.transfer(debit, credit, amount, reverses=of, commit=commit)
        last = await client.transfer_many(
            [shop] * 3, [payer] * 3, [10, 5, 1], reverses=[paid.id, captured.id, 0], commit=commit
        )
        assert last == [Status.created] * 3
        with pytest.raises(Refused, match="transfer_already_reversed: expected "):
            await client.transfer(shop, payer, 1, reverses=paid.id, commit=commit)
        found = await client.find(back.id)
        assert found is not None and (found.reverses, found.flags) == (paid.id, Flag.reversal)
        entries = [entry async for entry in client.history(shop)]
        assert sum(entry.amount for entry in entries if entry.reverses == paid.id) == 90
        assert (await client.account(payer)).posted == 101

    play(story, shards=2)


@pytest.mark.parametrize("commit", COMMITS)
def test_payments_to_and_of_split_accounts_can_be_reversed(commit: str) -> None:
    """What is given back to one goes to its home share, whose record knows the payment; clients that know it and those that do not."""

    async def story(world: World) -> None:
        client = world.client
        payers = [world.name_in(group, f"p{group}x") for group in (1, 2)]
        await world.open(*payers, funds=100)
        split = world.name_in(1, "split")
        await client.create_account(split, "EUR", split=True)
        for payer in payers:
            there = await client.transfer(payer, split, 50, commit=commit)
            await client.transfer(split, payer, 30, reverses=there.id, commit=commit)
            back = await client.transfer(split, payer, 10, commit=commit)
            client._calls.split.clear()
            with pytest.raises(Refused, match="exceeds_reversible_amount"):
                await client.transfer(payer, split, 11, reverses=back.id, commit=commit)
            await client.transfer(payer, split, 4, reverses=back.id, commit=commit)
            client._calls.split[split] = None
            await client.transfer(payer, split, 6, reverses=back.id, commit=commit)
            with pytest.raises(Refused, match="transfer_already_reversed"):
                await client.transfer(payer, split, 1, reverses=back.id, commit=commit)
            with pytest.raises(Refused, match="exceeds_reversible_amount"):
                await client.transfer(split, payer, 21, reverses=there.id, commit=commit)
            assert (await client.account(payer)).posted == 80

    play(story, shards=2)
