# SPDX-License-Identifier: Apache-2.0
"""Sinks with failing calls, into an SQLite file or a scripted index, and what became of every
record. All worlds read one topic, each with a group, a store and a dead-letter topic of its own.

The embedded broker keeps a group's last member for its session's time. So each life of a sink joins
a new group, to which the offsets that the life before had committed are carried: what was committed
too early is lost, as it would be in the old group.
"""

import json
import random
import signal
import sqlite3
import subprocess
import time
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition

from fake_index import FakeIndex
from programs import binary
from servers import event_key, event_value
from torture import PARTITIONS, TOPIC, Broker, Result, environment, once

PLAIN, FOREIGN, BROKEN = 180, 60, 3     # records of ours, of others, of ours with garbled JSON
LIBRARIES = "libsqlite3,libcurl,libdeflate"
INDEX = "docs"


def produce(broker: Broker, first: int = 0) -> None:
    """One portion: all kinds of records, numbered from `first`."""
    producer = Producer({"bootstrap.servers": broker.servers, "linger.ms": 5})
    for number in range(first, first + PLAIN):
        producer.produce(TOPIC, event_value(f"line {number}"), event_key(number))
    for number in range(first, first + FOREIGN):
        value = (json.dumps({"number": number, "deep": {"list": [1, None]}}, indent=1)
                 if number % 2 else f"text \xff {number}")
        producer.produce(TOPIC, value.encode("latin-1"))
    for number in range(first + PLAIN, first + PLAIN + BROKEN):
        producer.produce(TOPIC, event_value("cut")[:-4], event_key(number))
    assert producer.flush(30) == 0


def refuse_broken(index: FakeIndex, bulk: Any) -> Any:
    """What a real index says of a document that is no JSON."""
    def refusal(name: str, value: bytes) -> dict[str, Any] | None:
        if value.endswith(b"}"):
            return None
        return {"create": {"status": 400, "error": {
            "type": "mapper_parsing_exception", "reason": "failed to parse"}}}
    return index.create(bulk, refuse=refusal)


