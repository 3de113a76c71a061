# SPDX-License-Identifier: Apache-2.0
"""Receipts: does the audit say what somebody who counted every line says?"""

import json
import os
import random
import sqlite3
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from confluent_kafka import Producer, TopicPartition
from embedded import EmbeddedBroker, read_topic
from programs import now_ms
from wait import wait_for

RECEIPTS = "tailrace.receipts"
LONG = "x" * 5000       # in parts, with part_size 1KiB
AMOUNTS = {"properties": {"amount": {"type": "long"}, "message": {"type": "text"}}}


class Life:
    """What was written into one file between its beginning and its end."""

    def __init__(self):
        self.lines = self.empty = self.size = 0


class Books:
    """Writes into some files, and keeps books of it."""

    def __init__(self, folder, seed):
        self.folder = folder
        self.chance = random.Random(seed)
        self.lives = []
        self.open = {}

    def write(self, name, count):
        if name not in self.open:
            self.open[name] = Life()
            self.lives.append(self.open[name])
        life = self.open[name]
        block = []
        for number in range(count):
            what = self.chance.random()
            text = "" if what < 0.05 else LONG if what < 0.06 else f"{name} {life.lines} {number}"
            life.empty += text == ""
            life.lines += text != ""
            block.append(text + "\n")
        data = "".join(block).encode()
        life.size += len(data)
        with open(self.folder / name, "ab") as file:
            file.write(data)

    def rename(self, name, to):
        (self.folder / name).rename(self.folder / to)
        del self.open[name]

    def truncate(self, name):
        (self.folder / name).write_bytes(b"")
        del self.open[name]


def audit(sink, *words, code=0):
    """One dictionary for each life."""
    done = sink.run_verb("audit", "--json", *words)
    assert done.returncode == code, f"exit {done.returncode}\n{done.stdout}{done.stderr}"
    return [json.loads(line) for line in done.stdout.splitlines()]


def total(found, name):
    return sum(life[name] for life in found)


def told(sink, *words, code=0):
    done = sink.run_verb("audit", *words)
    assert done.returncode == code, f"exit {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


def wait_shipped(agent):
    wait_for("the agent to have shipped everything",
             lambda: agent.metric("tailrace_agent_lag_bytes") == 0 and
             agent.metric("tailrace_agent_events_total") > 0, 60, lambda: agent.tail(5))


def receipt(path, topic, begin, end, events):
    """As an agent sends it that does not know where in Kafka its events are."""
    return json.dumps({"host.name": "h", "log.file.path": path, "receipt": {
        "version": 1, "generation": "6b01c9211fbb25b127756edb", "input": "a", "topic": topic,
        "from": begin, "to": end, "events": events, "lines": events, "parts": 0, "empty": 10,
        "zeros": 0, "since": now_ms()}}).encode()


def kill_at_random(program, books, seconds):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        time.sleep(books.chance.uniform(0.5, 3))
        program.kill()
        program.start()


def test_the_audit_says_what_was_counted_line_by_line(kafka, index, make_agent, make_sink, logs,
                                                      seed):
    topic = kafka.topic("audit", 4, dead_letters=True)
    receipts = kafka.topic("receipts", 2)
    index.create(AMOUNTS)
    options = {"topic": receipts}
    agent = make_agent(kafka.servers, topic, [
        {"name": "good", "paths": [f"{logs}/good*"], "part_size": "1KiB"},
        {"name": "bad", "paths": [f"{logs}/bad*"], "fields": {"amount": "many"}}],
        receipts=options | {"interval": "1s"})
    sink = make_sink(kafka.servers, f"group-{topic}", [{"topic": topic, "index": index.name}],
                     index.url, receipts=options | {"grace": "1s"})
    books = Books(logs, seed)
    agent.start()
    sink.start()
    # The sink for a shorter time: what is killed last is forgotten by its group last.
    killers = [threading.Thread(target=kill_at_random, args=(each, books, seconds))
               for each, seconds in ((agent, 8), (sink, 4))]
    for killer in killers:
        killer.start()
    renamed = 0
    while any(killer.is_alive() for killer in killers):
        for name in ("good-a.log", "good-b.log"):
            books.write(name, books.chance.randint(1, 30))
        books.write("bad.log", 1)
        if books.chance.random() < 0.1:
            renamed += 1
            books.rename("good-a.log", f"good-a.log.{renamed}")
        time.sleep(0.1)
    for killer in killers:
        killer.join()
    agent.kill()
    agent.once()
    books.truncate("good-b.log")
    books.write("good-b.log", 20)
    agent.once()
    kafka.wait_committed(f"group-{topic}", topic, 180)

    found = audit(sink)
    assert sorted((life["from"], life["to"], life["lines"], life["empty"]) for life in found) == \
        sorted((0, life.size, life.lines, life.empty) for life in books.lives)
    ids = Counter(message.key().decode().split(".")[1] for message in
                  {message.key(): message for message in kafka.records(topic)}.values())
    assert {life["generation"]: life["events"] for life in found} == dict(ids)
    refused = {message.key() for message in kafka.records(f"{topic}.dlq")}
    assert refused and total(found, "dead_letters") == len(refused)
    assert total(found, "indexed") == index.count() == total(found, "events") - len(refused)
    assert total(found, "parts") > 0 and all(life["fine"] for life in found)
    assert "Nothing is missing." in told(sink)

    wait_for("every receipt to be ticked off",
             lambda: sink.metric("tailrace_sink_receipts_waiting") == 0 and
             sink.metric("tailrace_sink_receipts_total", result="accounted") > 0, 30)
    assert sink.metric("tailrace_sink_unaccounted_events") == 0

    # Three neighbours are taken out of the index behind everybody's back.
    victim = max(found, key=lambda life: life["indexed"])
    sorted_ids = sorted(identity for identity, _ in index.documents()
                        if identity.split(".")[1] == victim["generation"])
    offsets = [int(identity.split(".")[2], 16) for identity in sorted_ids]
    for identity in sorted_ids[2:5]:
        index.ask("DELETE", f"/{index.name}/_doc/{identity}")
    with ThreadPoolExecutor() as pool:
        again = pool.submit(audit, sink, code=1)
        words = pool.submit(told, sink, code=1)
        bad = pool.submit(audit, sink, "--path", "*/bad*")
    [after] = [life for life in again.result() if not life["fine"]]
    assert after["generation"] == victim["generation"] and after["not_indexed"] == 3
    assert after["not_indexed_ranges"] == [[offsets[2], offsets[5]]]
    assert f"NOT INDEXED: bytes {offsets[2]}..{offsets[5]}, 3 events" in words.result()
    assert bad.result() and all("/bad" in life["path"] for life in bad.result())


