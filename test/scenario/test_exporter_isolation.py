# SPDX-License-Identifier: Apache-2.0
"""tailrace-exporter when the process in which a target's rounds run dies or hangs."""

import gzip
import os
import random
import re
import signal
import threading
import time
from pathlib import Path

import pytest
from confluent_kafka import Consumer, TopicPartition

from embedded import EmbeddedBroker
from programs import Exporter, Metrics, get
from wait import wait_for

SCRAPES = 1000
PARTITIONS = 40
ENDS = "tailrace_exporter_target_process_ends_total"
SUCCESS = "tailrace_exporter_target_success"
ROUNDS = "tailrace_exporter_target_refreshes_total"


@pytest.fixture
def exporter(folder, kafka, request):
    """Of this host and of a broker with a topic and a group."""
    interval, timeout = getattr(request, "param", ("1s", "4s"))
    topic = kafka.topic("isolation", PARTITIONS)
    consumer = Consumer({"bootstrap.servers": kafka.servers, "group.id": topic, "log_level": 0})
    consumer.commit(offsets=[TopicPartition(topic, number, 0) for number in range(PARTITIONS)],
                    asynchronous=False)
    consumer.close()
    program = Exporter(folder / "exporter", {"host": {"enabled": True}, "kafka": {
        "bootstrap_servers": kafka.servers, "topics": f"^{topic}$", "groups": f"^{topic}$",
        "interval": interval, "timeout": timeout}})
    program.start()
    wait_for("the first good round", lambda: program.scrape().get(SUCCESS) == 1, 30, program.tail)
    yield program
    program.end()


def state(pid):
    """"" when there is no such process, "Z" of one that only waits for its parent."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return ""


def child(program):
    """The collector's process, or None."""
    found = []
    for task in Path(f"/proc/{program.process.pid}/task").iterdir():
        try:
            found += [int(pid) for pid in (task / "children").read_text().split()]
        except OSError:
            pass        # the thread ended
    found = [pid for pid in found if state(pid) not in ("", "Z")]
    assert len(found) <= 1, f"there are {len(found)} processes for one target"
    return found[0] if found else None


def page_of(program, packed):
    """A page that came whole, with all of the host and all or nothing of Kafka."""
    status, headers, body = get(program.port, "/metrics",
                                {"Accept-Encoding": "gzip"} if packed else {}, 20)
    assert status == 200 and (headers.get("content-encoding") == "gzip") == packed
    page = Metrics((gzip.decompress(body) if packed else body).decode())
    for name in ("node_cpu_seconds_total", "node_memory_MemTotal_bytes", "node_load1",
                 "node_filesystem_size_bytes", SUCCESS, "process_start_time_seconds"):
        assert page.has(name), f"{name} is missing"
    for name in ("kafka_topic_partition_current_offset", "kafka_topic_partition_leader",
                 "kafka_consumergroup_lag"):
        assert len(page.labels(name)) in (0, PARTITIONS), f"{name} is there in part"
    return page


class Killer(threading.Thread):
    """Sends the collector's process a signal at random moments, one after the other was got over.
    """

    def __init__(self, program, seed):
        super().__init__()
        self.program = program
        self.random = random.Random(seed)
        self.sent = 0
        self.over = threading.Event()
        self.failure = None

    def run(self):
        kinds = [signal.SIGABRT, signal.SIGSEGV, signal.SIGABRT, signal.SIGSTOP]
        try:
            while not self.over.wait(self.random.random()):
                pid = wait_for("a process", lambda: child(self.program), 30, self.program.tail)
                kind = kinds[self.sent % len(kinds)]
                try:
                    os.kill(pid, kind)
                except ProcessLookupError:
                    continue
                self.sent += 1
                wait_for(f"the end of {pid} by {kind.name}", lambda: state(pid) == "", 60,
                         self.program.tail)
                wait_for(f"a good round after {kind.name}", self.has_recovered, 60,
                         self.program.tail)
        except BaseException as failure:
            self.failure = failure


    def has_recovered(self):
        page = page_of(self.program, True)
        return page.get(SUCCESS) == 1 and page.get(ENDS) == self.sent


def test_every_page_is_whole_while_the_collectors_process_dies_and_hangs(exporter, seed):
    killer = Killer(exporter, seed)
    killer.start()
    seen = 0
    try:
        for number in range(SCRAPES):
            page = page_of(exporter, number % 2 == 0)
            seen += page.has("kafka_consumergroup_lag")
            time.sleep(0.005)
    finally:
        killer.over.set()
        killer.join()
    if killer.failure:
        raise killer.failure
    assert killer.sent >= 4, "each kind of signal was sent"
    assert seen > 0
    page = page_of(exporter, False)
    assert page.get(ENDS) == killer.sent, "every end was counted, once"
    assert page.has("kafka_consumergroup_lag")
    wait_for("the log", lambda: exporter.logged("ended by SIGABRT, a known fault of librdkafka"),
             30, exporter.tail)
    exporter.check_alive()


