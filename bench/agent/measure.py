# SPDX-License-Identifier: Apache-2.0
"""A process and what it costs; a broker and what is on it."""

import json
import os
import platform
import signal
import subprocess
import sys
import time
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Any

REPO = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(REPO / "test/stack")]

STEP_SECONDS = 0.05
QUIET_SECONDS = 30       # a contestant that delivers nothing for so long is given up
STOP_SECONDS = 30


class Cost:
    """A process from its start to its end, seen from outside."""

    def __init__(self, command: list[str], log: Path, environment: dict[str, str] | None = None):
        self.started = time.monotonic()
        self.peak_rss_kib = 0
        self.usage: Any = None
        self.code: int | None = None
        with open(log, "ab") as out:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=out,
                env={key: value for key, value in os.environ.items()
                     if not key.startswith(("KAFKA_", "NOTIFY_"))} | (environment or {}))

    def look(self) -> bool:
        """Notes its peak memory; True while it runs. (ru_maxrss would begin at our own size.)"""
        if self.usage is not None:
            return False
        with suppress(OSError, ValueError):
            for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
                if line.startswith("VmHWM:"):
                    self.peak_rss_kib = max(self.peak_rss_kib, int(line.split()[1]))
        pid, status, usage = os.wait4(self.process.pid, os.WNOHANG)
        if pid != 0:
            self.usage, self.code = usage, os.waitstatus_to_exitcode(status)
            self.process.returncode = self.code
        return pid == 0

    def finish(self) -> bytes:
        """Waits for its end; what it printed."""
        while self.look():
            time.sleep(STEP_SECONDS)
        assert self.process.stdout
        return self.process.stdout.read()

    def stop(self) -> None:
        self.look()
        if self.usage is None:
            self.process.send_signal(signal.SIGTERM)
        until = time.monotonic() + STOP_SECONDS
        while self.look():
            if time.monotonic() > until:
                self.process.kill()
            time.sleep(STEP_SECONDS)

    def cpu_seconds(self) -> float:
        return self.usage.ru_utime + self.usage.ru_stime

    def running_cpu_seconds(self) -> float:
        """Of all its threads so far, as exactly as the scheduler knows it."""
        total = 0
        for path in Path(f"/proc/{self.process.pid}/task").glob("*/schedstat"):
            with suppress(OSError):
                total += int(path.read_text().split()[0])
        return total / 1e9

    def wakeups(self) -> int:
        total = 0
        for path in Path(f"/proc/{self.process.pid}/task").glob("*/status"):
            with suppress(OSError):
                for line in path.read_text().splitlines():
                    if line.startswith("voluntary_ctxt_switches:"):
                        total += int(line.split()[1])
        return total


class Broker:
    """Where records go: one partition, since one file goes to one."""

    name = ""
    servers = ""
    keeps = True     # what is sent can be read back

    def topic(self) -> str:
        raise NotImplementedError

    def drop(self, topic: str) -> None:
        raise NotImplementedError

    def log_bytes(self, topic: str) -> int | None:
        return None

    def count(self, topic: str) -> int:
        from confluent_kafka import Consumer, KafkaException, TopicPartition
        if not hasattr(self, "_asking") or self._asking[0] != self.servers:
            self._asking = (self.servers, Consumer(
                {"bootstrap.servers": self.servers, "group.id": "bench", "log_level": 0}))
        try:
            return self._asking[1].get_watermark_offsets(TopicPartition(topic, 0), 5)[1]
        except KafkaException:
            return 0


class RealBroker(Broker):
    """Kafka 4.1 as the tests start it, with a topic for each measurement."""

    name = "Kafka 4.1"

    def __init__(self) -> None:
        from stack import Stack
        self.stack = Stack()
        self.was_running = self.stack.running("kafka")
        self.stack.start("kafka")
        self.servers = self.stack.address("kafka")

    def topic(self) -> str:
        topic = f"bench-{uuid.uuid4().hex[:8]}"
        self.stack.create_topic("kafka", topic, 1, {})
        return topic

    def drop(self, topic: str) -> None:
        self.stack.delete_topic("kafka", topic)

    def log_bytes(self, topic: str) -> int | None:
        """What the topic takes on disk: what was sent, but for the requests' own headers."""
        return sum(path.stat().st_size for path in
                   self.stack.directory.glob(f"kafka/**/{topic}-0/*.log")) or None

    def end(self) -> None:
        if not self.was_running:
            self.stack.stop("kafka")


class MockBroker(Broker):
    """librdkafka's mock cluster as a process, a new one for each measurement. It costs little and
    answers at once, so that contestants neither wait nor share the machine with a busy server; it
    keeps only the last 5 MB."""

    name = "mock"
    keeps = False

    def __init__(self, program: Path):
        self.program = program
        self.process: subprocess.Popen | None = None

    def topic(self) -> str:
        topic = f"bench-{uuid.uuid4().hex[:8]}"
        self.process = subprocess.Popen([str(self.program), "--topic", f"{topic}:1"],
                                        stdout=subprocess.PIPE, text=True)
        assert self.process.stdout
        self.servers = self.process.stdout.readline().strip()
        return topic

    def drop(self, topic: str) -> None:
        assert self.process
        self.process.terminate()
        self.process.wait()

    def end(self) -> None:
        pass


def deliver(cost: Cost, broker: Broker, topic: str, lines: int) -> float:
    """Seconds until all lines were on the broker, or nothing came any more."""
    last, at = 0, time.monotonic()
    while True:
        alive = cost.look()
        count = broker.count(topic)
        now = time.monotonic()
        if count > last:
            last, at = count, now
        if count >= lines or now - at > QUIET_SECONDS or (not alive and now - at > 1):
            return at - cost.started
        time.sleep(STEP_SECONDS)


def machine() -> dict[str, Any]:
    model = [line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
             if line.startswith("model name")]
    memory = int(Path("/proc/meminfo").read_text().split()[1])
    return {"processor": model[0] if model else platform.machine(), "cores": os.cpu_count(),
            "memory_gib": round(memory / 1048576), "kernel": platform.release(),
            "load": round(os.getloadavg()[0], 1),
            "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())}


def answer(program: list[str]) -> dict[str, Any]:
    done = subprocess.run(program, capture_output=True, check=False)
    assert done.returncode == 0, f"{program[0]}: {done.stderr.decode('utf-8', 'replace')}"
    return json.loads(done.stdout)
