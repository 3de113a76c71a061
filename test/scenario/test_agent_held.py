# SPDX-License-Identifier: Apache-2.0
"""Files that are gone before Kafka has acknowledged them: deleted, or compressed by rotation."""

import array
import contextlib
import gzip
import json
import os
import random
import socket
import subprocess
import time

import pytest

from embedded import EmbeddedBroker, read_topic
from inputs import append
from oracle import Tally, digest, numbered_line
from programs import Agent, binary
from wait import Late, wait_for

LOST = "tailrace_agent_lost_bytes_total"
PARTITIONS = 8
KILLS = int(os.environ.get("TAILRACE_KILLS") or 3)


class Mock(EmbeddedBroker):
    """It remembers what came."""

    def __init__(self):
        super().__init__(f"held:{PARTITIONS}")
        self.consumer = read_topic(self.servers, "held", PARTITIONS)
        self.found = []

    def end(self):
        super().end()
        self.consumer.close()

    def events(self):
        """(key, value) of everything that came so far."""
        while more := self.consumer.consume(5000, 0.2):
            self.found += [(each.key().decode(), json.loads(each.value()))
                           for each in more if not each.error()]
        return self.found


@pytest.fixture
def mock():
    broker = Mock()
    yield broker
    broker.end()


class Lines:
    """What was written, and so has to arrive."""

    def __init__(self):
        self.expected = {}
        self.next = 0

    def put(self, path, count):
        append(path, *self.make(count))

    def make(self, count):
        made = []
        for number in range(self.next, self.next + count):
            line = numbered_line("held", 0, number, b"x" * 40)
            self.expected["held", number] = digest(line.decode())
            made.append(line)
        self.next += count
        return made


@pytest.fixture
def lines():
    return Lines()


@pytest.fixture
def start(folder, programs, mock, logs):
    """An agent on the folder's logs."""
    def make(run=True, **config) -> Agent:
        agent = Agent(folder, mock.servers, "held", [{"name": "a", "paths": [f"{logs}/*.log"]}],
                      properties={"linger.ms": 2}, **config)
        programs.append(agent)
        return agent.start() if run else agent
    return make


def shipped(agent, count):
    agent.wait_metric("tailrace_agent_events_total", count)


def settled(mock, lines, lost=()):
    """Everything arrives once, but the numbers that are lost; more was never written."""
    lost = {("held", number) for number in lost}

    def missing():
        found = Tally(lines.expected, where="the topic").add_all(mock.events())
        assert not found.wrong, found.wrong[:5]
        return set(lines.expected) - set(found.ids)

    try:
        wait_for("all lines to arrive", lambda: not missing() - lost, 25, every=0.05)
    except Late:
        Tally(lines.expected, where="the topic").add_all(mock.events()).check()
    assert missing() == lost


def status_of(agent, path):
    """Of the file of this path that is gone."""
    files = [each for each in agent.status()["files"]
             if each["path"] == str(path) and each["deleted"]]
    return files[0] if files else {}


def behind(agent, path, least):
    wait_for("the agent to see the lines", lambda: any(
        each["path"] == str(path) and each.get("lag", 0) >= least
        for each in agent.status()["files"]))


def spool_of(agent):
    folder = agent.state_dir / "spool"
    return sorted(each.name for each in folder.iterdir()) if folder.exists() else []


def held_as(agent, path, text):
    wait_for(f"the deleted file to be held as {text!r}",
             lambda: text in status_of(agent, path).get("held", ""), 20,
             lambda: (status_of(agent, path), agent.tail(5)))


def cleaned(agent):
    wait_for("the spool to be empty", lambda: spool_of(agent) == [], 20, lambda: spool_of(agent))
    wait_for("nothing to be held", lambda: agent.metric("tailrace_agent_spool_bytes") == 0 and
             agent.metric("tailrace_agent_held_deleted_bytes") == 0)


def go_away(mock, agent):
    """Starts it again with a cluster that is not there: nothing is even sent."""
    agent.kill()
    agent.config["kafka"]["bootstrap_servers"] = "127.0.0.1:1"
    agent.start()


