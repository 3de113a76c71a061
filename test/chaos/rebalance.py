#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A storm of rebalances: sinks of one group join, leave in order, are killed, and are frozen until
the group has given their partitions away, while records flow. Then every record is counted.

By hand, with the Python of the test environment:
    $(python3 test/stack/stack.py venv)/bin/python test/chaos/rebalance.py --seconds 600 \\
        --sinks 4 [--kafka kafka36] [--static] [--eager] [--seed N] [--folder DIR]

All the time it is checked that a committed offset has every record before it in the index, that
no committed offset moves back, and that each sink's counters balance.
"""

import argparse
import random
import re
import signal
import sys
import threading
import time
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
for place in (HERE, HERE.parent / "scenario", HERE.parent / "stack"):
    if str(place) not in sys.path:
        sys.path.insert(0, str(place))

from identity import Watch  # noqa: E402
from kept import run_kept  # noqa: E402
from oracle import Tally, digest  # noqa: E402
from programs import Sink  # noqa: E402
from servers import Broker, Index, event_key, event_value  # noqa: E402
from stack import Stack  # noqa: E402
from wait import wait_for  # noqa: E402

SESSION_MS = 6000       # the shortest that brokers allow
ASSIGNMENT = re.compile(r"Kafka: (\d+) partitions (assigned|revoked|lost)")


@dataclass
class Plan:
    seconds: float
    sinks: int
    seed: int
    rate: int = 1500
    partitions: int = 8
    kafka: str = "kafka"
    static: bool = False
    eager: bool = False
    pace: float = 6         # a sink lives this long in the mean before something happens to it


class Load(threading.Thread):
    """Produces numbered events until it is stopped, and knows where each one lies."""

    def __init__(self, broker: Broker, topic: str, rate: int):
        super().__init__(daemon=True)
        self.producer = broker.producer()
        self.topic = topic
        self.rate = rate
        self.count = 0
        self.failed: list[str] = []
        self.places: dict[int, dict[int, int]] = defaultdict(dict)   # partition, offset: number
        self._over = threading.Event()

    def run(self) -> None:
        while not self._over.wait(0.05):
            for _ in range(int(self.rate * 0.05)):
                number = self.count
                self.producer.produce(
                    self.topic, event_value(f"n {number}"), event_key(number),
                    on_delivery=lambda error, message, number=number:
                    self._delivered(error, message, number))
                self.count += 1
            self.producer.poll(0)

    def _delivered(self, error, message, number: int) -> None:
        if error:
            self.failed.append(str(error))
        else:
            self.places[message.partition()][message.offset()] = number

    def end(self) -> None:
        self._over.set()

    def finish(self) -> None:
        self.end()
        self.join(30)
        assert not self.producer.flush(60) and not self.failed, self.failed[:3]


class Guard(threading.Thread):
    """Asks for the group's committed offsets: all before them must be in the index."""

    def __init__(self, broker: Broker, group: str, load: Load, index: Index, partitions: int):
        from confluent_kafka import Consumer, TopicPartition
        super().__init__(daemon=True)
        self.consumer = Consumer({"bootstrap.servers": broker.servers, "group.id": group,
                                  "enable.auto.commit": False, "log_level": 0})
        self.wanted = [TopicPartition(load.topic, each) for each in range(partitions)]
        self.load = load
        self.index = index
        self.seen: dict[int, int] = defaultdict(int)
        self.looks = 0
        self.checked = 0
        self.wrong: list[str] = []
        self._over = threading.Event()

    def run(self) -> None:
        while not self._over.wait(0.5):
            try:
                self.look()
            except Exception as error:      # said by the storm: nothing may go unchecked
                self.wrong.append(f"cannot check: {error!r}")

    def look(self) -> None:
        for each in self.consumer.committed(self.wanted, timeout=20):
            partition, offset = each.partition, each.offset
            if offset < 0:
                continue
            before = self.seen[partition]
            if offset < before:
                self.wrong.append(f"partition {partition}: committed {offset} after {before}")
            self.seen[partition] = max(before, offset)
            self.check(partition, range(before, offset))
        self.looks += 1

    def check(self, partition: int, offsets: range) -> None:
        if not offsets:
            return
        places = self.load.places[partition]
        # The producer may hear of a record later than the sink.
        wait_for("the delivery reports", lambda: all(each in places for each in offsets), 30)
        keys = [event_key(places[each]) for each in offsets]
        found = self.index.ask("POST", f"/{self.index.name}/_mget?_source=false&"
                               "filter_path=docs._id,docs.found", {"ids": keys})
        there = {each["_id"] for each in found["docs"] if each.get("found")}
        absent = [key for key in keys if key not in there]
        self.checked += len(keys)
        if absent:
            self.wrong.append(f"partition {partition}: committed {offsets.stop}, and {len(absent)} "
                              f"records before it are not in the index, first {absent[0]}")

    def finish(self) -> None:
        self._over.set()
        self.join(60)
        self.look()
        self.consumer.close()
        assert not self.wrong, f"{len(self.wrong)} times, first: {self.wrong[0]}"
        assert self.looks and self.checked


