# SPDX-License-Identifier: Apache-2.0
"""What Kafka can answer to the agent: each refusal has its reason, ends by itself, loses nothing.

TAILRACE_DELIVERY_LONG=1 runs the cases that take minutes, TAILRACE_DELIVERY_KILLS=N sets the
number of kills, TAILRACE_DELIVERY_KAFKA=kafka36 runs the cases of one broker on that service.
"""

import json
import os
import random
import subprocess
import threading
import time
from pathlib import Path

import pytest

from inputs import append, generate
from oracle import Tally, expected_by_place, place_key
from programs import binary
from servers import Broker
from stack import StackError
from wait import stays, wait_for

KILLS = int(os.environ.get("TAILRACE_DELIVERY_KILLS") or 8)
LONG = pytest.mark.skipif(not os.environ.get("TAILRACE_DELIVERY_LONG"),
                          reason="takes minutes; TAILRACE_DELIVERY_LONG=1 runs it")


@pytest.fixture
def kafka(stack):
    """One broker: Kafka 4, or what TAILRACE_DELIVERY_KAFKA names."""
    name = os.environ.get("TAILRACE_DELIVERY_KAFKA") or "kafka"
    stack.start(name)
    return Broker(stack, name)


def total(kafka, topic: str) -> int:
    """Records on a topic; 0 while a new one's leader does not know that it is."""
    try:
        return kafka.total(topic)
    except StackError:
        return 0


def one_input(path: Path, name: str = "a", **more):
    return {"name": name, "paths": [str(path)], **more}


def check_tiles(kafka, topic: str, path: Path, whole: bool = True) -> int:
    """Every byte of the file is in exactly one event, whatever parts its lines went in. Returns
    the number of records beyond the events: repeats with equal ids."""
    seen: dict[str, tuple[int, bytes]] = {}
    records = 0
    for key, event in kafka.events(topic):
        if event["log.file.path"] != str(path):
            continue
        records += 1
        found = (event["log.offset"], event["message"].encode())
        assert seen.setdefault(key, found) == found, f"{key} has two contents"
    content = path.read_bytes()
    at = 0
    for offset, message in sorted(seen.values()):
        between = content[at:offset]
        assert offset >= at, f"bytes {offset} to {at} came twice, under two ids"
        assert between.strip(b"\n") == b"", f"bytes {at} to {offset} are missing"
        assert content[offset:offset + len(message)] == message, f"other bytes at {offset}"
        at = offset + len(message)
    if whole:
        assert content[at:].strip(b"\n") == b"", f"bytes from {at} on are missing"
    return records - len(seen)


def committed(agent, path: Path) -> int:
    files = agent.status(f"?path={path}")["files"]
    return files[0].get("committed", 0) if files else 0


def wait_delivered(agent, path: Path, seconds: float = 60) -> None:
    """Until the agent's position is the end of the file."""
    def there() -> bool:
        agent.check_alive()
        return committed(agent, path) == path.stat().st_size

    wait_for(f"all of {path} to be acknowledged", there, seconds,
             lambda: f"{agent.status(f'?path={path}')['files']}{agent.tail(12)}")


def wait_reason(agent, text: str, seconds: float = 30) -> None:
    """Until the reason is on /status, on /readyz and on the page."""
    agent.wait_page("/status", 200, seconds, text)
    agent.wait_page("/readyz", 503, seconds, text)


def wait_paused(agent, topic: str, reason: str, on: bool = True, seconds: float = 40) -> None:
    wait_for(f"tailrace_agent_paused of {topic}, {reason}, to be {int(on)}",
             lambda: agent.metric("tailrace_agent_paused", topic=topic, reason=reason) == int(on),
             seconds, lambda: f"{agent.status()['topics']}{agent.tail(12)}")


def random_text(chance: random.Random, size: int) -> bytes:
    """Text that does not compress below half of it."""
    return bytes(chance.choices(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/",
                                k=size))


# Size


