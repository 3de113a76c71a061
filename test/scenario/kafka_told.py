# SPDX-License-Identifier: Apache-2.0
"""tailrace-exporter's pages of a Kafka cluster, and what Kafka's own tools tell of it."""

import os
import re
import socket
import struct
import time
import uuid
from contextlib import contextmanager

import pytest
from confluent_kafka import Consumer, TopicPartition

from programs import Exporter
from wait import wait_for

LONG = bool(os.environ.get("TAILRACE_EXPORTER_LONG"))
INTERVAL = "1s"
GROUPS = "kafka_consumergroup_"
PARTITIONS = "kafka_topic_partition_"


def on(*names):
    """Runs a test on these single brokers; TAILRACE_EXPORTER_LONG: on those of every version."""
    return pytest.mark.parametrize("broker", ["kafka36", "kafka39", "kafka"] if LONG else names,
                                   indirect=True)


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


def value_of(page, name, **labels):
    """The one series of that name and labels."""
    found = [value for each, has, value in page.series
             if each == name and labels.items() <= has.items()]
    assert len(found) == 1, f"{name}{labels}: {found}"
    return found[0]


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


@contextmanager
def member_that_joins_only(broker, group):
    """A member that joins a group without members and says no more: as its leader it owes the
    assignment, and until it is given up, after a minute, the group completes its rebalance."""
    def text(value):
        return struct.pack(">h", len(value)) + value.encode()

    timeout_ms = 60000
    join = (struct.pack(">hhi", 11, 2, 0) + text("joins-only")   # JoinGroup, version 2
            + text(group) + struct.pack(">ii", timeout_ms, timeout_ms) + text("")
            + text("consumer") + struct.pack(">i", 1) + text("range") + struct.pack(">i", 0))
    host, port = broker.servers.split(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(struct.pack(">i", len(join)) + join)
        with connection.makefile("rb") as stream:
            answer = stream.read(struct.unpack(">i", stream.read(4))[0])
        error = struct.unpack_from(">h", answer, 8)[0]    # behind correlation and throttling
        assert error == 0, f"{group} answers error {error} to a member that joins"
        yield


def tool(broker, name, *arguments):
    """What one of Kafka's command line tools says; they moved with 3.8."""
    old = broker.name.startswith("kafka36")
    main = {"groups": "kafka.admin.ConsumerGroupCommand" if old else
            "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
            "offsets": "kafka.tools.GetOffsetShell" if old else
            "org.apache.kafka.tools.GetOffsetShell",
            "topics": "kafka.admin.TopicCommand" if old else
            "org.apache.kafka.tools.TopicCommand"}[name]
    return broker.stack.run_tool(broker.name, main, *arguments)


def told_of_groups(broker, *groups):
    """{group: {(topic, partition): (committed, end, lag)}} by kafka-consumer-groups."""
    found = {group: {} for group in groups}
    for words in described(broker, groups):
        if len(words) > 5 and words[3] != "-":
            found[words[0]][words[1], words[2]] = tuple(
                float(word) if word != "-" else None for word in words[3:6])
    return found


def told_of_states(broker, *groups):
    """{group: (coordinator, state, members)} by kafka-consumer-groups --state."""
    return {words[0]: (float(re.search(r"\((\d+)\)", " ".join(words))[1]), words[-2],
                       float(words[-1])) for words in described(broker, groups, "--state")}


def told_of_members(broker, *groups):
    """{group: members} by kafka-consumer-groups --members."""
    found = dict.fromkeys(groups, 0)
    for words in described(broker, groups, "--members"):
        found[words[0]] += 1
    return found


def described(broker, groups, *arguments):
    """The words of each line that begins with one of these groups."""
    chosen = [word for group in groups for word in ("--group", group)]
    lines = tool(broker, "groups", "--describe", *chosen, "--timeout", "50000",
                 *arguments).splitlines()
    return [line.split() for line in lines if line.split()[:1] and line.split()[0] in groups]


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


def told_of_ends(broker, topic):
    """{(partition,): end} by kafka-get-offsets."""
    return {(line.split(":")[1],): float(line.split(":")[2])
            for line in tool(broker, "offsets", "--topic", topic).split()}


def told_partitions(broker, which):
    """{(topic, partition)} by kafka-topics --describe --WHICH-partitions."""
    return set(re.findall(r"Topic: (\S+)\s+Partition: (\d+)",
                          tool(broker, "topics", "--describe", f"--{which}-partitions")))


def check_groups(exporter, page, *groups):
    """Every value of these groups beside kafka-consumer-groups, which is asked now."""
    for group, places in told_of_groups(exporter.broker, *groups).items():
        for column, name in ((0, "current_offset"), (2, "lag")):
            told = {place: values[column] for place, values in places.items()
                    if values[column] is not None}
            assert exporter.values(page, f"{GROUPS}{name}", "topic", "partition",
                                   consumergroup=group) == told, (group, name)
            for topic in {topic for topic, _ in told}:
                assert value_of(page, f"{GROUPS}{name}_sum", consumergroup=group, topic=topic) == \
                    sum(value for place, value in told.items() if place[0] == topic), (group, name)
    members = told_of_members(exporter.broker, *groups)
    for group, (coordinator, state, count) in told_of_states(exporter.broker, *groups).items():
        assert value_of(page, f"{GROUPS}coordinator", consumergroup=group) == coordinator
        assert value_of(page, f"{GROUPS}members", consumergroup=group) == count == members[group]
        states = exporter.values(page, f"{GROUPS}state", "state", consumergroup=group)
        assert [name for name, value in states.items() if value] == [(state,)], states


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
