# SPDX-License-Identifier: Apache-2.0
"""tailrace-exporter's Kafka collector beside what Kafka's own tools tell of the same cluster."""

import re
import subprocess
import time
import uuid
from contextlib import contextmanager

import pytest
from confluent_kafka import Consumer, KafkaException, TopicPartition

from programs import Exporter, get
from wait import wait_for

INTERVAL = "1s"
GROUPS = "kafka_consumergroup_"
PARTITIONS = "kafka_topic_partition_"


class Watch:
    """An exporter on one cluster, and its newest page."""

    def __init__(self, folder, broker, **options):
        self.broker = broker
        self.program = Exporter(folder, {"host": {"enabled": False}, "kafka": {
            "bootstrap_servers": broker.servers, "interval": INTERVAL, "timeout": "8s",
            "verdict_window": "10s"} | options})
        self.program.start()

    def page(self):
        page = self.program.scrape()
        assert not any(value < 0 for name, _, value in page.series
                       if name.startswith("kafka_") and "retention" not in name
                       and not (name == "kafka_cluster_info")), "a value is below 0"
        return page

    def rounds(self):
        return self.page().get("tailrace_exporter_target_refreshes_total")

    def fresh(self):
        """The page of a round that began after now."""
        count = self.rounds()
        wait_for("two rounds", lambda: self.rounds() >= count + 2, 60, self.program.tail)
        return self.page()

    def values(self, page, name, *labels, **chosen):
        """{labels: value} of a family."""
        return {tuple(found[each] for each in labels): value for each_name, found, value
                in page.series if each_name == name and chosen.items() <= found.items()}


@pytest.fixture
def watch(folder):
    made = []

    def make(broker, **options):
        made.append(Watch(folder / f"exporter{len(made)}", broker, **options))
        return made[-1]

    yield make
    for each in made:
        each.program.end()


def numbered(count, first=0):
    return [(str(number), b"record %d" % number) for number in range(first, first + count)]


def new_group():
    return f"group-{uuid.uuid4().hex[:8]}"


@contextmanager
def member(broker, group, topic, count=0):
    """A consumer that took and committed so many records, and stays."""
    consumer = Consumer({"bootstrap.servers": broker.servers, "group.id": group,
                         "auto.offset.reset": "earliest", "enable.auto.commit": False,
                         "session.timeout.ms": 6000, "heartbeat.interval.ms": 500,
                         "log_level": 0})
    consumer.subscribe([topic])
    try:
        taken = 0
        deadline = time.monotonic() + 60
        while taken < count or not consumer.assignment():
            assert time.monotonic() < deadline, f"{group} took {taken} of {count} records"
            message = consumer.poll(0.2)
            if message is not None and not message.error():
                if taken == count:
                    break
                taken += 1
                consumer.commit(message, asynchronous=False)
        yield consumer
    finally:
        consumer.close()


def commit(broker, group, topic, offsets):
    """Offsets of a group without members."""
    consumer = Consumer({"bootstrap.servers": broker.servers, "group.id": group,
                         "log_level": 0})
    try:
        consumer.commit(offsets=[TopicPartition(topic, partition, offset)
                                 for partition, offset in offsets.items()], asynchronous=False)
    finally:
        consumer.close()


def tool(broker, name, *arguments):
    old = broker.name.startswith("kafka36")
    main = {"groups": "kafka.admin.ConsumerGroupCommand" if old else
            "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
            "offsets": "kafka.tools.GetOffsetShell" if old else
            "org.apache.kafka.tools.GetOffsetShell",
            "topics": "kafka.admin.TopicCommand" if old else
            "org.apache.kafka.tools.TopicCommand"}[name]
    return broker.stack.run_tool(broker.name, main, *arguments)


def told_of_group(broker, group):
    """{(topic, partition): (committed, end, lag)} by kafka-consumer-groups."""
    found = {}
    for line in tool(broker, "groups", "--describe", "--group", group, "--timeout",
                     "50000").splitlines():
        words = line.split()
        if len(words) > 5 and words[0] == group and words[3] != "-":
            found[words[1], words[2]] = tuple(float(word) for word in words[3:6])
    return found


def told_of_topic(broker, topic):
    """{partition: (leader, replicas, in sync)} by kafka-topics --describe."""
    found = {}
    for line in tool(broker, "topics", "--describe", "--topic", topic).splitlines():
        match = re.search(r"Partition: (\d+)\s+Leader: (\S+)\s+Replicas: (\S+)\s+Isr: ([\d,]*)",
                          line)
        if match:
            count = len([each for each in match[4].split(",") if each])
            found[match[1]] = (match[2], len(match[3].split(",")), count)
    return found


