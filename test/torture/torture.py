# SPDX-License-Identifier: Apache-2.0
"""Runs the agent with failing calls and counts what arrived. See README.md."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Iterator

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "scenario"), str(HERE.parent / "stack")]

from inputs import generate  # noqa: E402
from oracle import Tally, expected_numbered  # noqa: E402
from programs import REPO, binary, clean_environment  # noqa: E402
from wait import wait_for  # noqa: E402

TOPIC = "torture"
PARTITIONS = 16     # the embedded broker holds 5 MB of each
RUN_SECONDS = 60
SAMPLES = int(os.environ.get("TAILRACE_TORTURE_SAMPLES", "8"))
ROUNDS = int(os.environ.get("TAILRACE_TORTURE_ROUNDS", "3"))
IO = "read,write,sync,rename,open,truncate,stat,folder"


def library() -> Path:
    """Of TAILRACE_FAULTS, else compiled when it is older than its source."""
    path = Path(os.environ.get("TAILRACE_FAULTS") or REPO / "build/test/libfaults.so").absolute()
    source = HERE / "faults.c"
    if "TAILRACE_FAULTS" not in os.environ and (
            not path.exists() or path.stat().st_mtime < source.stat().st_mtime):
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(f".{os.getpid()}.{threading.get_ident()}")
        subprocess.run(["cc", "-std=c11", "-D_GNU_SOURCE", "-O1", "-g", "-fPIC", "-shared",
                        "-fno-builtin", "-o", str(partial), str(source), "-ldl"], check=True)
        partial.rename(path)
    assert path.is_file(), f"TAILRACE_FAULTS names {path}, which is not there"
    return path


def write_clock(path: Path, error: int) -> None:
    """What FAULTS_CLOCK names, with one write: at no moment is it empty, which would be 0."""
    place = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
    os.pwrite(place, f"{error:<16}".encode(), 0)
    os.close(place)


class Broker:
    """tailrace-local-broker as a process."""

    def __init__(self, folder: Path, topics: tuple[str, ...] = (TOPIC,)):
        folder.mkdir(parents=True, exist_ok=True)
        address = folder / "address"
        command = [str(binary("tailrace-local-broker")), "--address-file", str(address)]
        for topic in topics:
            command += ["--topic", f"{topic}:{PARTITIONS}"]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        self.servers = wait_for("the broker's address", lambda: address.read_text().strip())

    def end(self) -> None:
        self.process.terminate()
        self.process.wait(30)

    def events(self, topic: str = TOPIC) -> Iterator[tuple[str, dict[str, Any]]]:
        import json
        from confluent_kafka import Consumer, TopicPartition
        consumer = Consumer({"bootstrap.servers": self.servers, "group.id": "torture",
                             "enable.auto.commit": False, "log_level": 0,
                             "fetch.wait.max.ms": 50})
        places = [TopicPartition(topic, number, 0) for number in range(PARTITIONS)]
        left = {place.partition: consumer.get_watermark_offsets(place, 30)[1] for place in places}
        consumer.assign([place for place in places if left[place.partition] > 0])
        left = {partition: end for partition, end in left.items() if end > 0}
        while left:
            for message in consumer.consume(5000, 0.3):
                assert not message.error(), message.error()
                yield message.key().decode(), json.loads(message.value())
                if message.offset() + 1 >= left.get(message.partition(), 0):
                    left.pop(message.partition(), None)
        consumer.close()


class Result:
    def __init__(self, code: int | None, text: str, faults: list[str], calls: int):
        self.code, self.text, self.faults, self.calls = code, text, faults, calls


def environment(program: str, **faults: Any) -> dict[str, str]:
    """Of a process whose calls fail; without faults that of any other. `_` stands for FAULTS."""
    preload = str(library())
    runtime = os.environ.get("TAILRACE_SANITIZER")      # libasan.so, for a build with it
    found = clean_environment() | {f"FAULTS{'' if key == '_' else '_' + key}": str(value)
                                   for key, value in faults.items()}
    if runtime:
        preload += f":{runtime}"
        # Whole stacks: the .supp files name what is deep in them.
        found["ASAN_OPTIONS"] = "verify_asan_link_order=0:exitcode=99:fast_unwind_on_malloc=0"
        found["UBSAN_OPTIONS"] = "exitcode=99"
        leaks = HERE / f"{program.removeprefix('tailrace-')}.supp"
        found["LSAN_OPTIONS"] = f"suppressions={leaks}:print_suppressions=0"
    return found | {"LD_PRELOAD": preload} if faults else found


def once(program: str, config: Path, log: Path, faults: str, **more: Any) -> Result:
    """`PROGRAM once` to its end, with failing calls or none."""
    log.unlink(missing_ok=True)
    found = environment(program, **({"_": faults, "LOG": log} | more if faults else {}))
    process = subprocess.Popen([str(binary(program)), "once", "-c", str(config)],
                               stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                               stderr=subprocess.PIPE, env=found)
    try:
        text = process.communicate(timeout=RUN_SECONDS)[1].decode("utf-8", "replace")
        code: int | None = process.returncode
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGABRT)
        text = process.communicate()[1].decode("utf-8", "replace")
        code = None
    return Result(code, text, *read_log(log))


def check_end(result: Result, what: str) -> None:
    """It ended by itself, in order, and if it gave up, it said why."""
    about = f"{what}: {result.faults}; it said:\n{result.text[-3000:]}"
    assert result.code is not None, f"it hung: {about}"
    assert result.code in (0, 1, 2), f"it ended with {result.code}: {about}"
    said = [line for line in result.text.splitlines() if " INFO " not in line]
    assert result.code == 0 or said, f"exit {result.code} without a word: {about}"


class World:
    """A folder of logs and an agent for them."""

    def __init__(self, folder: Path, broker: Broker, label: str):
        self.folder, self.broker, self.label = folder, broker, label
        self.logs = folder / "logs"
        self.logs.mkdir(parents=True)
        self.state = folder / "state"
        self.sequence = 0
        self.config = folder / "agent.yaml"
        self.config.write_text(
            f"state_dir: {self.state}\n"
            f"kafka: {{bootstrap_servers: \"{broker.servers}\", topic: {TOPIC}}}\n"
            f"files:\n- {{name: a, paths: [\"{self.logs}/*.log*\"]}}\n"
            f"- {{name: b, paths: [\"{self.logs}/*/*.txt\"], fields: {{service.name: b}}}}\n"
            "http: {listen: \"off\"}\n")
        (self.logs / "deep").mkdir()

    def write(self, lines: int = 20) -> None:
        """Appends to two files; the first is rotated before."""
        first, second = self.logs / "first.log", self.logs / "deep/second.txt"
        if first.exists():
            first.rename(self.logs / f"first.log.{self.sequence}")
        for path in (first, second):
            generate(path, lines, self.sequence, self.label, self.sequence)
            self.sequence += lines

    def once(self, faults: str = "", **more: Any) -> Result:
        return once("tailrace-agent", self.config, self.folder / "faults", faults, **more)

    def start(self, **faults: Any) -> subprocess.Popen:
        return subprocess.Popen([str(binary("tailrace-agent")), "run", "-c", str(self.config)],
                                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                stderr=open(self.folder / "agent.log", "ab"),
                                env=environment("tailrace-agent", **faults))


def read_log(path: Path) -> tuple[list[str], int]:
    lines = path.read_text().splitlines() if path.exists() else []
    calls = [int(line.split()[1]) for line in lines if line.startswith("calls ")]
    return [line for line in lines if not line.startswith("calls ")], max(calls, default=0)


def check_all(folder: Path, broker: Broker, seed: Any = None) -> None:
    """Every line of every world arrived, under one id."""
    expected: dict[Any, bytes] = {}
    for logs in folder.glob("*/logs"):
        expected |= expected_numbered(logs)
    Tally(expected, where="the topic").add_all(broker.events()).check(seed)


def numbers(total: int, samples: int, chance: random.Random) -> list[int]:
    """All of 1..total, or that many of them, spread over all."""
    if os.environ.get("TAILRACE_TORTURE") == "all" or total <= samples:
        return list(range(1, total + 1))
    return [int(total * index / samples) + chance.randint(1, max(1, total // samples))
            for index in range(samples)]


def rounds(world: World, count: int, faults: str, per_million: int, seed: int) -> None:
    """The agent runs and dies, its calls failing now and then, while files are written."""
    chance = random.Random(seed)
    for number in range(count):
        process = world.start(_=faults, CHANCE=per_million, SEED=seed + number,
                              LOG=world.folder / f"faults.{number}")
        for _ in range(chance.randint(2, 5)):
            world.write(chance.randint(1, 60))
            time.sleep(chance.random() / 2)
        kill = chance.random() < 0.5
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGKILL if kill else signal.SIGTERM)
        code = process.wait(30)
        said = (world.folder / "agent.log").read_text(errors="replace")[-3000:]
        assert code in (0, 1, 2, -signal.SIGKILL, -signal.SIGTERM), \
            f"round {number} (seed {seed}): it ended with {code}; it said:\n{said}"