def test_what_no_sink_finishes_is_unaccounted_until_one_does(kafka, index, make_agent, make_sink,
                                                             logs):
    topic = kafka.topic("unaccounted", 2, dead_letters=True)
    receipts = {"topic": kafka.topic("receipts", 1)}
    index.create(AMOUNTS)
    index.set({"index.blocks.write": True})
    agent = make_agent(kafka.servers, topic, [{"name": "a", "paths": [f"{logs}/*"]}],
                       receipts=receipts | {"interval": "1s"})
    sink = make_sink(kafka.servers, f"group-{topic}", [{"topic": topic, "index": index.name}],
                     index.url, receipts=receipts | {"grace": "1s"})
    sink.config["kafka"]["instance_id"] = "one"     # killed, it has its partitions back at once
    books = Books(logs, 1)
    books.write("a.log", 500)
    agent.start()
    sink.start()
    wait_for("the delivered events to count as unaccounted",
             lambda: sink.metric("tailrace_sink_unaccounted_events", route=topic) ==
             agent.metric("tailrace_agent_events_total") > 0, 40, lambda: sink.tail(5))
    [life] = audit(sink)
    assert life["waiting"] == life["events"] > 0 and life["fine"]

    sink.kill()     # what is not accounted for is known again
    sink.start()
    sink.wait_metric("tailrace_sink_unaccounted_events", 1, seconds=40)
    index.set({"index.blocks.write": False})
    wait_for("nothing to be unaccounted any more",
             lambda: sink.metric("tailrace_sink_unaccounted_events") == 0 and
             sink.metric("tailrace_sink_receipts_total", result="accounted") > 0, 60,
             lambda: sink.tail(5))
    assert audit(sink)[0]["indexed"] == life["events"]


def test_receipts_never_hold_up_events_and_tell_of_what_kafka_lost(kafka, index, make_agent,
                                                                   make_sink, logs):
    topic = kafka.topic("aside", 2, dead_letters=True)
    receipts = f"receipts-of-{topic}"
    agent = make_agent(kafka.servers, topic, [{"name": "a", "paths": [f"{logs}/*"]}],
                       receipts={"topic": receipts, "interval": "1s"})
    books = Books(logs, 2)
    books.write("a.log", 300)
    agent.start(wait="ready")       # though the topic of the receipts is not there
    wait_shipped(agent)
    agent.wait_metric("tailrace_agent_paused", 1, topic=receipts)
    assert agent.page("/readyz")[0] == 200
    agent.kill()                    # the state keeps what is owed
    books.write("a.log", 100)
    agent.start(wait="ready")
    wait_shipped(agent)
    kafka.stack.create_topic(kafka.name, receipts, 1, {})
    agent.wait_metric("tailrace_agent_receipts_total", 1, seconds=60, result="acknowledged")
    agent.stop()
    sink = make_sink(kafka.servers, f"group-{topic}", [{"topic": topic, "index": index.name}],
                     index.url, receipts={"topic": receipts})
    sink.once()
    [life] = audit(sink)
    assert (life["from"], life["to"], life["lines"]) == (0, books.lives[0].size,
                                                         books.lives[0].lines)
    assert life["fine"] and life["no_receipt_ranges"] == []

    # What Kafka does not hold any more is not called proven.
    ends = [TopicPartition(topic, partition, end) for partition, (_, end) in
            kafka.stack.watermarks(kafka.name, topic).items() if end > 0]
    for done in kafka.stack.admin(kafka.name).delete_records(ends).values():
        done.result()
    [gone] = audit(sink, code=1)
    assert gone["deleted_by_retention"] == life["events"] and gone["indexed"] == 0
    kafka.produce(receipts, [(None, receipt("/nowhere", topic, 0, 100, 10))])
    [nowhere] = audit(sink, "--path", "/nowhere", code=1)
    assert nowhere["deleted_by_retention"] == 10
    kafka.stack.delete_topic(kafka.name, topic)
    kafka.stack.create_topic(kafka.name, topic, 2, {})
    [lost] = audit(sink, "--path", f"{logs}/*", code=1)
    assert lost["not_in_kafka"] == life["events"]


