#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Kills the brokers of a real cluster in turn, while exporters read its groups.

By hand, with the Python of the test environment:
    $(python3 test/stack/stack.py venv)/bin/python test/chaos/coordinators.py --minutes 8 \\
        [--exporters N] [--groups N] [--seed N] [--folder DIR]

librdkafka can abort in the moment in which a group's coordinator is lost; then a process of the
exporter's ends, and nothing else. Every page must come whole and with all of the host; of Kafka it
has what is known. At the end every exporter must read the cluster again. Prints how often that
happened (2026-11-21, librdkafka 2.0.2, 4 exporters, 120 groups, 15 kills in 8 minutes: 33 times).
"""

import argparse
import random
import sys
import threading
import time
from collections import Counter
from pathlib import Path

HERE = Path(__file__).resolve().parent
for place in (HERE, *(HERE.parent / name for name in ("scenario", "stack"))):
    if str(place) not in sys.path:
        sys.path.insert(0, str(place))

from confluent_kafka import Consumer, TopicPartition  # noqa: E402
from kept import run_kept  # noqa: E402
from programs import Exporter  # noqa: E402
from servers import Broker  # noqa: E402
from stack import Stack  # noqa: E402
from wait import wait_for  # noqa: E402

PARTITIONS = 12
HOST = ("node_cpu_seconds_total", "node_memory_MemTotal_bytes", "node_load1",
        "tailrace_exporter_target_success", "process_start_time_seconds")


class Scraper(threading.Thread):
    """Looks at the pages of all exporters, five times a second."""

    def __init__(self, exporters):
        super().__init__(daemon=True)
        self.exporters = exporters
        self.seen = Counter()
        self.over = threading.Event()
        self.error = None

    def run(self):
        try:
            while not self.over.wait(0.2):
                for exporter in self.exporters:
                    self.look(exporter.scrape())
        except BaseException as error:
            self.error = error

    def look(self, page):
        for name in HOST:
            assert page.has(name), f"a page has no {name}"
        self.seen["pages"] += 1
        self.seen["pages with groups"] += page.has("kafka_consumergroup_members")
        self.seen["pages after a failed round"] += \
            page.get("tailrace_exporter_target_success") == 0


def make_groups(kafka, topic, count):
    for number in range(count):
        consumer = Consumer({"bootstrap.servers": kafka.servers,
                             "group.id": f"coordinators-{number}", "log_level": 0})
        consumer.commit(offsets=[TopicPartition(topic, partition, 0)
                                 for partition in range(PARTITIONS)], asynchronous=False)
        consumer.close()


def run(options, folder, say):
    chance = random.Random(options.seed)
    stack = Stack()
    stack.start("kafka3")
    kafka = Broker(stack, "kafka3")
    topic = kafka.topic("coordinators", PARTITIONS)
    make_groups(kafka, topic, options.groups)
    exporters = [Exporter(folder / f"exporter{number}", {"kafka": {
        "bootstrap_servers": kafka.servers, "groups": "^coordinators-", "interval": "1s",
        "timeout": "8s"}}) for number in range(options.exporters)]
    scraper = Scraper(exporters)
    kills = 0
    try:
        for exporter in exporters:
            exporter.start()
        scraper.start()
        end = time.monotonic() + options.minutes * 60
        while time.monotonic() < end and scraper.error is None:
            node = kills % 3 + 1
            time.sleep(chance.random() * 4)
            stack.kill("kafka3", node)
            kills += 1
            say(f"killed broker {node}; {dict(scraper.seen)}")
            time.sleep(chance.random() * 8)
            stack.start_node("kafka3", node)
        for exporter in exporters:
            wait_for("the cluster to be read again",
                     lambda: exporter.scrape().get("tailrace_exporter_target_success") == 1, 60,
                     exporter.tail)
        scraper.over.set()
        scraper.join()
        if scraper.error is not None:
            raise scraper.error
        ends = [int(exporter.scrape().get("tailrace_exporter_target_process_ends_total"))
                for exporter in exporters]
        say(f"{kills} brokers killed, {dict(scraper.seen)}, every page whole; "
              f"{sum(ends)} processes ended: {ends}")
    finally:
        scraper.over.set()
        for exporter in exporters:
            exporter.end()
        stack.stop("kafka3")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=8)
    parser.add_argument("--exporters", type=int, default=4)
    parser.add_argument("--groups", type=int, default=120)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    return run_kept("coordinators", options.folder, options.seed, "every page came whole",
                    lambda folder, say: run(options, folder, say))


if __name__ == "__main__":
    sys.exit(main())
