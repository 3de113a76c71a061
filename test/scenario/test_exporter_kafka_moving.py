# SPDX-License-Identifier: Apache-2.0
"""tailrace-exporter's Kafka collector while its cluster does not stand still: groups held in the
middle of a rebalance, producers and consumers at full speed. Nothing negative, nothing jumps, and
all of it is what Kafka's own tools say. TAILRACE_EXPORTER_LONG: on every version, the load for two
minutes (or TAILRACE_EXPORTER_SECONDS)."""

import os
import re
import subprocess
import threading
import time
from contextlib import ExitStack, contextmanager

import pytest
from confluent_kafka import Consumer, TopicPartition

from kafka_told import (GROUPS, LONG, PARTITIONS, check_groups, check_topic, commit, member,
                        member_that_joins_only, new_group, numbered, on, told_of_ends,
                        told_of_groups, value_of)
from programs import Metrics, get
from servers import Broker
from wait import wait_for

PLACES = 20     # partitions under load
SECONDS = float(os.environ.get("TAILRACE_EXPORTER_SECONDS") or (120 if LONG else 1))


def figures(page, group):
    """What does not change when members come and go."""
    return {(name, tuple(sorted(labels.items()))): value for name, labels, value in page.series
            if labels.get("consumergroup") == group and
            name.removeprefix(GROUPS) in ("current_offset", "current_offset_sum", "lag", "lag_sum",
                                          "coordinator", "lag_expired")}


@on("kafka39")
def test_a_group_in_the_middle_of_a_rebalance_is_what_kafkas_own_tool_says(broker, watch):
    topic = broker.topic("rebalancing", 2)
    for partition in range(2):
        broker.produce(topic, numbered(100), partition)
    exporter = watch(broker)
    preparing, completing = new_group(), new_group()
    commit(broker, completing, topic, {0: 10, 1: 20})

    def in_state(group, state):
        page = exporter.page()
        return page.get(f"{GROUPS}state", consumergroup=group, state=state) == 1 and page

    with member(broker, preparing, topic, 130) as silent:
        wait_for("the stable group", lambda: in_state(preparing, "Stable"), 60)
        page = exporter.fresh()
        before = {group: figures(page, group) for group in (preparing, completing)}
        assert value_of(page, f"{GROUPS}unassigned_partitions", consumergroup=preparing,
                        topic=topic) == 0
        # One joins, and the one that was there does not poll: it gives nothing back.
        other = Consumer({"bootstrap.servers": broker.servers, "group.id": preparing,
                          "enable.auto.commit": False, "log_level": 0})
        other.subscribe([topic])
        with member_that_joins_only(broker, completing):
            wait_for("the group that prepares", lambda: in_state(preparing, "PreparingRebalance"),
                     60, exporter.program.tail)
            page = wait_for("the group that completes",
                            lambda: in_state(completing, "CompletingRebalance"), 60,
                            exporter.program.tail)
            for group in (preparing, completing):
                assert figures(page, group) == before[group]
                # Who will have what is not known: 0 would be a promise, and all of them an alarm.
                assert not exporter.values(page, f"{GROUPS}unassigned_partitions", "topic",
                                           consumergroup=group)
            # In the middle of it, what was taken before is committed.
            silent.commit(offsets=[TopicPartition(topic, 0, 77)], asynchronous=False)
            page = exporter.fresh()
            assert value_of(page, f"{GROUPS}lag", consumergroup=preparing, topic=topic,
                            partition="0") == 23
            check_groups(exporter, page, preparing, completing)
        wait_for("both to have their part", lambda: (silent.poll(0.1), other.poll(0.1)) and
                 len(silent.assignment()) == len(other.assignment()) == 1, 60)
        page = wait_for("two members", lambda: (page := in_state(preparing, "Stable")) and
                        value_of(page, f"{GROUPS}members", consumergroup=preparing) == 2 and page,
                        60)
        assert value_of(page, f"{GROUPS}unassigned_partitions", consumergroup=preparing,
                        topic=topic) == 0
        other.close()