def test_parts_of_a_small_topic_are_the_same_after_every_kill(kafka, logs, seed, make_agent):
    """max.message.bytes=1000; killed in the middle; raised while a line is half sent."""
    topic = kafka.topic("small", max_message_bytes=1000)
    chance = random.Random(seed)
    path = logs / "a.log"
    sizes = [40, 300, 6000, 90, 2500, 20_000, 10, 700, 1200, 900]
    append(path, *[random_text(chance, chance.choice(sizes)) for _ in range(60)])
    agent = make_agent(kafka.servers, topic, [one_input(path)], properties={"linger.ms": 2})
    for _ in range(KILLS):
        before = total(kafka, topic)
        agent.start(wait="no")
        wait_for("some records", lambda: total(kafka, topic) > before + chance.randint(1, 25), 30,
                 agent.tail)
        agent.kill()
    agent.start()
    before = total(kafka, topic)
    wait_for("some more records", lambda: total(kafka, topic) > before, 30, agent.tail)
    kafka.stack.alter_topic_config(kafka.name, topic, {"max.message.bytes": 1_000_000})
    wait_delivered(agent, path, 90)
    agent.stop()
    check_tiles(kafka, topic, path)


@LONG
def test_a_topic_that_is_raised_gets_full_requests_again(kafka, logs, seed, make_agent):
    topic = kafka.topic("raised", max_message_bytes=2000)
    path = logs / "a.log"
    generate(path, 300, seed)
    agent = make_agent(kafka.servers, topic, [one_input(path)])
    agent.start(wait="ready")
    agent.wait_metric("tailrace_agent_delivery_errors_total", 1, topic=topic,
                      error="MSG_SIZE_TOO_LARGE")
    wait_delivered(agent, path)
    assert agent.logged("raise its max.message.bytes"), agent.tail()
    kafka.stack.alter_topic_config(kafka.name, topic, {"max.message.bytes": 1_000_000})

    def full() -> bool:
        generate(path, 50, seed, first=full.count)
        full.count += 50
        return agent.logged("gets requests of full size again")
    full.count = 300
    wait_for("requests of full size", full, 60, agent.tail, every=0.3)
    wait_delivered(agent, path)
    assert agent.metric("tailrace_agent_producer_restarts_total") == 0
    agent.stop()
    Tally(expected_by_place([path]), place_key, topic).add_all(kafka.events(topic)).check(seed)


# Permission


@pytest.fixture
def guarded(stack):
    """A Kafka where users log in and may do what ACLs allow; we, not logged in, everything."""
    stack.start("kafkaacl")
    return Guarded(stack)


class Guarded(Broker):
    def __init__(self, stack):
        super().__init__(stack, "kafkaacl")
        self.login = f"127.0.0.1:{stack.port('kafkaacl') + 2}"

    def rule(self, topic: str, operation: str, user: str = "alice", deny: bool = False):
        from confluent_kafka import admin
        return admin.AclBinding(
            admin.ResourceType.TOPIC, topic, admin.ResourcePatternType.LITERAL, f"User:{user}",
            "*", getattr(admin.AclOperation, operation),
            admin.AclPermissionType.DENY if deny else admin.AclPermissionType.ALLOW)

    def allow(self, topic: str, operation: str = "WRITE", deny: bool = False) -> None:
        rule = self.rule(topic, operation, deny=deny)
        for future in self.stack.admin(self.name).create_acls([rule]).values():
            future.result(10)

    def allow_group(self, group: str) -> None:
        from confluent_kafka import admin
        rule = admin.AclBinding(
            admin.ResourceType.GROUP, group, admin.ResourcePatternType.LITERAL, "User:alice", "*",
            admin.AclOperation.READ, admin.AclPermissionType.ALLOW)
        for future in self.stack.admin(self.name).create_acls([rule]).values():
            future.result(10)

    def take_away(self, topic: str, operation: str = "WRITE", deny: bool = False) -> None:
        from confluent_kafka import admin
        rule = self.rule(topic, operation, deny=deny)
        wanted = admin.AclBindingFilter(
            rule.restype, rule.name, rule.resource_pattern_type, rule.principal, rule.host,
            rule.operation, rule.permission_type)
        for future in self.stack.admin(self.name).delete_acls([wanted]).values():
            future.result(10)


def log_in(make_agent, guarded, topic, files, password: str = "alice-secret"):
    agent = make_agent(guarded.login, topic, files, properties={
        "sasl.mechanism": "PLAIN", "sasl.username": "alice", "sasl.password": password})
    agent.config["kafka"]["security_protocol"] = "sasl_plaintext"
    return agent


