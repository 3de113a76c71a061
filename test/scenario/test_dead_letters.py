# SPDX-License-Identifier: Apache-2.0
"""The way of a dead letter, and the way back: list, count, replay."""

import json
import os
import subprocess
import time

import pytest
from confluent_kafka import TopicPartition

from oracle import Tally
from programs import binary, clean_environment
from servers import event_key, event_value
from test_agent_delivery import LONG, Guarded
from test_index_faults import events, expected, headers, key
from wait import wait_for

@pytest.fixture
def guarded(stack):
    """A Kafka where users log in and may do what ACLs allow."""
    stack.start("kafkaacl")
    return Guarded(stack)


GOOD = {"properties": {"amount": {"type": "long"}, "message": {"type": "text"}}}


def bad(number, **fields):
    """An event that an index with amounts as numbers refuses."""
    return event_key(number), event_value(f"n {number}", amount="many", **fields)


def letters(sink, *words, code=0):
    """Runs the verb beside the sink; what it printed, or what it complained about."""
    done = sink.run_verb("dead-letters", *words)
    assert done.returncode == code, f"{words}: exit {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout if code == 0 else done.stderr


def lines(text):
    return [json.loads(line) for line in text.splitlines()]


def refused(kafka, index, make_sink, records, count, **config):
    """A running sink that has made `count` dead letters of the records."""
    topic = kafka.topic("letters", 2, dead_letters=True)
    index.create(GOOD)
    kafka.produce(topic, records)
    sink = make_sink(kafka.servers, f"group-{topic}", [{"topic": topic, "index": index.name}],
                     index.url, **config)
    sink.start()
    sink.wait_metric("tailrace_sink_finished_records_total", count, outcome="dead_lettered")
    kafka.wait_committed(f"group-{topic}", topic)
    return topic, sink


def mend(index):
    """The index again, with a mapping that takes every amount, and what it held."""
    held = list(index.documents())
    index.drop()
    index.create({"properties": {"amount": {"type": "keyword"}, "message": {"type": "text"}}})
    for identity, source in held:
        index.ask("PUT", f"/{index.name}/_create/{identity}", source)


def test_letters_are_listed_counted_and_sent_back_once(kafka, index, make_sink):
    records = events(20) + [bad(number) for number in range(100, 130)]
    topic, sink = refused(kafka, index, make_sink, records, 30)

    listed = lines(letters(sink, "list", "--json"))
    assert {each["id"] for each in listed} == {event_key(number) for number in range(100, 130)}
    origins = {(message.partition(), message.offset()): message.key().decode()
               for message in kafka.records(topic)}
    for each in listed:
        assert origins[each["partition"], each["offset"]] == each["id"]
        assert each["topic"] == topic and each["index"] == index.name
        assert each["status"] == 400 and each["attempts"] >= 1 and not each["sent_back"]
        assert "amount" in each["reason"] and json.loads(each["value"])["amount"] == "many"
    shown = letters(sink, "list", "--id", event_key(107))
    assert event_key(107) in shown and "1 dead letter\n" in shown and "many" in shown
    groups = lines(letters(sink, "count", "--json"))
    assert [(each["letters"], each["topic"]) for each in groups] == [(30, topic)], \
        "ids and values in a reason do not make reasons of their own"
    assert "0 dead letters" in letters(sink, "list", "--reason", "no such thing")
    assert "30 dead letters" in letters(sink, "count", "--since", "1h", "--reason", "AMOUNT")

    mend(index)
    would = letters(sink, "replay", "--dry-run")
    assert "30 letters would be sent back" in would and kafka.total(topic) == 50
    assert "1 letter sent back" in letters(sink, "replay", "--id", event_key(107))
    again = letters(sink, "replay", "--topic", topic)
    assert "29 letters sent back, 1 left out" in again, again
    assert "0 letters sent back, 30 left out" in letters(sink, "replay")
    assert kafka.total(topic) == 80
    assert kafka.lag(f"group-{topic}-dead-letters", f"{topic}.dlq") == 0, \
        "the lag of the verb's own group is what waits"
    index.wait_count(50, 30)
    sink.wait_metric("tailrace_sink_finished_records_total", 50, outcome="indexed")
    assert "0 dead letters not sent back yet" in letters(sink, "list", "--open")
    assert "30 letters sent back" in letters(sink, "replay", "--again")
    sink.wait_metric("tailrace_sink_finished_records_total", 30, outcome="duplicate")
    kafka.wait_committed(f"group-{topic}", topic)
    sink.stop()
    Tally(expected(records), key, index.name).add_all(index.documents()).check()
    assert kafka.total(f"{topic}.dlq") == 30


