# SPDX-License-Identifier: Apache-2.0
"""Which life a file carries, with a running agent that is killed: rotation by copy and by name,
truncation, links, deletion. Every line arrives, each under one id."""

import json
import os
import random
import shutil
import subprocess
import time

import pytest

from embedded import EmbeddedBroker, read_topic
from inputs import append
from oracle import numbered_line
from programs import Agent, binary
from wait import wait_for

PARTITIONS = 8
COUNT = "tailrace_agent_generations_total"
LOST = "tailrace_agent_lost_bytes_total"


class Topic(EmbeddedBroker):
    """One topic, read while it is written."""

    def __init__(self):
        super().__init__(f"identity:{PARTITIONS}")
        self.consumer = read_topic(self.servers, "identity", PARTITIONS)
        self.ids = {}       # line -> its ids

    def end(self):
        super().end()
        self.consumer.close()

    def take(self, seconds=0.1):
        for record in self.consumer.consume(10_000, seconds):
            if record.error():
                continue
            value = record.value()
            start = value.index(b'"message":"') + 11
            line = value[start:value.index(b'"', start)]
            self.ids.setdefault(line, set()).add(record.key())


@pytest.fixture
def topic():
    found = Topic()
    yield found
    found.end()


class Log:
    """Numbered lines into files of one folder; all of them must arrive."""

    def __init__(self, folder):
        self.folder = folder
        self.next = 0
        self.lines = set()

    def make(self, count):
        made = [numbered_line("id", 0, number, "x" * 40)
                for number in range(self.next, self.next + count)]
        self.next += count
        self.lines.update(made)
        return made

    def put(self, name, count):
        append(self.folder / name, *self.make(count))

    def check(self, topic, agent, seconds=60):
        """All lines arrived, and each under one id."""
        def complete():
            agent.check_alive()
            topic.take()
            return self.lines <= topic.ids.keys()

        wait_for(f"{len(self.lines)} lines", complete, seconds,
                 lambda: f"{len(self.lines - topic.ids.keys())} are missing, first "
                         f"{min(self.lines - topic.ids.keys(), default=b'')!r}{agent.tail()}")
        topic.take(0.3)
        twice = {line: ids for line, ids in topic.ids.items() if len(ids) > 1}
        assert not twice, f"{len(twice)} lines have two ids, first {sorted(twice.items())[0]}"


@pytest.fixture
def log(logs):
    return Log(logs)


@pytest.fixture
def start(folder, programs, topic, logs):
    def make(pattern="*.log", **options) -> Agent:
        agent = Agent(folder, topic.servers, "identity", [
            {"name": "i", "paths": [f"{logs}/{pattern}"], **options}],
            properties={"linger.ms": 2})
        programs.append(agent)
        return agent.start()
    return make


def copytruncate(folder, name="a.log", keep=30):
    """As logrotate does it; nobody writes meanwhile."""
    for number in range(keep, 0, -1):
        old = folder / f"{name}.{number}"
        if old.exists():
            old.rename(folder / f"{name}.{number + 1}")
    shutil.copyfile(folder / name, folder / f"{name}.1")
    os.truncate(folder / name, 0)


@pytest.mark.parametrize("pattern", ["*.log", "*.log*"])
def test_copytruncate_of_a_busy_file_with_kills(pattern, log, topic, start, seed):
    """100,000 lines, 12 rotations, 6 kills, the copies inside and outside of the globs."""
    chance = random.Random(seed)
    path = log.folder / "a.log"
    log.put("a.log", 10)
    agent = start(pattern)
    log.check(topic, agent)
    kills = set(chance.sample(range(12), 6))
    for rotation in range(12):
        log.put("a.log", 400)
        # A life that nobody looked at, and whose copy is made where nobody looks, is lost for
        # certain: docs/guarantees.md.
        wait_for("the agent to look", lambda: 0 < (file_size(agent, path) or 0), 20)
        for _ in range(10):
            log.put("a.log", 800)
            topic.take(0)
        if rotation in kills and chance.random() < 0.5:
            agent.kill()
        copytruncate(log.folder)
        if rotation in kills:
            if agent.running():
                agent.kill()
            agent.start()
    log.check(topic, agent)
    agent.stop()


def file_size(agent, path):
    files = agent.status(f"?path={path}")["files"]
    return files[0]["size"] if files else None


def test_a_copy_is_held_back_until_its_original_is_truncated(log, topic, start):
    log.put("a.log", 2000)
    agent = start("*.log*")
    log.check(topic, agent)
    copy = log.folder / "a.log.1"
    shutil.copyfile(log.folder / "a.log", copy)
    wait_for("the copy to be held back",
             lambda: agent.metric("tailrace_agent_files", state="suspended") == 1)
    found = agent.status(f"?path={copy}")["files"][0]
    assert found["state"] == "suspended" and "copytruncate" in found["reason"], found
    agent.kill()
    agent.start()
    wait_for("the copy to be held back again",
             lambda: agent.metric("tailrace_agent_files", state="suspended") == 1)
    os.truncate(log.folder / "a.log", 0)
    log.put("a.log", 5)
    agent.wait_metric(COUNT, 1, reason="copied")
    with open(copy, "ab") as out:   # a writer that was not told
        out.write(log.make(1)[0] + b"\n")
    log.check(topic, agent)
    assert "copy" in agent.status(f"?path={copy}")["files"][0]["life"]
    assert agent.metric(LOST) == 0
    agent.stop()