def test_a_permission_is_taken_away_and_given_back(guarded, logs, seed, make_agent):
    """Of one topic; another one goes on."""
    mine, other = guarded.topic("mine"), guarded.topic("other")
    guarded.allow(mine)
    guarded.allow(other)
    agent = log_in(make_agent, guarded, mine, [
        one_input(logs / "a.log"), one_input(logs / "b.log", "b", topic=other)])
    generate(logs / "a.log", 2000, seed)
    agent.start(wait="ready")
    wait_delivered(agent, logs / "a.log")
    guarded.take_away(mine)
    generate(logs / "a.log", 2000, seed, first=2000)
    wait_reason(agent, "authorization failed")
    wait_paused(agent, mine, "permission")
    assert "grant" in agent.readiness(), agent.readiness()
    generate(logs / "b.log", 1000, seed)
    wait_delivered(agent, logs / "b.log")
    assert agent.metric("tailrace_agent_paused", topic=other) == 0
    guarded.allow(mine)
    wait_delivered(agent, logs / "a.log")
    wait_paused(agent, mine, "permission", on=False)
    agent.wait_page("/readyz")
    agent.stop()
    for topic, path in ((mine, logs / "a.log"), (other, logs / "b.log")):
        Tally(expected_by_place([path]), place_key, topic).add_all(guarded.events(topic)).check()


def test_all_permissions_are_missing_at_first(guarded, logs, seed, make_agent):
    """Then not even an idempotent producer may begin, which the library calls fatal."""
    topic = guarded.topic("late")
    generate(logs / "a.log", 1000, seed)
    agent = log_in(make_agent, guarded, topic, [one_input(logs / "a.log")])
    agent.start()
    wait_reason(agent, "authorization failed")
    wait_paused(agent, topic, "permission")
    time.sleep(4)
    assert agent.metric("tailrace_agent_producer_restarts_total") < 8, agent.tail()
    guarded.allow(topic)
    wait_delivered(agent, logs / "a.log", 60)
    agent.wait_page("/readyz")
    agent.stop()
    Tally(expected_by_place([logs / "a.log"]), place_key).add_all(guarded.events(topic)).check()


@LONG
def test_a_topic_that_may_not_even_be_described(guarded, logs, seed, make_agent):
    topic = guarded.topic("hidden")
    guarded.allow(topic)
    agent = log_in(make_agent, guarded, topic, [one_input(logs / "a.log")])
    generate(logs / "a.log", 1000, seed)
    agent.start(wait="ready")
    wait_delivered(agent, logs / "a.log")
    guarded.allow(topic, "ALL", deny=True)
    generate(logs / "a.log", 1000, seed, first=1000)
    wait_reason(agent, "authorization failed")
    wait_paused(agent, topic, "permission")
    guarded.take_away(topic, "ALL", deny=True)
    wait_delivered(agent, logs / "a.log")
    agent.wait_page("/readyz")
    agent.stop()
    Tally(expected_by_place([logs / "a.log"]), place_key).add_all(guarded.events(topic)).check()


def test_a_wrong_password_is_one_clear_sentence(guarded, logs, make_agent):
    topic = guarded.topic("wrong")
    append(logs / "a.log", b"a1")
    agent = log_in(make_agent, guarded, topic, [one_input(logs / "a.log")], password="guess")
    agent.start()
    wait_reason(agent, "the login is refused: Authentication failed")
    wait_paused(agent, topic, "kafka")
    stays("the reason is the login", lambda: "login is refused" in agent.readiness(), 2)
    text = agent.log_path.read_text()
    assert text.count("login is refused") == 1, agent.tail()
    assert "guess" not in text and "guess" not in agent.page("/status")[1]
    agent.stop()


# Topics that go and come


