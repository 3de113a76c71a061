# SPDX-License-Identifier: Apache-2.0
"""The cases by which the peers test their tails, harder: numbered lines with checksums instead of
a count of some, each exactly once. TAILRACE_LINES=100000 is the full size; the default is small.

peer's case                                      here or in
------------------------------------------------------------------------------------------------
harness: file_rotate_create                      test_rotate_create_and_late_lines
harness: file_rotate_truncate                    test_rotate_truncate_and_late_lines
harness: file_truncate                           test_file_truncate
harness: disk_buffer_persistence                 test_disk_buffer_persistence
harness: sighup                                  test_sighup_changes_the_topic
harness: wrapped_json                            test_wrapped_json_stays_as_it_is
harness: docker_partial_events_merging           parsers of containers, not files
Fluent Bit: normal_rotation, single_static       test_five_files_rotated_each_256_kilobytes
Fluent Bit: truncate, copytruncate_*             test_truncate_multiple, test_rotation_matrix
Fluent Bit: rotate_link, symlink_target_rotation test_symlink_target_rotation
Fluent Bit: multi_file_rapid_rotation            test_rapid_rotation_of_three_files
Fluent Bit: delete_and_recreate                  test_delete_and_recreate
Fluent Bit: permissions restored                 test_permissions_restored
Fluent Bit: partial_line_across_restart
                                            test_a_partial_last_line_is_completed_after_a_restart
Fluent Bit: skip/truncate_long_lines             test_lines_of_every_size, test_agent_files.py
Fluent Bit: exclude_path, ignore_older, db       test_agent_files.py, test_agent_life.py
Fluent Bit, Alloy: gzip rotation                 test_rapid_rotation_of_three_files, test_logrotate
Filebeat: filestream_fd_exhaustion               test_agent_life.py: more_files_than_descriptors
Filebeat: filestream_close_reopen_loss           test_close_reopen_with_a_frozen_broker
Filebeat: TruncateBlockedOutput                  test_truncate_with_a_blocked_output
Filebeat: input_reload_test, 50 reloads          test_reloads_under_load
Filebeat: SymlinksEnabled, SymlinkRotated        test_symlink_target_rotation
Filebeat: EmptyLine, CloseEOF                    test_lines_of_every_size, test_agent_files.py
rsyslog: rename-while-stopped                    test_rename_while_stopped
rsyslog: truncate-multiple                       test_truncate_multiple
rsyslog: growing-file-id                         test_growing_file_id
rsyslog: logrotate-*                             test_logrotate
rsyslog: bad-state-file; Alloy: corrupted        test_agent_life.py: a_damaged_state_is_reported
rsyslog: wildcards-dirs                          test_agent_files.py: exclude_and_double_star
rsyslog: sndrcv_kafka_fail(resume)               test_outage.py
OTel: rotation_test matrix                       test_rotation_matrix
OTel: TestMoveFile, TestTrackMovedAwayFiles      test_moved_into_another_folder
OTel: TestCopyTruncateWriteBoth                  test_rotate_truncate_and_late_lines
OTel: TestFileMovedWhileOff_BigFiles             test_rename_while_stopped
Alloy: atomic writes                             test_atomic_writes
Alloy: drains the old one after rotation         test_rotate_create_and_late_lines
Vector: file_watcher model                       test/model
Vector: file_duplicate_processing_after_restart  test_agent_life.py: kill_and_restart
Vector: file_start_position_server_restart_...   test_start_at_end_with_rotation_and_restart
a line of 1 GB without a newline                 test_a_line_of_one_gigabyte (TAILRACE_GIGABYTE=1)
"""

import gzip
import os
import random
import shutil
import subprocess
import threading
import time
from pathlib import Path

import pytest

from inputs import append
from oracle import Tally, digest, message_of, numbered_line, padding_for
from programs import binary, clean_environment
from stack_cache import StackError
from wait import wait_for

LINES = int(os.environ.get("TAILRACE_LINES") or 2000)
PATIENCE = 40 + LINES / 1000


class Lines:
    """Writes numbered lines to files and remembers all of them."""

    def __init__(self, seed: int):
        chance = random.Random(seed)
        self.paddings = [padding_for(chance) for _ in range(200)]
        self.expected: dict[tuple[str, int], bytes] = {}
        self.next: dict[str, int] = {}

    def block(self, tag: str, count: int) -> bytes:
        first = self.next.get(tag, 0)
        self.next[tag] = first + count
        lines = []
        for number in range(first, first + count):
            line = numbered_line(tag, 0, number, self.paddings[number % 200])
            self.expected[(tag, number)] = digest(message_of(line))
            lines.append(line + b"\n")
        return b"".join(lines)

    def write(self, path: Path, count: int, tag: str = "") -> None:
        with open(path, "ab", buffering=0) as out:
            out.write(self.block(tag or path.name.split(".")[0], count))