def test_after_a_death_the_series_are_fresh_within_two_rounds(exporter):
    """At most the round that it dies in fails, and no series is missing between."""
    before = page_of(exporter, True)
    pid = child(exporter)
    os.kill(pid, signal.SIGSEGV)

    def counted():
        page = page_of(exporter, True)
        assert len(page.labels("kafka_consumergroup_lag")) == PARTITIONS
        return page.get(ENDS) == 1 and page

    died = wait_for("the count", counted, 30, exporter.tail)
    assert died.get(ROUNDS) <= before.get(ROUNDS) + 2

    def back():
        page = page_of(exporter, True)
        assert len(page.labels("kafka_consumergroup_lag")) == PARTITIONS
        return page.get(SUCCESS) == 1 and page

    good = wait_for("a good round", back, 30, exporter.tail)
    assert good.get(ROUNDS) <= died.get(ROUNDS) + 1


# After this the page is served for 11 s, and a process that hangs is ended within 4.
@pytest.mark.parametrize("exporter", [("3s", "2s")], indirect=True)
def test_while_the_process_hangs_the_last_page_is_served_and_the_failure_told(exporter):
    os.kill(child(exporter), signal.SIGSTOP)

    def failed():
        page = page_of(exporter, True)
        assert len(page.labels("kafka_consumergroup_lag")) == PARTITIONS
        return page.get(SUCCESS) == 0 and page

    page = wait_for("the failure", failed, 30, exporter.tail)
    assert page.get(ENDS) == 1
    assert page.get("tailrace_exporter_target_age_seconds") > 3, "it is the page of before"
    target = exporter.status()["targets"][0]
    assert target["success"] or "process did not answer within 4." in target["error"]

    def back():
        page = page_of(exporter, True)
        assert len(page.labels("kafka_consumergroup_lag")) == PARTITIONS
        return page.get(SUCCESS) == 1

    wait_for("a good round", back, 30, exporter.tail)


def test_a_process_that_starts_again_has_the_configuration_of_before(exporter):
    """Whatever became of the file meanwhile."""
    exporter.config_path.write_text("kafka: [no]\n")
    exporter.process.send_signal(signal.SIGHUP)
    wait_for("the refusal", lambda: exporter.logged("the configuration stays as it was"), 30,
             exporter.tail)
    os.kill(child(exporter), signal.SIGKILL)
    wait_for("the count", lambda: page_of(exporter, True).get(ENDS) == 1, 30, exporter.tail)
    wait_for("a good round", lambda: page_of(exporter, True).get(SUCCESS) == 1, 30, exporter.tail)
    wait_for("the log", lambda: exporter.logged("was ended by SIGKILL; it is started again"), 30,
             exporter.tail)


@pytest.mark.parametrize("how", ["killed", "killed while it hangs", "stopped"])
def test_no_process_is_left_behind(exporter, how):
    pid = wait_for("a process", lambda: child(exporter), 30, exporter.tail)
    if how == "stopped":
        exporter.stop()
    else:
        if how == "killed while it hangs":
            os.kill(pid, signal.SIGSTOP)
        exporter.kill()
    wait_for(f"the end of {pid}", lambda: state(pid) in ("", "Z"), 10, lambda: state(pid))


def test_a_large_page_is_the_same_for_who_takes_gzip_and_who_does_not(folder):
    """It is packed in the other process, and unpacked while it is sent; two forms of one page."""
    with EmbeddedBroker(*(f"large-{number}:500" for number in range(7))) as broker:
        program = Exporter(folder / "exporter", {"host": {"enabled": False}, "kafka": {
            "bootstrap_servers": broker.servers, "interval": "1h", "timeout": "30s"}})
        program.start()
        try:
            wait_for("the round", lambda: program.scrape().get(ROUNDS) == 1, 60, program.tail)
            pages = []
            for form in ("text/plain", "application/openmetrics-text"):
                for packed in ("identity", "gzip"):
                    _, headers, body = get(program.port, "/metrics", {
                        "Accept": form, "Accept-Encoding": packed}, 20)
                    assert form in headers["content-type"]
                    body = gzip.decompress(body) if packed == "gzip" else body
                    pages.append([line for line in body.decode().splitlines()
                                  if re.match(r"(# (HELP|TYPE) )?kafka_", line)])
        finally:
            program.end()
    name = "kafka_topic_partition_current_offset"
    assert pages[0] == pages[1] and pages[2] == pages[3]
    assert sum(line.startswith(name + "{") for line in pages[0]) == 3500
    assert pages[0].count(f"# TYPE {name} gauge") == 1
    assert [line for line in pages[0] if line[0] != "#"] == \
        [line for line in pages[2] if line[0] != "#"]


def test_its_costs_are_the_targets(exporter):
    """Processor time and memory of the process are on the page of its parent."""
    pid = child(exporter)
    page = page_of(exporter, True)
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    told = page.get("tailrace_exporter_target_process_resident_memory_bytes")
    assert 0.5 * pages * 4096 < told < 2 * pages * 4096
    spent = sum(int(task.joinpath("schedstat").read_text().split()[0])
                for task in Path(f"/proc/{pid}/task").iterdir()) / 1e9
    wait_for("two more rounds", lambda: page_of(exporter, True).get(ROUNDS) > page.get(ROUNDS) + 2,
             30, exporter.tail)
    assert page_of(exporter, True).get("tailrace_exporter_target_cpu_seconds_total") >= spent * 0.9
    assert child(exporter) == pid, "one process serves all rounds"