class Scrapes:
    """Asks for pages while it is entered, each beside the one before; what was wrong is told at
    the end."""

    def __init__(self, exporter, every=1.0, brokers_die=False):
        self.exporter = exporter
        self.brokers_die = brokers_die    # then what is not known has no series
        self.every = every
        self.pages = 0
        self.wrong = []
        self.failed = []    # why a round could not be finished
        self.before = {}
        self.ages = {}
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, kind, value, trace):
        self.stop.set()
        self.thread.join()
        if kind is None:
            assert self.pages >= 3 and not self.wrong, (self.pages, self.wrong[:10])
            assert self.brokers_die or len(self.failed) * 5 <= self.pages, self.failed

    def run(self):
        while not self.stop.is_set():
            try:
                self.look()
            except Exception as error:
                self.wrong.append(f"{type(error).__name__}: {error}")
            self.stop.wait(self.every)

    def look(self):
        status, _, body = get(self.exporter.program.port, "/metrics")
        assert status == 200, f"/metrics answers {status}"
        types = dict(re.findall(r"^# TYPE (\S+) (\S+)$", body.decode(), re.M))
        page = Metrics(body.decode())
        now = {(name, tuple(sorted(labels.items()))): value
               for name, labels, value in page.series}
        assert len(now) == len(page.series), "a series is there twice"
        self.pages += 1
        self.wrong += [f"{key} = {value}" for key, value in now.items()
                       if value < 0 and key[0].startswith((GROUPS, PARTITIONS))]
        if self.brokers_die and page.get("tailrace_exporter_target_process_ends_total"):
            # librdkafka dies when it loses a coordinator: its process begins to count anew.
            self.before = {key: value for key, value in self.before.items()
                           if not key[0].startswith("tailrace_kafka_")}
        self.wrong += [f"{key} went from {value} back to {now[key]}"
                       for key, value in self.before.items()
                       if only_grows(key[0], types) and now.get(key, value) < value]
        if page.get("tailrace_exporter_target_success", collector="kafka") != 1:
            self.failed.append(self.exporter.program.status()["targets"])
        elif not self.brokers_die:
            self.wrong += [f"{key} is gone" for key in self.before
                           if key[0].startswith("kafka_") and key not in now
                           and key[0] != f"{GROUPS}lag_seconds"]    # its label tells the method
        self.wrong += parts_that_do_not_sum_up(page)
        self.wrong += self.ages_that_jump(page)
        self.before |= now

    def ages_that_jump(self, page):
        """What is not committed yet grows older as time passes, and no faster. It is an estimate:
        it may be off by a fifth, and by the time from one round that knew the end to the next."""
        slack = 20 if self.brokers_die else 2
        at = time.time() - page.get("tailrace_exporter_target_age_seconds", collector="kafka")
        before, self.ages = self.ages, {
            tuple(labels[each] for each in ("consumergroup", "topic", "partition")): (at, value)
            for name, labels, value in page.series if name == f"{GROUPS}lag_seconds"}
        return [f"{place} is {age} s old, {at - before[place][0]} s after it was {before[place][1]}"
                for place, (_, age) in self.ages.items() if place in before and
                age > (before[place][1] + at - before[place][0]) * 1.2 + slack]


def only_grows(name, types):
    return types.get(name) == "counter" or name in (
        f"{PARTITIONS}current_offset", f"{PARTITIONS}oldest_offset", f"{GROUPS}current_offset",
        f"{GROUPS}current_offset_sum")


def parts_that_do_not_sum_up(page):
    """Lags are the end less what is committed, sums those of their parts, in the same page."""
    def by(name, *labels):
        return {tuple(found[each] for each in labels): value
                for each_name, found, value in page.series if each_name == name}

    ends = by(f"{PARTITIONS}current_offset", "topic", "partition")
    committed = by(f"{GROUPS}current_offset", "consumergroup", "topic", "partition")
    lags = by(f"{GROUPS}lag", "consumergroup", "topic", "partition")
    wrong = [f"lag of {key} is {lag}: {ends[key[1:]]} - {committed[key]}"
             for key, lag in lags.items() if lag != ends[key[1:]] - committed[key]]
    for name, parts in (("lag_sum", lags), ("current_offset_sum", committed)):
        for key, total in by(f"{GROUPS}{name}", "consumergroup", "topic").items():
            value = sum(part for place, part in parts.items() if place[:2] == key)
            if value != total:
                wrong.append(f"{name} of {key} is {total}, its parts {value}")
    states = by(f"{GROUPS}state", "consumergroup", "state")
    wrong += [f"{group} is in {count} states" for group in {group for group, _ in states}
              if (count := sum(value for key, value in states.items() if key[0] == group)) != 1]
    return wrong


