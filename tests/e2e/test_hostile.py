"""Nonsense at a live node: an error for whoever sent it, and nothing for anybody else."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from protocol.client import Client
from protocol.columns import Flag
from protocol.errors import ErrorCode
from protocol.frames import CLIENT_FRAME_BYTES_MAX, HELLO_FRAME_BYTES_MAX
from protocol.messages import NEVER_MS, PROTOCOL_VERSION, Goodbye, Hello, Kind, Message, Reply, Request, encode
from scripts.local import LocalCluster
from tests.e2e.hostile_program import CLIENT, Answers, Connection
from tests.e2e.mutations import NASTY, bodies, frame, messages, mutate_bytes, mutate_value, nested, pack
from tests.e2e.nodes import PEER_TOKEN, running

SHAPES = 7_000  # requests and messages whose shape is wrong, in sound frames
DAMAGED = 3_500  # frames that are damaged on the way
PIPELINED = 100  # on one connection
AT_ONCE = 8


@pytest.fixture(scope="module", params=[1, 3], ids=["one node", "three nodes"])
def cluster(request: pytest.FixtureRequest) -> Iterator[LocalCluster]:
    """Real processes."""
    with running(request.param, 3) as cluster:
        pids = [node.pid() for node in cluster.nodes()]
        asyncio.run(prepare(cluster))
        yield cluster
        assert [node.pid() for node in cluster.nodes()] == pids, "\n".join(node.log_end(5) for node in cluster.nodes())
        asyncio.run(pay_and_audit(cluster))


async def prepare(cluster: LocalCluster) -> None:
    async with cluster.client() as client:
        await client.create_accounts([["world", "EUR", None, None, "", b""]])
        await client.create_accounts([[name, "EUR", 0, None, "", b""] for name in ("a", "b")])
        for name in ("a", "b"):
            await client.transfer("world", name, 1_000)


async def pay_and_audit(cluster: LocalCluster) -> None:
    """A normal client, on every node."""
    for number, address in enumerate(cluster.addresses):
        async with Client(address) as client:
            name = f"after:{number}:{client.new_id():x}"
            await client.create_account(name, "EUR")
            await client.transfer("world", name, 5)
            assert (await client.account(name)).posted == 5
    async with cluster.client() as client:
        report = await client.audit()
        assert report.balanced, report


def share(cluster: LocalCluster, total: int) -> int:
    """Each of the two clusters gets a half, and together they get more than ten thousand."""
    return total // 2 + 1


# -- in masses ----------------------------------------------------------------------------------------------------


async def test_messages_of_the_wrong_shape(cluster: LocalCluster) -> None:
    """Sound frames, wrong inside: every request is answered, or the connection ends with an error."""
    random = Random(11)
    requests = [list(message) for message in messages() if message[0] == Kind.request]
    pending: list[tuple[int, bytes]] = []
    for number in range(1, share(cluster, SHAPES) + 1):
        original = random.choice(requests)
        original[1] = number
        pending.append((number, frame(pack(mutate_request(random, original)))))
    jobs = [pending[start : start + PIPELINED] for start in range(0, len(pending), PIPELINED)]
    await in_turns([send_all(cluster.addresses[place % len(cluster.addresses)], job) for place, job in enumerate(jobs)])


def mutate_request(random: Random, request: list[Any]) -> list[Any]:
    """The body changes, or where it goes."""
    copy = list(request)
    if random.random() < 0.4:
        copy[3] = random.choice([0, 0, 1, 2, 3, 4, 99, -1, 2**31 - 1])
    if random.random() < 0.1:
        copy[2] = random.choice(list(bodies())).strip()
    for _ in range(random.choice([0, 1, 1, 1, 2])):
        copy[6] = mutate_value(random, copy[6])
    return copy


async def send_all(address: str, job: list[tuple[int, bytes]]) -> None:
    """Sends requests one behind the other; after an error, the rest on a new connection."""
    while job:
        connection = await Connection.open(address, CLIENT)
        for _, data in job:
            connection.send(data)
        connection.probe()
        wanted = [number for number, _ in job]
        answers = connection.answers
        while await connection.read():
            if all(number in answers.by_id for number in wanted):
                break
        is_closed = answers.is_closed
        await connection.close()
        if is_closed:
            assert answers.error is not None, "closed without a word"
            answered = [place for place, number in enumerate(wanted) if number in answers.by_id]
            job = job[max(answered, default=-1) + 2 :] if is_in_order(wanted, answers) else job[1:]
        else:
            assert all(number in answers.by_id for number in wanted), "a request without an answer"
            job = []


def is_in_order(wanted: list[int], answers: Answers) -> bool:
    """Whether the answers are those of the first requests: then the next one was the one that closed."""
    count = sum(number in answers.by_id for number in wanted)
    return all(number in answers.by_id for number in wanted[:count])


async def test_damaged_frames(cluster: LocalCluster) -> None:
    """Bits flipped, bytes lost, swapped or added, lengths that lie: an error frame and the end, or an answer."""
    random = Random(12)
    originals = messages()

    async def attempt(data: bytes, address: str) -> None:
        connection = await Connection.open(address, CLIENT)
        connection.send(data)
        connection.probe()
        answers = await connection.read_until_probed()
        assert answers.is_closed or answers.by_id, "neither an answer nor an end"

    def make(original: list[Any]) -> bytes:
        if random.random() < 0.5:
            return frame(pack(mutate_value(random, original)))
        return mutate_bytes(random, frame(pack(original)))

    jobs = [
        attempt(make(random.choice(originals)), random.choice(cluster.addresses))
        for _ in range(share(cluster, DAMAGED))
    ]
    await in_turns(jobs)


async def test_damaged_first_frames(cluster: LocalCluster) -> None:
    """The same before any handshake."""
    random = Random(13)

    async def attempt(data: bytes) -> None:
        connection = await Connection.open(cluster.addresses[0])
        connection.send(data)
        connection.end()
        answers = await connection.read_until_closed()
        assert answers.is_closed

    hello = frame(encode(CLIENT))
    await in_turns([attempt(mutate_bytes(random, hello)) for _ in range(200)])
    await in_turns([attempt(random.randbytes(random.randrange(1, 200))) for _ in range(100)])


async def in_turns(jobs: list[Any]) -> None:
    """A few at once."""
    turn = asyncio.Semaphore(AT_ONCE)

    async def run(job: Any) -> None:
        async with turn:
            await job

    async with asyncio.TaskGroup() as tasks:
        for job in jobs:
            tasks.create_task(run(job))


# -- one by one ---------------------------------------------------------------------------------------------------

HELLOS: dict[str, tuple[Message, ErrorCode]] = {
    "another version": (Hello(9, "", "client", 0, "", 0), ErrorCode.wrong_version),
    "another cluster": (Hello(PROTOCOL_VERSION, "elsewhere", "client", 0, "", 0), ErrorCode.wrong_cluster),
    "a peer of another cluster": (Hello(PROTOCOL_VERSION, "", "peer", 1, PEER_TOKEN, 1), ErrorCode.wrong_cluster),
    "a peer without the token": (Hello(PROTOCOL_VERSION, "under-test", "peer", 2, "", 1), ErrorCode.not_authenticated),
    "a stranger with the token": (Hello(PROTOCOL_VERSION, "under-test", "peer", 77, PEER_TOKEN, 1), ErrorCode.unknown_peer),
    "the node itself": (Hello(PROTOCOL_VERSION, "under-test", "peer", 1, PEER_TOKEN, 1), ErrorCode.unknown_peer),
    "a client with a number": (Hello(PROTOCOL_VERSION, "", "client", 2, "", 0), ErrorCode.bad_message),
    "no hello at all": (Request(1, "cluster", -1, NEVER_MS, 0, []), ErrorCode.bad_message),
    "goodbye first": (Goodbye("x"), ErrorCode.bad_message),
}  # fmt: skip


@pytest.mark.parametrize("name", HELLOS)
async def test_a_hello_that_is_refused(cluster: LocalCluster, name: str) -> None:
    """The reason comes as an error frame, then the connection ends."""
    message, code = HELLOS[name]
    if isinstance(message, Hello) and message.role == "peer":
        message = replace(message, settings=cluster.config.cluster.shared)
    answers = await (await Connection.open(cluster.addresses[0], message)).read_until_closed()
    assert answers.welcome is None and answers.error is not None
    assert answers.error.code == code


FRAMES: dict[str, tuple[bytes, ErrorCode]] = {
    "too large": (frame(b"")[:0] + (CLIENT_FRAME_BYTES_MAX + 1).to_bytes(4, "big") + bytes(4), ErrorCode.frame_too_large),
    "a wrong checksum": (frame(pack([4, 1, []]))[:-1] + b"\xff", ErrorCode.bad_frame),
    "no msgpack": (frame(b"\xc1"), ErrorCode.bad_message),
    "not a list": (frame(pack("text")), ErrorCode.bad_message),
    "an unknown kind": (frame(pack([99, 1])), ErrorCode.bad_message),
    "deep nesting": (frame(pack([3, 1, "cluster", -1, 1, 0, nested(400)])), ErrorCode.bad_message),
    "text that is not UTF-8": (frame(b"\x92\x07\xa2\xff\xfe"), ErrorCode.bad_message),
    "an extension": (frame(pack([7, NASTY[-1]])), ErrorCode.bad_message),
    "an array that is not there": (frame(b"\xdd\xff\xff\xff\xff"), ErrorCode.bad_message),
    "a second hello": (frame(encode(CLIENT)), ErrorCode.bad_message),
    "the log's messages from a client": (frame(pack([8, []])), ErrorCode.bad_message),
    "a snapshot from a client": (frame(pack([9, 1, 9, 5, 1, 0, True, b"", 0])), ErrorCode.bad_message),
}  # fmt: skip


@pytest.mark.parametrize("name", FRAMES)
async def test_a_frame_that_ends_the_connection(cluster: LocalCluster, name: str) -> None:
    """Its own code each."""
    data, code = FRAMES[name]
    connection = await Connection.open(cluster.addresses[0], CLIENT)
    connection.send(data)
    answers = await connection.read_until_closed()
    assert answers.error is not None and answers.error.code == code


async def test_a_stranger_cannot_send_a_large_first_frame(cluster: LocalCluster) -> None:
    """Before the handshake the limit is small."""
    connection = await Connection.open(cluster.addresses[0])
    connection.send((HELLO_FRAME_BYTES_MAX + 1).to_bytes(4, "big") + bytes(4))
    answers = await connection.read_until_closed()
    assert answers.error is not None and answers.error.code == ErrorCode.frame_too_large


REQUESTS: dict[str, tuple[str, int, list[Any], ErrorCode]] = {
    "an unknown operation": ("mint", -1, [], ErrorCode.unknown_operation),
    "an operation between nodes": ("machine", 1, [[0, "ledger", []]], ErrorCode.unknown_operation),
    "accounts in group 0": ("accounts", 0, [["x", "EUR", 0, None, "", b""]], ErrorCode.bad_request),
    "a balance in group 0": ("balances", 0, ["a"], ErrorCode.bad_request),
    "a history in group 0": ("history", 0, ["a", None, 5, True], ErrorCode.bad_request),
    "an update in group 0": ("update", 0, ["a", {}, b"1" * 16, b""], ErrorCode.bad_request),
    "an outcome in group 0": ("outcome", 0, [b"1" * 16, "a"], ErrorCode.bad_request),
    "a search in group 0": ("find", 0, [b"1" * 16], ErrorCode.bad_request),
    "a group that is not there": ("cluster", 99, [], ErrorCode.bad_request),
    "the cluster in a group": ("cluster", 1, [], ErrorCode.bad_request),
    "an audit in a group": ("audit", 1, [], ErrorCode.bad_request),
    "a negative cursor": ("history", -1, ["a", -1, 5, True], ErrorCode.bad_request),
    "too many rows": ("history", -1, ["a", None, 10**6, True], ErrorCode.bad_request),
    "a currency that is a number": ("accounts", -1, [["x", 978, 0, None, "", b""]], ErrorCode.bad_request),
    "a limit that is text": ("accounts", -1, [["x", "EUR", "5", None, "", b""]], ErrorCode.bad_request),
    "a state that is none": ("update", -1, ["a", {"status": 7}, b"1" * 16, b""], ErrorCode.bad_request),
    "a version below 0": ("update", -1, ["a", {"if_version": -1}, b"1" * 16, None], ErrorCode.bad_request),
    "a lock in a shard's group": (
        "transfers", 1, [b"1" * 16, "a", "b", bytes(8), b"", b"", "", b"", b"", b"", "payroll", bytes(8)],
        ErrorCode.bad_request,
    ),
    "a commit protocol that does not exist": (
        "transfers", -1, [b"1" * 16, "a", "b", bytes(8), b"", b"", "", b"", b"", b"", "", b"", "4pc"],
        ErrorCode.bad_request,
    ),
    "columns of different length": ("transfers", -1, [b"1" * 16, "a", "b\nc", bytes(8)], ErrorCode.bad_request),
    "amounts as numbers": ("transfers", -1, [b"1" * 16, "a", "b", [5]], ErrorCode.bad_request),
    "no transfers": ("transfers", -1, [b"", "", "", b""], ErrorCode.bad_request),
    "a short id": ("outcome", -1, [b"1", "a"], ErrorCode.bad_request),
}  # fmt: skip


@pytest.mark.parametrize("name", REQUESTS)
async def test_a_request_that_is_refused(cluster: LocalCluster, name: str) -> None:
    """A Failure for that request; the connection goes on."""
    operation, group, body, code = REQUESTS[name]
    connection = await Connection.open(cluster.addresses[0], CLIENT, Request(5, operation, group, NEVER_MS, 0, body))
    while 5 not in connection.answers.by_id and await connection.read():
        pass
    refused = connection.answers.by_id[5]
    assert not isinstance(refused, Reply) and refused.code == code, refused
    connection.probe()
    answers = await connection.read_until_probed()
    assert not answers.is_closed and answers.error is None


async def test_an_id_that_is_not_answered_yet_may_not_be_used_again(cluster: LocalCluster) -> None:
    """Two answers under one number would be a riddle."""
    request = Request(5, "audit", -1, NEVER_MS, 0, [])
    answers = await (await Connection.open(cluster.addresses[0], CLIENT, request, request)).read_until_closed()
    assert answers.error is not None and answers.error.code == ErrorCode.bad_message


async def test_messages_of_the_log_in_another_name(cluster: LocalCluster) -> None:
    """A peer speaks for itself only, and in the shape of the log."""
    if len(cluster.numbers) == 1:
        return
    data_id = json.loads((cluster.node(2).data / "node.json").read_text())["data_id"]
    peer = Hello(PROTOCOL_VERSION, "under-test", "peer", 2, PEER_TOKEN, data_id, settings=cluster.config.cluster.shared)
    forged: list[list[Any]] = [
        [0, 1, 3, 9, 0, 0, 0, [], 0, 0, 0, None], [0, 2, 2, 9, 0, 0, 0, [], 0, 0, 0, None], [], [None] * 12,
        [0, 1, 2, -1, 0, 0, 0, [], 0, 0, 0, None], [0, 1, 2, 1, 0, 0, 0, [[1, 2]], 0, 0, 0, None],
        [99, 1, 2, 1, 0, 0, 0, [], 0, 0, 0, None], [8, 1, 2, 1, 0, 0, 0, [], 0, 0, 0, None],
    ]  # fmt: skip
    for message in forged:
        connection = await Connection.open(cluster.addresses[0], peer)
        connection.send(frame(pack([8, [[1, message]]])))
        answers = await connection.read_until_closed()
        assert answers.welcome is not None and answers.error is not None, message


async def test_a_crowd_that_says_nothing(cluster: LocalCluster) -> None:
    """Connections without a hello, and ones that end in the middle of it, cost others nothing."""
    quiet = [await Connection.open(cluster.addresses[0]) for _ in range(200)]
    for connection in quiet[::2]:
        connection.send(b"\x00\x00")
    async with Client(cluster.addresses[0]) as client:
        assert (await client.account("a")).currency == "EUR"
    for connection in quiet:
        await connection.close()


# -- what the books refuse ----------------------------------------------------------------------------------------

BUSINESS: dict[str, tuple[str, str, int, str]] = {
    "unknown debit": ("nobody", "b", 1, "debit_account_not_found"),
    "unknown credit": ("a", "nobody", 1, "credit_account_not_found"),
    "wrong currency": ("a", "dollars", 1, "accounts_must_have_the_same_currency"),
    "zero": ("a", "b", 0, "amount_must_not_be_zero"),
    "negative": ("a", "b", -5, "amount_must_not_be_negative"),
    "too large": ("world", "b", 2**63 - 1, "overflows_debit_account"),
    "same account": ("a", "a", 1, "accounts_must_be_different"),
    "insufficient": ("a", "b", 10**9, "insufficient_funds"),
    "closed": ("world", "closed", 1, "credit_account_closed"),
    "frozen": ("frozen", "b", 1, "debit_account_frozen"),
}


async def test_each_business_error_has_its_own_status(cluster: LocalCluster) -> None:
    """In one batch, a good transfer between any two bad ones: each its status, the good ones happen."""
    async with cluster.client() as client:
        for name, currency in (("dollars", "USD"), ("closed", "EUR"), ("frozen", "EUR")):
            await client.create_account(name, currency)
        if (await client.account("closed")).status == "open":
            await client.update_account("closed", status="closed")
        await client.update_account("frozen", status="frozen")
        rows = [row for bad in BUSINESS.values() for row in (bad, ("world", "a", 1, "created"))]
        debit, credit, amount, expected = (list(column) for column in zip(*rows, strict=True))
        statuses = await client.transfer_many(debit, credit, amount)
        assert [status.name for status in statuses] == expected


async def test_an_id_that_is_used_again(cluster: LocalCluster) -> None:
    """The same body is `exists`, another one names the field that differs."""
    async with cluster.client() as client:
        used = client.new_id()
        columns = (["world", "world", "world"], ["a", "a", "b"], [7, 8, 7])
        first = await client.transfer_many(["world"], ["a"], [7], ids=[used])
        again = await client.transfer_many(*columns, ids=[used, used, used])
        assert [status.name for status in [*first, *again]] == [
            "created", "exists", "exists_with_different_amount", "exists_with_different_credit_account",
        ]  # fmt: skip


async def test_a_broken_chain(cluster: LocalCluster) -> None:
    """All or none, in one shard or over several; a chain that never ends is refused; the rest of the batch happens."""
    async with cluster.client() as client:
        before = (await client.account("b")).posted
        linked = int(Flag.linked)
        statuses = await client.transfer_many(
            ["world", "a", "world", "world"], ["b", "b", "b", "b"], [3, 10**9, 4, 5], flags=[linked, 0, 0, linked]
        )
        assert [status.name for status in statuses] == [
            "linked_event_failed", "insufficient_funds", "created", "linked_event_chain_open",
        ]  # fmt: skip
        assert (await client.account("b")).posted == before + 4


async def test_a_repeated_chain_has_the_same_outcome(cluster: LocalCluster) -> None:
    """A client that did not hear the answer asks again with the same ids."""
    async with cluster.client() as client:
        ids = [client.new_id(), client.new_id()]
        for expected in ("created", "exists"):
            flags = [int(Flag.linked), 0]
            statuses = await client.transfer_many(["world", "world"], ["a", "b"], [1, 1], ids=ids, flags=flags)
            assert [status.name for status in statuses] == [expected] * 2


async def test_a_repeated_chain_over_shards_has_the_same_outcome(cluster: LocalCluster) -> None:
    """The same where the coordinator adds up the votes: no batch of chains may be answered as failed when it happened."""
    async with cluster.client() as client:
        names = [f"chain:{client.new_id():x}" for _ in range(8)]
        await client.create_accounts([[name, "EUR", None, None, "", b""] for name in names])
        debit, credit = names, names[1:] + names[:1]
        ids = [client.new_id() for _ in names]
        flags = [int(Flag.linked), 0] * (len(names) // 2)
        for expected in ("created", "exists"):
            statuses = await client.transfer_many(debit, credit, [1] * len(names), ids=ids, flags=flags)
            assert [status.name for status in statuses] == [expected] * len(names)
