# SPDX-License-Identifier: Apache-2.0
"""What may happen to a log under a sink: records deleted before they were consumed, transactions,
compaction, partitions added, a topic made anew. Whatever is still there when its turn comes is in
the index exactly once; what is not is counted as lost, no record more and none less.

One sink serves one route per case, so that the waiting is shared.
"""

import os
import shutil
import threading
from contextlib import suppress
from dataclasses import dataclass, field

import pytest

from fake_index import FakeIndex
from identity import Watch
from programs import free_port
from servers import Broker, event_key, event_value
from stack import StackError
from wait import wait_for

LONG = bool(os.environ.get("TAILRACE_GROUP_LONG"))
SERVERS = ["kafka", "kafka36"] if LONG else ["kafka"]


@dataclass
class Log:
    """One topic with its route; what was produced, and what of it is owed to the index."""

    broker: Broker
    index: FakeIndex
    topic: str
    owed: set[str] = field(default_factory=set)
    count: int = 0

    def produce(self, count: int, owed: bool = True, partition: int | None = None,
                padding: int = 0) -> None:
        self.broker.produce(self.topic, self.records(count, owed, padding), partition)

    def records(self, count: int, owed: bool = True, padding: int = 0):
        for number in range(self.count, self.count + count):
            if owed:
                self.owed.add(event_key(number))
            yield event_key(number), event_value(f"n {number} " + "x" * padding)
        self.count += count

    def transactions(self, sizes: list[int]) -> None:
        """One after the other; a negative one is aborted. Each by a producer of its own, and all
        of it is in the log before its end: librdkafka ends a transaction that Kafka does not know
        of yet, or that follows too closely on another, with INVALID_TXN_STATE for good."""
        for size in sizes:
            producer = self.broker.producer(**{"transactional.id": f"{self.topic}-{self.count}"})
            producer.init_transactions(30)
            producer.begin_transaction()
            for key, value in self.records(abs(size), size > 0):
                producer.produce(self.topic, value, key)
            assert producer.flush(30) == 0
            (producer.commit_transaction if size > 0 else producer.abort_transaction)(30)

    def delete_before(self, offset: int, partition: int = 0) -> None:
        from confluent_kafka import TopicPartition
        place = TopicPartition(self.topic, partition, offset)
        done = self.broker.stack.admin(self.broker.name).delete_records([place])[place]
        assert done.result(30).low_watermark == offset

    def hold(self) -> threading.Event:
        """The index answers no bulk of this route until the event is set."""
        goes_on = threading.Event()
        self.index.scripts[self.topic] = lambda index, bulk: goes_on.wait(60) and None
        return goes_on

    def grow(self, partitions: int) -> None:
        from confluent_kafka.admin import NewPartitions
        admin = self.broker.stack.admin(self.broker.name)
        admin.create_partitions([NewPartitions(self.topic, partitions)])[self.topic].result(30)

    def make_anew(self) -> None:
        stack, name = self.broker.stack, self.broker.name
        stack.delete_topic(name, self.topic)

        def made() -> bool:
            with suppress(StackError):      # Kafka 3.6: still marked for deletion
                stack.create_topic(name, self.topic, 1)
                return True
            return False

        wait_for("the topic to be made anew", made, every=0.01)

    def end(self) -> int:
        return sum(end for _, end in self.broker.stack.watermarks(
            self.broker.name, self.topic).values())

    def stored(self) -> set[str]:
        return set(self.index.stored[self.topic])

    def check(self, missing: set[str] = frozenset()) -> None:
        stored = self.stored()
        absent, more = self.owed - missing - stored, stored - self.owed
        assert not absent and not more, \
            f"{self.topic}: {len(absent)} documents are missing, {len(more)} should not be " \
            f"there: {sorted(absent)[:3]} {sorted(more)[:3]}"


@pytest.fixture
def fake():
    index = FakeIndex(free_port())
    yield index
    index.close()


@pytest.fixture(params=SERVERS)
def broker(request, stack):
    stack.start(request.param)
    yield Broker(stack, request.param)


@pytest.fixture
def make_log(broker, fake):
    def make(label: str, partitions: int = 1, **config) -> Log:
        return Log(broker, fake, broker.topic(label, partitions, dead_letters=True, **config))
    return make