@pytest.fixture(params=["kafka", "kafka36", "kafka39"])
def broker(request, stack):
    from servers import Broker
    stack.start(request.param)
    return Broker(stack, request.param)


def test_every_value_is_what_kafkas_own_tools_tell(broker, watch):
    topic = broker.topic("exported", 3)
    for partition in range(3):
        broker.produce(topic, numbered(100 * (partition + 1)), partition)
    exporter = watch(broker)
    silent, busy = new_group(), new_group()
    commit(broker, silent, topic, {0: 40, 1: 200})
    with member(broker, busy, topic, 250):
        page = wait_for("the busy group", lambda: (page := exporter.fresh()).get(
            f"{GROUPS}members", consumergroup=busy) == 1 and page, 60)
        groups = {group: told_of_group(broker, group) for group in (silent, busy)}
    assert len(groups[silent]) == 2 and groups[busy]
    for group, places in groups.items():
        for column, name in enumerate((f"{GROUPS}current_offset", None, f"{GROUPS}lag")):
            told = {place: values[column] for place, values in places.items()}
            if name:
                assert exporter.values(page, name, "topic", "partition",
                                       consumergroup=group) == told, name
        for column, name in ((0, f"{GROUPS}current_offset_sum"), (2, f"{GROUPS}lag_sum")):
            assert page.get(name, consumergroup=group, topic=topic) == \
                sum(values[column] for values in places.values()), name
    assert page.get(f"{GROUPS}members", consumergroup=silent) == 0
    assert page.get(f"{GROUPS}state", consumergroup=silent, state="Empty") == 1
    assert page.get(f"{GROUPS}state", consumergroup=busy, state="Stable") == 1
    assert page.get(f"{GROUPS}coordinator", consumergroup=busy) == 1
    assert page.get(f"{GROUPS}unassigned_partitions", consumergroup=busy, topic=topic) == 0

    ends = dict(line.split(":")[1:] for line in
                tool(broker, "offsets", "--topic", topic).split())
    assert exporter.values(page, f"{PARTITIONS}current_offset", "partition", topic=topic) == \
        {(partition,): float(end) for partition, end in ends.items()}
    assert set(exporter.values(page, f"{PARTITIONS}oldest_offset", "partition",
                               topic=topic).values()) == {0.0}
    check_topic(exporter, page, topic)
    assert page.get("kafka_topic_partitions", topic=topic) == 3
    assert page.get("kafka_brokers") == 1
    assert page.get("kafka_up") == 1
    check_names(exporter)


def check_names(exporter):
    """Only two names of kafka_exporter, which are kept, are not to promtool's liking."""
    _, _, body = get(exporter.program.port, "/metrics")
    done = subprocess.run(["promtool", "check", "metrics"], input=body, capture_output=True)
    found = {line.split()[0] for line in (done.stdout + done.stderr).decode().splitlines()}
    assert found == {f"{GROUPS}current_offset_sum", f"{GROUPS}lag_sum"}, found


def check_topic(exporter, page, topic):
    """Leaders and replicas beside kafka-topics."""
    told = told_of_topic(exporter.broker, topic)
    assert told
    for column, name in ((0, "leader"), (1, "replicas"), (2, "in_sync_replica")):
        assert exporter.values(page, f"{PARTITIONS}{name}", "partition", topic=topic) == {
            (partition,): float(values[column]) for partition, values in told.items()
            if values[column] not in ("none", "-1")}, name
    assert exporter.values(page, f"{PARTITIONS}under_replicated_partition", "partition",
                           topic=topic) == {
        (partition,): float(in_sync < replicas)
        for partition, (_, replicas, in_sync) in told.items()}


