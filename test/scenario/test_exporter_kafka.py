# SPDX-License-Identifier: Apache-2.0
"""tailrace-exporter's Kafka collector beside what Kafka's own tools tell of the same cluster."""

import subprocess
import time
import uuid

import pytest
from confluent_kafka import Consumer, KafkaException, TopicPartition

from kafka_told import (GROUPS, LONG, PARTITIONS, check_groups, check_topic, commit, member,
                        new_group, numbered, on, told_of_ends, told_partitions, tool)
from programs import Exporter, get
from servers import Broker
from wait import wait_for


@on("kafka36", "kafka")
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
        check_groups(exporter, page, silent, busy)
    assert page.get(f"{GROUPS}state", consumergroup=silent, state="Empty") == 1
    assert page.get(f"{GROUPS}state", consumergroup=busy, state="Stable") == 1
    assert page.get(f"{GROUPS}unassigned_partitions", consumergroup=busy, topic=topic) == 0
    assert exporter.values(page, f"{PARTITIONS}current_offset", "partition", topic=topic) == \
        told_of_ends(broker, topic)
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


@on("kafka")
def test_lag_in_seconds_is_the_age_of_the_oldest_record_not_committed(broker, watch):
    topic = broker.topic("aged", 1)
    broker.produce(topic, numbered(10))
    began = time.time()
    group = new_group()
    commit(broker, group, topic, {0: 10})
    exporter = watch(broker, lag_objective="3s")
    lag = f"{GROUPS}lag_seconds"
    page = exporter.fresh()
    assert exporter.values(page, lag, "partition", consumergroup=group) == {("0",): 0.0}
    broker.produce(topic, numbered(5, 10))
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
    commit(broker, group, topic, {0: 15})
    page = exporter.fresh()
    assert page.get(f"{GROUPS}status", consumergroup=group) == 1
    assert page.get(lag, consumergroup=group) == 0
    assert page.get(f"{GROUPS}lag_over_objective", consumergroup=group) == 0


@on("kafka")
def test_a_lag_that_was_there_before_the_exporter_has_its_age_within_some_rounds(broker, watch):
    topic = broker.topic("older", 1)
    producer = broker.producer()
    ages, now = [4000, 3000, 1234, 90, 20, 7], time.time()  # minutes
    for minutes in ages:
        for key, value in numbered(100):
            producer.produce(topic, value, key, timestamp=int((now - minutes * 60) * 1000))
        assert producer.flush(30) == 0
    groups = {new_group(): number for number in range(len(ages))}
    for group, number in groups.items():
        commit(broker, group, topic, {0: number * 100 + 50})
    exporter = watch(broker)

    def told(page):
        return {labels["consumergroup"]: value for name, labels, value in page.series
                if name == f"{GROUPS}lag_seconds" and labels["consumergroup"] in groups}

    assert len(told(exporter.fresh())) == len(groups), "an age at once, if a rough one"

    def near():
        found = told(exporter.fresh())
        wanted = {group: ages[number] * 60 + time.time() - now for group, number in groups.items()}
        return len(found) == len(groups) and all(
            abs(found[group] - age) < max(66, age / 8) for group, age in wanted.items())

    wait_for("all ages", near, 30, lambda: sorted(told(exporter.fresh()).values()))