@pytest.mark.parametrize("partitions", [1, pytest.param(8, marks=LONG)])
def test_a_topic_is_deleted_while_writing_and_made_anew(kafka, logs, seed, make_agent, partitions):
    """What was acknowledged went with it; what was not, arrives. Another topic goes on."""
    topic, other = kafka.topic("gone"), kafka.topic("other")
    agent = make_agent(kafka.servers, topic, [
        one_input(logs / "*.log"), one_input(logs / "other.txt", "b", topic=other)])
    for number in range(6):
        generate(logs / f"{number}.log", 2000, seed, tag=f"gen{number}")
    agent.start(wait="ready")
    agent.wait_metric("tailrace_agent_events_total", 1, input="a")
    kafka.stack.delete_topic(kafka.name, topic)
    for number in range(6):
        generate(logs / f"{number}.log", 2000, seed, tag=f"gen{number}", first=2000)
    wait_reason(agent, "nknown topic", 40)
    wait_paused(agent, topic, "topic")
    generate(logs / "other.txt", 500, seed)
    wait_delivered(agent, logs / "other.txt")
    before = {str(path): committed(agent, path) for path in logs.glob("*.log")}
    kafka.stack.create_topic(kafka.name, topic, partitions)
    for path in logs.glob("*.log"):
        wait_delivered(agent, path)
    wait_paused(agent, topic, "topic", on=False)
    agent.wait_page("/readyz")
    agent.stop()
    expected = expected_by_place(logs.glob("*.log"))
    late = {key: value for key, value in expected.items() if key[1] >= before[key[0]]}
    assert len(late) >= 6 * 2000, "lines waited while the topic was away"
    tally = Tally(expected, place_key, topic).add_all(kafka.events(topic))
    tally.expected = late
    tally.check(seed)


@LONG
def test_partitions_are_added_under_load(kafka, logs, seed, make_agent):
    """Within a file the order of what one partition got holds; nothing is lost or doubled."""
    from confluent_kafka.admin import NewPartitions
    topic = kafka.topic("grows", partitions=2)
    agent = make_agent(kafka.servers, topic, [one_input(logs / "*.log")])
    agent.start(wait="ready")
    for turn, partitions in enumerate((2, 6)):
        if turn:
            kafka.stack.admin(kafka.name).create_partitions(
                [NewPartitions(topic, partitions)])[topic].result(10)
        for number in range(8):
            generate(logs / f"{number}.log", 3000, seed, tag=f"gen{number}", first=3000 * turn)
        wait_for("the new partitions to be known", lambda: agent.status()["topics"][0][
            "partitions"] == partitions, 30)
    for path in logs.glob("*.log"):
        generate(path, 100, seed, tag=f"gen{path.stem}", first=6000)
        wait_delivered(agent, path)
    agent.stop()
    last: dict[tuple[int, str], int] = {}
    for message in kafka.records(topic):
        event = json.loads(message.value())
        place = message.partition(), event["log.file.path"]
        assert event["log.offset"] > last.get(place, -1), f"{place} is out of order"
        last[place] = event["log.offset"]
    assert {partition for partition, _ in last} - {0, 1}, "new partitions are used"
    Tally(expected_by_place(logs.glob("*.log")), place_key).add_all(
        kafka.events(topic)).check(seed)


# Errors that end the library's producer, and others, put into the answers of a mock broker


PRODUCE, INIT_PRODUCER_ID = 0, 22
CORRUPT_MESSAGE, INVALID_TIMESTAMP, CLUSTER_AUTHORIZATION_FAILED = 2, 32, 31
OUT_OF_ORDER_SEQUENCE, POLICY_VIOLATION, UNKNOWN_SERVER_ERROR = 45, 44, -1
KAFKA_STORAGE_ERROR, NOT_ENOUGH_REPLICAS, INVALID_RECORD = 56, 19, 87


