#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Kills everything at random moments while lines are written and rotated, then counts every line.

By hand, with the Python of the test environment:
    $(python3 test/stack/stack.py venv)/bin/python test/chaos/crash.py --kafka 3.6 \\
        --search elasticsearch9 --agent 100 --sink 100 --broker 20 --index 20 [--seed N]

One agent ships two sets of logs, each rotated in four ways (rotate.py says which, and under which
conditions), to two topics on three brokers; two sinks of one group put one topic into a fixed
index, the other one into `rotate: daily`. Agent, sinks, brokers and index are killed at the same
time by a thread each, one broker at once; every sixth time a program or server is ended by SIGTERM
instead, which is not counted as a kill.

Every line must be in its index exactly once, under the id that it has on the topic; the dead-letter
topics empty; nothing counted as lost by any life of any program; `tailrace-sink audit` must count
the same. What fails leaves its folder:
configurations, logs, state, topic.tsv (each record's place) and report.txt; servers keep topic and
index. The same seed gives the same kills; their moments depend on the machine.
"""

import argparse
import json
import random
import sys
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

HERE = Path(__file__).resolve().parent
for place in (HERE, HERE.parent / "scenario", HERE.parent / "stack"):
    if str(place) not in sys.path:
        sys.path.insert(0, str(place))

from evidence import Evidence, TopicReader, committed_of  # noqa: E402
from identity import Watch  # noqa: E402
from kept import run_kept  # noqa: E402
from oracle import Tally  # noqa: E402
from programs import Agent, Metrics, Program, Sink  # noqa: E402
from rotate import Writer  # noqa: E402
from servers import Broker, Index  # noqa: E402
from stack import Stack  # noqa: E402
from wait import wait_for  # noqa: E402

KAFKA = {"3.6": "kafka36x3", "4.1": "kafka3"}
SEARCH = ("opensearch", "elasticsearch8", "elasticsearch9")
ROUTES = {"a": "none", "b": "daily"}                # which logs, how their index is rotated
LOGS = ("in", "out", "date", "copy")
BUSY = {"agent": "tailrace_agent_events_total", "sink": "tailrace_sink_finished_records_total"}
BUSY_SECONDS = 60       # then it is killed all the same: servers may be away, others have its work
LOST = ("tailrace_agent_lost_bytes_total", "tailrace_sink_lost_records_total",
        "tailrace_sink_offset_gaps_total")
AHEAD = 0.25            # by which one killer may be ahead of the slowest: all overlap
FLUSH_AT = "8mb"        # else a server that is killed again and again replays for minutes
HELD_BYTES = 64         # acknowledged and on disk: then rotation may do anything with a file


@dataclass
class Plan:
    kafka: str = "4.1"
    search: str = "opensearch"
    agent: int = 100
    sink: int = 100
    broker: int = 20
    index: int = 20
    rate: int = 150         # lines a second, as far as the machine follows
    life: int = 300         # lines until a log is rotated, at least
    minutes: int = 60       # then nothing more is killed, and what arrived is counted
    seed: int = 0


class Surely(Writer):
    """Rotates a log only when the agent's state on disk says that it can be told by its content."""

    def __init__(self, run: "CrashRun", *arguments):
        super().__init__(*arguments)
        self.crash = run
        self.sure: set[tuple[str, int]] = set()
        self.again: dict[str, float] = {}

    def ripe(self, name: str, life: int) -> bool:
        if (name, life) in self.sure:
            return True
        generations = self.crash.reader.generations_of(name, life)
        if not generations or time.monotonic() < self.again.get(name, 0):
            return False
        self.again[name] = time.monotonic() + 0.5
        committed = committed_of(self.crash.agent)
        if all(committed.get(each, 0) >= HELD_BYTES for each in generations):
            self.sure.add((name, life))
        return (name, life) in self.sure


class Killer(threading.Thread):
    """Kills one victim, or one broker after the other, until it has done so often enough."""

    def __init__(self, run: "CrashRun", kind: str, times: int, strike):
        super().__init__(daemon=True, name=f"kill {kind}")
        self.crash, self.kind, self.times, self.strike = run, kind, times, strike
        self.chance = random.Random(f"{run.plan.seed} {kind}")
        self.done = self.stops = 0
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            while self.done < self.times and not self.crash.over.is_set() and (
                    time.monotonic() < self.crash.kill_until):
                if self.share() > min(each.share() for each in self.crash.killers) + AHEAD:
                    self.crash.over.wait(0.2)
                    continue
                by_term = self.chance.random() < 1 / 6
                self.strike(self.chance, by_term)
                self.stops += by_term
                self.done += not by_term
        except BaseException as error:
            self.error = error

    def share(self) -> float:
        """How much of it is done."""
        return self.done / self.times if self.times else 1


@dataclass
class Counted:
    """The highest value of counters in each life of each program, as far as a page showed it."""

    highest: dict[tuple[str, int, str], float] = field(default_factory=dict)

    def note(self, program: Program, metrics: Metrics) -> None:
        finished = "tailrace_sink_finished_records_total"
        values = {name: metrics.get(name) for name in LOST}
        values["duplicates"] = metrics.get(finished, outcome="duplicate")
        values["dead letters"] = metrics.get(finished, outcome="dead_lettered")
        values["rebalances"] = metrics.get("tailrace_sink_rebalances_total")
        values["state errors"] = metrics.get("tailrace_agent_state_errors_total")
        for name, value in values.items():
            key = (program.label, program.lives, name)
            self.highest[key] = max(value, self.highest.get(key, 0))

    def sum(self, name: str) -> int:
        return int(sum(value for key, value in self.highest.items() if key[2] == name))


class CrashRun:
    def __init__(self, stack: Stack, plan: Plan, folder: Path, say=print):
        self.stack, self.plan, self.folder, self.say = stack, plan, folder, say
        self.kafka_name = KAFKA[plan.kafka]
        stack.start(self.kafka_name)
        url = stack.start(plan.search, settings={})
        self.kafka = Broker(stack, self.kafka_name)
        self.indices = {route: Index.fresh(url, f"crash-{route}") for route in ROUTES}
        self.topics = {route: self.kafka.topic(f"crash-{route}", dead_letters=True)
                       for route in ROUTES}
        self.receipts = self.kafka.topic("crash-receipts")
        self.logs = folder / "logs"
        self.agent = Agent(folder, self.kafka.servers, self.topics["a"], [
            {"name": route, "topic": self.topics[route], "exclude": ["*.gz"], "paths": [
                f"{self.logs}/{route}-{log}.log{'' if log == 'out' else '*'}" for log in LOGS]}
            for route in ROUTES], receipts={"topic": self.receipts, "interval": "5s"})
        self.group = f"group-{self.topics['a']}"
        routes = [{"topic": self.topics[route], "index": self.indices[route].name,
                   "rotate": rotate} for route, rotate in ROUTES.items()]
        # Small bulks: a life of some seconds must see answers on a busy machine, too.
        self.sinks = [Sink(folder, self.kafka.servers, self.group, routes, url, label=label,
                           bulk={"interval": "200ms", "size": "128KiB"},
                           receipts={"topic": self.receipts})
                      for label in ("sink1", "sink2")]
        self.over = threading.Event()
        self.kill_until = 0.0
        self.writer = Surely(self, self.logs, plan.seed, plan.rate,
                             [f"{route}-{log}" for route in ROUTES for log in LOGS], plan.life)
        self.reader = TopicReader(self.kafka, self.topics, self.writer.expected, folder)
        self.killers = [
            Killer(self, "agent", plan.agent, partial(self.strike_program, self.agent, "agent")),
            *(Killer(self, sink.label, (plan.sink + number) // 2, partial(
                self.strike_program, sink, "sink")) for number, sink in enumerate(self.sinks)),
            Killer(self, "broker", plan.broker, lambda chance, by_term: self.strike_server(
                self.kafka_name, chance.randint(1, 3), chance, by_term)),
            Killer(self, "index", plan.index, lambda chance, by_term: self.strike_server(
                plan.search, 1, chance, by_term))]
        self.counted = Counted()

    def run(self) -> None:
        programs = [self.agent, *self.sinks]
        self.say(f"{self.plan}, {self.folder}")
        try:
            for each in programs:
                each.start()
            self.kill_until = time.monotonic() + self.plan.minutes * 60
            with Watch(*programs, every=0.25, note=self.counted.note) as watch:
                for thread in (self.reader, self.writer, *self.killers):
                    thread.start()
                self.follow()
                self.settle()
            self.say(f"{watch.scrapes} scrapes kept the identity")
            for each in programs:
                each.stop()
            self.check()
        except BaseException as error:
            self.over.set()
            self.join()
            report = Evidence(self).report(str(error))
            raise AssertionError(report) from error
        finally:
            self.over.set()
            self.join()
            self.reader.end()
            for each in programs:
                each.end()
        for index in self.indices.values():
            for each in index.ask("GET", f"/_cat/indices/{index.name}*?format=json"):
                Index(index.url, each["index"]).drop()      # a route's name may be an alias

    def follow(self) -> None:
        """While it is killed: says how far it is, and ends at once when something is wrong."""
        said = time.monotonic()
        unlimited = set(self.indices)
        while any(killer.is_alive() for killer in self.killers):
            time.sleep(0.2)
            self.check_threads()
            unlimited = {route for route in unlimited if not self.limit_replay(route)}
            if time.monotonic() - said > 20:
                said = time.monotonic()
                self.say(self.progress())
        self.join()
        self.check_threads()

    def limit_replay(self, route: str) -> bool:
        """What is synced when stays as it is; False while the index is not there."""
        try:
            self.indices[route].set({"index.translog.flush_threshold_size": FLUSH_AT})
        except (OSError, AssertionError):
            return False
        return True

    def join(self) -> None:
        for killer in self.killers:
            if killer.ident:
                killer.join()
        self.writer.over.set()
        if self.writer.ident:
            self.writer.join()

    def check_threads(self) -> None:
        for thread in (self.reader, self.writer, *self.killers):
            if thread.error:
                raise thread.error
        for tally in self.reader.tallies.values():
            assert not tally.wrong, "\n".join(tally.wrong[:8])

    def progress(self) -> str:
        kills = " ".join(f"{each.kind} {each.done}+{each.stops}" for each in self.killers)
        return (f"{len(self.writer.expected)} lines, {self.reader.seen()} in Kafka; killed + "
                f"ended: {kills}; {sum(self.writer.rotations.values())} rotations")

    # Kills

    def strike_program(self, program: Program, kind: str, chance: random.Random,
                       by_term: bool) -> None:
        """Mostly while it works, else wherever its start has come to."""
        if by_term:
            program.wait_page("/healthz", seconds=60)
        elif chance.random() < 0.75:
            self.until_busy(program, kind)
        self.over.wait(chance.random() ** 2 * 3)
        if by_term:
            program.stop()
        else:
            program.kill()
        self.over.wait(chance.random() ** 3 * 2)
        program.start(wait="no")

    def until_busy(self, program: Program, kind: str) -> None:
        deadline = time.monotonic() + BUSY_SECONDS
        while time.monotonic() < deadline and not self.over.is_set():
            program.check_alive()
            with suppress(OSError):     # its page is not there yet
                if program.metric(BUSY[kind]) > 0:
                    return
            time.sleep(0.2)

    def strike_server(self, service: str, node: int, chance: random.Random,
                      by_term: bool) -> None:
        """It must be back, brokers in sync, before the next one of its kind."""
        if service == self.plan.search:
            self.until_more_documents()
        self.over.wait(chance.random() * 5)
        if by_term:
            self.stack.stop_node(service, node)
        else:
            self.stack.kill(service, node)
        self.over.wait(chance.random() * 3)
        self.stack.start_node(service, node)

    def until_more_documents(self) -> None:
        """A server that is killed before it could take anything proves nothing."""
        deadline = time.monotonic() + BUSY_SECONDS
        before = None
        while time.monotonic() < deadline and not self.over.is_set():
            with suppress(OSError):
                now = [index.count() for index in self.indices.values()]
                before = before or now
                if now != before:
                    return
            self.over.wait(0.5)

    # The end

    def settle(self) -> None:
        """Until every line is in its index and every record is committed."""
        self.say(f"{self.progress()}; all kills done")
        patience = 120 + len(self.writer.expected) / 500
        wait_for("every line to be on its topic", lambda: self.check_threads() or
                 self.reader.seen() >= len(self.writer.expected), patience, self.progress)
        for route, index in self.indices.items():
            index.wait_count(len(self.expected(route)), patience, self.alive, lambda: (
                f"sinks: {[each.readiness() for each in self.sinks]}"))
            self.kafka.wait_committed(self.group, self.topics[route], patience)

    def alive(self) -> None:
        for each in (self.agent, *self.sinks):
            each.check_alive()

    def expected(self, route: str) -> dict:
        return {key: value for key, value in self.writer.expected.items()
                if key[0].startswith(f"{route}-")}

    def check(self) -> None:
        indexed, wrong = {}, []
        for route, index in self.indices.items():
            tally = self.reader.tallies[route]
            tally.expected = self.expected(route)
            tally.check(self.plan.seed)
            indexed[route] = found = Tally(tally.expected, where=f"index {index.name}")
            found.add_all(index.documents())
            found.check(self.plan.seed)
            assert not found.repeats, f"{found.where}: {found.repeats} ids are there twice"
            wrong += [f"{key} is {id} in the index, {tally.ids[key]} on the topic"
                      for key, id in found.ids.items() if tally.ids[key] != id]
            letters = self.kafka.total(f"{self.topics[route]}.dlq")
            assert letters == 0, f"{letters} dead letters on {self.topics[route]}.dlq"
        assert not wrong, f"{len(wrong)} ids differ: {wrong[:8]}"
        lost = {name: self.counted.sum(name) for name in LOST if self.counted.sum(name)}
        assert not lost, f"counted as lost, though nothing is: {lost}"
        self.audit()
        self.summary(indexed)

    def audit(self) -> None:
        """`tailrace-sink audit` must say the same: of each life so many events, all indexed."""
        written = Counter(id.split(".")[1] for tally in self.reader.tallies.values()
                          for id in tally.ids.values())
        done = self.sinks[0].run_verb("audit", "--since", "1d", "--json", seconds=300)
        (self.folder / "audit.json").write_text(done.stdout)
        lives = [json.loads(line) for line in done.stdout.splitlines()]
        counted = {life["generation"]: life["indexed"] for life in lives if life["indexed"]}
        differ = {id: (written[id], counted.get(id, 0)) for id in written | counted
                  if written[id] != counted.get(id, 0)}
        assert not differ, f"audit counts other lines, generation: (oracle, audit): {differ}"
        trouble = [life for life in lives if not life["fine"] or life["waiting"]]
        assert done.returncode == 0 and not trouble, \
            f"audit, exit code {done.returncode}: {trouble[:4]} {done.stderr}"
        bare = sum(life["no_receipt_yet"] + life["no_receipt_events"] for life in lives)
        self.say(f"audit says the same: {len(lives)} lives, {sum(counted.values())} events, "
                 f"{bare} of them without a receipt")

    def summary(self, indexed: dict[str, Tally]) -> None:
        records = sum(each.records for each in self.reader.tallies.values())
        repeats = sum(each.repeats for each in self.reader.tallies.values())
        kills = ", ".join(f"{each.kind} {each.done} of {each.times} (SIGTERM {each.stops})"
                          for each in self.killers)
        self.say(f"kills: {kills}")
        self.say(f"{len(self.writer.expected)} lines, {dict(self.writer.rotations)}; {records} "
                 f"records on the topics, {repeats} of them repeats; "
                 f"{' + '.join(str(each.records) for each in indexed.values())} documents; the "
                 f"sinks' pages showed {self.counted.sum('duplicates')} duplicates, "
                 f"{self.counted.sum('rebalances')} rebalances")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kafka", choices=KAFKA, default=Plan.kafka)
    parser.add_argument("--search", choices=SEARCH, default=Plan.search)
    for name in ("agent", "sink", "broker", "index", "rate", "life", "minutes"):
        default = getattr(Plan, name)
        parser.add_argument(f"--{name}", type=int, default=default, help=f"default {default}")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--folder", type=Path, help="kept; default: a new one, kept on failure")
    options = vars(parser.parse_args())
    kept = options.pop("folder")
    return run_kept(
        "crash", kept, options["seed"], "every line exactly once",
        lambda folder, say: CrashRun(Stack(), Plan(**options), folder, say).run())


if __name__ == "__main__":
    sys.exit(main())