@contextmanager
def at_full_speed(broker, rushing, steady, groups):
    """kcat without a limit on one topic: two producers, and of each group two consumers that commit
    five times a second. On the other topic the last group is always near the end, and commits a
    hundred times a second: whoever asks for the ends first finds commits beyond them."""
    with ExitStack() as ending:
        def run(command):
            process = subprocess.Popen(["nice", "sh", "-c", command], start_new_session=True,
                                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            ending.callback(process.wait)
            ending.callback(os.killpg, process.pid, 9)

        for _ in range(2):
            run(f"yes 'a record of a few bytes' | kcat -P -b {broker.servers} -t {rushing}")
            for group in groups[:-1]:
                run(f"kcat -b {broker.servers} -G {group} -X auto.commit.interval.ms=200 "
                    f"-X auto.offset.reset=earliest -q {rushing}")
        run(f"while seq 300; do sleep 0.02; done | kcat -P -b {broker.servers} -t {steady}")
        run(f"kcat -b {broker.servers} -G {groups[-1]} -X auto.commit.interval.ms=10 "
            f"-X auto.offset.reset=earliest -q {steady}")
        yield


class Bounds:
    """What the tools, or the client that the tests have, said before a page and after it."""

    def __init__(self, broker, topics, groups):
        self.broker, self.topics, self.groups = broker, topics, groups
        self.told = [self.read()]

    def read(self):
        """({place: end}, {(group, place): committed}), a place being (topic, partition)."""
        stack, name = self.broker.stack, self.broker.name
        if LONG:
            groups = told_of_groups(self.broker, *self.groups)
            ends = {(topic, partition): end for topic in self.topics
                    for (partition,), end in told_of_ends(self.broker, topic).items()}
            return ends, {(group, place): values[0] for group, places in groups.items()
                          for place, values in places.items()}
        ends = {(topic, str(partition)): end for topic in self.topics
                for partition, (_, end) in stack.watermarks(name, topic).items()}
        return ends, {(group, (topic, str(partition))): offset for group in self.groups
                      for (topic, partition), offset in stack.group_offsets(name, group).items()}

    def check(self, page):
        """The page came between what was read before and what is read now."""
        self.told.append(self.read())
        (ends, committed), (ends_after, committed_after) = self.told[-2:]
        assert len(committed) >= len(self.groups) and len(ends) == PLACES, (committed, ends)
        for (topic, partition), end in ends.items():
            seen = value_of(page, f"{PARTITIONS}current_offset", topic=topic, partition=partition)
            assert end <= seen <= ends_after[topic, partition], (topic, partition, end, seen)
        for (group, place), offset in committed.items():
            labels = {"consumergroup": group, "topic": place[0], "partition": place[1]}
            seen = value_of(page, f"{GROUPS}current_offset", **labels)
            assert offset <= seen <= committed_after[group, place], (labels, offset, seen)
            lag = value_of(page, f"{GROUPS}lag", **labels)
            assert ends[place] - committed_after[group, place] <= lag <= \
                ends_after[place] - offset, (labels, lag)


def moved(first, last):
    """Records were produced, and some were committed."""
    return all(sum(after.values()) > sum(before.values()) for before, after in zip(first, last))


@on("kafka39")
def test_pages_under_full_load_lie_between_what_the_tools_say_before_and_after(broker, watch):
    topics = [broker.topic("rushing", 4), broker.topic("steady", PLACES - 4)]
    groups = [new_group() for _ in range(3)]
    exporter = watch(broker)
    with at_full_speed(broker, *topics, groups):
        def is_settled():
            page = exporter.page()
            lags = [exporter.values(page, f"{GROUPS}lag", "partition", consumergroup=group)
                    for group in groups]
            return [len(each) for each in lags] == [4, 4, PLACES - 4] and all(
                page.get(f"{GROUPS}state", consumergroup=group, state="Stable") == 1 and
                page.get(f"{GROUPS}members", consumergroup=group) == members
                for group, members in zip(groups, (2, 2, 1)))

        wait_for("three groups that consume", is_settled, 120, exporter.program.tail)
        bounds = Bounds(broker, topics, groups)
        first = bounds.told[0]
        with Scrapes(exporter, every=1.0 if LONG else 0.2) as scrapes:
            end = time.monotonic() + SECONDS
            while time.monotonic() < end or not moved(first, bounds.told[-1]):
                assert time.monotonic() < end + 60, "nothing is produced, or nothing committed"
                bounds.check(exporter.fresh())
        page = exporter.page()
        assert page.get("tailrace_kafka_clamped_offsets_total") == 0
        check_topic(exporter, page, topics[0])
    ends, committed = bounds.told[-1]
    print(f"{scrapes.pages} pages, {len(bounds.told) - 1} compared; "
          f"{sum(ends.values()) - sum(first[0].values()):.0f} records produced, "
          f"{sum(committed.values()) - sum(first[1].values()):.0f} committed; "
          f"rounds not finished: {scrapes.failed}")
    for topic in topics:
        broker.stack.delete_topic(broker.name, topic)


@pytest.mark.skipif(not LONG, reason="TAILRACE_EXPORTER_LONG: brokers die for two minutes")
@pytest.mark.parametrize("name", ["kafka3", "kafka36x3"])
def test_nothing_goes_back_while_one_broker_of_three_after_the_other_dies(stack, name, watch):
    stack.start(name)
    broker = Broker(stack, name)
    topics = [broker.topic("rushing", 4), broker.topic("steady", PLACES - 4)]
    groups = [new_group() for _ in range(3)]
    exporter = watch(broker)
    with at_full_speed(broker, *topics, groups):
        wait_for("groups that consume", lambda: all(exporter.page().get(
            f"{GROUPS}lag_sum", consumergroup=group) for group in groups[:2]), 120)
        with Scrapes(exporter, brokers_die=True) as scrapes:
            end = time.monotonic() + SECONDS
            while time.monotonic() < end:
                for victim in (1, 2, 3):
                    stack.kill(name, victim)
                    wait_for("the loss to be seen", lambda: exporter.page().get(
                        "kafka_brokers") == 2, 60, exporter.program.tail)
                    exporter.fresh()
                    stack.start_node(name, victim)
    print(f"{scrapes.pages} pages; rounds not finished: {len(scrapes.failed)}, "
          f"{scrapes.failed[:3]}{exporter.program.tail()}")
    wait_for("all to be well again", lambda: (page := exporter.page()).get("kafka_brokers") == 3
             and page.get(f"{PARTITIONS}under_replicated_partition") == 0, 90)
    check_groups(exporter, exporter.fresh(), *groups)
    for topic in topics:
        stack.delete_topic(name, topic)
