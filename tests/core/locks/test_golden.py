"""Rules of the locks as text tables: operation, `->`, outcome."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.core.locks.driving import START_NS, TTL_MS, Driver

TABLES = sorted((Path(__file__).parents[2] / "golden" / "locks").glob("*.txt"))


def run(text: str) -> str:
    """The table with outcomes as they are."""
    driver = Driver()
    lines = []
    for line in text.splitlines():
        operation = line.split("->")[0].strip()
        is_comment = not operation or operation.startswith("#")
        outcome = "" if is_comment else run_one(driver, operation.split())
        lines.append(f"{operation} -> {outcome}" if outcome else line)
    return "\n".join(lines) + "\n"


def run_one(driver: Driver, words: list[str]) -> str:
    """One operation and what came of it."""
    options = {name: value for name, equals, value in (word.partition("=") for word in words) if equals}
    plain = [word for word in words if "=" not in word]
    match plain:
        case ["acquire" | "try" as action, name, owner]:
            age_ns = START_NS + int(options["age"]) if "age" in options else 0
            ttl_ms = int(options.get("ttl", TTL_MS))
            claim = options.get("claim", "")
            status, token = driver.acquire(name, owner, claim, ttl_ms=ttl_ms, age_ns=age_ns, action=action)
            return f"{status.name} {token}" if token else status.name
        case ["renew", name, token]:
            return driver.renew(name, int(token), int(options.get("ttl", 0))).name
        case ["release", name, owner]:
            return driver.release(name, owner, int(options.get("token", 0)), options.get("claim", "")).name
        case ["guard", round_id, name, token]:
            return driver.guard(int(round_id), (name, int(token)))[0].name
        case ["decide", round_id]:
            driver.decide(int(round_id))
        case ["pass", milliseconds]:
            driver.expire(int(milliseconds))
        case ["queue", name]:
            return " ".join(f"{owner}:{token}:{state}" for owner, token, state in driver.queue(name)) or "free"
        case _:
            raise AssertionError(f"unknown operation: {words}")
    return ""


@pytest.mark.parametrize("path", TABLES, ids=[path.stem for path in TABLES])
def test_rules(path: Path) -> None:
    """Every line of the table has the outcome that it names; REWRITE=1 writes what happened instead."""
    text = path.read_text()
    happened = run(text)
    if os.environ.get("REWRITE"):
        path.write_text(happened)
    assert happened == text