class Case:
    """One agent on one folder, with the oracle of its lines."""

    def __init__(self, kafka, topic, logs, seed, make_agent):
        self.kafka, self.topic, self.logs, self.make_agent = kafka, topic, logs, make_agent
        self.lines = Lines(seed)
        self.seed = seed
        self.agent = None

    def start(self, *paths: str, **options):
        """The first time with paths below the folder of logs; then just again."""
        if self.agent is None:
            self.agent = self.make_agent(self.kafka.servers, self.topic, [
                {"name": "peers", "paths": [str(self.logs / path) for path in paths]} | options])
        return self.agent.start(wait="ready")

    def total(self, topic: str = "") -> int:
        """-1 while a broker that was frozen finds back to itself."""
        try:
            return self.kafka.total(topic or self.topic)
        except StackError:
            return -1

    def backlog(self) -> float:
        metrics = self.agent.metrics()
        return (metrics.get("tailrace_agent_lag_bytes")
                - metrics.get("tailrace_agent_unfinished_bytes"))

    def arrive(self) -> None:
        count = len(self.lines.expected)
        wait_for(f"{count} records", lambda: self.total() >= count, PATIENCE,
                 lambda: f"{self.total()}{self.agent.tail()}", every=0.02)

    def finish(self, others: int = 0, settle: bool = True) -> None:
        """Every line once and nothing else but `others` records that are not numbered."""
        if settle:
            wait_for(f"{len(self.lines.expected) + others} records",
                     lambda: self.total() >= len(self.lines.expected) + others,
                     PATIENCE, lambda: f"{self.total()}{self.agent.tail()}",
                     every=0.02)
        if settle and self.agent.running():     # repeats after a kill count as records, too
            wait_for("nothing to be left to ship", lambda: self.backlog() == 0, PATIENCE,
                     lambda: f"{self.backlog()} bytes{self.agent.tail()}")
        if self.agent.running():
            self.agent.stop()
        tally = Tally(self.lines.expected, where=self.topic)
        seen = 0
        for id, event in self.kafka.events(self.topic):
            if event["message"].split(" ")[0] in self.lines.next:
                tally.add(id, event)
            else:
                seen += 1
        tally.check(self.seed)
        assert seen == others


@pytest.fixture
def case(kafka, topic, logs, seed, make_agent):
    return Case(kafka, topic, logs, seed, make_agent)


# vector-test-harness


@pytest.mark.parametrize("paths", [("a.log",), ("a.log*",)], ids=["outside", "inside"])
def test_rotate_create_and_late_lines(case, paths):
    case.start(*paths)
    case.lines.write(case.logs / "a.log", LINES)
    case.arrive()
    with open(case.logs / "a.log", "ab", buffering=0) as late:
        os.rename(case.logs / "a.log", case.logs / "a.log.0")
        case.lines.write(case.logs / "a.log", LINES)
        case.arrive()
        late.write(case.lines.block("a", LINES))
        case.arrive()
    case.finish()


@pytest.mark.parametrize("paths", [("a.log",), ("a.log*",)], ids=["outside", "inside"])
def test_rotate_truncate_and_late_lines(case, paths):
    """A line that somebody appends to the copy is one of the old life."""
    case.start(*paths)
    case.lines.write(case.logs / "a.log", LINES)
    case.arrive()
    shutil.copyfile(case.logs / "a.log", case.logs / "a.log.0")
    os.truncate(case.logs / "a.log", 0)
    case.lines.write(case.logs / "a.log", LINES)
    case.lines.write(case.logs / "a.log.0", 1)
    case.finish()


def test_file_truncate(case):
    case.start("a.log")
    case.lines.write(case.logs / "a.log", LINES)
    case.arrive()
    os.truncate(case.logs / "a.log", 0)
    case.lines.write(case.logs / "a.log", LINES)
    case.finish()


def test_disk_buffer_persistence(case):
    case.start("a.log")
    case.lines.write(case.logs / "a.log", 1)
    case.arrive()
    case.kafka.stack.pause(case.kafka.name)
    case.lines.write(case.logs / "a.log", LINES)
    case.agent.kill()
    case.agent.start(wait="alive")
    case.kafka.stack.resume(case.kafka.name)
    case.finish()


