# SPDX-License-Identifier: Apache-2.0
"""./local/up, as a new user starts it: the whole path on the embedded default."""

import os
import re
import signal
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def local(folder):
    """Runs a command of local/ with a state folder of its own (`state`), which has a blank in its
    name."""
    environment = dict(os.environ, TAILRACE_LOCAL_DIR=str(folder / "with blank"))

    def run(*command, timeout=600):     # it may build first
        return subprocess.run([str(ROOT / "local" / command[0]), *command[1:]], text=True,
                              env=environment, cwd="/", timeout=timeout, check=False,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    run.state = folder / "with blank"
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


def test_local_up_names_and_kills_a_program_of_the_last_run_that_does_not_end(local):
    local.state.mkdir(parents=True)
    # By its name and folder a sink of the last run; TERM is ignored, as by one that hangs.
    with subprocess.Popen(["bash", "-c", "trap '' TERM; echo; read -r _", "hangs"], text=True,
                          executable="/bin/bash", cwd=local.state, stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE) as other:
        other.stdout.readline()
        with subprocess.Popen([str(ROOT / "build/release/tailrace-sink"), "-c",
                               "trap '' TERM; echo; read -r _"], executable="/bin/bash",
                              cwd=local.state, text=True, stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE) as orphan:
            orphan.stdout.readline()
            (local.state / "pids").write_text(f"{other.pid}\n{orphan.pid}\n")
            result = local("up", "--duration", "1")
            assert orphan.wait() == -signal.SIGKILL
        assert f"Waiting for programs of the last run to end ({orphan.pid} tailrace-sink)" \
            in result.stdout
        assert result.returncode == 0, result.stdout
        assert other.poll() is None, "a stranger with a number of the last run is left alone"
        other.stdin.close()


def test_local_search_explains_itself_and_says_where_a_real_run_stores(local):
    text = local("search", "--help")
    assert text.returncode == 0 and text.stdout.startswith("Usage: local/search")
    (local.state / "real").mkdir(parents=True)
    text = local("search", "GET")
    assert text.returncode == 1
    assert "./local/up --real stores in OpenSearch: use the curl line" in text.stdout
