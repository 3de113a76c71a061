# SPDX-License-Identifier: Apache-2.0
"""What the agent says of itself: explain, lag, habits, the summary of `once`."""

import os
import time

import pytest

from embedded import EmbeddedBroker
from inputs import append
from wait import stays, wait_for

EVENTS = "tailrace_agent_events_total"


@pytest.fixture
def servers():
    with EmbeddedBroker("self:2") as broker:
        yield broker.servers


def test_explain_says_why_of_every_kind_of_path(servers, logs, make_agent):
    append(logs / "a.log", b"line")
    append(logs / "a.gz", b"line")
    append(logs / "old.log", b"line")
    os.utime(logs / "old.log", (1_000_000_000, 1_000_000_000))
    (logs / "dangling.log").symlink_to(logs / "nowhere")
    agent = make_agent(servers, "self", [
        {"name": "mine", "paths": [str(logs / "*")], "exclude": ["*.gz"], "ignore_older": "7d"}])

    def explain(path) -> str:
        return agent.run_verb("explain", str(path)).stdout

    assert f"'{logs}/*' matches: reads it into topic 'self'" in explain(logs / "a.log")
    assert "but it is excluded by '*.gz'" in explain(logs / "a.gz")
    assert "longer than ignore_older" in explain(logs / "old.log")
    assert "it is a link that leads nowhere" in explain(logs / "dangling.log")
    assert "a regular file there would be read" in explain(logs / "none.log")
    assert f"the folder '{logs}/none': No such file" in explain(logs / "none" / "x" / "a.log")
    assert "it is a folder" in explain(logs)
    assert "no path matches" in explain("/etc/passwd")


def test_an_unfinished_line_is_no_lag_in_seconds(servers, logs, make_agent):
    (logs / "a.log").write_bytes(b"whole line\nunfinished")
    agent = make_agent(servers, "self", [{"name": "mine", "paths": [str(logs / "*.log")]}])
    agent.start()
    wait_for("the whole line", lambda: agent.metric(EVENTS) == 1, 30, agent.tail)
    wait_for("the rest to be told", lambda: agent.metric("tailrace_agent_unfinished_bytes") == 10)
    assert agent.metric("tailrace_agent_lag_bytes") == 10
    stays("it is nobody's delay",
          lambda: agent.metric("tailrace_agent_lag_seconds") == 0, 2.5)
    append(logs / "a.log", b" is finished")
    wait_for("the line", lambda: agent.metric(EVENTS) == 2, 30, agent.tail)
    wait_for("nothing to be unfinished",
             lambda: agent.metric("tailrace_agent_unfinished_bytes") == 0)
    agent.stop()


def test_rotation_habit_tells_when_bytes_are_in_danger(servers, logs, make_agent):
    path = logs / "a.log"
    agent = make_agent(servers, "self", [
        {"name": "mine", "paths": [str(path)], "rate_limit": "1kB"}])
    name = "tailrace_agent_seconds_to_rotation_loss"
    append(path, b"0")
    agent.start()
    wait_for("the first line", lambda: agent.metric(EVENTS) == 1, 30, agent.tail)
    assert not agent.metrics().has(name), "nothing is known yet"
    for number in range(1, 4):
        time.sleep(3)       # the habit: what is learned is time
        path.rename(logs / f"old.{number}")
        append(path, b"%d" % number)
        wait_for("the new file", lambda: agent.metric(EVENTS) == number + 1, 30, agent.tail)
    wait_for("the habit", lambda: agent.metrics().has(name) and agent.metric(name) == float("inf"),
             20, lambda: agent.page("/metrics")[1])
    append(path, b"x" * 100_000)    # takes the rate of 100 s at once
    wait_for("it", lambda: agent.metric(EVENTS) == 5, 30, agent.tail)
    append(path, b"y" * 1000)
    wait_for("danger", lambda: agent.metric("tailrace_agent_lag_bytes") > 0
             and agent.metric(name) < 10, 20, lambda: agent.page("/metrics")[1])
    agent.stop()


def test_once_says_what_came_of_it(servers, logs, make_agent):
    append(logs / "a.log", b"1", b"", b"2")
    append(logs / "b.log", b"binary \0")
    agent = make_agent(servers, "self", [{"name": "mine", "paths": [str(logs / "*.log")]}])
    done = agent.run_verb("once")
    assert done.returncode == 0, done.stderr
    assert "2 events from 5 bytes of 2 files in " in done.stderr, done.stderr
    assert "1 empty lines skipped, 1 files left out, 0 files could not be read, 0 bytes lost" \
        in done.stderr, done.stderr


def test_the_own_log_is_not_read_through_a_link_either(servers, logs, make_agent):
    agent = make_agent(servers, "self", [
        {"name": "mine", "paths": [str(logs / "*.log"), str(logs.parent / "*.log")]}])
    append(logs / "a.log", b"1")
    agent.log_path.touch()
    (logs / "link.log").symlink_to(agent.log_path)
    agent.start()
    wait_for("the other file", lambda: agent.metric(EVENTS) == 1, 30, agent.tail)
    stays("nothing else is read", lambda: agent.metric(EVENTS) == 1, 3)
    assert agent.metric("tailrace_agent_refused_files_total", reason="own_data") == 1
    agent.stop()