class SinkWorld:
    """One store, filled by one sink after the other."""

    def __init__(self, folder: Path, broker: Broker, label: str, fake: FakeIndex | None = None):
        self.folder, self.broker, self.label, self.fake = folder, broker, label, fake
        folder.mkdir(parents=True)
        self.life = 0
        self.file = folder / "events.db"
        self.config = folder / "sink.yaml"
        self.index = f"{INDEX}-{label}".lower()
        self.letters = f"{label}.dlq"
        if fake:
            fake.scripts[self.index] = refuse_broken

    def write_config(self) -> None:
        output = ({"elasticsearch": {"urls": [self.fake.url]}} if self.fake
                  else {"sqlite": {"path": str(self.file)}})
        self.config.write_text(json.dumps({
            "kafka": {"bootstrap_servers": self.broker.servers, "group_id": self.group(),
                      "properties": {"session.timeout.ms": 6000, "heartbeat.interval.ms": 500}},
            "routes": [{"topic": TOPIC, "index": self.index, "dead_letter_topic": self.letters}],
            "bulk": {"interval": "100ms"}, "http": {"listen": "off"}} | output))

    def group(self) -> str:
        return f"{self.label}.{self.life}"

    def _consumer(self) -> Consumer:
        return Consumer({"bootstrap.servers": self.broker.servers, "group.id": self.group(),
                         "enable.auto.commit": False, "log_level": 0})

    def next_life(self) -> None:
        places = [TopicPartition(TOPIC, number) for number in range(PARTITIONS)]
        old = self._consumer()
        found = [place for place in old.committed(places, 30) if place.offset >= 0]
        old.close()
        self.life += 1
        if not found:
            return
        new = self._consumer()
        for attempt in range(20):
            try:
                new.commit(offsets=found, asynchronous=False)
                break
            except KafkaException:      # the coordinator is not known yet
                assert attempt < 19, "no offsets could be carried over"
                time.sleep(0.1)
        new.close()

    def once(self, faults: str = "", **more: Any) -> Result:
        self.write_config()
        result = once("tailrace-sink", self.config, self.folder / "faults", faults,
                      **({"IN": LIBRARIES} | more if faults else {}))
        self.next_life()
        return result

    def run(self, seconds: float, kill: bool, **faults: Any) -> int:
        """`run`, its calls failing by chance, until it is stopped or killed."""
        self.write_config()
        with open(self.folder / "sink.log", "ab") as log:
            process = subprocess.Popen([str(binary("tailrace-sink")), "run", "-c",
                                        str(self.config)], stdin=subprocess.DEVNULL,
                                       stdout=log, stderr=log, env=environment(
                                           "tailrace-sink", IN=LIBRARIES,
                                           LOG=self.folder / "faults", **faults))
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL if kill else signal.SIGTERM)
        try:
            code = process.wait(30)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGABRT)
            raise AssertionError(f"it hung: {self.said()}") from None
        self.next_life()
        return code

    def said(self) -> str:
        return (self.folder / "sink.log").read_text(errors="replace")[-3000:]

    # What became of it

    def check(self, portions: int, about: str) -> None:
        """Each record once in the store, what no store takes among the dead letters."""
        wanted = portions * (PLAIN + FOREIGN)
        found = self._ids_of_fake() if self.fake else self._ids_of_file()
        ours = {event_key(first * 1000 + number) for first in range(portions)
                for number in range(PLAIN)}
        assert len(found) == wanted, f"{about}: {len(found)} of {wanted} records are in the store"
        assert ours <= found, f"{about}: {sorted(ours - found)[:5]} are missing"
        broken = {event_key(first * 1000 + PLAIN + number) for first in range(portions)
                  for number in range(BROKEN)}
        assert self._ids_of_letters() == broken, f"{about}: other dead letters than expected"

    def _ids_of_file(self) -> set[str]:
        database = sqlite3.connect(self.file)
        ids = [row[0] for row in database.execute("SELECT id FROM events")]
        words = database.execute("SELECT count(*) FROM messages WHERE messages MATCH 'line OR text'"
                                 ).fetchone()[0]
        state = [row[0] for row in database.execute("PRAGMA integrity_check")]
        database.close()
        assert state == ["ok"], f"{self.file}: {state[:3]}"
        assert len(ids) == len(set(ids)), "an id is there twice"
        texts = sum(not identifier.startswith("k1.") for identifier in ids) \
            + sum(identifier.startswith("k1.") for identifier in ids) // 2
        assert words == texts, f"{words} of {texts} messages can be searched"
        return set(ids)

    def _ids_of_fake(self) -> set[str]:
        assert self.fake is not None
        with self.fake.lock:
            return set(self.fake.stored[self.index])

    def _ids_of_letters(self) -> set[str]:
        consumer = Consumer({"bootstrap.servers": self.broker.servers, "group.id": "letters",
                             "enable.auto.commit": False, "log_level": 0,
                             "allow.auto.create.topics": False})
        known = consumer.list_topics(self.letters, 30).topics[self.letters].partitions
        found: set[str] = set()
        for number in known:
            place = TopicPartition(self.letters, number, 0)
            low, high = consumer.get_watermark_offsets(place, 30)
            consumer.assign([place])
            at = low
            while at < high:
                for message in consumer.consume(1000, 1):
                    assert not message.error(), message.error()
                    found.add(message.key().decode())
                    at = message.offset() + 1
        consumer.close()
        return found


def live(world: SinkWorld, lives: int, faults: str, per_million: int, seed: int) -> None:
    """Sinks run and die, one after the other, their calls failing now and then."""
    chance = random.Random(seed)
    for number in range(lives):
        code = world.run(chance.uniform(4, 6), chance.random() < 0.5, _=faults,
                         CHANCE=per_million, SEED=seed + number)
        assert code in (0, 1, 2, -signal.SIGKILL), \
            f"life {number} (seed {seed}): it ended with {code}; it said:\n{world.said()}"