def test_a_strangers_record_keeps_its_id_key_and_day(kafka, index, make_sink):
    strange = [(b"customer 7", b'{"message":"n 1","amount":"many"}'),
               (None, b'{"message":"n 2","amount":"many"}')]
    topic, sink = refused(kafka, index, make_sink, strange, 2,
                          elasticsearch={"urls": [index.url], "template": False})
    first = {each["id"]: each for each in lines(letters(sink, "list", "--json"))}
    assert all(identity.startswith("k1.") for identity in first), first
    assert "2 letters sent back" in letters(sink, "replay")     # in vain: nothing was mended
    sink.wait_metric("tailrace_sink_finished_records_total", 4, outcome="dead_lettered")
    second = lines(letters(sink, "list", "--open", "--json"))
    assert {each["id"]: each["key"] for each in second} == \
        {identity: each["key"] for identity, each in first.items()}, "id and key stay"
    mend(index)
    assert "4 letters sent back" in letters(sink, "replay", "--again")
    sink.wait_metric("tailrace_sink_finished_records_total", 2, outcome="indexed")
    sink.wait_metric("tailrace_sink_finished_records_total", 2, outcome="duplicate")
    sink.stop()
    assert {identity for identity, _ in index.documents()} == set(first)
    assert sorted(source["message"] for _, source in index.documents()) == ["n 1", "n 2"]
    keys = [message.key() for message in kafka.records(topic)]
    assert keys.count(b"customer 7") == 4 and keys.count(None) == 4


def test_a_replay_that_is_killed_leaves_nothing_out_and_nothing_twice(kafka, index,
                                                                     make_sink):
    records = [bad(number, padding="x" * 500) for number in range(1500)]
    topic, sink = refused(kafka, index, make_sink, records, 1500)
    mend(index)
    # One by one, so that there is a middle to be killed in.
    sink.config["kafka"]["properties"] |= {"batch.num.messages": 1, "max.in.flight": 1}
    sink.write_config()
    for least in (1501, 2250):
        running = subprocess.Popen(
            [str(binary("tailrace-sink")), "dead-letters", "replay", "-c", str(sink.config_path)],
            env=clean_environment(), stdout=subprocess.DEVNULL)
        wait_for("some letters to be sent back", lambda: kafka.total(topic) >= least, 30,
                 every=0.02)
        running.kill()
        assert running.wait(20) < 0, "it was over before it could be killed"
    said = lines(letters(sink, "replay", "--json"))[0]
    assert said["not_sent"] == 0 and said["sent_back"] + said["sent_back_before"] == 1500, said
    index.wait_count(1500, 60, sink.check_alive, lambda: sink.tail())
    kafka.wait_committed(f"group-{topic}", topic)
    sink.stop()
    Tally(expected(records), key, index.name).add_all(index.documents()).check()


def test_a_letter_that_was_cut_is_fetched_from_its_old_place(stack, kafka, index, make_sink):
    topic = kafka.topic("cut", 1)
    stack.create_topic(kafka.name, f"{topic}.dlq", 1, {"max.message.bytes": 100_000})
    index.create(GOOD)
    kafka.produce(topic, [bad(number, padding=os.urandom(75_000).hex()) for number in range(3)])
    sink = make_sink(kafka.servers, f"group-{topic}", [{"topic": topic, "index": index.name}],
                     index.url)
    sink.start()
    sink.wait_metric("tailrace_sink_finished_records_total", 3, outcome="dead_lettered")
    assert all(len(message.value()) == 65536 and int(headers(message)["tailrace.cut_from"]) > 65536
               for message in kafka.records(f"{topic}.dlq"))
    assert "only the first 65536 of" in letters(sink, "list")
    mend(index)
    for future in stack.admin(kafka.name).delete_records([TopicPartition(topic, 0, 1)]).values():
        future.result(30)
    said = letters(sink, "replay", code=1)
    assert f"the whole is no longer at {topic} [0] offset 0" in said, said
    index.wait_count(2, 30)
    sink.stop()
    values = {message.key(): message.value() for message in kafka.records(topic)}
    assert {identity: source["padding"] for identity, source in index.documents()} == \
        {identity.decode(): json.loads(value)["padding"] for identity, value in values.items()}