def test_lag_in_seconds_is_the_age_of_the_oldest_record_not_committed(kafka, watch):
    topic = kafka.topic("aged", 1)
    kafka.produce(topic, numbered(10))
    began = time.time()
    group = new_group()
    commit(kafka, group, topic, {0: 10})
    exporter = watch(kafka, lag_objective="3s")
    lag = f"{GROUPS}lag_seconds"
    page = exporter.fresh()
    assert exporter.values(page, lag, "partition", consumergroup=group) == {("0",): 0.0}
    kafka.produce(topic, numbered(5, 10))
    produced = time.time()
    # Known from the records' own times as soon as it grows old; from the history at once.
    page = wait_for("records over the objective", lambda: (page := exporter.fresh()).get(
        f"{GROUPS}lag_over_objective", consumergroup=group) == 5 and page, 60)
    assert time.time() - produced >= 3
    age = page.get(lag, consumergroup=group)
    # They came between two rounds: the estimate is right to a round and the page's own age.
    assert abs(age - (time.time() - produced)) < 4, (age, time.time() - produced)
    assert page.labels(lag)[0]["method"] == "interpolated"
    assert time.time() - began > age
    page = wait_for("the verdict", lambda: (page := exporter.fresh()).get(
        f"{GROUPS}status", consumergroup=group) == 4 and page, 60)
    commit(kafka, group, topic, {0: 15})
    page = exporter.fresh()
    assert page.get(f"{GROUPS}status", consumergroup=group) == 1
    assert page.get(lag, consumergroup=group) == 0
    assert page.get(f"{GROUPS}lag_over_objective", consumergroup=group) == 0


def test_a_lag_that_was_there_before_the_exporter_has_an_age_at_once(kafka, watch):
    topic = kafka.topic("older", 1)
    kafka.produce(topic, numbered(1000))
    group = new_group()
    commit(kafka, group, topic, {0: 500})
    page = watch(kafka).fresh()
    found = [(labels, value) for name, labels, value in page.series
             if name == f"{GROUPS}lag_seconds" and labels["consumergroup"] == group]
    assert len(found) == 1 and 0 < found[0][1] < 120, found


def test_what_is_reset_deleted_or_expired_is_right_in_the_next_round(kafka, watch):
    topic = kafka.topic("changing", 2)
    kafka.produce(topic, numbered(100), 0)
    kafka.produce(topic, numbered(100), 1)
    group = new_group()
    commit(kafka, group, topic, {0: 90, 1: 30})
    exporter = watch(kafka)
    page = exporter.fresh()
    assert page.get(f"{GROUPS}lag_sum", consumergroup=group) == 80
    assert page.get(f"{GROUPS}lag_expired", consumergroup=group) == 0

    kafka.stack.admin("kafka").delete_records(
        [TopicPartition(topic, 1, 50)])[TopicPartition(topic, 1)].result()
    page = exporter.fresh()
    assert page.get(f"{PARTITIONS}oldest_offset", topic=topic, partition="1") == 50
    assert exporter.values(page, f"{GROUPS}lag_expired", "partition", consumergroup=group) == {
        ("0",): 0.0, ("1",): 20.0}

    commit(kafka, group, topic, {0: 0})
    page = exporter.fresh()
    assert page.get(f"{GROUPS}status", consumergroup=group) == 6
    assert page.get(f"{GROUPS}lag", consumergroup=group, partition="0") == 100

    admin = kafka.stack.admin("kafka")
    admin.delete_consumer_groups([group])[group].result()
    page = exporter.fresh()
    assert not [labels for _, labels, _ in page.series if labels.get("consumergroup") == group]

    commit(kafka, group, topic, {0: 10})
    assert exporter.fresh().get(f"{GROUPS}lag_sum", consumergroup=group) == 90
    kafka.stack.delete_topic("kafka", topic)
    page = exporter.fresh()
    assert not [labels for _, labels, _ in page.series if labels.get("topic") == topic]
    assert page.get("tailrace_exporter_target_success", collector="kafka") == 1


def test_filters_and_granularity(kafka, watch):
    topic, other = kafka.topic("shown"), kafka.topic("hidden")
    group, left_out = new_group(), f"left-{uuid.uuid4().hex[:8]}"
    for each in (topic, other):
        kafka.produce(each, numbered(10), 0)
        commit(kafka, group, each, {0: 4})
    commit(kafka, left_out, topic, {0: 4})
    page = watch(kafka, topics="^shown-", groups="^group-").fresh()
    assert page.get(f"{GROUPS}lag", consumergroup=group, topic=topic) == 6
    assert not any("hidden" in labels.get("topic", "") for _, labels, _ in page.series)
    assert not any(labels.get("consumergroup") == left_out for _, labels, _ in page.series)
    page = watch(kafka, granularity="topic", topics_exclude="^hidden-").fresh()
    assert page.get(f"{GROUPS}lag_sum", consumergroup=group, topic=topic) == 6
    assert page.get("kafka_topic_partitions", topic=topic) == 3
    assert not any("partition" in labels for _, labels, _ in page.series)


