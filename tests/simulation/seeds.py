"""Runs the simulator over many seeds: a whole cluster in virtual time, with faults, and checkers after every step."""

from __future__ import annotations

import argparse
import concurrent.futures
import itertools
import multiprocessing
import sys
import time
from collections import Counter
from collections.abc import Iterator

from node.cli.arguments import decimal, integer, make_parser, natural, positive
from node.cli.output import say
from protocol.columns import COMMIT_PROTOCOLS
from tests.simulation.simulation import FAULTS_SECONDS, SPELL_WEIGHTS, WORKLOADS, Plan, Result, simulate
from tests.simulation.swarm import AIMS

EXIT_BROKEN = 1
SEEDS = 200
MINUTES_MAX = 100_000.0  # two months
SECONDS_MAX = 10_000.0  # virtual ones of one run, all in memory
JOBS_MAX = 1_000  # processes


def main() -> int:
    """The exit code: 1 if a promise was broken."""
    options = parse()
    started = time.monotonic()
    results: list[Result] = []
    broken: list[Result] = []
    try:
        for result in _results(options):
            results.append(result)
            if not result.holds:
                broken.append(result)
                _clear()
                say(result.report())
            _progress(len(results), options.seeds, len(broken), time.monotonic() - started)
    except KeyboardInterrupt:
        _clear()
        raise
    _clear()
    _summary(results, broken, time.monotonic() - started)
    return EXIT_BROKEN if broken else 0


def parse() -> argparse.Namespace:
    """The command line."""
    parser = make_parser(__doc__ or "")
    parser.add_argument("--seeds", type=positive, default=SEEDS, help=f"how many runs ({SEEDS})")
    parser.add_argument("--start", type=natural, default=0, help="the first seed (0)")
    parser.add_argument("--seed", type=natural, help="a single seed")
    parser.add_argument("--minutes", type=decimal(0.001, MINUTES_MAX), help="go on with new seeds for so long instead")
    seconds = FAULTS_SECONDS
    parser.add_argument(
        "--seconds", type=decimal(0.1, SECONDS_MAX), default=seconds, help=f"seconds of faults in a run ({seconds:.0f})"
    )
    parser.add_argument("--commit", choices=COMMIT_PROTOCOLS, help="the commit protocol (the cluster's default)")
    parser.add_argument("--workload", choices=tuple(WORKLOADS), help="what the clients do (each seed picks one)")
    parser.add_argument("--at", choices=tuple(AIMS), help="what the faults aim at (each seed draws some kinds)")
    parser.add_argument(
        "--spell", choices=tuple(SPELL_WEIGHTS), help="what comes behind the faults (each seed picks one)"
    )
    parser.add_argument("--jobs", type=integer(1, JOBS_MAX), default=2, help="runs at once (2)")
    options = parser.parse_args()
    if options.seed is not None:
        options.start, options.seeds, options.minutes = options.seed, 1, None
    if options.minutes is not None:
        options.seeds = 0
    return options


def _results(options: argparse.Namespace) -> Iterator[Result]:
    """Results as they come; no run starts after the time is over."""
    plan = Plan(options.seconds, options.workload, options.commit, options.at, options.spell)
    seeds: Iterator[int] = itertools.count(options.start)
    if options.minutes is None:
        seeds = iter(range(options.start, options.start + options.seeds))
    deadline = time.monotonic() + (options.minutes or 0) * 60
    with concurrent.futures.ProcessPoolExecutor(options.jobs, multiprocessing.get_context("spawn")) as pool:
        running: dict[concurrent.futures.Future[Result], None] = {}
        while True:
            while len(running) < options.jobs and (options.minutes is None or time.monotonic() < deadline):
                if (seed := next(seeds, None)) is None:
                    break
                running[pool.submit(simulate, seed, plan)] = None
            if not running:
                return
            done, _ = concurrent.futures.wait(running, return_when=concurrent.futures.FIRST_COMPLETED)
            for future in [future for future in running if future in done]:
                del running[future]
                yield future.result()


def _progress(count: int, total: int, broken: int, elapsed_s: float) -> None:
    if sys.stderr.isatty():
        of = f" of {total}" if total else ""
        print(f"\r{count}{of} seeds, {broken} broken, {elapsed_s:.0f} s ", end="", file=sys.stderr, flush=True)
    elif count % 20 == 0:
        print(f"{count} seeds, {broken} broken, {elapsed_s:.0f} s", file=sys.stderr, flush=True)


def _clear() -> None:
    if sys.stderr.isatty():
        print("\r" + " " * 60 + "\r", end="", file=sys.stderr, flush=True)


def _summary(results: list[Result], broken: list[Result], elapsed_s: float) -> None:
    faults: Counter[str] = Counter()
    workloads: Counter[str] = Counter()
    for result in results:
        faults.update(result.faults)
        workloads[result.workload] += 1

    def total(name: str) -> int:
        return sum(getattr(result, name) for result in results)

    virtual_s = sum(result.virtual_seconds for result in results)
    say(f"seeds           {len(results)} in {elapsed_s:.0f} s, {virtual_s / 60:.0f} virtual minutes")
    say(f"workloads       {', '.join(f'{name} {count}' for name, count in workloads.most_common())}")
    say(f"log entries     {total('entries')}, rounds by 2pc {total('rounds_2pc')}, by 3pc {total('rounds_3pc')}")
    say(f"transfers       {total('transfers')}, created {total('created')}, unknown at first {total('unknown')}")
    say(f"reads           {total('reads')}, snapshots {total('snapshots')}, audits {total('audits')}")
    say(f"by version      {total('operations')} reads and updates of registers, counters and lists")
    say(f"locks           {total('grants')} granted, {total('guarded')} transfers under them")
    say(f"events          {total('events')} told to readers")
    undecided_s = max((result.undecided_seconds for result in results), default=0.0)
    say(f"undecided       {undecided_s:.1f} s at most, with every majority back")
    say("faults")
    for name, count in faults.most_common():
        say(f"  {count:7d}  {name}")
    if broken:
        say(f"BROKEN by seeds {', '.join(str(seed) for seed in sorted(result.seed for result in broken))}")
    else:
        say("every promise was kept")
