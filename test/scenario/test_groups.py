# SPDX-License-Identifier: Apache-2.0
"""Two sinks of one group that join and leave under load."""

import os
import random
import threading
import time

from identity import Watch
from oracle import Tally, digest
from servers import event_key, event_value
from wait import wait_for

SECONDS = float(os.environ.get("TAILRACE_GROUP_SECONDS") or 30)
RATE = 1500


class Load(threading.Thread):
    """Produces numbered events until it is stopped."""

    def __init__(self, broker, topic):
        super().__init__(daemon=True)
        self.producer = broker.producer()
        self.topic = topic
        self.count = 0
        self.failed: list[str] = []
        self._over = threading.Event()

    def run(self):
        while not self._over.wait(0.05):
            for _ in range(int(RATE * 0.05)):
                self.producer.produce(self.topic, event_value(f"n {self.count}"),
                                      event_key(self.count), on_delivery=self._delivered)
                self.count += 1
            self.producer.poll(0)

    def _delivered(self, error, _):
        if error:
            self.failed.append(str(error))

    def finish(self):
        self._over.set()
        self.join(30)
        assert not self.producer.flush(60) and not self.failed, self.failed[:3]


def test_sinks_that_join_and_leave_lose_and_double_nothing(kafka, index, seed, make_sink):
    chance = random.Random(seed)
    topic = kafka.topic("groups", 6, dead_letters=True)
    group = f"group-{topic}"
    index.create()
    sinks = [make_sink(kafka.servers, group, [{"topic": topic, "index": index.name}], index.url,
                       label=f"sink{number}") for number in range(2)]
    load = Load(kafka, topic)
    load.start()
    joins = leaves = 0
    indexed = 0.0
    deadline = time.monotonic() + SECONDS
    try:
        with Watch(*sinks):
            sinks[0].start()
            while time.monotonic() < deadline:
                down = [each for each in sinks if not each.running()]
                up = [each for each in sinks if each.running()]
                if down:        # one joins while the other works
                    down[0].start(wait="no")
                    joins += 1
                else:           # one of two leaves
                    victim = chance.choice(up)
                    if chance.random() < 0.7:
                        victim.wait_page("/healthz")
                        victim.stop()
                    else:
                        victim.kill()
                    leaves += 1
                # The wait is the load: how long the group lives in this form.
                time.sleep(chance.uniform(0.2, 3))
            load.finish()
            for each in sinks:
                if not each.running():
                    each.start(wait="no")
            index.wait_count(load.count, 90, lambda: [each.check_alive() for each in sinks],
                             lambda: f"{load.count} produced, group lag {kafka.lag(group, topic)}"
                             f"{sinks[0].tail(8)}{sinks[1].tail(8)}")
            kafka.wait_committed(group, topic, 90)
            indexed = sum(each.finished("indexed") for each in sinks)
    finally:
        load._over.set()
    for each in sinks:
        each.stop()
    print(f"{load.count} events, {joins} joins, {leaves} leaves, {indexed:.0f} by the last lives")
    expected = {("n", number): digest(f"n {number}") for number in range(load.count)}

    def key(source):
        tag, number = source["message"].split(" ")
        return tag, int(number)

    Tally(expected, key, index.name).add_all(index.documents()).check(seed)
    assert kafka.total(f"{topic}.dlq") == 0
    for each in sinks:
        assert each.lives >= 1 and not each.logged("ASSERT"), each.tail()


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
