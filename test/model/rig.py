# SPDX-License-Identifier: Apache-2.0
"""One broker, one reader of its topic, and one run after the other on them."""

import contextlib
import json
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from confluent_kafka import KafkaException, TopicPartition
from directory import Directory
from embedded import EmbeddedBroker, read_topic
from programs import Agent, binary, clean_environment
from torture import library, write_clock

PARTITIONS = 4
SETTLE_SECONDS = 13     # the agent looks at its folders at least every 10 s
DAY = 24 * 3600
MIDNIGHTS_MAX = 5       # in 7 days files are forgotten
SET_BACK_SECONDS = 4    # what is no step of the clock for the agent, whether it runs or not


class Finding(AssertionError):
    """The agent broke a promise."""


class Rig:
    """An embedded broker and a reader that takes every record once."""

    def __init__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="tailrace-model-"))
        self.broker = EmbeddedBroker(f"model:{PARTITIONS}")
        self.servers = self.broker.servers
        self.consumer = read_topic(self.servers, "model", PARTITIONS)
        self.places = [TopicPartition("model", number) for number in range(PARTITIONS)]
        self.next = [0] * PARTITIONS
        self.runs = 0

    def close(self) -> None:
        self.broker.thaw()
        self.consumer.close()
        self.broker.end()
        shutil.rmtree(self.folder, ignore_errors=True)

    def take(self, seconds: float) -> list[tuple[str, dict[str, Any]]]:
        found = []
        for message in self.consumer.consume(2000, seconds):
            if message.error():
                continue
            assert message.offset() == self.next[message.partition()], \
                "the reader was slower than the embedded broker forgets: a bug of the test"
            self.next[message.partition()] = message.offset() + 1
            found.append((message.key().decode(), json.loads(message.value())))
        return found

    def end_of(self, place: TopicPartition) -> int:
        """A broker that was frozen for long is answered by a connection that is being made."""
        deadline = time.monotonic() + 60
        why = None
        while time.monotonic() < deadline:
            try:
                return self.consumer.get_watermark_offsets(place, timeout=5)[1]
            except KafkaException as error:
                why = error
            time.sleep(0.1)
        raise AssertionError(f"the embedded broker does not tell its offsets: {why}")

    def take_rest(self) -> list[tuple[str, dict[str, Any]]]:
        """Up to the ends of now."""
        ends = [self.end_of(place) for place in self.places]
        found = []
        while any(here < end for here, end in zip(self.next, ends)):
            found += self.take(0.05)
        return found


class BootedAgent(Agent):
    """An agent with a clock of its own, that may be told that the host was booted anew; for
    root."""

    boot_path: Path | None = None
    clock_path: Path | None = None

    def _spawn(self, arguments, environment):
        environment = dict(environment or {})
        if self.clock_path is not None:
            environment |= {"LD_PRELOAD": str(library()), "FAULTS_CLOCK": str(self.clock_path)}
        if self.boot_path is None:
            return super()._spawn(arguments, environment)
        mount = f"mount --bind '{self.boot_path}' /proc/sys/kernel/random/boot_id"
        with open(self.log_path, "ab") as log:
            return subprocess.Popen(
                ["unshare", "-m", "sh", "-c", f'{mount} && exec "$@"', "sh",
                 str(binary(self.name)), *arguments],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env=clean_environment() | environment)


