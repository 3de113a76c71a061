# SPDX-License-Identifier: Apache-2.0
"""tailrace-local-broker as a process, and a reader of a topic of it. It answers at once, and
forgets the oldest records: who wants all of them reads while they are written."""

import signal
import subprocess

from confluent_kafka import Consumer, TopicPartition
from programs import binary


class EmbeddedBroker:
    """With topics, each as "name:partitions"; the address is in `servers`."""

    def __init__(self, *topics: str):
        command = [str(binary("tailrace-local-broker"))]
        for topic in topics:
            command += ["--topic", topic]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.servers = self.process.stdout.readline().strip()
        self.frozen = False

    def __enter__(self) -> "EmbeddedBroker":
        return self

    def __exit__(self, *_) -> None:
        self.end()

    def freeze(self) -> None:
        """Nothing is acknowledged."""
        self.process.send_signal(signal.SIGSTOP)
        self.frozen = True      # its state in /proc follows a moment later

    def thaw(self) -> None:
        self.process.send_signal(signal.SIGCONT)
        self.frozen = False

    def end(self) -> None:
        self.thaw()
        self.process.terminate()
        self.process.wait()
        self.process.stdout.close()


def read_topic(servers: str, topic: str, partitions: int) -> Consumer:
    """A reader of all partitions, from their beginning."""
    consumer = Consumer({
        "bootstrap.servers": servers, "group.id": topic, "enable.auto.commit": False,
        "log_level": 0, "fetch.wait.max.ms": 10, "fetch.error.backoff.ms": 10})
    consumer.assign([TopicPartition(topic, number, 0) for number in range(partitions)])
    return consumer
