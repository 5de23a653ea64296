"""demo, small, and what the node refuses to start with."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from node.adapters.checked import write_checked
from tests.e2e.programs import ROOT, run, run_program


def test_demo_loses_no_cent(tmp_path: Path) -> None:
    """A short day from a file: two nodes die and come back, and every check holds."""
    rows = [f"2026-05-0{4 + place // 300} 10:00:00,{place % 70},{place % 90},{100 + place}" for place in range(600)]
    path = tmp_path / "payments.csv"
    path.write_text("\n".join(["time,customer,terminal,amount_cents", *rows]))
    done = run("demo", "--input", str(path), "--day", "2026-05-05", "--customers", "100", "--terminals", "100")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "no cent lost" in done.stdout
    assert "300 of 300, 0 lost, 0 doubled" in done.stdout


def node(folder: Path, *, optimised: bool = False, config: Path = ROOT / "cluster.toml") -> tuple[int, str]:
    """Starts a node that is expected to refuse; exit code and reason."""
    python = [sys.executable, "-O"] if optimised else [sys.executable]
    done = run_program(*python, "-m", "node", "--config", str(config), "--node", "1", "--data", str(folder))
    return done.returncode, done.stderr


def test_node_refuses_to_run_without_checks(tmp_path: Path) -> None:
    """python -O removes assertions, which stop a node that has gone wrong."""
    code, reason = node(tmp_path / "data", optimised=True)
    assert code == 2
    assert "refused to start: python -O" in reason


@pytest.mark.parametrize(
    ("identity", "expected"),
    [
        ({"format": 99}, "newer version"),
        ({"format": 1, "cluster": "another"}, "belongs to cluster 'another'"),
        ({"format": 1, "data_id": "no number"}, "belongs to"),
    ],
)
def test_node_refuses_data_that_is_not_its_own(tmp_path: Path, identity: dict[str, object], expected: str) -> None:
    """A folder of another cluster or of a newer version is left untouched."""
    path = tmp_path / "node.json"
    write_checked(path, identity)
    text = path.read_text()
    code, reason = node(tmp_path)
    assert code == 2
    assert expected in reason
    assert path.read_text() == text


def test_node_refuses_a_damaged_identity(tmp_path: Path) -> None:
    """Not its own words, or not with the checksum of them."""
    for text in (json.dumps("no identity"), json.dumps({"format": 1, "cluster": "ringpay"})):
        (tmp_path / "node.json").write_text(text)
        code, reason = node(tmp_path)
        assert code == 2
        assert "damaged" in reason
        assert (tmp_path / "node.json").read_text() == text