def test_replays_into_a_file_leave_its_count_exact(kafka, make_sink, folder):
    topic = kafka.topic("file", 1, dead_letters=True)
    broken = (event_key(99), b'{"@timestamp":"2026-11-21T06:12:00.123Z","message":"n 99"')
    kafka.produce(topic, events(20) + [broken])
    sink = make_sink(kafka.servers, f"group-{topic}", [{"topic": topic, "index": "docs"}], "")
    sink.config.pop("elasticsearch")
    sink.config["sqlite"] = {"path": str(folder / "events.db")}
    sink.once()
    assert [each["id"] for each in lines(letters(sink, "list", "--json"))] == [broken[0]]
    # As if the file had refused these before: one is in it, one is not.
    producer = kafka.producer()
    for number, (identity, value) in ((5, events(20)[5]), (500, events(1, first=500)[0])):
        producer.produce(f"{topic}.dlq", value, identity, headers={
            "tailrace.reason": "by hand", "tailrace.topic": topic, "tailrace.partition": "0",
            "tailrace.offset": str(number)})
    assert producer.flush(30) == 0
    for words, said in ((("replay",), "3 letters sent back"),
                        (("replay", "--again", "--reason", "by hand"), "2 letters sent back")):
        assert said in letters(sink, *words)
        sink.once()
        stored = sink.run_verb("search", "--json", "--limit", "100").stdout.splitlines()
        assert sorted(json.loads(each)["message"] for each in stored) == \
            sorted(f"n {number}" for number in [*range(20), 500])
    kept = lines(letters(sink, "list", "--json", "--id", broken[0]))
    assert len(kept) == 2 and all(each["value"] == broken[1].decode() for each in kept)


def test_what_is_wrong_is_said_in_a_sentence(kafka, make_sink, opensearch):
    topic = kafka.topic("plain", 1)
    routes = [{"topic": topic, "index": "nothing"}]
    sink = make_sink(kafka.servers, f"group-{topic}", routes, opensearch)
    assert f"no dead-letter topic '{topic}.dlq'" in letters(sink, "list", code=1)
    for words, sentence in (((), "needs its argument: dead-letters list|count|replay"),
                            (("lst",), "did you mean 'list'"),
                            (("list", "--tpic", "x"), "did you mean '--topic'"),
                            (("list", "--again"), "goes with replay alone"),
                            (("list", "--since", "yesterday"), "--since"),
                            (("replay", "--topic", "other"), "no route has 'other'")):
        said = letters(sink, *words, code=2)
        assert sentence in said and said.count("\n") == 1, said
    kafka.stack.create_topic(kafka.name, f"{topic}.dlq", 1, {})
    assert letters(sink, "list") == "0 dead letters\n"
    assert letters(sink, "replay") == "0 letters sent back\n"
    kafka.produce(f"{topic}.dlq", [("a", b"b")])
    assert "1 record of the dead-letter topics is no letter" in letters(sink, "list")
    away = make_sink("127.0.0.1:9", "group-away", routes, opensearch, label="away")
    before = time.monotonic()
    assert "is the broker up" in letters(away, "replay", code=1)
    assert time.monotonic() - before < 30


