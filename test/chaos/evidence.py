# SPDX-License-Identifier: Apache-2.0
"""What a run of crash.py knows of every line: its records on the topics, read while they come,
and, when something is wrong, its file, offset, generation and place in Kafka."""

import gzip
import json
import threading
import time
from collections import defaultdict
from contextlib import suppress
from pathlib import Path

from oracle import SHOWN, Tally
from programs import Agent
from servers import Broker

Line = tuple[str, int]      # log, sequence


def committed_of(agent: Agent) -> dict[str, int]:
    """generation -> acknowledged bytes, as the state on the disk has them."""
    found = agent.run_verb("state", "show", "--json")
    if found.returncode:
        return {}
    return {each["generation"]: each["committed"]
            for each in json.loads(found.stdout)["generations"]}


class TopicReader(threading.Thread):
    """Takes all records of the topics while brokers come and go."""

    def __init__(self, kafka: Broker, topics: dict[str, str], expected: dict[Line, bytes],
                 folder: Path):
        super().__init__(daemon=True)
        from confluent_kafka import Consumer, TopicPartition
        self.consumer = Consumer({
            "bootstrap.servers": kafka.servers, "group.id": "crash-reader", "log_level": 0,
            "enable.auto.commit": False, "auto.offset.reset": "error",
            "reconnect.backoff.max.ms": 1000})
        self.route_of = {topic: route for route, topic in topics.items()}
        self.consumer.assign([TopicPartition(topic, partition, 0) for topic in topics.values()
                              for partition in kafka.stack.watermarks(kafka.name, topic)])
        self.tallies = {route: Tally(expected, where=f"topic {topic}")
                        for route, topic in topics.items()}
        self.generations: dict[tuple[str, int], set[str]] = defaultdict(set)   # of (log, life)
        self.next: dict[tuple[str, int], int] = defaultdict(int)
        self.over = threading.Event()
        self.error: BaseException | None = None
        self.places = open(folder / "topic.tsv", "w", encoding="utf-8")
        self.places.write("topic\tpartition\toffset\ttime_ms\tid\tlog\tlife\tsequence\tfile\n")

    def run(self) -> None:
        try:
            while not self.over.is_set():
                for message in self.consumer.consume(2000, 0.1):
                    if not message.error():     # else a broker is away: it goes on by itself
                        self.take(message)
        except BaseException as error:
            self.error = error

    def take(self, message) -> None:
        place = (message.topic(), message.partition())
        assert message.offset() == self.next[place], \
            f"{place} goes on at {message.offset()}, expected {self.next[place]}"
        self.next[place] += 1
        key, value = message.key(), message.value()
        assert key and value.startswith(b'{"@timestamp":"') and b"\n" not in value, \
            f"{place} offset {message.offset()} is no event: {key!r} {value[:120]!r}"
        id, event = key.decode(), json.loads(value)
        log, life, sequence, *_ = event["message"].split(" ", 3)
        self.places.write(f"{place[0]}\t{place[1]}\t{message.offset()}\t{message.timestamp()[1]}\t"
                          f"{id}\t{log}\t{life}\t{sequence}\t{event['log.file.path']}\n")
        self.tallies[self.route_of[place[0]]].add(id, event)
        self.generations[(log, int(life))].add(id.split(".")[1])

    def generations_of(self, log: str, life: int) -> set[str]:
        return set(self.generations.get((log, life), ()))

    def seen(self) -> int:
        return sum(len(each.ids) for each in self.tallies.values())

    def end(self) -> None:
        self.over.set()
        if self.ident:
            self.join()
            self.consumer.close()
        self.places.close()


class Evidence:
    """Tells, of a run that failed, where each line is that is missing or double."""

    def __init__(self, run):
        self.crash = run

    def report(self, error: str) -> str:
        run = self.crash
        parts = [error, run.progress(), f"sinks' group {run.group}, topics {run.topics}, indices "
                 f"{ {route: index.name for route, index in run.indices.items()} }"]
        for program in (run.agent, *run.sinks):
            with suppress(OSError, AssertionError):
                (run.folder / f"{program.label}-status.json").write_text(
                    json.dumps(program.status(), indent=1))
        with suppress(OSError, AssertionError):
            (run.folder / "state.json").write_text(
                run.agent.run_verb("state", "show", "--json").stdout)
        run.reader.places.flush()
        for route in run.indices:
            with suppress(OSError, AssertionError):
                parts += self.of_route(route)
        text = "\n".join(parts)
        (run.folder / "report.txt").write_text(text + "\n")
        return text

    def of_route(self, route: str) -> list[str]:
        run = self.crash
        expected = run.expected(route)
        documents: dict[Line, list[str]] = defaultdict(list)
        for id, source in run.indices[route].documents():
            log, _, sequence, *_ = source["message"].split(" ", 3)
            documents[(log, int(sequence))].append(id)
        on_topic = run.reader.tallies[route].ids
        missing = [line for line in expected if line not in documents]
        double = [line for line, ids in documents.items() if len(ids) > 1]
        found = [f"route {route}: {len(expected)} lines, {len(on_topic)} of them on the topic, "
                 f"{len(documents)} in the index; not in it: {len(missing)}, under two ids: "
                 f"{len(double)}"]
        unsent = [line for line in missing if line not in on_topic]
        for line in unsent[:SHOWN] + [line for line in missing if line in on_topic][:SHOWN]:
            found.append(f"  missing {line}: {self.where(line)}")
        for line in double[:SHOWN]:
            found.append(f"  double {line}: {documents[line]}, {self.where(line)}")
        return found

    def where(self, line: Line) -> str:
        files = [f"{path.name} at {offset}" for path, offset in self.files_with(line)]
        records = self.records_of(line)
        return f"in {', '.join(files) or 'no file'}; " + (
            f"in Kafka: {'; '.join(records)}" if records else "not in Kafka")

    def files_with(self, line: Line):
        for path in sorted(self.crash.logs.glob(f"{line[0]}.log*")):
            opened = gzip.open(path) if path.suffix == ".gz" else open(path, "rb")
            offset = 0
            with opened as file, suppress(OSError, EOFError):
                for text in file:
                    if text.split(b" ", 3)[2:3] == [b"%08d" % line[1]]:
                        yield path, offset
                    offset += len(text)

    def records_of(self, line: Line) -> list[str]:
        found = []
        with open(self.crash.folder / "topic.tsv", encoding="utf-8") as places:
            for text in places:
                topic, partition, offset, when, id, log, _, sequence, path = text.split("\t")
                if log == line[0] and sequence == f"{line[1]:08d}":
                    at = time.strftime("%H:%M:%S", time.gmtime(int(when) / 1000))
                    found.append(f"partition {partition} offset {offset} at {at} as {id} from "
                                 f"{Path(path.strip()).name}")
        return found
