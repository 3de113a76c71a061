#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Kills everything at random moments while lines are written, then counts every line.

By hand, with the Python of the test environment:
    $(python3 test/stack/stack.py venv)/bin/python test/chaos/crash.py --lines 500000 \\
        --agent 30 --sink 30 --kafka 3 --opensearch 2 [--seed N] [--folder DIR]

The writer may only go on as far as the run allows: between two kills it writes one share of the
lines, and each kill strikes at a random moment of that share. The same seed gives the same kills
in the same order; the moments depend on the machine.
"""

import argparse
import random
import shutil
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
for place in (HERE.parent / "scenario", HERE.parent / "stack"):
    if str(place) not in sys.path:
        sys.path.insert(0, str(place))

from identity import Watch  # noqa: E402
from oracle import Tally, Writer, expected_numbered  # noqa: E402
from programs import Agent, Sink  # noqa: E402
from servers import Broker, Index  # noqa: E402
from stack import Stack  # noqa: E402
from wait import wait_for  # noqa: E402

TAGS = 5


@dataclass
class Plan:
    lines: int
    agent: int
    sink: int
    kafka: int
    opensearch: int
    seed: int
    lives: int = 6      # of each log, by rename rotation

    def kills(self, chance: random.Random) -> list[str]:
        found = (["agent"] * self.agent + ["sink"] * self.sink + ["kafka"] * self.kafka
                 + ["opensearch"] * self.opensearch)
        chance.shuffle(found)
        return found


class CrashRun:
    def __init__(self, stack: Stack, plan: Plan, folder: Path, say=print):
        self.stack = stack
        self.plan = plan
        self.chance = random.Random(plan.seed)
        self.say = say
        stack.start("kafka3")
        self.kafka = Broker(stack, "kafka3")
        self.index = Index.fresh(stack.start("opensearch", settings={}), "crash")
        self.index.create({"properties": {"message": {"type": "text"}}},
                          {"translog.durability": "request"})
        self.topic = self.kafka.topic("crash", dead_letters=True)
        self.group = f"group-{self.topic}"
        self.logs = folder / "logs"
        self.agent = Agent(folder, self.kafka.servers, self.topic, [
            {"name": "numbered", "paths": [str(self.logs / "*.log*")]}])
        self.sink = Sink(folder, self.kafka.servers, self.group, [
            {"topic": self.topic, "index": self.index.name}], self.index.url)
        self.writer: Writer | None = None
        self.restarts: list[threading.Thread] = []

    def run(self) -> None:
        plan = self.plan
        kills = plan.kills(self.chance)
        self.say(f"seed {plan.seed}: {plan.lines} lines, kills: {' '.join(kills)}")
        self.writer = Writer(self.logs, plan.lines, TAGS, plan.seed, plan.lives, rate=25_000)
        share = plan.lines // (len(kills) + 1)
        try:
            self.agent.start()
            self.sink.start()
            with Watch(self.sink, every=0.1) as watch:
                for number, victim in enumerate(kills):
                    self.writer.allow((number + 1) * share)
                    self.strike(victim)
                self.writer.finish()
                for each in self.restarts:
                    each.join(200)
                self.settle()
            self.say(f"{watch.scrapes} scrapes kept the identity")
            self.agent.stop()
            self.sink.stop()
            self.count()
        finally:
            self.writer.end()
            self.agent.end()
            self.sink.end()
            for each in self.restarts:
                each.join(200)

    def strike(self, victim: str) -> None:
        """Waits until the victim works, then a random moment, kills it and brings it back."""
        if victim in ("agent", "sink"):
            program = getattr(self, victim)
            busy = ("tailrace_agent_events_total" if victim == "agent"
                    else "tailrace_sink_consumed_records_total")
            wait_for(f"{victim} to work before it is killed",
                     lambda: program.check_alive() or program.metric(busy) > 0, 90,
                     lambda: program.tail(12))
            time.sleep(self.chance.random() ** 2)
            program.kill()
            self.say(f"kill -9 {victim} (life {program.lives}), "
                     f"{self.writer.written} lines written")
            time.sleep(self.chance.random() * 0.3)
            program.start(wait="no")
            program.wait_page("/healthz")
            return
        for each in self.restarts:      # one server at a time, and it must have come back
            each.join(200)
        time.sleep(self.chance.random())
        node = self.chance.randint(1, 3) if victim == "kafka" else 1
        service = "kafka3" if victim == "kafka" else "opensearch"
        self.stack.kill(service, node)
        self.say(f"kill -9 {service} node {node}, {self.writer.written} lines written")
        restart = threading.Thread(target=self.stack.start_node, args=(service, node))
        restart.start()
        self.restarts.append(restart)

    def settle(self) -> None:
        """Until every line is in the index and every record is committed."""
        expected = self.plan.lines
        patience = 120 + expected / 1000
        self.index.wait_count(expected, patience, self.sink.check_alive, lambda: (
            f"{self.kafka.total(self.topic)} records on the topic, agent: "
            f"{self.agent.readiness()!r}, sink: {self.sink.readiness()!r}{self.agent.tail(6)}"
            f"{self.sink.tail(6)}"))
        self.kafka.wait_committed(self.group, self.topic, patience)

    def count(self) -> None:
        expected = expected_numbered(self.logs)
        assert len(expected) == self.plan.lines, "the writer wrote other lines than planned"
        on_topic = Tally(expected, where=f"topic {self.topic}")
        on_topic.add_all(self.kafka.events(self.topic))
        indexed = Tally(expected, where=f"index {self.index.name}")
        indexed.add_all(self.index.documents())
        self.say(f"{len(expected)} lines, {on_topic.records} records on the topic "
                 f"({on_topic.repeats} repeats), {indexed.records} documents")
        on_topic.check(self.plan.seed)
        indexed.check(self.plan.seed)
        assert self.kafka.total(f"{self.topic}.dlq") == 0, "the dead-letter topic is not empty"
        self.index.drop()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in (("lines", 500_000), ("agent", 30), ("sink", 30), ("kafka", 3),
                          ("opensearch", 2)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--lives", type=int, default=6, help="of each log (default 6)")
    parser.add_argument("--folder", type=Path, help="kept; default: a new one, kept on failure")
    options = vars(parser.parse_args())
    kept = options.pop("folder")
    folder = kept or Path(tempfile.mkdtemp(prefix="tailrace-crash-"))
    begun = time.monotonic()
    try:
        CrashRun(Stack(), Plan(**options), folder, lambda text: print(
            f"{time.monotonic() - begun:7.1f} s  {text}", flush=True)).run()
    except AssertionError as error:
        print(f"FAILED, seed {options['seed']}, everything is kept in {folder}:\n{error}")
        return 1
    if not kept:
        shutil.rmtree(folder)
    print("every line exactly once")
    return 0


if __name__ == "__main__":
    sys.exit(main())
