# SPDX-License-Identifier: Apache-2.0
"""What the agent remembers: the verbs, damage, disks that are full or read-only, restored backups,
clocks that jump. On the embedded broker: nothing here asks Kafka a question."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "torture"))

from inputs import append, generate     # noqa: E402
from oracle import Tally, expected_numbered   # noqa: E402
from torture import Broker, library  # noqa: E402
from wait import wait_for   # noqa: E402

FAR = 400 * 24 * 3600       # further than any "not seen for" or "older than"


class Mock:
    """The embedded broker, and a topic of its own for each test."""

    def __init__(self, broker, topic):
        self.servers, self.topic = broker.servers, topic
        self.events = lambda: broker.events(topic)


@pytest.fixture(scope="module")
def broker(tmp_path_factory):
    topics = [f"state{number}" for number in range(16)]
    found = Broker(tmp_path_factory.mktemp("broker"), tuple(topics))
    found.unused = topics
    yield found
    found.end()


@pytest.fixture
def mock(broker):
    return Mock(broker, broker.unused.pop())


@pytest.fixture
def agent(mock, logs, make_agent):
    return make_agent(mock.servers, mock.topic, [{"name": "a", "paths": [str(logs / "*.log")]}])


def ids(mock):
    return {(event["log.file.path"], event["log.offset"], event["message"]): id
            for id, event in mock.events()}


def said(done):
    return done.stdout + done.stderr


def small_disk(path, kind="tmpfs", option="size=1m"):
    path.mkdir(exist_ok=True)
    done = subprocess.run(["mount", "-t", kind, "-o", option, kind, str(path)],
                          capture_output=True)
    if done.returncode != 0:
        pytest.skip("may not mount")


@pytest.fixture
def disk(folder):
    """A disk of a megabyte."""
    path = folder / "disk"
    small_disk(path)
    yield path
    subprocess.run(["umount", "-l", str(path)], check=False)


def fill(folder):
    with open(folder / "filler", "wb", buffering=0) as file:
        size = 65536
        while size:
            try:
                file.write(b"x" * size)
            except OSError:
                size //= 2


# The verbs


def test_state_show_says_why_a_file_is_gone_and_speaks_json(agent, logs):
    for name in ("kept", "gone", "other"):
        append(logs / f"{name}.log", b"one", b"two")
    agent.once()
    (logs / "gone.log").unlink()
    (logs / "other.log").rename(logs / "elsewhere")
    append(logs / "other.log", b"new")
    table = agent.run_verb("state", "show")
    assert table.returncode == 0, said(table)
    rows = {line.split("/")[-1]: line for line in table.stdout.splitlines() if "/" in line}
    assert "gone.log  (no such file)" in rows, table.stdout
    assert "other.log  (its path has another file)" in rows, table.stdout
    assert "kept.log" in rows, table.stdout
    state = json.loads(agent.run_verb("state", "show", "--json").stdout)
    found = {Path(each["path"]).name: each for each in state["generations"]}
    assert found["kept.log"]["committed"] == 8 and found["kept.log"]["without_file"] is None
    assert found["gone.log"]["without_file"] == "no such file"
    assert state["stopped_in_order"] is True and state["damaged_places"] == 0


def test_state_set_moves_to_a_line_start_only_and_keeps_the_ids(agent, logs, mock):
    path = logs / "a.log"
    append(path, b"one", b"three", b"seven")
    agent.once()
    before = ids(mock)
    done = agent.run_verb("state", "set", str(path), "5")
    assert done.returncode == 2 and "4 and 10" in said(done), said(done)
    done = agent.run_verb("state", "set", str(path), "99")
    assert done.returncode == 2 and "only 16 bytes" in said(done), said(done)
    done = agent.run_verb("state", "set", str(path), "x")
    assert done.returncode == 2 and "'x'" in said(done), said(done)
    done = agent.run_verb("state", "set", str(path), "4")
    assert done.returncode == 0 and "12 bytes are sent again" in said(done), said(done)
    agent.once()
    assert len(list(mock.events())) == 5 and ids(mock) == before
    append(path, b"eight", b"nine")
    done = agent.run_verb("state", "set", str(path), "22")
    assert done.returncode == 0 and "6 bytes are not shipped" in said(done), said(done)
    agent.once()
    assert [event["message"] for _, event in mock.events()][-1:] == ["nine"] or \
        "eight" not in [event["message"] for _, event in mock.events()]


def test_state_forget_ships_again_under_new_ids(agent, logs, mock):
    path = logs / "a.log"
    append(path, b"one", b"two")
    agent.once()
    done = agent.run_verb("state", "forget", str(logs / "b.log"))
    assert done.returncode == 1 and f"did you mean '{path}'" in said(done), said(done)
    done = agent.run_verb("state", "forget", str(path))
    assert done.returncode == 0 and "forgotten" in said(done), said(done)
    assert str(path) not in agent.run_verb("state", "show").stdout
    agent.once()
    found = [id for id, _ in mock.events()]
    assert len(found) == 4 and len(set(found)) == 4
    generation = agent.run_verb("state", "show").stdout.split("\n")[1].split()[3]
    done = agent.run_verb("state", "forget", generation)
    assert done.returncode == 0, said(done)


def test_verbs_change_nothing_while_an_agent_runs_nor_make_a_folder(agent, logs):
    path = logs / "a.log"
    append(path, b"one")
    agent.state_dir.rmdir()
    for words in (("show",), ("forget", str(path)), ("set", str(path), "0")):
        done = agent.run_verb("state", *words)
        assert done.returncode == 1 and "no state" in said(done), said(done)
        assert not agent.state_dir.exists()
    agent.start(wait="ready")
    wait_for("the state", lambda: str(path) in agent.run_verb("state", "show").stdout)
    for words in (("forget", str(path)), ("set", str(path), "0")):
        done = agent.run_verb("state", *words)
        assert done.returncode == 1 and f"process {agent.process.pid}" in said(done), said(done)
    done = agent.run_verb("state", "forgot", str(path))
    assert done.returncode == 2 and "forget" in said(done), said(done)
    agent.stop()


# Disks


def test_a_full_disk_stops_no_line_and_the_state_goes_on(agent, logs, mock, disk, seed):
    agent.config["state_dir"] = str(disk / "state")
    generate(logs / "a.log", 100, seed)
    agent.start(wait="ready")
    agent.wait_metric("tailrace_agent_events_total", 100)
    wait_for("the state", lambda: "100" not in agent.readiness() and
             (disk / "state/journal.spare").exists())
    fill(disk)
    for number in range(1, 5):
        generate(logs / "a.log", 100, seed, first=100 * number)
        generate(logs / f"new{number}.log", 10, seed, tag=f"new{number}")
        agent.wait_metric("tailrace_agent_events_total", 110 * number + 100)
    agent.wait_page("/readyz")
    path = str(logs / "a.log")
    size = (logs / "a.log").stat().st_size
    wait_for("the progress on the full disk", lambda: any(
        each["path"] == path and each["committed"] == size for each in
        json.loads(agent.run_verb("state", "show", "--json").stdout)["generations"]))
    agent.kill()
    agent.start(wait="ready")
    generate(logs / "a.log", 1, seed, first=500)
    agent.wait_metric("tailrace_agent_events_total", 1)
    agent.stop()
    Tally(expected_numbered(logs)).add_all(mock.events()).check(seed)


def test_a_read_only_state_folder_is_named(agent, logs, disk):
    agent.config["state_dir"] = str(disk / "state")
    append(logs / "a.log", b"one")
    agent.once()
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    done = agent.run_verb("once")
    assert done.returncode == 1 and str(disk / "state") in said(done) and \
        "Read-only" in said(done), said(done)
    assert agent.run_verb("state", "show").returncode == 0


def test_a_state_that_moved_to_another_disk_loses_and_doubles_nothing(agent, logs, mock, disk,
                                                                     seed):
    generate(logs / "a.log", 100, seed)
    agent.once()
    shutil.copytree(agent.state_dir, disk / "state")
    agent.config["state_dir"] = str(disk / "state")
    generate(logs / "a.log", 100, seed, first=100)
    agent.once()
    found = list(mock.events())
    assert len(found) == 200
    Tally(expected_numbered(logs)).add_all(found).check(seed)


def test_a_state_folder_that_is_removed_is_made_again(agent, logs, mock, seed):
    generate(logs / "a.log", 10, seed)
    agent.start(wait="ready")
    agent.wait_metric("tailrace_agent_events_total", 10)
    wait_for("the state", lambda: (agent.state_dir / "journal").exists())
    shutil.rmtree(agent.state_dir)
    generate(logs / "a.log", 10, seed, first=10)
    wait_for("a new state", lambda: (agent.state_dir / "journal").exists())
    agent.wait_metric("tailrace_agent_state_errors_total", 1)
    agent.stop()
    generate(logs / "a.log", 10, seed, first=20)
    agent.once()
    assert len(list(mock.events())) == 30
    Tally(expected_numbered(logs)).add_all(mock.events()).check(seed)


# Other states


def test_a_restored_backup_repeats_under_the_same_ids(agent, logs, mock, folder, seed):
    generate(logs / "a.log", 100, seed)
    agent.once()
    shutil.copytree(agent.state_dir, folder / "backup")
    generate(logs / "a.log", 100, seed, first=100)
    agent.once()
    shutil.rmtree(agent.state_dir)
    (folder / "backup").rename(agent.state_dir)
    generate(logs / "a.log", 100, seed, first=200)
    agent.once()
    tally = Tally(expected_numbered(logs)).add_all(mock.events())
    tally.check(seed)
    assert tally.repeats == 100


def test_start_at_end_skips_nothing_when_the_journal_lost_its_end(agent, logs, mock):
    agent.config["files"][0]["start_at"] = "end"
    append(logs / "a.log", b"old")
    agent.start(wait="ready")
    journal = agent.state_dir / "journal"
    wait_for("the state", journal.exists)
    agent.stop()
    whole = journal.read_bytes()
    end = 20 + 24       # behind the header record, before the input's
    assert whole[end:end + 4] == b"\xf5Tr\n", "the test does not know the form any more"
    journal.write_bytes(whole[:end])
    append(logs / "a.log", b"while down")
    agent.once()
    assert "while down" in [event["message"] for _, event in mock.events()]
    assert agent.logged("cut short"), agent.tail()


# The clock


def test_a_clock_that_jumps_neither_loses_nor_doubles_nor_stops(agent, logs, mock, folder, seed):
    clock = folder / "clock"
    environment = {"LD_PRELOAD": str(library()), "FAULTS_CLOCK": str(clock)}
    clock.write_text("0")
    generate(logs / "a.log", 10, seed)
    agent.start(wait="ready", environment=environment)
    written = 10
    for number, jump in enumerate((FAR, 0, -7200, 0)):
        clock.write_text(f"{jump}          ")
        wait_for("a word about the clock", lambda: agent.log_path.read_text().count(
            "the wall clock was set") > number, 10, agent.tail)
        generate(logs / "a.log", 10, seed, first=written)
        (logs / "a.log").rename(logs / f"a{number}.log")
        generate(logs / "a.log", 10, seed, first=written + 10)
        written += 20
        agent.wait_metric("tailrace_agent_events_total", written)
        agent.wait_page("/readyz")
    agent.stop()
    agent.once()
    Tally(expected_numbered(logs)).add_all(mock.events()).check(seed)
    assert len(list(mock.events())) == written


def test_what_a_wrong_clock_found_too_old_is_read_when_it_is_right(agent, logs, folder):
    clock = folder / "clock"
    clock.write_text("0")
    agent.config["files"][0]["ignore_older"] = "7d"
    agent.start(wait="ready", environment={"LD_PRELOAD": str(library()),
                                           "FAULTS_CLOCK": str(clock)})
    clock.write_text(f"{FAR}          ")
    wait_for("a word about the clock", lambda: agent.logged("the wall clock was set"), 10)
    append(logs / "a.log", b"one")
    agent.wait_metric("tailrace_agent_files", state="ignored")
    clock.write_text("0               ")
    agent.wait_metric("tailrace_agent_events_total", 1)
    agent.stop()


def test_a_clock_before_the_build_is_waited_for(agent, logs, mock, folder):
    clock = folder / "clock"
    clock.write_text("0")
    append(logs / "a.log", b"one")
    agent.start(wait="ready", environment={"LD_PRELOAD": str(library()),
                                           "FAULTS_CLOCK": str(clock)})
    agent.wait_metric("tailrace_agent_events_total", 1)
    clock.write_text(f"{-20 * FAR}          ")
    assert "clock" in agent.wait_page("/readyz", 503)
    append(logs / "a.log", b"two")
    clock.write_text("0               ")
    agent.wait_page("/readyz")
    agent.wait_metric("tailrace_agent_events_total", 2)
    agent.stop()
    times = [event["@timestamp"] for _, event in mock.events()]
    assert len(times) == 2 and min(times) > "2026", times