class Life(threading.Thread):
    """What happens to one sink, from the storm's begin to its end."""

    def __init__(self, sink: Sink, chance: random.Random, plan: Plan, over: threading.Event):
        super().__init__(daemon=True)
        self.sink = sink
        self.chance = chance
        self.plan = plan
        self.over = over
        self.happened: Counter = Counter()
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            while not self.over.is_set():
                self.step()
        except BaseException as error:      # raised again by the storm
            self.error = error
        finally:
            if self.sink.running():
                self.sink.process.send_signal(signal.SIGCONT)

    def step(self) -> None:
        if not self.sink.running():
            self.sink.start(wait="no")
            self.sink.wait_page("/healthz")
            self.happened["joined"] += 1
        if self.over.wait(self.chance.expovariate(1 / self.plan.pace)):
            return
        self.sink.check_alive()
        what = self.chance.choices(["left", "killed", "frozen", "hung"], [4, 3, 3, 1])[0]
        self.happened[what] += 1
        if what in ("left", "killed"):
            self.sink.stop() if what == "left" else self.sink.kill()
            self.over.wait(self.chance.uniform(0, 3))
            return
        # Frozen: until its partitions are others'. Hung: not as long.
        seconds = SESSION_MS / 1000 * (self.chance.uniform(1.2, 2) if what == "frozen" else 0.4)
        self.sink.process.send_signal(signal.SIGSTOP)
        self.over.wait(seconds)
        self.sink.process.send_signal(signal.SIGCONT)


