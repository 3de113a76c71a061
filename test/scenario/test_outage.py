# SPDX-License-Identifier: Apache-2.0
"""The broker is away, the index is away, a topic has no leader: nothing is lost, memory stays
small, and the programs say why they wait."""

import json
import os
import re
import time

from identity import Watch
from inputs import append, generate
from oracle import Tally, expected_by_place, expected_numbered, numbered_line, place_key
from programs import now_ms
from rss import RssWatch
from servers import Broker, event_key, event_value
from wait import stays, wait_for

WAITING_LINES = int(os.environ.get("TAILRACE_WAITING_LINES") or 300_000)
RSS_MAX_MIB = 32
POLL_INTERVAL_MS = 6000


def test_agent_stays_small_and_says_why_while_the_broker_is_away(kafka, folder, seed, make_agent):
    topic = kafka.topic("away")
    logs = folder / "logs"
    logs.mkdir()
    for number in range(4):
        generate(logs / f"{number}.log", WAITING_LINES // 4, seed, f"gen{number}")
    expected = expected_by_place(logs.glob("*.log"))
    agent = make_agent(kafka.servers, topic, [{"name": "logs", "paths": [str(logs / "*.log")]}])

    kafka.stack.stop(kafka.name)
    with RssWatch(agent) as rss:
        agent.start()
        reason = agent.wait_page("/readyz", 503, text="kafka")
        assert kafka.servers.split(",")[0] in reason or "refused" in reason, \
            f"/readyz must say which broker cannot be reached and why: {reason!r}"
        # It has read what its memory allows; from here on it must stand still.
        wait_for("the agent to fill its pool", lambda: settled(rss.samples), 30,
                 lambda: rss.samples[-40:])
        flat = rss.samples[-1]
        first = time.monotonic()
        stays("the agent is alive and its size flat", lambda: agent.page("/healthz")[0] == 200
              and rss.samples[-1] < flat + 2, 3)
        assert agent.page("/readyz?local")[0] == 200, "a remote that is away is not local"
        kafka.stack.start(kafka.name)
        agent.wait_page("/readyz", seconds=60)
        wait_for("all waiting lines on the topic", lambda: kafka.total(topic) >= len(expected),
                 60 + WAITING_LINES / 2000, lambda: f"{kafka.total(topic)}{agent.tail(8)}", 0.3)
    agent.stop()
    peak = max(rss.samples)
    assert time.monotonic() > first
    print(f"resident: flat at {flat:.1f} MiB while waiting, at most {peak:.1f} MiB")
    assert peak < RSS_MAX_MIB, f"the agent took {peak:.1f} MiB with {WAITING_LINES} lines waiting"
    Tally(expected, place_key, topic).add_all(kafka.events(topic)).check(seed)


def settled(samples: list[float]) -> bool:
    """The last two seconds differ by less than a quarter of a MiB."""
    return len(samples) > 30 and max(samples[-20:]) - min(samples[-20:]) < 0.25


def test_a_stop_without_broker_is_in_time_and_loses_nothing(kafka, folder, seed, make_agent):
    topic = kafka.topic("stopped")
    logs = folder / "logs"
    logs.mkdir()
    generate(logs / "a.log", 20_000, seed)
    expected = expected_by_place(logs.glob("*.log"))
    agent = make_agent(kafka.servers, topic, [{"name": "logs", "paths": [str(logs / "*.log")]}])
    kafka.stack.stop(kafka.name)
    agent.start()
    agent.wait_page("/readyz", 503, text="kafka")
    agent.stop()
    kafka.stack.start(kafka.name)
    agent.once()
    Tally(expected, place_key, topic).add_all(kafka.events(topic)).check(seed)


def test_a_topic_without_leader_does_not_slow_the_other_topic(kafka3, folder, seed, make_agent,
                                                              stack):
    from confluent_kafka.admin import NewTopic
    good = kafka3.topic("good", 3)
    lame = f"lame-{now_ms()}"
    victim = 3
    futures = stack.admin("kafka3").create_topics(
        [NewTopic(lame, 2, replica_assignment=[[victim], [victim]],
                  config={"min.insync.replicas": "1"})])
    futures[lame].result(30)
    logs = folder / "logs"
    logs.mkdir()
    agent = make_agent(kafka3.servers, good, [
        {"name": "good", "paths": [str(logs / "good.log")]},
        {"name": "lame", "paths": [str(logs / "lame*.log")], "topic": lame}])
    beat = Heartbeat(logs / "good.log", kafka3, good)
    try:
        agent.start(wait="ready")
        append(logs / "lame0.log", b"before")
        wait_for("the lame topic to work at first", lambda: kafka3.total(lame) == 1)
        beat.measure(20)
        stack.kill("kafka3", victim)
        # Far more than all memory of the agent, in several files, for the topic without leader.
        for number in range(1, 5):
            generate(logs / f"lame{number}.log", 60_000, seed, f"lame{number}")
        wait_for("the agent to notice that a topic cannot move",
                 lambda: agent.metric("tailrace_agent_paused", topic=lame) > 0
                 or lame in agent.readiness(), 60, lambda: agent.tail())
        during = beat.measure(60)
        assert max(during) < 5, f"a line of the good topic took {max(during):.1f} s while the " \
            f"other one was dead (all: {[round(each, 1) for each in during]})"
        status, text = agent.page("/readyz")
        assert status == 503 and lame in text, f"/readyz must name {lame}: {status} {text!r}"
        stack.start_node("kafka3", victim)
        expected = expected_by_place([path for path in logs.glob("lame*.log")])
        wait_for("the lame topic's lines", lambda: kafka3.total(lame) >= len(expected), 90,
                 lambda: f"{kafka3.total(lame)} of {len(expected)}{agent.tail()}", 0.3)
        agent.wait_page("/readyz", seconds=60)
        agent.stop()
        Tally(expected, place_key, lame).add_all(kafka3.events(lame)).check(seed)
        expected = expected_by_place([logs / "good.log"])
        Tally(expected, place_key, good).add_all(kafka3.events(good)).check(seed)
    finally:
        beat.close()
        if not stack.pid("kafka3", victim):
            stack.start_node("kafka3", victim)


def test_a_deleted_topic_does_not_slow_the_other_topic(kafka, folder, seed, make_agent):
    good, gone = kafka.topic("good"), kafka.topic("gone")
    logs = folder / "logs"
    logs.mkdir()
    agent = make_agent(kafka.servers, good, [
        {"name": "good", "paths": [str(logs / "good.log")]},
        {"name": "gone", "paths": [str(logs / "gone*.log")], "topic": gone}],
        properties={"topic.metadata.refresh.interval.ms": 1000,
                    "topic.metadata.propagation.max.ms": 2000})
    agent.start(wait="ready")
    append(logs / "gone0.log", b"before")
    wait_for("the topic to work at first", lambda: kafka.total(gone) == 1)
    beat = Heartbeat(logs / "good.log", kafka, good)
    try:
        beat.measure(10)
        kafka.stack.delete_topic(kafka.name, gone)
        for number in range(1, 4):
            generate(logs / f"gone{number}.log", 50_000, seed, f"gone{number}")
        wait_for("the agent to pause the deleted topic with a reason",
                 lambda: agent.metric("tailrace_agent_paused", topic=gone) > 0, 60,
                 lambda: agent.tail())
        during = beat.measure(40)
        assert max(during) < 5, f"a line of the good topic took {max(during):.1f} s"
        reason = agent.wait_page("/readyz", 503, text=gone)
        assert re.search("unknown topic", reason, re.I), f"why does it wait? {reason!r}"
        kafka.stack.create_topic(kafka.name, gone, 3)
        expected = expected_numbered_only(logs, "gone[1-3].log")
        wait_for("all lines on the topic that was made again",
                 lambda: kafka.total(gone) >= len(expected), 90,
                 lambda: f"{kafka.total(gone)} of {len(expected)}{agent.tail()}", 0.3)
        agent.stop()
        Tally(expected, place_key, gone).add_all(kafka.events(gone)).check(seed)
    finally:
        beat.close()


def expected_numbered_only(logs, pattern):
    return expected_by_place(logs.glob(pattern))


class Heartbeat:
    """Appends single lines to a log and measures how long each takes to reach its topic."""

    def __init__(self, path, broker: Broker, topic: str):
        from confluent_kafka import Consumer, TopicPartition
        self.path = path
        self.sent = 0
        self.consumer = Consumer({"bootstrap.servers": broker.servers, "group.id": f"beat-{topic}",
                                  "enable.auto.commit": False, "log_level": 0,
                                  "fetch.wait.max.ms": 20})
        partitions = broker.stack.watermarks(broker.name, topic)
        self.consumer.assign([TopicPartition(topic, each, 0) for each in partitions])

    def measure(self, lines: int) -> list[float]:
        """Seconds from write to arrival, of each line."""
        found = []
        for _ in range(lines):
            line = numbered_line("beat", 0, self.sent, "x")
            self.sent += 1
            begun = time.monotonic()
            append(self.path, line)
            wanted = json.dumps(line.decode())[1:-1].encode()
            while True:
                message = self.consumer.poll(0.5)
                if message and not message.error() and wanted in message.value():
                    break
                assert time.monotonic() - begun < 60, \
                    f"line {self.sent} of the good topic did not arrive within 60 s"
            found.append(time.monotonic() - begun)
        return found

    def close(self) -> None:
        self.consumer.close()


def test_an_index_that_comes_back_empty_gets_its_template_first(stack, kafka, index, make_sink):
    topic = kafka.topic("empty", dead_letters=True)
    sink = make_sink(kafka.servers, f"group-{topic}", [{"topic": topic, "index": index.name}],
                     index.url)
    kafka.produce(topic, [(event_key(1), event_value("before"))])
    sink.start()
    index.wait_count(1, 60, sink.check_alive)
    stack.start("opensearch", fresh=True)
    kafka.produce(topic, [(event_key(2), event_value("after", **{"log.level": "info"}))])
    index.wait_count(1, 60, sink.check_alive, lambda: sink.tail(8))
    mapping = index.ask("GET", f"/{index.name}/_mapping")[index.name]["mappings"]
    assert mapping.get("date_detection") is False, f"made without the template: {mapping}"
    sink.stop()


def test_an_index_that_is_away_causes_no_rebalance(stack, kafka, index, make_sink):
    topic = kafka.topic("noindex", dead_letters=True)
    index.create()
    sink = make_sink(kafka.servers, f"group-{topic}", [{"topic": topic, "index": index.name}],
                     index.url, properties={"max.poll.interval.ms": POLL_INTERVAL_MS,
                                            "session.timeout.ms": POLL_INTERVAL_MS})
    lines = 20_000
    kafka.produce(topic, ((event_key(number), event_value(f"n{number:06d}"))
                          for number in range(100)))
    with Watch(sink):
        sink.start()
        index.wait_count(100, 60, sink.check_alive)
        rebalances = sink.metric("tailrace_sink_rebalances_total")
        assert rebalances >= 1, "the first assignment counts"
        stack.stop("opensearch")
        kafka.produce(topic, ((event_key(number), event_value(f"n{number:06d} " + "x" * 1000))
                              for number in range(100, lines)))
        sink.wait_page("/readyz", 503, text=index.url.removeprefix("http://").split("/")[0])
        stays("no rebalance, alive, and not ready while the index is away",
              lambda: sink.metric("tailrace_sink_rebalances_total") == rebalances
              and sink.page("/healthz")[0] == 200 and sink.page("/readyz")[0] == 503,
              3 * POLL_INTERVAL_MS / 1000)
        assert sink.metric("tailrace_sink_paused", route=topic) >= 1
        stack.start("opensearch")
        index.wait_count(lines, 90, sink.check_alive, lambda: sink.tail(8))
        kafka.wait_committed(f"group-{topic}", topic)
        assert sink.metric("tailrace_sink_rebalances_total") == rebalances, \
            "the outage must not have cost a rebalance"
        sink.wait_page("/readyz")
    sink.stop()
    assert index.count() == lines
    assert not sink.logged("max.poll.interval.ms exceeded") and not sink.logged("MAXPOLL")


def test_a_topic_that_was_deleted_and_made_anew_is_read_from_its_start(stack, kafka, index,
                                                                       make_sink):
    topic = kafka.topic("anew", 1, dead_letters=True)
    group = f"group-{topic}"
    index.create()
    sink = make_sink(kafka.servers, group, [{"topic": topic, "index": index.name}], index.url)
    kafka.produce(topic, [(event_key(number), event_value(f"old {number}"))
                          for number in range(2000)])
    sink.start()
    kafka.wait_committed(group, topic)
    stack.delete_topic(kafka.name, topic)
    wait_for("the sink to hear that the topic is gone",
             lambda: sink.logged(f"topic '{topic}' does not exist"), 30)
    stack.create_topic(kafka.name, topic, 1)
    # More than before: the old place in the log is a place in the new one.
    kafka.produce(topic, [(event_key(number, 2), event_value(f"new {number}"))
                          for number in range(6000)])
    index.wait_count(8000, 60, sink.check_alive, lambda: sink.tail(8))
    sink.stop()


def test_a_stop_while_the_index_is_silent_is_in_time(stack, kafka, index, make_sink):
    topic = kafka.topic("silent", 4, dead_letters=True)
    index.create()
    sink = make_sink(kafka.servers, f"group-{topic}", [{"topic": topic, "index": index.name}],
                     index.url, properties={"session.timeout.ms": 45000})
    kafka.produce(topic, [(event_key(number), event_value(f"n {number}"))
                          for number in range(100)])
    sink.start()
    index.wait_count(100, 60, sink.check_alive)
    stack.pause("opensearch")
    try:
        kafka.produce(topic, [(event_key(number), event_value(f"n {number}"))
                              for number in range(100, 5000)])
        wait_for("a bulk to be under way",
                 lambda: sink.metric("tailrace_sink_in_flight_records") > 0, 20)
        time.sleep(1)
        sink.stop()
    finally:
        stack.resume("opensearch")