def test_sighup_changes_the_topic(case):
    case.start("a.log")
    case.lines.write(case.logs / "a.log", LINES)
    case.arrive()
    other = case.kafka.topic("other")
    case.agent.config["files"][0]["topic"] = other
    case.agent.reload()
    wait_for("the reload", lambda: any(each["topic"] == other
                                       for each in case.agent.status()["inputs"]))
    append(case.logs / "a.log", b"behind the change")
    wait_for("the line on the other topic", lambda: case.total(other) == 1)
    case.finish()


def test_wrapped_json_stays_as_it_is(case):
    text = b'{"log":"{\\"a\\":\\"b \\\\n\\"}"}'
    append(case.logs / "a.log", text)
    case.start("a.log")
    wait_for("the line", lambda: case.total() == 1)
    assert [event["message"] for _, event in case.kafka.events(case.topic)] == [text.decode()]
    case.finish(others=1)


# Rotation by rename


def test_five_files_rotated_each_256_kilobytes(case):
    case.start("*.log*")
    paths = [case.logs / f"file{number}.log" for number in range(5)]
    written = 0
    while written < LINES:
        for path in paths:
            case.lines.write(path, min(200, LINES - written))
            if path.stat().st_size > 256 * 1024:
                os.rename(path, f"{path}.{time.monotonic_ns()}")
        written += 200
    case.finish()