class Mock:
    """tailrace-local-broker: answers as it is told, and holds what it was sent."""

    def __init__(self, topics: dict[str, int]):
        names = [part for name, count in topics.items()
                 for part in ("--topic", f"{name}:{count}")]
        self.process = subprocess.Popen(
            [str(binary("tailrace-local-broker")), "--control", *names], text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.servers = self.process.stdout.readline().strip()

    def fail(self, api: int, count: int, code: int) -> None:
        self.process.stdin.write(f"{api} {count} {code}\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "done\n"

    def events(self, topic: str):
        from confluent_kafka import Consumer, TopicPartition
        consumer = Consumer({"bootstrap.servers": self.servers, "group.id": "oracle",
                             "enable.auto.commit": False, "log_level": 0})
        try:
            for partition in consumer.list_topics(topic, 10).topics[topic].partitions:
                place = TopicPartition(topic, partition, 0)
                low, end = consumer.get_watermark_offsets(place, 10)
                assert low == 0, "the mock broker dropped records: too many for it"
                consumer.assign([place])
                while end:
                    message = consumer.poll(10)
                    assert message is not None and not message.error(), message
                    yield message.key().decode(), json.loads(message.value())
                    if message.offset() + 1 >= end:
                        break
        finally:
            consumer.close()


@pytest.fixture
def mock():
    started = Mock({"t": 3, "other": 3})
    yield started
    started.process.kill()
    started.process.wait()


def test_fatal_errors_in_a_row_lose_nothing(mock, logs, seed, make_agent):
    """The client is replaced each time, under load, and what was under way is read again."""
    agent = make_agent(mock.servers, "t", [one_input(logs / "*.log")])
    agent.start(wait="ready")
    for number in range(3):
        generate(logs / f"{number}.log", 1000, seed, tag=f"gen{number}")
    restarts = 0
    for turn in range(3):
        mock.fail(PRODUCE, 2, OUT_OF_ORDER_SEQUENCE)
        if turn % 2:
            mock.fail(INIT_PRODUCER_ID, 2, CLUSTER_AUTHORIZATION_FAILED)
        for number in range(3):
            generate(logs / f"{number}.log", 500, seed, tag=f"gen{number}",
                     first=1000 + 500 * turn)
        agent.wait_metric("tailrace_agent_producer_restarts_total", restarts + 1)
        for number in range(3):
            wait_delivered(agent, logs / f"{number}.log", 30)
        restarts = agent.metric("tailrace_agent_producer_restarts_total")
    assert restarts >= 3 + 1, "each was fatal"
    assert agent.metric("tailrace_agent_delivery_errors_total", topic="t") > 0
    agent.wait_page("/readyz")
    agent.stop()
    Tally(expected_by_place(logs.glob("*.log")), place_key, "t").add_all(mock.events("t")).check()


@pytest.mark.parametrize("code, reason, text", [
    (INVALID_TIMESTAMP, "clock", "clocks of this host"),
    pytest.param(POLICY_VIOLATION, "topic", "olicy", marks=LONG),
    pytest.param(UNKNOWN_SERVER_ERROR, "topic", "nknown", marks=LONG), (INVALID_RECORD, None, ""),
    (CORRUPT_MESSAGE, None, ""), (KAFKA_STORAGE_ERROR, None, ""),
    (NOT_ENOUGH_REPLICAS, None, "")])
def test_an_error_that_passes_costs_nothing(mock, logs, seed, make_agent, code, reason, text):
    """Some pause their topic with a reason, some are tried again by the library itself."""
    agent = make_agent(mock.servers, "t", [one_input(logs / "a.log")])
    agent.start(wait="ready")
    generate(logs / "a.log", 300, seed)
    wait_delivered(agent, logs / "a.log")
    mock.fail(PRODUCE, 3, code)
    generate(logs / "a.log", 2000, seed, first=300)
    if reason:
        wait_paused(agent, "t", reason)
        wait_reason(agent, text)
        agent.wait_metric("tailrace_agent_delivery_errors_total", 1, topic="t")
    wait_delivered(agent, logs / "a.log")
    agent.wait_page("/readyz")
    agent.stop()
    Tally(expected_by_place([logs / "a.log"]), place_key, "t").add_all(mock.events("t")).check()


# Clocks


def test_a_broker_that_does_not_believe_our_time(kafka, logs, seed, make_agent):
    """As when its clock is far ahead of ours: every record is too old for it."""
    topic = kafka.topic("skew", message_timestamp_before_max_ms=1)
    path = logs / "a.log"
    generate(path, 1000, seed)
    agent = make_agent(kafka.servers, topic, [one_input(path)])
    agent.start()
    wait_paused(agent, topic, "clock")
    wait_reason(agent, "clocks of this host")
    kafka.stack.alter_topic_config(kafka.name, topic, {"message.timestamp.before.max.ms": None})
    wait_delivered(agent, path)
    wait_paused(agent, topic, "clock", on=False)
    agent.stop()
    Tally(expected_by_place([path]), place_key).add_all(kafka.events(topic)).check(seed)


# Slow, frozen, moved


def set_quota(kafka, client: str, bytes_per_second: int | None) -> None:
    """Of a client id, by Kafka's own tool."""
    change = ["--delete-config", "producer_byte_rate"] if bytes_per_second is None else \
        ["--add-config", f"producer_byte_rate={bytes_per_second}"]
    kafka.stack.run_tool(kafka.name, "kafka.admin.ConfigCommand", "--alter", *change,
                         "--entity-type", "clients", "--entity-name", client)


@LONG
def test_a_throttled_client_says_so_and_stays_small(kafka, logs, seed, make_agent):
    topic = kafka.topic("slow")
    path = logs / "a.log"
    agent = make_agent(kafka.servers, topic, [one_input(path)])
    agent.config["kafka"]["client_id"] = "slow"
    agent.start(wait="ready")
    set_quota(kafka, "slow", 100_000)
    try:
        generate(path, 20_000, seed)
        wait_paused(agent, topic, "throttled")
        agent.wait_page("/status", text="throttled")
        agent.wait_metric("tailrace_agent_kafka_throttle_seconds_total", 1)
        begin = time.monotonic()
        agent.page("/status")
        assert time.monotonic() - begin < 5, "it answers while it is throttled"
        assert agent.status()["memory"]["used"] <= agent.status()["memory"]["size"]
    finally:
        set_quota(kafka, "slow", None)
    wait_delivered(agent, path, 90)
    wait_paused(agent, topic, "throttled", on=False)
    agent.wait_page("/readyz")
    agent.stop()
    Tally(expected_by_place([path]), place_key).add_all(kafka.events(topic)).check(seed)


@pytest.mark.parametrize("key", [pytest.param(b"m", marks=LONG), b"w"])
def test_partitions_without_answers_do_not_stop_long_lines_of_others(stack, logs, make_agent, key):
    """Two of three brokers frozen for good: lines above a slab of the third one's topic go on."""
    stack.start("kafka3")
    kafka = Broker(stack, "kafka3")
    admin = stack.admin("kafka3")
    size = {b"m": 1000, b"w": 400_000}[key]
    leaders: dict[str, int] = {}
    while len(set(leaders.values())) < 3:   # brokers hear of a new topic one after the other
        topic = f"wide-{os.urandom(3).hex()}"
        stack.create_topic("kafka3", topic, 1, {"min.insync.replicas": 1}, replication=1)
        leaders[topic] = wait_for("the topic's leader", lambda topic=topic: max(
            (each.leader for each in
             admin.list_topics(topic, timeout=10).topics[topic].partitions.values()), default=0))
    by_node = {node: topic for topic, node in leaders.items()}
    agent = make_agent(kafka.servers, by_node[1], [
        one_input(logs / f"{node}.log", f"n{node}", topic=by_node[node]) for node in (1, 2, 3)])
    agent.start(wait="ready")
    for node in (1, 2, 3):
        append(logs / f"{node}.log", b"first %d" % node)
        wait_delivered(agent, logs / f"{node}.log")
    for node in (2, 3):
        stack.pause("kafka3", node)
    try:
        for node in (2, 3):
            append(logs / f"{node}.log", *[key * size] * 4)
        time.sleep(1.5)
        append(logs / "1.log", *[key * size] * 4)
        wait_delivered(agent, logs / "1.log", 60)
    finally:
        for node in (2, 3):
            stack.resume("kafka3", node)
    stack.wait_ready("kafka3")
    for node in (2, 3):
        wait_delivered(agent, logs / f"{node}.log", 90)
    agent.wait_page("/readyz", seconds=60)
    agent.stop()
    for node in (1, 2, 3):
        check_tiles(kafka, by_node[node], logs / f"{node}.log")


@LONG
def test_fewer_replicas_than_wanted_are_named(stack, logs, seed, make_agent):
    stack.start("kafka3")
    kafka = Broker(stack, "kafka3")
    topic = kafka.topic("isr", min_insync_replicas=3)
    path = logs / "a.log"
    agent = make_agent(kafka.servers, topic, [one_input(path)])
    agent.start(wait="ready")
    stack.kill("kafka3", 3)
    try:
        time.sleep(8)   # until the controller notices
        generate(path, 1000, seed)
        wait_reason(agent, "min.insync.replicas", 60)
        wait_paused(agent, topic, "silence")
    finally:
        stack.start_node("kafka3", 3)
    wait_delivered(agent, path, 60)
    agent.wait_page("/readyz")
    agent.stop()
    Tally(expected_by_place([path]), place_key).add_all(kafka.events(topic)).check(seed)


@LONG
def test_leaders_move_under_load(stack, logs, seed, make_agent):
    """One broker after the other is restarted, killed, frozen for longer than its session."""
    stack.start("kafka3")
    kafka = Broker(stack, "kafka3")
    topic = kafka.topic("moves", partitions=6)
    agent = make_agent(kafka.servers, topic, [one_input(logs / "*.log")])
    agent.start(wait="ready")
    writer = Trickle(logs, seed)
    try:
        for node in (1, 2, 3):
            stack.stop_node("kafka3", node)
            time.sleep(2)
            stack.start_node("kafka3", node)
        for node in (1, 2, 3):
            stack.kill("kafka3", node)
            time.sleep(8)
            stack.start_node("kafka3", node)
        for node in (1, 2, 3):
            stack.pause("kafka3", node)
            time.sleep(15)
            stack.resume("kafka3", node)
            stack.wait_ready("kafka3")
    finally:
        writer.end()
    for path in logs.glob("*.log"):
        wait_delivered(agent, path, 120)
    agent.wait_page("/readyz", seconds=60)
    agent.stop()
    Tally(expected_by_place(logs.glob("*.log")), place_key).add_all(kafka.events(topic)).check(seed)


class Trickle:
    """Appends to some files all the time."""

    def __init__(self, logs: Path, seed: int):
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self._write, args=(logs, seed), daemon=True)
        self.thread.start()

    def _write(self, logs: Path, seed: int) -> None:
        first = 0
        while not self.stopping.wait(0.05):
            for number in range(4):
                generate(logs / f"{number}.log", 20, seed, tag=f"gen{number}", first=first)
            first += 20

    def end(self) -> None:
        self.stopping.set()
        self.thread.join()


# Stop and reload


def test_a_stop_with_the_broker_away_is_in_time_and_loses_nothing(kafka, logs, seed, make_agent):
    topic = kafka.topic("away")
    path = logs / "a.log"
    agent = make_agent(kafka.servers, topic, [one_input(path)])
    generate(path, 2000, seed)
    agent.start(wait="ready")
    wait_delivered(agent, path)
    kafka.stack.pause(kafka.name)
    try:
        generate(path, 50_000, seed, first=2000)
        wait_for("events under way", lambda: agent.status()["memory"]["records"] > 0, 30)
        agent.stop()
    finally:
        kafka.stack.resume(kafka.name)
    agent.once()
    Tally(expected_by_place([path]), place_key).add_all(kafka.events(topic)).check(seed)


def test_fifty_reloads_in_a_row_under_load(kafka, logs, seed, make_agent):
    """Each one changes fields, and adds or removes an input."""
    topic = kafka.topic("reload")
    agent = make_agent(kafka.servers, topic, [one_input(logs / "a.log")])
    agent.start(wait="ready")
    writer = Trickle(logs, seed)
    try:
        for number in range(50):
            agent.config["files"] = [one_input(logs / "a.log", fields={"turn": str(number)})]
            if number % 2:
                agent.config["files"].append(one_input(logs / "[0-9].log", f"b{number % 3}"))
            agent.reload()
            time.sleep(0.05)    # signals that are not seen yet count as one
            if number % 5 == 0:
                generate(logs / "a.log", 1000, seed, first=200 * number)
    finally:
        writer.end()
    agent.config["files"] = [one_input(logs / "a.log"), one_input(logs / "[0-9].log", "b")]
    agent.reload()
    for path in logs.glob("*.log"):
        wait_delivered(agent, path)
    agent.stop()
    Tally(expected_by_place(logs.glob("*.log")), place_key).add_all(kafka.events(topic)).check(seed)