def come_back(mock, agent):
    """Starts it, once more if it runs, with the broker that is there."""
    if agent.running():
        agent.kill()
    agent.config["kafka"]["bootstrap_servers"] = mock.servers
    agent.start()


def unread(mock, agent, path, lines, first=500, more=3000, away=True):
    """A file of which the first lines are acknowledged, and more are not."""
    before = agent.metric("tailrace_agent_events_total")
    lines.put(path, first)
    shipped(agent, before + first)
    if away:
        go_away(mock, agent)
    else:
        mock.freeze()
    size = path.stat().st_size
    lines.put(path, more)
    behind(agent, path, path.stat().st_size - size)


# Deleted files

def test_a_deleted_file_survives_kill_9_in_the_spool(start, mock, logs, lines):
    path = logs / "app.log"
    agent = start()
    unread(mock, agent, path, lines)
    path.unlink()
    held_as(agent, path, "in the spool")
    assert agent.metric("tailrace_agent_spool_bytes") >= 3000 * 60
    assert agent.metric("tailrace_agent_held_deleted_bytes") == 0, "the disk has its room back"
    assert "its unread bytes are in the spool" in agent.run_verb("explain", str(path)).stdout
    lines.put(path, 50)     # a file of the same name is another one
    assert "its unread bytes are in the spool" in agent.run_verb("explain", str(path)).stdout
    come_back(mock, agent)
    settled(mock, lines)
    cleaned(agent)
    assert agent.metric(LOST) == 0


def test_deleted_files_are_finished_whenever_the_agent_is_killed(start, mock, logs, lines, seed):
    chance = random.Random(seed)
    agent = start()
    paths = [logs / f"app{number}.log" for number in range(3)]
    for path in paths:
        lines.put(path, 100)
    shipped(agent, 300)
    mock.freeze()
    for path in paths:
        lines.put(path, 2000)
    for path in paths:
        behind(agent, path, 100_000)
        path.unlink()
    for path in paths:
        held_as(agent, path, "in the spool")
    for _ in range(KILLS):
        agent.kill()
        agent.start(wait="no")
        mock.thaw() if chance.random() < 0.5 else mock.freeze()
        time.sleep(chance.random() * 0.8)
    mock.thaw()
    agent.wait_page("/healthz")
    settled(mock, lines)
    assert agent.metric(LOST) == 0