def test_bytes_without_a_receipt_are_told_and_looked_for(make_agent, make_sink, logs, folder):
    with EmbeddedBroker("holes:2", "holes.dlq:1", f"{RECEIPTS}:1") as broker:
        receipts = {"topic": RECEIPTS, "interval": "1s"}
        agent = make_agent(broker.servers, "holes", [{"name": "a", "paths": [f"{logs}/*"]}],
                           receipts=receipts)
        sink = make_sink(broker.servers, "group-holes", [{"topic": "holes", "index": "holes"}], "",
                         receipts={"topic": RECEIPTS})
        del sink.config["elasticsearch"]
        sink.config["sqlite"] = {"path": str(folder / "events.db")}
        books = Books(logs, 3)
        sizes = []
        (logs / "cut.log").write_bytes(b"its newline comes later")
        for on in (True, False, True):
            agent.config["receipts"] = receipts if on else {"topic": ""}
            books.write("a.log", 100)
            sizes.append(books.lives[0].size)
            agent.once()
            if not on:
                with open(logs / "cut.log", "ab") as file:
                    file.write(b"\n")
        sink.once()
        assert "NOTHING IS PROVED" in told(sink, "--path", "/no/such/file")
        [cut] = audit(sink, "--path", "*/cut.log")
        assert (cut["lines"], cut["events"], cut["parts"], cut["empty"]) == (1, 1, 0, 0)
        [life] = [each for each in audit(sink, code=1) if each["path"].endswith("a.log")]
        assert life["no_receipt_ranges"] == [sizes[:2]] and not life["fine"]
        assert life["indexed"] == life["events"] + life["no_receipt_events"]
        with sqlite3.connect(folder / "events.db") as db:
            assert life["indexed"] + 1 == \
                db.execute("SELECT count(*) FROM events").fetchone()[0]
        assert f"NO RECEIPT for bytes {sizes[0]}..{sizes[1]}" in told(sink, code=1)

        # A file that had another name for a while is judged whole, by each of its names.
        producer = Producer({"bootstrap.servers": broker.servers})
        for number, path in enumerate(("/old", "/new", "/old")):
            producer.produce(RECEIPTS, receipt(path, "holes", number * 10, number * 10 + 10, 0))
        assert producer.flush(30) == 0
        for path in ("/old", "/new"):
            [renamed] = audit(sink, "--path", path)
            assert (renamed["from"], renamed["to"], renamed["empty"]) == (0, 30, 30)


def test_a_file_that_is_let_go_when_its_last_lines_are_acknowledged_has_its_last_receipt(
        folder, logs, make_agent):
    """The broker is silent while a file is rotated that was quiet for long enough to be let go."""
    with EmbeddedBroker("events:1", "receipts:1") as broker:
        path = logs / "a.log"
        path.write_bytes(b"".join(b"line %d %s\n" % (number, b"x" * 60) for number in range(10)))
        agent = make_agent(broker.servers, "events", [{"name": "a", "paths": [str(path)]}],
                           receipts={"topic": "receipts", "interval": "1s"})
        agent.start(wait="ready")
        reader = read_topic(broker.servers, "receipts", 1)
        seen = []

        def told():
            seen.extend(json.loads(message.value())["receipt"]["to"]
                        for message in reader.consume(10, 0.1) if not message.error())
            return seen[-1:]

        wait_for("the first receipt", lambda: told() == [path.stat().st_size])
        broker.freeze()
        with open(path, "ab") as file:
            file.write(b"more\n" * 5)
        wait_for("the agent to read it", lambda: agent.status()["files"][0]["read"]
                 == path.stat().st_size)
        old = path.rename(logs / "old")
        os.utime(old, (time.time() - 60,) * 2)      # it has been quiet for long
        broker.thaw()
        wait_for("the last receipt", lambda: told() == [old.stat().st_size], 60, agent.tail)
        reader.close()
        agent.stop()