def test_a_dead_letter_topic_that_is_deleted_and_made_anew_loses_no_letter(stack, kafka, index,
                                                                          make_sink):
    topic, sink = refused(kafka, index, make_sink, [bad(0)], 1)
    stack.delete_topic(kafka.name, f"{topic}.dlq")
    kafka.produce(topic, [bad(number) for number in range(1, 11)])
    reason = sink.wait_page("/readyz", 503, text=f"{topic}.dlq")
    assert "does not exist; create it" in reason and "none is lost" in reason, reason
    stack.create_topic(kafka.name, f"{topic}.dlq", 1, {})
    sink.wait_metric("tailrace_sink_finished_records_total", 11, outcome="dead_lettered")
    sink.wait_page("/readyz")
    sink.stop()
    assert {message.key().decode() for message in kafka.records(f"{topic}.dlq")} == \
        {event_key(number) for number in range(1, 11)}


def test_a_dead_letter_topic_that_takes_no_letter_so_large_stops_its_route_until_it_does(
        stack, kafka, two_indices, make_sink):
    small, other = kafka.topic("small", 1), kafka.topic("other", 1, dead_letters=True)
    stack.create_topic(kafka.name, f"{small}.dlq", 1, {"max.message.bytes": 5_000})
    for each in two_indices:
        each.create(GOOD)
    sink = make_sink(kafka.servers, f"group-{small}", [
        {"topic": topic, "index": each.name} for topic, each in zip((small, other), two_indices)],
        two_indices[0].url)
    large = [bad(number, padding=os.urandom(60_000).hex()) for number in range(3)]
    kafka.produce(small, large)
    sink.start()
    reason = sink.wait_page("/readyz", 503, text=f"{small}.dlq")
    assert "raise its max.message.bytes" in reason and "none is lost" in reason, reason
    kafka.produce(other, events(100))
    two_indices[1].wait_count(100, 30)
    assert sink.finished("dead_lettered") == 0
    assert sink.metric("tailrace_sink_paused", route=small, reason="dead_letters") == 1
    stack.alter_topic_config(kafka.name, f"{small}.dlq", {"max.message.bytes": 200_000})
    sink.wait_metric("tailrace_sink_finished_records_total", 3, outcome="dead_lettered")
    sink.wait_page("/readyz")
    sink.stop()
    found = {message.key().decode(): message for message in kafka.records(f"{small}.dlq")}
    for identity, value in large:
        assert found[identity].value() == value[:65536]
        assert headers(found[identity])["tailrace.cut_from"] == str(len(value))


@LONG
def test_a_dead_letter_topic_without_permission_stops_its_route_until_it_is_given(guarded, index,
                                                                                 make_sink):
    topic = guarded.topic("guarded", 1, dead_letters=True)
    index.create(GOOD)
    guarded.allow(topic, "READ")
    guarded.allow(f"{topic}.dlq", "DESCRIBE")
    guarded.allow_group(f"group-{topic}")
    guarded.produce(topic, [bad(number) for number in range(5)])
    sink = make_sink(guarded.login, f"group-{topic}", [{"topic": topic, "index": index.name}],
                     index.url, properties={"sasl.mechanism": "PLAIN", "sasl.username": "alice",
                                            "sasl.password": "alice-secret"})
    sink.config["kafka"]["security_protocol"] = "sasl_plaintext"
    sink.start()
    reason = sink.wait_page("/readyz", 503, text=f"{topic}.dlq")
    assert "authorization failed; grant" in reason and "none is lost" in reason, reason
    guarded.allow(f"{topic}.dlq", "WRITE")
    sink.wait_metric("tailrace_sink_finished_records_total", 5, outcome="dead_lettered")
    assert "authorization failed; grant" in letters(sink, "list", code=1)
    guarded.allow(f"{topic}.dlq", "READ")
    said = letters(sink, "replay", code=1)
    assert f"group-{topic}-dead-letters" in said and "authorization failed" in said, said
    guarded.allow_group(f"group-{topic}-dead-letters")
    said = letters(sink, "replay", code=1)
    assert "NOT" not in said and f"topic '{topic}' did not take it" in said, said
    guarded.allow(topic, "WRITE")
    mend(index)
    assert "5 letters sent back" in letters(sink, "replay")
    index.wait_count(5, 30)
    sink.stop()