def test_what_is_still_written_to_a_deleted_file_is_copied_too(start, mock, logs, lines):
    path = logs / "app.log"
    agent = start()
    unread(mock, agent, path, lines, more=500)
    with open(path, "ab", buffering=0) as writer:
        path.unlink()
        held_as(agent, path, "more is added")
        name, = spool_of(agent)
        assert name.endswith(".part"), "it is not whole while somebody may write"
        writer.write(b"\n".join(lines.make(500)) + b"\n")
        wait_for("what was written to be copied",
                 lambda: (agent.state_dir / "spool" / name).stat().st_size ==
                 os.fstat(writer.fileno()).st_size)
        assert agent.metric("tailrace_agent_held_deleted_bytes") >= 500 * 60
        time.sleep(1.2)     # its size is written to the state within a second
        agent.kill()
        # As if it had been killed while it copied the last lines.
        copy = agent.state_dir / "spool" / name
        content = copy.read_bytes()
        whole = content[:len(content) * 2 // 3].rfind(b"\n") + 1
        os.truncate(copy, whole + 20)
        lost = content[whole:].count(b"\n")
        come_back(mock, agent)
    settled(mock, lines, lost=range(1500 - lost, 1500))
    assert agent.logged(f"{len(content) - whole} bytes of '{path}' were not shipped")


def test_an_orderly_stop_saves_what_is_deleted(start, mock, logs, lines):
    path = logs / "app.log"
    agent = start()
    unread(mock, agent, path, lines)
    path.unlink()
    wait_for("the deletion to be seen", lambda: status_of(agent, path))
    agent.stop()
    name, = spool_of(agent)
    assert not name.endswith(".part")
    come_back(mock, agent)
    settled(mock, lines)


def test_what_had_the_path_of_a_saved_file_meanwhile_is_found(start, mock, logs, lines):
    """Deleted and saved by a stop; a whole life came and was rotated out of the globs since."""
    mock.freeze()
    path = logs / "a.log"
    lines.put(path, 30)
    agent = start()
    behind(agent, path, 1)
    path.unlink()
    agent.stop()
    assert spool_of(agent)
    lines.put(path, 5)
    path.rename(logs / "a.log.1")
    lines.put(path, 3)
    mock.thaw()
    agent.start()
    settled(mock, lines)
    agent.stop()


def test_more_than_held_deleted_max_is_given_up_oldest_first(start, mock, logs, lines):
    agent = start(held_deleted_max="1MiB")
    paths = [logs / f"app{number}.log" for number in range(3)]
    for number, path in enumerate(paths):
        lines.put(path, 10)
        shipped(agent, 10 * (number + 1))
        if number == 0:
            time.sleep(1)   # the oldest is told by the second of its birth
    go_away(mock, agent)
    for path in paths:
        lines.put(path, 6000)
        behind(agent, path, 6000 * 60)
    size = paths[0].stat().st_size
    assert 2 * size < 1 << 20 < 3 * size
    for path in paths:
        path.unlink()
    agent.wait_metric(LOST, reason="held_deleted_max")
    assert agent.logged(f"'{paths[0]}' is given up")
    assert agent.metric(LOST) == size - size // 6010 * 10
    wait_for("the bound to hold", lambda: agent.metric("tailrace_agent_spool_bytes") +
             agent.metric("tailrace_agent_held_deleted_bytes") <= 1 << 20)
    for path in paths[1:]:
        held_as(agent, path, "in the spool")
    come_back(mock, agent)
    settled(mock, lines, lost=range(30, 6030))


class Manager:
    """As much of a service manager as keeps descriptors for its service."""

    def __init__(self, folder):
        self.path = folder / "notify"
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(self.path))
        self.socket.settimeout(0.2)
        self.store: dict[str, int] = {}

    def serve(self):
        """Takes what was sent; True when the store changed."""
        changed = False
        with contextlib.suppress(TimeoutError):
            while True:
                text, control, _, _ = self.socket.recvmsg(4096, socket.CMSG_SPACE(16 * 4))
                fds = array.array("i")
                for level, kind, data in control:
                    if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                        fds.frombytes(data)
                said = dict(each.split("=", 1) for each in text.decode().splitlines())
                if said.get("FDSTORE") == "1":
                    self.store[said["FDNAME"]] = fds[0]
                    changed = True
                if said.get("FDSTOREREMOVE") == "1":
                    os.close(self.store.pop(said["FDNAME"]))
                    changed = True
        return changed

    def start(self, agent):
        """Starts the agent with what is stored, as systemd does."""
        names, fds = list(self.store), list(self.store.values())
        agent.write_config()
        with open(agent.log_path, "ab") as log:
            # A shell names its own process, which becomes the agent, and puts the descriptors
            # where they belong.
            moves = " ".join(f"{3 + index}<&{fd}" for index, fd in enumerate(fds))
            agent.process = subprocess.Popen(
                ["/bin/bash", "-c", f'export LISTEN_PID=$$; exec "$@" {moves}', "bash",
                 str(binary(agent.name)), "run", "-c", str(agent.config_path)],
                pass_fds=fds, stdout=log, stderr=log,
                env={"PATH": os.environ["PATH"], "NOTIFY_SOCKET": str(self.path), "FDSTORE": "16",
                     "LISTEN_FDS": str(len(fds)), "LISTEN_FDNAMES": ":".join(names)})
        agent.lives += 1
        agent.wait_page("/healthz")

    def end(self):
        self.socket.close()
        for fd in self.store.values():
            os.close(fd)


def test_a_service_manager_keeps_deleted_files_open(start, mock, logs, lines, folder):
    manager = Manager(folder)
    path = logs / "app.log"
    agent = start(run=False)
    manager.start(agent)
    unread(mock, agent, path, lines, away=False)
    with open(path, "ab", buffering=0) as writer:
        path.unlink()
        wait_for("the descriptor to be stored", manager.serve)
        generation, = manager.store
        assert status_of(agent, path)["generation"] == generation
        held_as(agent, path, "the service manager")
        agent.kill()
        writer.write(b"\n".join(lines.make(200)) + b"\n")     # while nobody looks
        manager.start(agent)
        held_as(agent, path, "the service manager")
        writer.write(b"\n".join(lines.make(200)) + b"\n")
        mock.thaw()
        settled(mock, lines)
        assert manager.store, "it may still be written to"
    wait_for("the store to be emptied", lambda: manager.serve() and not manager.store, 20)
    assert spool_of(agent) == []
    assert agent.metric(LOST) == 0
    manager.end()