def test_a_copy_whose_original_lives_becomes_a_file_of_its_own(log, topic, start):
    log.put("a.log", 100)
    agent = start("*.log*")
    log.check(topic, agent)
    shutil.copyfile(log.folder / "a.log", log.folder / "b.log")
    agent.wait_metric(COUNT, 1, reason="own_after_grace", seconds=20)
    wait_for("both files' lines",
             lambda: topic.take() or all(len(topic.ids[line]) == 2 for line in log.lines))
    agent.stop()


def test_fifty_one_truncations_of_one_inode(log, topic, start):
    agent = start("a.log")
    inode = None
    for _ in range(51):
        log.put("a.log", 40)
        inode = inode or (log.folder / "a.log").stat().st_ino
        wait_for("the lines", lambda: topic.take(0.02) or log.lines <= topic.ids.keys())
        os.truncate(log.folder / "a.log", 0)
    log.put("a.log", 3)
    log.check(topic, agent)
    assert (log.folder / "a.log").stat().st_ino == inode
    assert agent.metric(LOST) == 0
    agent.stop()


def test_a_stale_writer_leaves_zeros_that_are_passed_over(log, topic, start):
    path = log.folder / "a.log"
    with open(path, "wb", buffering=0) as writer:   # does not append
        writer.write(b"".join(line + b"\n" for line in log.make(1000)))
        agent = start("*.log*")
        log.check(topic, agent)
        shutil.copyfile(path, log.folder / "a.log.1")
        os.truncate(path, 0)
        writer.write(b"".join(line + b"\n" for line in log.make(10)))
        log.check(topic, agent)
        agent.kill()
        writer.write(b"".join(line + b"\n" for line in log.make(10)))
        agent.start()
        log.check(topic, agent)
    assert not any(line.startswith(b"\\u0000") for line in topic.ids)
    agent.stop()


def test_a_link_that_is_turned_while_the_old_file_is_written(log, topic, start):
    folder = log.folder
    log.put("one", 500)
    (folder / "current.log").symlink_to("one")
    agent = start("current.log")
    log.check(topic, agent)
    for number, (old, new) in enumerate([("one", "two"), ("two", "three")]):
        log.put(new, 500)
        (folder / "next").symlink_to(new)
        os.rename(folder / "next", folder / "current.log")
        log.put(old, 50)
        log.check(topic, agent)
        if number == 0:
            agent.kill()
            agent.start()
            log.check(topic, agent)
    agent.stop()


def test_deleted_and_made_again_under_the_same_name(log, topic, start):
    agent = start("a.log")
    for life in range(10):
        log.put("a.log", 200 + life)
        log.check(topic, agent)
        assert agent.metric(LOST) == 0
        if life % 3 == 2:
            time.sleep(1.2)     # what is acknowledged is written once a second
            agent.kill()
        os.unlink(log.folder / "a.log")
        if life % 3 == 2:
            log.put("a.log", 10)
            agent.start()
    log.put("a.log", 7)
    log.check(topic, agent)
    assert agent.metric(LOST) == 0
    agent.stop()


def test_half_a_line_is_completed_after_a_restart(log, topic, start):
    line, other = log.make(2)
    (log.folder / "a.log").write_bytes(line[:20])
    agent = start("a.log")
    wait_for("the file", lambda: agent.metric("tailrace_agent_files", state="reading") == 1)
    agent.kill()
    with open(log.folder / "a.log", "ab") as out:
        out.write(line[20:] + b"\n" + other[:7])
    agent.start()
    time.sleep(0.2)
    agent.stop()
    with open(log.folder / "a.log", "ab") as out:
        out.write(other[7:] + b"\n")
    agent.start()
    log.check(topic, agent)
    assert topic.ids.keys() == log.lines
    agent.stop()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")
def test_a_power_cut_costs_repeats_and_nothing_else(log, topic, start, folder):
    """The file loses its end, which was read, acknowledged and remembered; others lines follow."""
    log.put("a.log", 1000)
    agent = start("a.log")
    log.check(topic, agent)
    kept = (log.folder / "a.log").read_bytes()
    lost = log.make(500)
    append(log.folder / "a.log", *lost)
    log.check(topic, agent)
    size = (log.folder / "a.log").stat().st_size
    wait_for("the state", lambda: json.loads(agent.run_verb(
        "state", "show", "--json").stdout)["generations"][0]["committed"] == size)
    agent.kill()
    in_another_boot(agent, folder)
    (log.folder / "a.log").write_bytes(kept)    # the same inode
    log.put("a.log", 800)
    agent.start()
    log.check(topic, agent)
    assert agent.metric(COUNT, reason="power_cut") == 1, agent.tail()
    generations = {key.split(b".")[1] for ids in topic.ids.values() for key in ids}
    assert len(generations) == 1, "the life goes on"
    agent.stop()


def in_another_boot(agent, folder):
    """From now on the agent is started where the boot has another name."""
    boot = folder / "boot_id"
    boot.write_text("00000000-0000-4000-8000-000000000000\n")

    def spawn(arguments, _):
        with open(agent.log_path, "ab") as out:
            return subprocess.Popen(
                ["unshare", "--mount", "sh", "-c",
                 f'mount --bind {boot} /proc/sys/kernel/random/boot_id && exec "$0" "$@"',
                 str(binary(agent.name)), *arguments], stdout=out, stderr=out)

    agent._spawn = spawn