def test_a_group_of_the_new_protocol_has_its_lag_and_says_what_cannot_be_seen(kafka, watch):
    topic = kafka.topic("modern", 1)
    kafka.produce(topic, numbered(10))
    group = new_group()
    try:
        consumer = Consumer({"bootstrap.servers": kafka.servers, "group.id": group,
                             "group.protocol": "consumer", "auto.offset.reset": "earliest",
                             "enable.auto.commit": False, "log_level": 0})
    except KafkaException:
        pytest.skip("this confluent_kafka does not speak the new protocol")
    try:
        consumer.subscribe([topic])
        for _ in range(7):
            message = wait_for("a record", lambda: consumer.poll(0.5), 60)
            assert not message.error(), message.error()
        consumer.commit(message, asynchronous=False)
        exporter = watch(kafka)
        page = wait_for("the group", lambda: (page := exporter.fresh()).has(
            f"{GROUPS}lag") and page, 60)
        assert page.get(f"{GROUPS}lag", consumergroup=group) == 3
        described = exporter.values(page, "tailrace_kafka_consumergroup_described",
                                    "consumergroup")[(group,)]
        seen = exporter.values(page, f"{GROUPS}members", "consumergroup")
        assert seen.get((group,)) == (1.0 if described else None)
    finally:
        consumer.close()


def test_brokers_that_are_lost_are_told_and_nothing_jumps(stack, kafka3, watch):
    whole = kafka3.topic("whole", 6)
    lone = f"lone-{uuid.uuid4().hex[:8]}"
    stack.create_topic("kafka3", lone, 3, replication=1)
    kafka3.produce(whole, numbered(600))
    for partition in range(3):
        kafka3.produce(lone, numbered(50), partition)
    group = new_group()
    commit(kafka3, group, whole, {partition: 10 for partition in range(6)})
    exporter = watch(kafka3)
    page = exporter.fresh()
    ends = exporter.values(page, f"{PARTITIONS}current_offset", "partition", topic=whole)
    assert page.get("kafka_brokers") == 3 and sum(ends.values()) == 600
    assert page.get(f"{GROUPS}lag_sum", consumergroup=group) == 540
    check_topic(exporter, page, whole)
    victim = 3
    stack.kill("kafka3", victim)
    try:
        def seen():
            page = exporter.page()
            # What is told while brokers come and go is what it was, or nothing.
            found = exporter.values(page, f"{PARTITIONS}current_offset", "partition",
                                    topic=whole)
            assert all(ends[key] == value for key, value in found.items()), found
            sums = exporter.values(page, f"{GROUPS}lag_sum", "consumergroup")
            assert sums.get((group,), 540) == 540, sums
            return page

        page = wait_for("the loss of a broker", lambda: (page := seen()).get(
            f"{PARTITIONS}under_replicated_partition", topic=whole) == 6 and
            page.get(f"{PARTITIONS}offline", topic=lone) == 1 and
            len(exporter.values(page, f"{PARTITIONS}leader", "partition", topic=whole)) == 6 and
            len(exporter.values(page, f"{PARTITIONS}current_offset", "partition",
                                topic=whole)) == 6 and page, 90, exporter.program.tail)
        check_topic(exporter, page, whole)
        assert page.get("kafka_brokers") == 2
        assert page.get(f"{PARTITIONS}at_min_isr", topic=whole) == 6
        assert page.get(f"{PARTITIONS}under_min_isr", topic=whole) == 0
        assert page.get("kafka_up") == 1
    finally:
        stack.start_node("kafka3", victim)
    wait_for("all to be well again", lambda: (page := seen()).get("kafka_brokers") == 3 and
             page.get(f"{PARTITIONS}under_replicated_partition") == 0 and
             page.get(f"{PARTITIONS}offline") == 0 and
             page.get(f"{GROUPS}lag_sum", consumergroup=group) == 540, 90, exporter.program.tail)


def test_a_cluster_that_is_away_is_said_in_a_sentence(folder):
    program = Exporter(folder, {"host": {"enabled": False}, "kafka": {
        "bootstrap_servers": "127.0.0.1:1", "interval": "1s", "timeout": "2s"}})
    program.start()
    try:
        wait_for("a round", lambda: program.scrape().get(
            "tailrace_exporter_target_refreshes_total") > 0)
        page = program.scrape()
        assert page.has("kafka_up") and page.get("kafka_up") == 0
        assert page.get("tailrace_exporter_target_success") == 0
        wait_for("a line in the log",
                 lambda: "cannot read the cluster's metadata" in program.tail())
    finally:
        program.end()
