#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Kills the agent again and again in the middle of writing and rotation, then counts every line.

By hand, with the Python of the test environment and the embedded broker:
    $(python3 test/stack/stack.py venv)/bin/python test/chaos/rotate.py --up 200 --away 200 \\
        [--seed N] [--folder DIR]

Nothing is removed. Four logs are rotated as logrotate does it, the one before the last compressed
(delaycompress):
    in.log      renamed, the new names match the input's paths
    out.log     renamed, the new names do not match
    date.log    renamed once, to a name with a date
    copy.log    copied and truncated; the writer waits meanwhile, so nothing falls between
Two kills of three wait for a moment in the middle of a rotation, the others strike anywhere.
"up": the broker answers. "away": it is frozen before the kill, and thawed after the next start.

What docs/guarantees.md asks of the surroundings holds here: no path is rotated before it was
looked at, nothing is copied or compressed before the agent has 64 bytes of it acknowledged and its
position on disk.
"""

import argparse
import gzip
import os
import random
import shutil
import sys
import threading
import time
from collections import Counter
from pathlib import Path

HERE = Path(__file__).resolve().parent
for place in (HERE, *(HERE.parent / name for name in ("model", "scenario", "stack", "torture"))):
    if str(place) not in sys.path:
        sys.path.insert(0, str(place))

from kept import run_kept  # noqa: E402
from oracle import Tally, digest, message_of, numbered_line, padding_for  # noqa: E402
from programs import Agent  # noqa: E402
from rig import Rig  # noqa: E402
from wait import wait_for  # noqa: E402

MOMENTS = ["write", "rename", "copy", "copied", "truncated", "compress", "compressed"]
RIPE_SECONDS = 2.5      # from the first arrival of a life until its position is surely on disk
LINES_A_LIFE = 1200


class Log:
    def __init__(self, folder: Path, name: str):
        self.path = folder / name
        self.name = name.removesuffix(".log")
        self.kind = self.name.rpartition("-")[2]        # "b-copy" is rotated like "copy"
        self.life = self.lines_of_life = 0
        self.sequence = 0
        self.file = open(self.path, "ab", buffering=0)
        self.rotated: list[tuple[Path, int]] = []       # youngest first: where, which life


class Writer(threading.Thread):
    """Writes and rotates until it is told to end."""

    def __init__(self, folder: Path, seed: int, rate: int, names: list[str],
                 lines_a_life: int = LINES_A_LIFE):
        super().__init__(daemon=True)
        folder.mkdir(parents=True)
        self.lines_a_life = lines_a_life
        self.chance = random.Random(seed)
        self.logs = [Log(folder, f"{name}.log") for name in names]
        self.rate = rate
        self.expected: dict[tuple[str, int], bytes] = {}
        self.first_seen: dict[tuple[str, int], float] = {}      # (log, life): by the reader
        self.rotations: Counter = Counter()
        self.over = threading.Event()
        self.reached = threading.Condition()
        self.moment_now = ""
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            while not self.over.is_set():
                log = self.chance.choice(self.logs)
                self.write(log)
                if log.lines_of_life > self.lines_a_life and self.ripe(log.name, log.life):
                    self.rotate(log)
        except BaseException as error:
            self.error = error

    def moment(self, name: str, pause: float = 0.002) -> None:
        with self.reached:
            self.moment_now = name
            self.reached.notify_all()
        time.sleep(pause)

    def await_moment(self, name: str, seconds: float) -> bool:
        with self.reached:
            self.moment_now = ""
            return self.reached.wait_for(lambda: self.moment_now == name, seconds)

    def ripe(self, name: str, life: int) -> bool:
        since = self.first_seen.get((name, life))
        return since is not None and time.monotonic() - since > RIPE_SECONDS

    def write(self, log: Log) -> None:
        count = self.chance.randint(1, 60)
        block = bytearray()
        for _ in range(count):
            line = numbered_line(log.name, log.life, log.sequence, padding_for(self.chance))
            self.expected[(log.name, log.sequence)] = digest(message_of(line))
            block += line + b"\n"
            log.sequence += 1
        cut = self.chance.randint(0, len(block))
        log.file.write(block[:cut])
        self.moment("write", count / self.rate)
        log.file.write(block[cut:])
        log.lines_of_life += count

    def rotate(self, log: Log) -> None:
        self.shift(log)
        target = log.path.with_name(f"{log.path.name}.1")
        if log.kind == "date":
            target = log.path.with_name(f"{log.path.name}-{20260000 + log.life}")
        if log.kind == "copy":
            self.copy_truncate(log, target)
        else:
            os.rename(log.path, target)
            self.moment("rename")
            log.file.close()
            log.file = open(log.path, "ab", buffering=0)
        log.rotated.insert(0, (target, log.life))
        log.life += 1
        log.lines_of_life = 0
        self.rotations[log.kind] += 1
        self.compress(log)

    def copy_truncate(self, log: Log, target: Path) -> None:
        with open(log.path, "rb") as source, open(target, "wb", buffering=0) as out:
            while part := source.read(1 << 16):
                out.write(part)
                self.moment("copy")
        self.moment("copied")
        os.truncate(log.path, 0)
        self.moment("truncated")

    def shift(self, log: Log) -> None:
        for index in reversed(range(len(log.rotated))):
            path, life = log.rotated[index]
            if log.kind != "date":
                end = ".gz" if path.suffix == ".gz" else ""
                target = log.path.with_name(f"{log.path.name}.{index + 2}{end}")
                os.rename(path, target)
                log.rotated[index] = (target, life)

    def compress(self, log: Log) -> None:
        for index, (path, life) in enumerate(log.rotated):
            if index == 0 or path.suffix == ".gz" or not self.ripe(log.name, life):
                continue
            target = path.with_name(path.name + ".gz")
            with open(path, "rb") as source, gzip.open(target, "wb", 1) as out:
                while part := source.read(1 << 16):
                    out.write(part)
                    self.moment("compress")
            shutil.copystat(path, target)
            self.moment("compressed")
            os.unlink(path)
            log.rotated[index] = (target, life)
            self.rotations["compressed"] += 1


class Reader(threading.Thread):
    """Takes the records as they come; counts by id and content, as the index does."""

    def __init__(self, rig: Rig, writer: Writer):
        super().__init__(daemon=True)
        self.rig, self.writer = rig, writer
        self.tally = Tally(writer.expected, where="the topic")
        self.over = threading.Event()
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            while not self.over.is_set():
                self.note(self.rig.take(0.1))
        except BaseException as error:
            self.error = error

    def note(self, events) -> None:
        for id, event in events:
            self.tally.add(id, event)
            name, life, *_ = event["message"].split(" ", 2)
            self.writer.first_seen.setdefault((name, int(life)), time.monotonic())


def strike(agent: Agent, rig: Rig, writer: Writer, chance: random.Random, away: bool,
           moments: Counter) -> None:
    """Kills the agent at a moment and starts it again."""
    if chance.random() < 0.67:
        wanted = chance.choice(MOMENTS)
        reached = writer.await_moment(wanted, 1.5)
        moments[wanted if reached else "any"] += 1
    else:
        time.sleep(chance.random() * 0.5)
        moments["any"] += 1
    if away:
        rig.broker.freeze()
        time.sleep(chance.random() * 0.6)
        if chance.random() < 0.5:
            writer.await_moment(chance.choice(MOMENTS), 0.5)
    time.sleep(chance.random() ** 3 * 0.05)
    agent.kill()
    time.sleep(chance.random() ** 2 * 0.2)
    agent.start(wait="no")
    if away:
        time.sleep(chance.random() * 0.4)
        rig.broker.thaw()


def chaos(folder: Path, up: int, away: int, seed: int, rate: int, names: list[str],
          say=print) -> None:
    chance = random.Random(seed)
    kinds = [False] * up + [True] * away
    chance.shuffle(kinds)
    rig = Rig()
    writer = Writer(folder / "logs", seed, rate, names)
    reader = Reader(rig, writer)
    agent = Agent(folder, rig.servers, "model", [{
        "name": "rotated", "exclude": ["*.gz"], "paths": [
            f"{folder}/logs/{name}" for name in ("in.log*", "out.log", "date.log*", "copy.log*")]}])
    moments: Counter = Counter()
    try:
        agent.start(wait="ready")
        reader.start()
        writer.start()
        for number, is_away in enumerate(kinds):
            strike(agent, rig, writer, chance, is_away, moments)
            check_helpers(writer, reader)
            assert not reader.tally.wrong, \
                "\n".join(reader.tally.wrong[:8])   # at once: state and log are as it left them
            if number % 20 == 19:
                say(f"{number + 1} kills, {len(writer.expected)} lines written, "
                    f"{len(reader.tally.ids)} arrived, {reader.tally.repeats} repeats, "
                    f"{dict(writer.rotations)}")
        writer.over.set()
        writer.join()
        wait_for("every line to arrive",
                 lambda: check_helpers(writer, reader) or len(reader.tally.ids) >= len(
                     writer.expected), 60, lambda: f"{len(reader.tally.ids)} of "
                 f"{len(writer.expected)}{missing(reader.tally)}{agent.tail()}")
        agent.stop()
        reader.over.set()
        reader.join()
        reader.note(rig.take_rest())
        say(f"{up} kills with the broker up, {away} with it away, by moment {dict(moments)}; "
            f"{len(writer.expected)} lines, {reader.tally.records} records "
            f"({reader.tally.repeats} repeats), {dict(writer.rotations)}")
        if reader.tally.wrong:
            say(f"wrong by log: {dict(Counter(each[2:6] for each in reader.tally.wrong))}")
        reader.tally.check(seed)
    finally:
        writer.over.set()
        reader.over.set()
        agent.end()
        reader.join()
        rig.close()


def missing(tally: Tally) -> str:
    try:
        tally.check()
    except AssertionError as error:
        return f"\n{error}"
    return ""


def check_helpers(writer: Writer, reader: Reader) -> None:
    for helper in (writer, reader):
        if helper.error:
            raise helper.error


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--up", type=int, default=200, help="kills with the broker up")
    parser.add_argument("--away", type=int, default=200, help="kills with the broker away")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--rate", type=int, default=4000, help="lines a second")
    parser.add_argument("--logs", default="in,out,date,copy", help="some of them")
    parser.add_argument("--folder", type=Path, help="kept; default: a new one, kept on failure")
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    return run_kept("rotate", options.folder, options.seed, "every line exactly once",
                    lambda folder, say: chaos(folder, options.up, options.away, options.seed,
                                              options.rate, options.logs.split(","), say))


if __name__ == "__main__":
    sys.exit(main())