class Storm:
    def __init__(self, stack: Stack, plan: Plan, folder: Path, say=print):
        self.plan = plan
        self.say = say
        stack.start(plan.kafka)
        self.kafka = Broker(stack, plan.kafka)
        self.index = Index.fresh(stack.start("opensearch", settings={}), "storm")
        self.index.create({"properties": {"message": {"type": "text"}}})
        self.topic = self.kafka.topic("storm", plan.partitions, dead_letters=True)
        self.group = f"group-{self.topic}"
        self.sinks = [self.make_sink(folder, number) for number in range(plan.sinks)]
        self.load = Load(self.kafka, self.topic, plan.rate)
        self.guard = Guard(self.kafka, self.group, self.load, self.index, plan.partitions)
        self.over = threading.Event()
        chance = random.Random(plan.seed)
        self.lives = [Life(each, random.Random(chance.random()), plan, self.over)
                      for each in self.sinks]

    def make_sink(self, folder: Path, number: int) -> Sink:
        routes = [{"topic": self.topic, "index": self.index.name}]
        sink = Sink(folder, self.kafka.servers, self.group, routes, self.index.url,
                    label=f"sink{number}", properties={"session.timeout.ms": SESSION_MS})
        if self.plan.static:
            sink.config["kafka"]["instance_id"] = f"sink-{number}"
        sink.config["kafka"]["assignment"] = "eager" if self.plan.eager else "cooperative"
        return sink

    def run(self) -> None:
        watches = [Watch(each) for each in self.sinks]
        try:
            self.load.start()
            self.guard.start()
            for watch in watches:
                watch.__enter__()
            for life in self.lives:
                life.start()
            self.pass_time()
            self.over.set()
            for life in self.lives:
                life.join(60)
            self.check()
            self.load.finish()
            self.settle()
            self.guard.finish()
            for watch in watches:
                watch.__exit__(None)
            for each in self.sinks:
                each.stop()
            self.count(sum(watch.scrapes for watch in watches))
        finally:
            self.over.set()
            self.load.end()
            for each in self.sinks:
                each.end()

    def pass_time(self) -> None:
        begun = time.monotonic()
        told = begun
        while time.monotonic() - begun < self.plan.seconds:
            self.check()
            if time.monotonic() - told > 30:
                told = time.monotonic()
                self.say(f"{self.load.count} produced, {self.guard.checked} committed and in the "
                         f"index, {self.figures()}")
            time.sleep(0.2)

    def check(self) -> None:
        for life in self.lives:
            if life.error is not None:
                raise life.error
        assert not self.guard.wrong, self.guard.wrong[0]

    def settle(self) -> None:
        for each in self.sinks:
            if not each.running():
                each.start(wait="no")
        patience = 90 + self.plan.seconds
        begun = time.monotonic()
        self.index.wait_count(self.load.count, patience,
                              lambda: [each.check_alive() for each in self.sinks], lambda: (
            f"{self.load.count} produced, group lag {self.kafka.lag(self.group, self.topic)}"
            + "".join(each.tail(6) for each in self.sinks)))
        self.kafka.wait_committed(self.group, self.topic, 60)
        self.say(f"settled {time.monotonic() - begun:.1f} s after the storm")

    def figures(self) -> str:
        happened = sum((life.happened for life in self.lives), Counter())
        changes: Counter = Counter()
        for each in self.sinks:
            changes.update(what for _, what in ASSIGNMENT.findall(each.log_path.read_text()))
        return ", ".join(f"{count} {what}" for what, count in happened.items()) + "; partitions " \
            + ", ".join(f"{count} times {what}" for what, count in changes.items())

    def count(self, scrapes: int) -> None:
        expected = {("n", number): digest(f"n {number}") for number in range(self.load.count)}

        def key(source):
            tag, number = source["message"].split(" ")
            return tag, int(number)

        indexed = Tally(expected, key, self.index.name).add_all(self.index.documents())
        self.say(f"{self.load.count} records, {indexed.records} documents; {self.figures()}; "
                 f"{self.guard.looks} looks at committed offsets, {self.guard.checked} records "
                 f"found before them, {scrapes} scrapes in balance")
        indexed.check(self.plan.seed)
        assert self.kafka.total(f"{self.topic}.dlq") == 0, "the dead-letter topic is not empty"
        for each in self.sinks:
            assert not each.logged("ASSERT"), each.tail()
        self.index.drop()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--sinks", type=int, default=4)
    parser.add_argument("--rate", type=int, default=1500, help="records a second (default 1500)")
    parser.add_argument("--partitions", type=int, default=8)
    parser.add_argument("--kafka", choices=["kafka", "kafka36"], default="kafka")
    parser.add_argument("--static", action="store_true", help="each sink with a kafka.instance_id")
    parser.add_argument("--eager", action="store_true", help="kafka.assignment: eager")
    parser.add_argument("--pace", type=float, default=6, help="seconds between a sink's events")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--folder", type=Path, help="kept; default: a new one, kept on failure")
    options = vars(parser.parse_args())
    kept = options.pop("folder")
    return run_kept(
        "storm", kept, options["seed"], "every record exactly once",
        lambda folder, say: Storm(Stack(), Plan(**options), folder, say).run())


if __name__ == "__main__":
    sys.exit(main())