@pytest.fixture
def make_reader(broker, fake, make_sink):
    def make(*logs: Log, **more):
        return make_sink(broker.servers, f"group-{logs[0].topic}",
                         [{"topic": log.topic, "index": log.topic} for log in logs],
                         fake.url, **more)
    return make


def wait_read(sink, *logs: Log, seconds: float = 30) -> None:
    """Until everything up to the ends of now is finished and committed."""
    from confluent_kafka import Consumer, TopicPartition
    broker = logs[0].broker
    ends = {(log.topic, partition): end for log in logs for partition, (_, end) in
            broker.stack.watermarks(broker.name, log.topic).items() if end > 0}
    consumer = Consumer({"bootstrap.servers": broker.servers, "enable.auto.commit": False,
                         "group.id": sink.config["kafka"]["group_id"], "log_level": 0})

    def behind() -> dict[tuple[str, int], int]:
        sink.check_alive()
        places = [TopicPartition(*each) for each in ends]
        return {(each.topic, each.partition): each.offset
                for each in consumer.committed(places, timeout=10)
                if each.offset < ends[each.topic, each.partition]}

    wait_for("the ends to be committed", lambda: not behind(), seconds,
             lambda: f"{behind()} where {ends} is the end{sink.tail(8)}", 0.1)
    consumer.close()


def lost(sink, log: Log) -> int:
    return int(sink.metric("tailrace_sink_lost_records_total", route=log.topic))


def gaps(sink, log: Log) -> int:
    return int(sink.metric("tailrace_sink_offset_gaps_total", route=log.topic))


def test_records_deleted_while_the_sink_is_down_are_counted_as_lost(make_log, make_reader):
    some, all_of_them, none, many = (make_log(label) for label in ("some", "all", "none", "many"))
    logs = some, all_of_them, none, many
    sink = make_reader(*logs)
    for log in logs:
        log.produce(100)
    many.transactions([3, -2] * 10)
    sink.start()
    wait_read(sink, *logs)
    committed = many.end()
    sink.stop()
    assert sink.lives == 1
    for log in logs[:3]:
        log.produce(300, owed=False)
        log.produce(200, owed=log is not all_of_them)
    many.transactions([3, -3] * 12)
    some.delete_before(400)
    all_of_them.delete_before(600)
    low = many.end() - 10
    many.delete_before(low)
    none.owed |= {event_key(number) for number in range(100, 400)}
    with Watch(sink):
        sink.start()
        wait_for("the lost records to be counted",
                 lambda: (lost(sink, some), lost(sink, all_of_them)) == (300, 500), 20,
                 lambda: f"{lost(sink, some)} and {lost(sink, all_of_them)}{sink.tail(8)}")
        wait_read(sink, *logs)
    assert [lost(sink, log) for log in logs] == [300, 500, 0, low - committed]
    for log in logs[:3]:
        log.check()
    sink.stop()


def test_records_deleted_under_a_route_that_stands_are_counted_as_lost(make_log, make_reader):
    standing, other = make_log("standing"), make_log("other")
    sink = make_reader(standing, other, bulk={"interval": "200ms", "size": "256KiB",
                                              "memory": "8MiB"})
    standing.produce(50)
    with Watch(sink):
        sink.start()
        wait_read(sink, standing)
        goes_on = standing.hold()
        standing.produce(25_000, padding=700)
        wait_for("the waiting records to be counted, those that are not fetched as well", lambda:
                 sink.metric("tailrace_sink_lag_records", route=standing.topic) == 25_000, 20,
                 lambda: sink.metric("tailrace_sink_lag_records", route=standing.topic))
        assert sink.metric("tailrace_sink_lag_seconds", route=standing.topic) >= 1
        low = 24_000
        standing.delete_before(low)
        other.produce(100)
        goes_on.set()
        wait_read(sink, standing, other)
        found = lost(sink, standing)
        wait_for("no lag", lambda: sink.metric("tailrace_sink_lag_records") == 0 and
                 sink.metric("tailrace_sink_lag_seconds") == 0, 20)
    gone = {event_key(number) for number in range(50, low)} - standing.stored()
    assert found == len(gone) > 1000, f"{found} counted, {len(gone)} records did not arrive"
    standing.check(missing=gone)
    other.check()
    sink.stop()