# Compressed files

def compress(path, target, members=1):
    content = path.read_bytes()
    cuts = [len(content) * each // members for each in range(members + 1)]
    target.write_bytes(b"".join(gzip.compress(content[a:b]) for a, b in zip(cuts, cuts[1:])))
    path.unlink()


def test_a_file_compressed_while_the_agent_was_down_is_finished(start, mock, logs, lines):
    path = logs / "app.log"
    agent = start()
    unread(mock, agent, path, lines)
    agent.kill()
    compress(path, logs / "app.log.1.gz", members=3)
    (logs / "app.log.2.gz").write_bytes(gzip.compress(b"something else entirely\n" * 1000))
    (logs / "app-old.gz").write_bytes(b"no gzip at all")
    lines.put(path, 20)
    come_back(mock, agent)
    settled(mock, lines)
    assert agent.metric(LOST) == 0


def test_a_compressed_file_that_is_not_ours_is_refused(start, mock, logs):
    path = logs / "old.log"     # whatever its name is
    path.write_bytes(gzip.compress(b"one\ntwo\n"))
    agent = start()
    agent.wait_metric("tailrace_agent_refused_files_total", reason="compressed")
    assert agent.logged(f"'{path}' of input 'a' is not read: it is compressed")


def test_a_file_of_which_nothing_was_acknowledged_is_found_compressed(start, mock, logs, lines):
    path = logs / "app.log"
    agent = start()
    go_away(mock, agent)
    lines.put(path, 1000)
    behind(agent, path, 60_000)
    wait_for("its size and head to be in the state",
             lambda: str(path) in agent.run_verb("state", "show").stdout)
    time.sleep(1.2)     # the head is written about once a second
    agent.kill()
    compress(path, logs / "app.log-20261121.gz")
    come_back(mock, agent)
    settled(mock, lines)
    agent.wait_metric("tailrace_agent_compressed_files_total", result="found")
    assert agent.metric(LOST) == 0


def test_unpacking_goes_on_after_any_kill(start, mock, logs, lines, seed):
    chance = random.Random(seed)
    path = logs / "app.log"
    agent = start()
    unread(mock, agent, path, lines, more=5000)
    agent.kill()
    compress(path, logs / "app.log.1.gz")
    agent.config["kafka"]["bootstrap_servers"] = mock.servers
    for _ in range(KILLS):
        agent.start(wait="no")
        mock.thaw() if chance.random() < 0.5 else mock.freeze()
        time.sleep(chance.random() * 1.5)
        agent.kill()
    mock.thaw()
    agent.start()
    settled(mock, lines)
    assert agent.metric(LOST) == 0


def test_a_compressed_file_is_waited_for_while_it_is_written_and_named_when_damaged(
        start, mock, logs, lines):
    path = logs / "app.log"
    agent = start()
    unread(mock, agent, path, lines)
    agent.kill()
    target = logs / "app.log.1.gz"
    compress(path, target)
    content = target.read_bytes()
    half = len(content) // 2
    agent.config["kafka"]["bootstrap_servers"] = mock.servers
    target.write_bytes(content[:half])
    agent.start()
    gone, = wait_for("the life to be looked for", lambda: agent.status()["gone"])
    assert gone["path"] == str(path) and "looked for" in gone["reason"]
    wait_for("its first end to be met", lambda: agent.status()["gone"][0]["compressed"])
    assert not agent.logged("cannot be unpacked"), "nothing is concluded yet"
    target.write_bytes(content[:half] + bytes(8) + content[half + 8:])
    agent.wait_metric("tailrace_agent_compressed_files_total", result="damaged")
    assert agent.logged(f"ERROR '{target}' cannot be unpacked: ")
    target.write_bytes(content)     # somebody had it elsewhere
    settled(mock, lines)
