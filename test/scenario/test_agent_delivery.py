# SPDX-License-Identifier: Apache-2.0
"""What Kafka can answer to the agent: each refusal has its reason, ends by itself, loses nothing.

TAILRACE_DELIVERY_LONG=1 runs the cases that take minutes, TAILRACE_DELIVERY_KILLS=N sets the
number of kills, TAILRACE_DELIVERY_KAFKA=kafka36 runs the cases of one broker on that service.
"""

import os
import random
import time
from pathlib import Path

import pytest

from inputs import append, generate
from oracle import Tally, expected_by_place, place_key
from servers import Broker
from test_agent_files import arrive
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


def wait_delivered(agent, path: Path, seconds: float = 60) -> None:
    """Until the agent's position is the end of the file."""
    def there() -> bool:
        agent.check_alive()
        return agent.status(f"?path={path}")["files"][0].get("committed") == path.stat().st_size

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
        before = kafka.total(topic)
        agent.start(wait="no")
        wait_for("some records", lambda: kafka.total(topic) > before + chance.randint(1, 25), 30,
                 agent.tail)
        agent.kill()
    agent.start()
    before = kafka.total(topic)
    wait_for("some more records", lambda: kafka.total(topic) > before, 30, agent.tail)
    kafka.stack.alter_topic_config(kafka.name, topic, {"max.message.bytes": 1_000_000})
    wait_delivered(agent, path, 90)
    agent.stop()
    check_tiles(kafka, topic, path)


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