def test_transactions_compaction_new_partitions_and_a_topic_made_anew(make_log, make_reader):
    mixed, holes, grown, anew = logs = [
        make_log("mixed", 2), make_log("holes", cleanup_policy="compact", segment_ms=100,
                                       min_cleanable_dirty_ratio=0.01, delete_retention_ms=0),
        make_log("grown"), make_log("anew")]
    mixed.transactions([5, -5, 7])
    mixed.produce(20)
    mixed.transactions([-4, 30, -60])
    anew.produce(500)
    grown.produce(30)
    holes_survive = compacted(holes)
    sink = make_reader(*logs)
    with Watch(sink):
        sink.start()
        wait_read(sink, *logs)
        for log in logs:
            assert lost(sink, log) == 0, log.topic
        assert gaps(sink, mixed) >= 4 and gaps(sink, holes) >= 1
        assert holes_survive <= holes.stored(), "what compaction left must be indexed"
        grown.grow(3)
        anew.make_anew()
        anew.produce(250)
        mixed.transactions([40, -40, 1])
        for partition in range(3):
            grown.produce(20, partition=partition)
        wait_for("the new partitions' records", lambda: grown.owed <= grown.stored(), 40,
                 lambda: f"{len(grown.owed - grown.stored())} missing{sink.tail(8)}")
        wait_read(sink, *logs)
        assert [lost(sink, log) for log in logs] == [0] * 4
        assert sink.metric("tailrace_sink_rewinds_total", route=anew.topic) == 1
        assert sink.metric("tailrace_sink_rewinds_total") == 1
        wait_for("no lag", lambda: sink.metric("tailrace_sink_lag_records") == 0, 20)
    for log in (mixed, grown, anew):
        log.check()
    sink.stop()


def set_cleaner_pause(log: Log, milliseconds: str | None) -> None:
    """How long the broker's log cleaner rests when it found nothing; None: its default, 15 s."""
    from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource
    operation = AlterConfigOpType.SET if milliseconds else AlterConfigOpType.DELETE
    cleaner = ConfigResource(ConfigResource.Type.BROKER, "1")
    cleaner.add_incremental_config(ConfigEntry("log.cleaner.backoff.ms", milliseconds,
                                               incremental_operation=operation))
    admin = log.broker.stack.admin(log.broker.name)
    admin.incremental_alter_configs([cleaner])[cleaner].result(30)


def compacted(log: Log) -> set[str]:
    """Fills a compacted topic with keys that come again and again; the ids that are left."""
    for turn in range(4):
        log.broker.produce(log.topic, [(event_key(number), event_value(f"turn {turn}"))
                                       for number in range(turn * 37, turn * 37 + 100)])
    end = log.end()

    def is_compacted() -> bool:
        log.broker.produce(log.topic, [(event_key(9999), event_value("a new segment"))])
        return len(list(log.broker.records(log.topic))) < end - 100

    set_cleaner_pause(log, "100")
    wait_for("the topic to be compacted", is_compacted, 60, every=0.3)
    set_cleaner_pause(log, None)
    return {message.key().decode() for message in log.broker.records(log.topic)}


@pytest.mark.skipif(not LONG, reason="restarts the broker: TAILRACE_GROUP_LONG=1")
def test_a_log_that_its_broker_lost_is_read_from_its_start_also_after_a_kill(stack, make_log,
                                                                             make_reader):
    log = make_log("lost", partitions=1)
    name = log.broker.name
    sink = make_reader(log)
    log.produce(500)
    with Watch(sink):
        sink.start()
        wait_read(sink, log)
        stack.stop_node(name)
        for path in (stack.node_dir(name) / "data").glob(f"{log.topic}-*"):
            shutil.rmtree(path)
        stack.start_node(name)
        log.produce(250)
        wait_for("the new records", lambda: log.owed <= log.stored(), 60, lambda: sink.tail(8))
        assert sink.metric("tailrace_sink_rewinds_total", route=log.topic) == 1
        wait_read(sink, log)
        assert lost(sink, log) == 0
        sink.kill()
        # Past the place that the group had committed in the log that is gone.
        log.produce(400)
        sink.start()
        wait_read(sink, log)
    log.check()
    sink.stop()