class Run:
    """One list of operations, carried out and judged."""

    def __init__(self, rig: Rig, plan: dict[str, Any]):
        self.rig = rig
        self.plan = plan
        rig.runs += 1
        self.name = f"r{rig.runs}"
        self.folder = rig.folder / self.name
        self.directory = Directory(self.folder, self.name, plan["all_names"], plan["banner"])
        self.boots = 0
        self.agent = BootedAgent(self.folder, rig.servers, "model", [
            {"name": "model", "paths": self.directory.paths(), "exclude": ["*.gz"]}],
            properties={"linger.ms": 2})
        self.number_of: dict[str, int] = {}
        self.text_of: dict[str, str] = {}       # id -> what it carried
        self.id_of: dict[str, str] = {}         # line -> its id
        self.day_of: dict[str, str] = {}        # id -> its day
        self.clock_error = self.midnights = 0
        if {"midnight", "set_back"} & {operation for operation, *_ in plan["operations"]}:
            self.agent.clock_path = self.folder / "clock"
            self.set_clock(0)

    def run(self) -> None:
        try:
            for operation, *arguments in self.plan["operations"]:
                self.perform(operation, arguments)
            self.finish()
        except Finding as finding:
            raise Finding(f"{finding}{self.story()}") from None
        finally:
            self.agent.end()
            self.rig.broker.thaw()
            self.directory.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def perform(self, operation: str, arguments: list[Any]) -> None:
        own = getattr(self, f"do_{operation}", None)
        if own:
            own(*arguments)
            return
        if operation not in ("append", "partial"):
            self.look()     # what the agent holds decides what it owes
        getattr(self.directory, f"do_{operation}")(*arguments)

    # The agent

    def look(self) -> list[dict[str, Any]] | None:
        """What the agent has now; None when it does not answer yet."""
        if not self.directory.agent_runs:
            return None
        if self.agent.process.poll() is not None:
            raise Finding(f"the agent ended with {self.agent.process.returncode}"
                          f"{self.agent.tail()}")
        with contextlib.suppress(OSError, AssertionError):
            files = self.agent.status()["files"]
            self.directory.mark_seen(files)
            return files
        return None

    def wait_answer(self) -> list[dict[str, Any]]:
        deadline = time.monotonic() + SETTLE_SECONDS
        while (files := self.look()) is None:
            if time.monotonic() > deadline:
                raise Finding(f"after {SETTLE_SECONDS} s the agent does not answer")
            time.sleep(0.01)
        return files

    def do_start(self) -> None:
        if not self.directory.agent_runs:
            self.agent.start(wait="no")
            self.directory.agent_runs = True

    def do_kill(self) -> None:
        if self.directory.agent_runs:
            self.look()
            self.agent.kill()
            self.dead(clean=False)

    def do_power_cut(self, log: str, share: float) -> None:
        """The agent's state was synced, the end of a log was not."""
        if os.getuid() != 0:
            return
        if self.directory.agent_runs:
            self.do_kill()
        self.boots += 1
        self.agent.boot_path = self.folder / "boot_id"
        self.agent.boot_path.write_text(f"{self.boots:08d}-0000-0000-0000-000000000000\n")
        self.directory.cut_power(log, share)

    def do_stop(self) -> None:
        if self.directory.agent_runs:
            self.do_back()      # else it waits for the broker as long as it may
            self.wait_answer()  # a signal before it is ready for signals just kills
            self.agent.terminate()
            code = self.agent.process.wait(20)
            if code != 0:
                raise Finding(f"the agent ended with {code}{self.agent.tail()}")
            self.dead(clean=True)

    def dead(self, clean: bool) -> None:
        self.directory.agent_runs = False
        self.note(self.rig.take_rest() if not self.rig.broker.frozen else [])
        self.directory.excuse_at_death(clean)

    def do_away(self) -> None:
        self.rig.broker.freeze()

    def do_back(self) -> None:
        self.rig.broker.thaw()

    def set_clock(self, error: int) -> None:
        self.clock_error = error
        write_clock(self.agent.clock_path, error)

    def do_midnight(self) -> None:
        """In less than a second."""
        if self.midnights < MIDNIGHTS_MAX:
            self.midnights += 1
            now = int(time.time()) + self.clock_error
            self.set_clock(self.clock_error + DAY - 1 - now % DAY)

    def do_set_back(self) -> None:
        self.set_clock(self.clock_error - SET_BACK_SECONDS)

    def do_pause(self, milliseconds: int) -> None:
        time.sleep(milliseconds / 1000)

    def do_look(self) -> None:
        """Until the agent has looked at all paths."""
        deadline = time.monotonic() + SETTLE_SECONDS
        while self.directory.agent_runs:
            shown = {(each["inode"], each["size"]) for each in self.look() or []}
            blind = [log for log, body in self.directory.current.items() if not body.seen
                     and (self.directory.inode_of(body), body.size) not in shown]
            if not blind:
                return
            if time.monotonic() > deadline:
                raise Finding(f"after {SETTLE_SECONDS} s the agent has not looked at {blind}: "
                              f"{self.look()}")
            time.sleep(0.01)

    def do_settle(self) -> None:
        """Until the agent has read all, and has all acknowledgements."""
        self.do_back()
        deadline = time.monotonic() + SETTLE_SECONDS
        while self.directory.agent_runs:
            self.note(self.rig.take(0.01))
            owed = self.directory.owed()
            files = self.look()
            if not owed and files is not None and self.directory.mark_settled(files):
                return
            if time.monotonic() > deadline:
                raise Finding(f"after {SETTLE_SECONDS} s {len(owed)} lines are missing" if owed
                              else f"after {SETTLE_SECONDS} s acknowledgements are missing")

    def do_rest(self) -> None:
        """As settle, and until the agent's positions are on disk, which takes two seconds."""
        if self.directory.agent_runs:
            self.do_settle()
            time.sleep(2.2)
            self.directory.keep_known()

    # The judgement

    def note(self, events: list[tuple[str, dict[str, Any]]]) -> None:
        for id, event in events:
            text = event["message"]
            if text.startswith("#") or not text.startswith(f"{self.name}."):
                continue    # a banner; late records of an earlier run
            if self.text_of.setdefault(id, text) != text:
                raise Finding(f"one id has two contents: {id}\n{self.text_of[id]}\n{text}")
            day = event["@timestamp"][:10]
            if self.day_of.setdefault(id, day) != day:
                raise Finding(f"one id has two days: {id} of {self.day_of[id]} and {day}: "
                              f"{text[:60]}")
            self.note_line(id, text)

    def note_line(self, id: str, text: str) -> None:
        directory = self.directory
        while len(self.number_of) < len(directory.lines):
            number = len(self.number_of)
            self.number_of[directory.lines[number].text] = number
        number = self.number_of.get(text)
        if number is None:
            if text not in directory.fragments:
                raise Finding(f"this was never a line: {text!r} ({id})")
            return
        directory.arrived.add(number)
        if self.id_of.setdefault(text, id) != id and not directory.lines[number].may_double:
            raise Finding(f"one line has two ids: {self.id_of[text]} and {id}: {text[:60]}")

    def finish(self) -> None:
        self.do_start()
        self.do_settle()
        self.do_stop()
        if self.plan["again"]:
            self.do_start()
            self.do_look()
            self.do_stop()
        self.note(self.rig.take_rest())
        if self.directory.owed():
            raise Finding(f"{len(self.directory.owed())} lines are missing at the end")

    def story(self) -> str:
        directory = self.directory
        text = []
        for body in directory.bodies:
            missing = [n for n in body.lines if n in set(directory.owed())]
            if missing:
                text.append(f"  missing of {body.log} life {body.number} (now {body.path}, "
                            f"seen {body.seen}, known {body.known}): lines "
                            f"{missing[0]}..{missing[-1]} ({len(missing)} of {len(body.lines)})")
        listing = subprocess.run(["ls", "-lai", directory.folder], capture_output=True, text=True)
        return "\n".join(["", *text, listing.stdout, f"kept in {self.folder}",
                          self.agent.tail(40)[2:]])