def test_rapid_rotation_of_three_files(case):
    """Each is rotated every 50 ms; ten are kept, older ones compressed. The rotator waits for the
    first look at what it compresses: nothing else leads to a file that was never seen."""
    case.start("*.log*", exclude=["*.gz"])
    kept: dict[str, list[Path]] = {"x": [], "y": [], "z": []}
    rounds = min(40, max(15, LINES // 500))
    for number in range(rounds):
        for name, rotated in kept.items():
            path = case.logs / f"{name}.log"
            case.lines.write(path, LINES // rounds // 3 + 1)
            target = case.logs / f"{name}.log.{number}"
            os.rename(path, target)
            rotated.append(target)
            if len(rotated) > 10:
                compress(rotated.pop(0), case.agent)
        time.sleep(0.05)
    case.finish()


def compress(path: Path, agent) -> None:
    inode = path.stat().st_ino
    known = set()
    wait_for(f"a look at {path}", lambda: known.update(
        each["inode"] for each in agent.status()["files"]) or inode in known
        or agent.metric("tailrace_agent_lag_bytes") == 0)
    with open(path, "rb") as source, gzip.open(f"{path}.gz", "wb", 1) as out:
        shutil.copyfileobj(source, out)
    os.unlink(path)


@pytest.mark.parametrize("paths", [("a.log",), ("a.log*",)], ids=["outside", "inside"])
def test_rename_while_stopped(case, paths):
    case.start(*paths)
    case.lines.write(case.logs / "a.log", LINES)
    case.arrive()
    case.agent.stop()
    for _ in range(5):
        case.lines.write(case.logs / "a.log", LINES // 5)
        for number in range(5, 0, -1):
            if (case.logs / f"a.log.{number}").exists():
                os.rename(case.logs / f"a.log.{number}", case.logs / f"a.log.{number + 1}")
        os.rename(case.logs / "a.log", case.logs / "a.log.1")
    case.lines.write(case.logs / "a.log", LINES // 5)
    case.start()
    case.finish()


def test_moved_into_another_folder(case, folder):
    """Its writer goes on in it, out of every glob."""
    away = folder / "away"
    away.mkdir()
    case.start("*.log")
    case.lines.write(case.logs / "a.log", LINES)
    case.arrive()
    with open(case.logs / "a.log", "ab", buffering=0) as late:
        os.rename(case.logs / "a.log", away / "a.log")
        late.write(case.lines.block("a", LINES))
        case.lines.write(case.logs / "a.log", LINES)
        case.arrive()
    case.finish()


def test_start_at_end_with_rotation_and_restart(case):
    append(case.logs / "a.log", b"old")
    case.start("a.log", start_at="end")
    wait_for("the file to be known", lambda: case.agent.metric("tailrace_agent_files") == 1)
    case.lines.write(case.logs / "a.log", LINES // 2)
    case.arrive()
    case.agent.stop()
    case.lines.write(case.logs / "a.log", LINES // 2)
    os.rename(case.logs / "a.log", case.logs / "a.log.1")
    case.lines.write(case.logs / "a.log", LINES // 2)
    case.start()
    case.finish()


@pytest.mark.parametrize("names", ["timestamped", "sequential"])
@pytest.mark.parametrize("how", ["move_create", "copy_truncate"])
@pytest.mark.parametrize("kept", ["none", "all", "three"])
def test_rotation_matrix(case, kept, how, names):
    """OpenTelemetry's: no rotation, rotation without and with deletion."""
    case.start("m.log")
    path = case.logs / "m.log"
    rotated: list[Path] = []
    for number in range(6):
        case.lines.write(path, LINES // 6)
        if kept == "none":
            continue
        case.arrive()       # a deletion or a copy takes what was not read
        if names == "timestamped":
            target = case.logs / f"m.log-{20261101 + number}"
        else:
            for each in reversed(range(len(rotated))):
                new = case.logs / f"m.log.{len(rotated) - each + 1}"
                os.rename(rotated[each], new)
                rotated[each] = new
            target = case.logs / "m.log.1"
        if how == "move_create":
            os.rename(path, target)
        else:
            shutil.copyfile(path, target)
            os.truncate(path, 0)
        rotated.append(target)
        if kept == "three" and len(rotated) > 3:
            os.unlink(rotated.pop(0))
    case.finish()


# Links, deletion, replacement, permissions


def test_symlink_target_rotation(case, folder):
    targets = folder / "targets"
    targets.mkdir()
    link = case.logs / "current.log"

    def swap(number: int) -> None:
        target = targets / f"app-{number}"
        target.touch()
        os.symlink(target, folder / "fresh")
        os.rename(folder / "fresh", link)

    swap(0)
    case.start("current.log")
    for number in range(1, 11):
        case.lines.write(targets / f"app-{number - 1}", LINES // 10, "link")
        case.arrive()
        swap(number)
    case.lines.write(targets / "app-10", 10, "link")
    case.finish()


def test_delete_and_recreate(case):
    path = case.logs / "a.log"
    case.start("a.log")
    for _ in range(10):
        case.lines.write(path, LINES // 10)
        case.arrive()
        os.unlink(path)
    case.lines.write(path, 10)
    case.finish()


def test_atomic_writes(case):
    """Each save is a copy with some lines more, renamed over the file."""
    path = case.logs / "a.log"
    case.lines.write(path, LINES)
    case.start("a.log")
    case.arrive()
    for _ in range(20):
        fresh = case.logs / "editor"
        shutil.copyfile(path, fresh)
        case.lines.write(fresh, LINES // 20, "a")
        os.rename(fresh, path)
        case.arrive()
    case.finish()


@pytest.mark.skipif(os.getuid() != 0, reason="gives the agent another user")
def test_permissions_restored(case, folder):
    """The agent is nobody; the file is root's alone for a while."""
    path = case.logs / "a.log"
    case.lines.write(path, LINES)
    case.agent = case.make_agent(case.kafka.servers, case.topic, [
        {"name": "peers", "paths": [str(path)]}])
    agent = case.agent
    os.chmod(folder, 0o755)
    os.chmod(case.logs, 0o755)
    shutil.chown(agent.state_dir, "nobody")
    agent._spawn = lambda arguments, _: spawn_as_nobody(agent, arguments)
    agent.start(wait="ready")
    case.arrive()
    os.chmod(path, 0)
    case.lines.write(path, LINES)
    agent.kill()
    agent.start(wait="ready")
    wait_for("the reason on /status", lambda: "ermission denied" in agent.page("/status")[1])
    os.chmod(path, 0o644)
    case.finish()


def spawn_as_nobody(agent, arguments):
    with open(agent.log_path, "ab") as log:
        return subprocess.Popen(
            [str(binary(agent.name)), *arguments], stdin=subprocess.DEVNULL, stdout=log,
            stderr=log, env=clean_environment(), user=65534, group=65534, extra_groups=[])


# Truncation


def test_truncate_multiple(case):
    path = case.logs / "a.log"
    case.start("a.log")
    case.lines.write(path, 1)
    inode = path.stat().st_ino
    for _ in range(51):
        case.arrive()
        os.truncate(path, 0)
        case.lines.write(path, max(1, LINES // 51))
        assert path.stat().st_ino == inode
    case.finish()


def test_truncate_with_a_blocked_output(case):
    """What was truncated unread is counted as lost, as soon as the answers tell what was; the new
    life is whole."""
    path = case.logs / "a.log"
    case.start("a.log")
    case.lines.write(path, LINES)
    case.arrive()
    case.kafka.stack.pause(case.kafka.name)
    try:
        with open(path, "ab", buffering=0) as out:
            block = Lines(1).block("lost", 4000)
            for _ in range(60):     # more than what may be under way
                out.write(block)
            wait_for("the new bytes to be seen",
                     lambda: case.agent.metric("tailrace_agent_lag_bytes") > 20_000_000)
            os.truncate(path, 0)
            out.write(case.lines.block("a", LINES))
    finally:
        case.kafka.stack.resume(case.kafka.name)
    wait_for("the loss to be counted",
             lambda: case.agent.metric("tailrace_agent_lost_bytes_total") > 0, PATIENCE)
    wait_for("all lines of the new life", lambda: new_ones(case) == 2 * LINES, PATIENCE, every=1)
    case.agent.stop()
    ours = [pair for pair in case.kafka.events(case.topic) if pair[1]["message"].startswith("a ")]
    Tally(case.lines.expected, where=case.topic).add_all(ours).check(case.seed)


def new_ones(case) -> int:
    return len({key for key, event in case.kafka.events(case.topic)
                if event["message"].startswith("a ")})


def test_growing_file_id(case):
    """From one byte to beyond the head by which it is known; restarted at each step."""
    path = case.logs / "a.log"
    case.start("a.log")
    content = case.lines.block("a", 30)
    written = 0
    for step in (1, 9, 54, 1, 36, 200, 700, 30, len(content)):
        with open(path, "ab") as out:
            out.write(content[written:written + step])
        written += step
        case.agent.kill() if step % 2 else case.agent.stop()
        case.agent.start(wait="ready")
    case.finish()


# A slow or stopped output, reloads


def test_close_reopen_with_a_frozen_broker(case):
    """More files than descriptors, nothing acknowledged, then some lines more in each."""
    paths = [case.logs / f"f{number}.log" for number in range(150)]
    for path in paths:
        case.lines.write(path, max(1, LINES // 150))
    case.kafka.stack.pause(case.kafka.name)
    try:
        case.agent = case.make_agent(case.kafka.servers, case.topic, [
            {"name": "peers", "paths": [str(case.logs / "*.log")]}])
        case.agent.open_files_max = 100
        case.agent.start(wait="alive")
        wait_for("all files", lambda: case.agent.metric("tailrace_agent_files") == 150)
        for path in paths:
            case.lines.write(path, 8)
    finally:
        case.kafka.stack.resume(case.kafka.name)
    case.finish()


def test_reloads_under_load(case):
    """50 of them, as fast as they are taken, while lines are written and the file rotates."""
    case.start("a.log*")
    over = threading.Event()

    def write() -> None:
        for number in range(20):
            case.lines.write(case.logs / "a.log", LINES // 20)
            os.rename(case.logs / "a.log", case.logs / f"a.log.{number}")
            time.sleep(0.02)
        over.set()

    writer = threading.Thread(target=write)
    writer.start()
    for number in range(50):
        case.agent.config["files"][0]["fields"] = {"service.name": f"name-{number}"}
        case.agent.reload()
        time.sleep(0.02)
    writer.join()
    assert over.is_set()
    case.finish()


# Lines


def test_lines_of_every_size(case):
    path = case.logs / "a.log"
    chance = random.Random(case.seed)
    shapes = [b"", b"1", b"x" * 65536, bytes(chance.choices(b"abc {}\"\\", k=10_000_000)),
              b"carriage return\r", b"\x01\x1b[31m", b"nul " + b"\0" * 500, b"\xff\xfe bad \xc3",
              "ünïcode 日志".encode()]
    block = case.lines.block("a", LINES) + b"\n".join([b"", *shapes, b""])
    path.write_bytes(block)
    case.start("a.log")
    wanted = {message_of(shape) for shape in shapes if shape and len(shape) < 1_000_000}

    def found() -> list[dict]:
        return [event for _, event in case.kafka.events(case.topic)]

    last = message_of(shapes[-1])
    wait_for("the last line", lambda: any(event["message"] == last for event in found()),
             PATIENCE, every=0.3)
    case.agent.stop()
    events = sorted(found(), key=lambda event: event["log.offset"])
    assert wanted <= {event["message"] for event in events}
    parts = [event["message"] for event in events if "part" in event.get("log.flags", [])]
    assert "".join(parts) == shapes[3].decode()
    numbered = [pair for pair in case.kafka.events(case.topic)
                if pair[1]["message"].startswith("a 0000")]
    Tally(case.lines.expected, where=case.topic).add_all(numbered).check(case.seed)


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_a_partial_last_line_is_completed_after_a_restart(case, end):
    path = case.logs / "a.log"
    case.start("a.log")
    for _ in range(5):
        text = case.lines.block("a", max(1, LINES // 5))
        cut = len(text) - random.Random(case.seed).randint(2, 30)
        with open(path, "ab", buffering=0) as out:
            out.write(text[:cut])
            wait_for("the part to be seen", lambda: any(
                each["size"] == path.stat().st_size for each in case.agent.status()["files"]))
            getattr(case.agent, end)()
            out.write(text[cut:])
            case.start()
        case.arrive()
    case.finish()


@pytest.mark.skipif(not os.environ.get("TAILRACE_GIGABYTE"), reason="by hand: a gigabyte")
def test_a_line_of_one_gigabyte(case):
    path = case.logs / "a.log"
    with open(path, "wb") as out:
        for _ in range(1024):
            out.write(b"0123456789abcdef" * 65536)
        out.write(b"\n")
    case.start("a.log")
    wait_for("all of it", lambda: case.agent.metric("tailrace_agent_bytes_total") > 1 << 30, 300)
    assert case.agent.rss_mib() < 80
    case.agent.stop()
    size = sum(len(event["message"]) for _, event in case.kafka.events(case.topic))
    assert size == 1 << 30


# The real logrotate


LOGROTATE = {
    "create": "create",
    "copytruncate": "copytruncate",
    "compress": "create\ncompress",
    "delaycompress": "create\ncompress\ndelaycompress",
    "copytruncate-compress": "copytruncate\ncompress\ndelaycompress",
    "dateext": "create\ndateext\ndateformat -%Y%m%d-%s",
    "olddir": "create\nolddir {folder}/old",
    "maxsize": "create\nmaxsize 20k\nweekly",
}


@pytest.mark.skipif(not shutil.which("logrotate"), reason="needs logrotate")
@pytest.mark.parametrize("options", LOGROTATE)
def test_logrotate(case, folder, options):
    """Its writer is busy all the time, but for copytruncate, which has a gap of its own."""
    rotations = 3 if LINES < 10_000 else 6
    (folder / "old").mkdir()
    path = case.logs / "busy.log"
    text = (f"{path} {{\nsu root root\nrotate 50\nmissingok\n"
            f"{LOGROTATE[options].format(folder=folder)}\n}}\n")
    (folder / "rotate.conf").write_text(text)
    pause = threading.Lock()
    over = threading.Event()
    writer = threading.Thread(target=busy_writer, args=(case, path, pause, over))
    case.start("busy.log")
    writer.start()
    try:
        for number in range(rotations):
            wait_for("some lines", lambda: path.exists() and path.stat().st_size > 30_000)
            seen = len(case.lines.expected) // 2        # the agent keeps up, more or less
            wait_for("the agent", lambda: case.total() >= seen, PATIENCE)
            if "olddir" in options:     # from another folder only an open file is read on
                wait_for("a look at the file", lambda: path.stat().st_ino in [
                    each["inode"] for each in case.agent.status()["files"]], PATIENCE)
            with pause if "copytruncate" in options else threading.Lock():
                logrotate(folder, [] if options == "maxsize" else ["-f"])
            if options == "dateext":
                time.sleep(1.1)     # its names have seconds
    finally:
        over.set()
        writer.join()
    case.finish()


def logrotate(folder: Path, arguments: list[str]) -> None:
    subprocess.run(["logrotate", *arguments, "-s", folder / "rotate.state",
                    folder / "rotate.conf"], check=True, capture_output=True, timeout=60)


def busy_writer(case: Case, path: Path, pause, over: threading.Event) -> None:
    """Reopens its log when another file has the path, as a daemon does on a signal."""
    out = open(path, "ab", buffering=0)
    while not over.is_set():
        with pause:
            out.write(case.lines.block("busy", 20))
        try:
            if path.stat().st_ino != os.fstat(out.fileno()).st_ino:
                out.close()
                out = open(path, "ab", buffering=0)
        except FileNotFoundError:
            pass
        time.sleep(20 / max(2000, LINES / 10))
    out.close()