@on("kafka")
def test_what_is_reset_deleted_or_expired_is_right_in_the_next_round(broker, watch):
    topic, doomed = broker.topic("changing", 2), broker.topic("doomed", 1)
    broker.produce(topic, numbered(100), 0)
    broker.produce(topic, numbered(100), 1)
    broker.produce(doomed, numbered(100), 0)
    group = new_group()
    commit(broker, group, topic, {0: 90, 1: 30})
    commit(broker, group, doomed, {0: 60})
    exporter = watch(broker)
    page = exporter.fresh()
    assert page.get(f"{GROUPS}lag_sum", consumergroup=group, topic=topic) == 80
    assert page.get(f"{GROUPS}lag_sum", consumergroup=group, topic=doomed) == 40
    assert page.get(f"{GROUPS}lag_expired", consumergroup=group) == 0

    # What the group has committed in one partition is not there any more; a topic is deleted.
    admin = broker.stack.admin(broker.name)
    admin.delete_records([TopicPartition(topic, 1, 50)])[TopicPartition(topic, 1)].result()
    broker.stack.delete_topic(broker.name, doomed)
    page = exporter.fresh()
    assert page.get(f"{PARTITIONS}oldest_offset", topic=topic, partition="1") == 50
    assert exporter.values(page, f"{GROUPS}lag_expired", "partition", consumergroup=group) == {
        ("0",): 0.0, ("1",): 20.0}
    assert not [labels for _, labels, _ in page.series if labels.get("topic") == doomed]
    check_groups(exporter, page, group)

    # Reset while it is empty.
    tool(broker, "groups", "--group", group, "--topic", topic, "--reset-offsets", "--to-earliest",
         "--execute")
    page = exporter.fresh()
    assert exporter.values(page, f"{GROUPS}current_offset", "partition", consumergroup=group) == {
        ("0",): 0.0, ("1",): 50.0}
    assert exporter.values(page, f"{GROUPS}lag", "partition", consumergroup=group) == {
        ("0",): 100.0, ("1",): 50.0}
    assert page.get(f"{GROUPS}lag_expired", consumergroup=group) == 0
    assert page.get(f"{GROUPS}status", consumergroup=group) == 6

    # All its topics are deleted, then itself: whatever Kafka keeps of it, nothing is shown.
    broker.stack.delete_topic(broker.name, topic)
    page = exporter.fresh()
    assert not [labels for _, labels, _ in page.series if labels.get("topic") == topic]
    again = broker.topic("again", 1)
    commit(broker, group, again, {0: 0})
    assert exporter.fresh().get(f"{GROUPS}members", consumergroup=group) == 0
    admin.delete_consumer_groups([group])[group].result()
    page = exporter.fresh()
    assert not [labels for _, labels, _ in page.series if labels.get("consumergroup") == group]
    assert page.get("tailrace_exporter_target_success", collector="kafka") == 1


@on("kafka")
def test_filters_and_granularity(broker, watch):
    topic, other = broker.topic("shown"), broker.topic("hidden")
    group, left_out = new_group(), f"left-{uuid.uuid4().hex[:8]}"
    for each in (topic, other):
        broker.produce(each, numbered(10), 0)
        commit(broker, group, each, {0: 4})
    commit(broker, left_out, topic, {0: 4})
    page = watch(broker, topics="^shown-", groups="^group-").fresh()
    assert page.get(f"{GROUPS}lag", consumergroup=group, topic=topic) == 6
    assert not any("hidden" in labels.get("topic", "") for _, labels, _ in page.series)
    assert not any(labels.get("consumergroup") == left_out for _, labels, _ in page.series)
    page = watch(broker, granularity="topic", topics_exclude="^hidden-").fresh()
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


def check_marks(exporter, page):
    """Every partition of the cluster that is offline, under-replicated or under its minimum beside
    kafka-topics."""
    for family, which in (("offline", "unavailable"), ("under_min_isr", "under-min-isr"),
                          ("under_replicated_partition", "under-replicated")):
        ours = {place for place, value in exporter.values(
            page, f"{PARTITIONS}{family}", "topic", "partition").items() if value}
        assert ours == told_partitions(exporter.broker, which), which


@pytest.mark.parametrize("name", ["kafka3"] + ["kafka36x3"] * LONG)
def test_brokers_that_are_lost_are_told_and_nothing_jumps(stack, name, watch):
    stack.start(name)
    kafka3 = Broker(stack, name)
    whole = kafka3.topic("whole", 6)
    lone = f"lone-{uuid.uuid4().hex[:8]}"
    stack.create_topic(name, lone, 3, {"min.insync.replicas": 1}, replication=1)
    strict = kafka3.topic("strict", 2, min_insync_replicas=3)
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
    stack.kill(name, victim)
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
            page.get(f"{PARTITIONS}under_min_isr", topic=strict) == 2 and
            page.get(f"{PARTITIONS}offline", topic=lone) == 1 and
            len(exporter.values(page, f"{PARTITIONS}leader", "partition", topic=whole)) == 6 and
            len(exporter.values(page, f"{PARTITIONS}current_offset", "partition",
                                topic=whole)) == 6 and page, 90, exporter.program.tail)
        check_topic(exporter, page, whole)
        check_marks(exporter, page)
        assert page.get("kafka_brokers") == 2
        assert page.get(f"{PARTITIONS}at_min_isr", topic=whole) == 6
        assert page.get(f"{PARTITIONS}under_min_isr", topic=whole) == 0
        assert page.get("kafka_up") == 1
    finally:
        stack.start_node(name, victim)
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
