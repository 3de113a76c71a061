# SPDX-License-Identifier: Apache-2.0
"""Sinks of one group that join and leave, stand still and come back, with and without names."""

import os
import signal
import threading

import pytest

from fake_index import FakeIndex
from identity import Watch
from programs import free_port
from rebalance import SESSION_MS, Plan, Storm
from servers import event_key, event_value
from wait import stays, wait_for

SECONDS = float(os.environ.get("TAILRACE_GROUP_SECONDS") or 12)
LONG = bool(os.environ.get("TAILRACE_GROUP_LONG"))


@pytest.fixture
def fake():
    index = FakeIndex(free_port())
    yield index
    index.close()


@pytest.mark.parametrize("how", [{}] + [{"eager": True}, {"static": True}, {"kafka": "kafka36"},
                                        {"kafka": "kafka36", "eager": True}] * LONG,
                         ids=lambda how: "-".join(map(str, how.values())) or "cooperative")
def test_a_storm_of_sinks_that_join_leave_die_and_freeze_loses_and_doubles_nothing(
        stack, folder, seed, how):
    Storm(stack, Plan(seconds=SECONDS, sinks=3, seed=seed, rate=500, **how), folder).run()


def test_a_sink_that_wakes_after_its_partitions_were_given_away_harms_nothing(kafka, fake,
                                                                              make_sink):
    topic = kafka.topic("zombie", 4, dead_letters=True)
    group = f"group-{topic}"
    first, second = (make_sink(kafka.servers, group, [{"topic": topic, "index": topic}], fake.url,
                               label=f"sink{number}",
                               properties={"session.timeout.ms": SESSION_MS})
                     for number in range(2))
    kafka.produce(topic, ((event_key(number), event_value(f"n {number}"))
                          for number in range(200)))
    goes_on = threading.Event()
    with Watch(first), Watch(second):
        first.start()
        kafka.wait_committed(group, topic)
        # Bulks of the first are under way when it freezes, and answered when it is a zombie.
        fake.scripts[topic] = lambda index, bulk: goes_on.wait(60) and None
        kafka.produce(topic, ((event_key(number), event_value(f"n {number}"))
                              for number in range(200, 2000)))
        wait_for("bulks under way", lambda: first.metric("tailrace_sink_in_flight_records") > 0)
        first.process.send_signal(signal.SIGSTOP)
        del fake.scripts[topic]
        second.start(wait="no")
        kafka.wait_committed(group, topic)
        kafka.produce(topic, ((event_key(number), event_value(f"n {number}"))
                              for number in range(2000, 3000)))
        kafka.wait_committed(group, topic)
        ends = kafka.stack.group_offsets(kafka.name, group)
        goes_on.set()
        first.process.send_signal(signal.SIGCONT)
        wait_for("the first to hear that it lost its partitions",
                 lambda: first.logged("partitions lost: the group went on without this sink"))
        stays("no offset moves back", lambda:
              kafka.stack.group_offsets(kafka.name, group) == ends, 2)
        wait_for("the first to be a member again", lambda: any(
            each["assigned"] for each in first.status()["partitions"]), 30)
        kafka.produce(topic, ((event_key(number), event_value(f"n {number}"))
                              for number in range(3000, 4000)))
        kafka.wait_committed(group, topic)
        assert first.finished("revoked") > 0
    assert set(fake.stored[topic]) == {event_key(number) for number in range(4000)}
    assert kafka.total(f"{topic}.dlq") == 0
    first.stop()
    second.stop()


def test_a_sink_with_a_name_comes_back_without_a_rebalance_and_its_double_ends(kafka, fake,
                                                                              make_sink):
    topic = kafka.topic("named", 4, dead_letters=True)
    group = f"group-{topic}"
    left, right, double = (make_sink(kafka.servers, group, [{"topic": topic, "index": topic}],
                                     fake.url, label=label,
                                     properties={"session.timeout.ms": 15000})
                           for label in ("left", "right", "double"))
    for sink, name in ((left, "left"), (right, "right"), (double, "left")):
        sink.config["kafka"]["instance_id"] = name

    def own(sink):
        return {each["partition"] for each in sink.status()["partitions"] if each["assigned"]}

    left.start()
    right.start()
    wait_for("two partitions each", lambda: len(own(left)) == len(own(right)) == 2, 30,
             lambda: f"{own(left)} {own(right)}")
    before = own(left)
    rebalances = right.metric("tailrace_sink_rebalances_total")
    for number, end in enumerate((left.stop, left.kill)):
        end()
        kafka.produce(topic, ((event_key(each), event_value(f"n {each}"))
                              for each in range(number * 100, number * 100 + 100)))
        left.start()
        wait_for("its partitions again", lambda: own(left) == before, 30)
        kafka.wait_committed(group, topic)
    assert right.metric("tailrace_sink_rebalances_total") == rebalances
    double.once()
    stays("a visit takes nobody's name", lambda: left.running() and
          not left.logged("has taken over the name"), 3)
    double.start(wait="no")
    left.wait_exit(1, 30)
    assert left.logged("has taken over the name 'left'"), left.tail()
    kafka.produce(topic, ((event_key(each), event_value(f"n {each}")) for each in range(200, 300)))
    kafka.wait_committed(group, topic)
    assert set(fake.stored[topic]) == {event_key(each) for each in range(300)}
    double.stop()
    right.stop()


def test_a_partition_that_left_while_its_route_waited_goes_on_when_it_is_back(kafka, two_indices,
                                                                             make_sink):
    blocked, other = two_indices
    blocked.create()
    other.create()
    blocked.set({"index.blocks.write": True})
    topic = kafka.topic("waiting", 4, dead_letters=True)
    idle = kafka.topic("idle", 1, dead_letters=True)
    group = f"group-{topic}"
    records = 24_000     # far more than the memory below: the route's partitions are paused
    kafka.produce(topic, ((event_key(number), event_value(f"n {number} " + "x" * 1000))
                          for number in range(records)))
    routes = [{"topic": topic, "index": blocked.name}, {"topic": idle, "index": other.name}]
    first, second = (make_sink(kafka.servers, group, routes, blocked.url, label=f"sink{number}",
                               bulk={"interval": "200ms", "size": "1MiB", "memory": "8MiB"})
                     for number in range(2))
    first.start()
    wait_for("the waiting route to be paused", lambda: any(
        each["paused"] for each in first.status()["partitions"] if each["topic"] == topic), 30)
    second.start(wait="no")
    wait_for("the second sink to get partitions of the waiting route", lambda: any(
        each["topic"] == topic and each["assigned"] for each in second.status()["partitions"]), 30)
    blocked.set({"index.blocks.write": None})
    first.wait_metric("tailrace_sink_finished_records_total", 1, 60, outcome="indexed")
    second.stop()
    blocked.wait_count(records, 60, first.check_alive, lambda: first.tail(8))
    kafka.wait_committed(group, topic, 30)
    first.stop()
