# SPDX-License-Identifier: Apache-2.0
"""The benchmark of the agent still runs: a small one, of which only what arrived is judged."""

import json
import subprocess
import sys

from programs import REPO, binary


def test_the_bench_measures_the_agent_beside_bare_librdkafka_and_finds_every_line(kafka, folder):
    build = binary("tailrace-agent").parent
    subprocess.run(["cmake", "--build", str(build), "--target", "bench"], check=True,
                   stdout=subprocess.DEVNULL)
    out = folder / "bench"
    done = subprocess.run(
        [sys.executable, str(REPO / "bench/agent/run.py"), "--out", str(out), "--bin", str(build),
         "--lines", "20000", "--rounds", "1", "--seconds", "2", "--no-peers",
         "--parts", "full,live", "--compression", "lz4"],
        capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    rows = json.loads((out / "results.json").read_text())["rows"]
    full = [row for row in rows if row["part"] == "full"]
    assert {(row["broker"], row["who"]) for row in full} == {
        (broker, who) for broker in ("mock", "Kafka 4.1")
        for who in ("librdkafka (a)", "librdkafka, bounded",
                    "librdkafka, bounded, the same 9 MiB", "tailrace-agent")}
    assert len(rows) == len(full) + 1
    assert all(row["lost"] == 0 and row["doubled"] == 0 for row in rows), rows
    assert "| tailrace-agent |" in (out / "tables.md").read_text()
    assert not (out / "work").exists(), "the lines are not left behind"
