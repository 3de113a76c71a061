# SPDX-License-Identifier: Apache-2.0
"""./local/up, as a new user starts it: the whole path on the embedded default."""

import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def local(folder):
    """Runs a command of local/ with a state folder of its own, which has a blank in its name."""
    environment = dict(os.environ, TAILRACE_LOCAL_DIR=str(folder / "with blank"))

    def run(*command, timeout=120):
        return subprocess.run([str(ROOT / "local" / command[0]), *command[1:]], text=True,
                              env=environment, cwd="/", timeout=timeout, check=False,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return run


def last_counts(output):
    """What the last status line of a run says."""
    line = output.splitlines()[-1]
    found = re.findall(r"(shipped|stored|duplicates|dead letters|in broker) ([\d,]+)", line)
    assert found, output
    return {name: int(number.replace(",", "")) for name, number in found}


def test_local_up_ships_searches_drains_and_goes_on_at_the_second_start(local):
    first = local("up", "--duration", "8")
    assert first.returncode == 0, first.stdout
    assert "http://localhost:10464/" in first.stdout
    assert "http://localhost:10465/" in first.stdout
    counts = last_counts(first.stdout)
    assert counts["shipped"] > 0 and counts["in broker"] == 0, first.stdout
    assert counts["stored"] == counts["shipped"], first.stdout

    found = local("search", "GET", "--limit", "3")
    assert found.returncode == 0, found.stdout
    assert len(found.stdout.splitlines()) == 3, found.stdout
    assert "GET" in found.stdout

    before = int(local("search", "--count").stdout)
    assert before == counts["stored"]
    second = local("up", "--duration", "5")
    assert second.returncode == 0, second.stdout
    counts = last_counts(second.stdout)
    assert counts["duplicates"] == 0, second.stdout
    assert int(local("search", "--count").stdout) == before + counts["stored"]
