# SPDX-License-Identifier: Apache-2.0
"""Questions to the real servers: what is on a topic, what is in an index."""

import json
import uuid
from typing import Any, Iterable, Iterator

from stack import Stack, http
from wait import wait_for

SEARCH_PAGE = 5000


class Broker:
    """A running Kafka cluster of the stack."""

    def __init__(self, stack: Stack, name: str):
        self.stack = stack
        self.name = name
        self.servers = stack.address(name)

    def topic(self, label: str, partitions: int = 3, dead_letters: bool = False,
              **config: Any) -> str:
        """Makes a topic with a name of its own; with dead_letters also NAME.dlq."""
        topic = f"{label}-{uuid.uuid4().hex[:8]}"
        config = {key.replace("_", "."): value for key, value in config.items()}
        self.stack.create_topic(self.name, topic, partitions, config)
        if dead_letters:
            self.stack.create_topic(self.name, f"{topic}.dlq", 1, config)
        return topic

    def producer(self, **config: Any):
        from confluent_kafka import Producer
        return Producer({"bootstrap.servers": self.servers, "acks": "all", "linger.ms": 5,
                         "log_level": 0} | config)

    def produce(self, topic: str, records: Iterable[tuple[bytes | str | None, bytes | None]],
                partition: int | None = None) -> int:
        """Sends (key, value) pairs, waits for all acknowledgements; returns their number."""
        failures: list[str] = []
        producer = self.producer(**{"message.max.bytes": 8_000_000})
        place = {} if partition is None else {"partition": partition}
        count = 0
        for key, value in records:
            while True:
                try:
                    producer.produce(topic, value, key, **place, on_delivery=lambda error, _:
                                     failures.append(str(error)) if error else None)
                    break
                except BufferError:
                    producer.poll(0.1)
            count += 1
            producer.poll(0)
        left = producer.flush(60)
        assert not left and not failures, \
            f"the test could not produce to {topic}: {left} unsent, {failures[:3]}"
        return count

    def total(self, topic: str) -> int:
        """Records on a topic, by its watermarks."""
        marks = self.stack.watermarks(self.name, topic)
        return sum(end - first for first, end in marks.values())

    def records(self, topic: str, seconds: float = 120) -> Iterator[Any]:
        """Every message from the first to the end offsets of now, partition by partition."""
        from confluent_kafka import Consumer, TopicPartition
        marks = self.stack.watermarks(self.name, topic)
        left = {partition: end for partition, (first, end) in marks.items() if end > first}
        consumer = Consumer({
            "bootstrap.servers": self.servers, "group.id": f"read-{uuid.uuid4().hex[:8]}",
            "enable.auto.commit": False, "auto.offset.reset": "error",
            "enable.partition.eof": False, "log_level": 0, "fetch.wait.max.ms": 50})
        try:
            consumer.assign([TopicPartition(topic, partition, marks[partition][0])
                             for partition in left])
            while left:
                found = consumer.consume(5000, 1.0)
                seconds -= 0 if found else 1.0
                assert seconds > 0, f"topic {topic} could not be read to its end: {left}"
                for message in found:
                    assert not message.error(), f"reading {topic}: {message.error()}"
                    yield message
                    partition = message.partition()
                    if message.offset() + 1 >= left.get(partition, 0):
                        left.pop(partition, None)
        finally:
            consumer.close()

    def events(self, topic: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """(key, decoded value) of every record; our agent's records only."""
        for message in self.records(topic):
            key, value = message.key(), message.value()
            assert key is not None and value.startswith(b'{"@timestamp":"'), \
                f"record {message.partition()}/{message.offset()} of {topic} is no event: " \
                f"key {key!r}, value {value[:120]!r}"
            assert b"\n" not in value, f"event {key!r} holds a newline byte"
            yield key.decode(), json.loads(value)

    def lag(self, group: str, topic: str) -> int:
        """Records behind the group's committed offsets."""
        committed = self.stack.group_offsets(self.name, group)
        marks = self.stack.watermarks(self.name, topic)
        return sum(end - committed.get((topic, partition), first)
                   for partition, (first, end) in marks.items())

    def wait_committed(self, group: str, topic: str, seconds: float = 60) -> None:
        wait_for(f"group {group} to commit the end of {topic}",
                 lambda: self.lag(group, topic) == 0, seconds,
                 lambda: f"{self.lag(group, topic)} records behind", every=0.2)


class Index:
    """One index on a running search server of the stack."""

    def __init__(self, url: str, name: str):
        self.url = url
        self.name = name

    @staticmethod
    def fresh(url: str, label: str) -> "Index":
        return Index(url, f"{label}-{uuid.uuid4().hex[:8]}")

    def ask(self, method: str, path: str, body: Any = None, ok: tuple[int, ...] = (200, 201)):
        status, answer = http(method, f"{self.url}{path}", body, timeout=60)
        assert status in ok, f"{method} {self.url}{path} answers {status}: {str(answer)[:400]}"
        return answer

    def create(self, mappings: dict[str, Any] | None = None,
               settings: dict[str, Any] | None = None) -> None:
        self.ask("PUT", f"/{self.name}", {
            "mappings": mappings or {},
            "settings": {"number_of_shards": 1, "number_of_replicas": 0} | (settings or {})})

    def set(self, settings: dict[str, Any]) -> None:
        self.ask("PUT", f"/{self.name}/_settings", settings)

    def count(self) -> int:
        status, _ = http("POST", f"{self.url}/{self.name}/_refresh", timeout=60)
        if status != 200:
            return 0
        status, answer = http("GET", f"{self.url}/{self.name}/_count", timeout=60)
        return answer["count"] if status == 200 else 0

    def wait_count(self, least: int, seconds: float, alive=lambda: None, report=None) -> None:
        def enough() -> bool:
            alive()
            return self.count() >= least

        wait_for(f"{least} documents in {self.name}", enough, seconds,
                 lambda: f"{self.count()} documents. {report() if report else ''}", every=0.3)

    def documents(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """(id, source) of every document, by a scroll over the refreshed index."""
        self.ask("POST", f"/{self.name}/_refresh")
        fields = "filter_path=_scroll_id,hits.hits._id,hits.hits._source,_shards.failed"
        answer = self.ask("POST", f"/{self.name}/_search?scroll=2m&{fields}",
                          {"size": SEARCH_PAGE, "sort": ["_doc"]})
        while True:
            assert not answer.get("_shards", {}).get("failed"), f"a shard failed: {answer}"
            hits = answer.get("hits", {}).get("hits", [])
            if not hits:
                break
            for hit in hits:
                yield hit["_id"], hit["_source"]
            answer = self.ask("POST", f"/_search/scroll?{fields}",
                              {"scroll": "2m", "scroll_id": answer["_scroll_id"]})
        self.ask("DELETE", "/_search/scroll", {"scroll_id": answer["_scroll_id"]}, (200, 404))

    def drop(self) -> None:
        http("DELETE", f"{self.url}/{self.name}", timeout=60)


def event_key(number: int, generation: int = 1) -> str:
    """A key of our grammar for records that a test makes itself."""
    return f"t1.{0x6900000000000000 + generation:024x}.{number:016x}.{number * 2654435761:016x}"


def event_value(message: str, **fields: Any) -> bytes:
    """A value of the form that the agent writes."""
    return json.dumps({"@timestamp": "2026-11-21T06:12:00.123Z", "message": message} | fields,
                      separators=(",", ":")).encode()
