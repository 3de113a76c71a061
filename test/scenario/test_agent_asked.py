# SPDX-License-Identifier: Apache-2.0
"""What `explain` learns from the agent that runs."""

import os

import pytest

from embedded import EmbeddedBroker
from inputs import append
from wait import wait_for

EVENTS = "tailrace_agent_events_total"


@pytest.fixture
def servers():
    with EmbeddedBroker("asked:2") as broker:
        yield broker.servers


def test_explain_tells_what_the_running_agent_says(servers, logs, make_agent):
    append(logs / "a.log", b"line")
    (logs / "b.log").write_bytes(b"binary \0 bytes\n")
    os.mkfifo(logs / "pipe.log")
    agent = make_agent(servers, "asked", [{"name": "mine", "paths": [str(logs / "*.log")]}])
    agent.start()
    wait_for("the line", lambda: agent.metric(EVENTS) == 1, 30, agent.tail)
    said = agent.run_verb("explain", str(logs / "a.log")).stdout
    assert "the running agent (process" in said, said
    assert "input 'mine': reading, 5 bytes, 5 delivered, 0 wait" in said, said
    assert "its content was not known" in said, said
    said = agent.run_verb("explain", str(logs / "b.log")).stdout
    assert "state: not known; it looks binary" in said, said
    assert "input 'mine': refused" in said, said
    said = agent.run_verb("explain", str(logs / "pipe.log")).stdout
    assert "pipe.log: it is a pipe, and no regular file" in said, said
    said = agent.run_verb("explain", os.path.relpath(logs / "none.log")).stdout
    assert "a regular file there would be read" in said, said
    status, page = agent.page("/explain?path=none.log")
    assert status == 400 and "/absolute/path" in page
    agent.stop()
    said = agent.run_verb("explain", str(logs / "a.log")).stdout
    assert "no running agent answers" in said, said


def test_silent_files_are_counted(servers, logs, make_agent):
    append(logs / "a.log", b"line")
    agent = make_agent(servers, "asked", [{"name": "mine", "paths": [str(logs / "*.log")]}])
    agent.start()
    wait_for("the count", lambda: agent.metrics().has("tailrace_agent_silent_files"), 30,
             agent.tail)
    assert agent.metric("tailrace_agent_silent_files") == 0, "one growth is no habit"
    agent.stop()
