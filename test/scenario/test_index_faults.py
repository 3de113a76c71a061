# SPDX-License-Identifier: Apache-2.0
"""What a real index refuses, and what the sink makes of it."""

import json
import os
import threading

import pytest

from identity import Watch
from oracle import Tally, digest
from products import LONG, PRODUCTS, url_of
from servers import Index, event_key, event_value
from stack import http
from wait import stays, wait_for


# What each product refuses is asked by test_index_refusals.py as well.
@pytest.fixture(scope="module", params=PRODUCTS if LONG else PRODUCTS[:1])
def search(request):
    return request.param


@pytest.fixture
def tight(stack, search):
    """A server that takes bodies of 1 MB at most and queues one write at most."""
    return url_of(stack, search, {"http.max_content_length": "1mb",
                                  "thread_pool.write.queue_size": 1, "node.processors": 1})


def events(count, padding="", first=0):
    return [(event_key(number), event_value(f"n {number}{padding}"))
            for number in range(first, first + count)]


def expected(records):
    found = {}
    for _, value in records:
        message = json.loads(value)["message"]
        found["n", int(message.split(" ")[1])] = digest(message)
    return found


def key(source):
    tag, number = source["message"].split(" ")[:2]
    return tag, int(number)


def headers(message):
    return {name: value.decode("utf-8", "replace") for name, value in message.headers() or []}


def test_a_mapping_error_goes_to_the_dead_letters_with_its_reason(kafka, product, make_sink):
    topic = kafka.topic("mapping", 1, dead_letters=True)
    product.create({"properties": {"amount": {"type": "long"}, "message": {"type": "text"}}})
    good = events(50)
    bad_key, bad = event_key(1000), event_value("the amount is no number", amount="many")
    kafka.produce(topic, good[:25] + [(bad_key, bad)] + good[25:])
    sink = make_sink(kafka.servers, f"group-{topic}", [{"topic": topic, "index": product.name}],
                     product.url)
    with Watch(sink):
        sink.start()
        sink.wait_metric("tailrace_sink_finished_records_total", 1, outcome="dead_lettered")
        kafka.wait_committed(f"group-{topic}", topic)
        assert sink.finished("indexed") == 50
        assert sink.finished("dead_lettered") == 1
    sink.stop()
    Tally(expected(good), key, product.name).add_all(product.documents()).check()
    letters = list(kafka.records(f"{topic}.dlq"))
    assert len(letters) == 1, "one document was refused, one dead letter is due"
    letter = letters[0]
    assert letter.key().decode() == bad_key, "a dead letter is keyed by the event's id"
    assert letter.value() == bad, "a dead letter carries the value as it was"
    found = headers(letter)
    assert all(name.startswith("tailrace.") for name in found), found
    text = " ".join(found.values())
    assert "amount" in found["tailrace.reason"], found
    assert found["tailrace.status"] == "400", found
    assert topic in text and "25" in text, f"origin (topic and offset) is missing: {found}"


def test_a_repeated_id_is_a_duplicate(kafka, product, make_sink):
    topic = kafka.topic("repeat", 1, dead_letters=True)
    records = events(100)
    kafka.produce(topic, records + records[:30])
    sink = make_sink(kafka.servers, f"group-{topic}", [{"topic": topic, "index": product.name}],
                     product.url)
    with Watch(sink):
        sink.start()
        sink.wait_metric("tailrace_sink_consumed_records_total", 130)
        kafka.wait_committed(f"group-{topic}", topic)
        assert sink.finished("indexed") == 100
        assert sink.finished("duplicate") == 30
    sink.stop()
    Tally(expected(records), key, product.name).add_all(product.documents()).check()


@pytest.mark.parametrize("block", ["index.blocks.write", "index.blocks.read_only_allow_delete"])
def test_a_blocked_index_pauses_its_route_alone(kafka, search, two_products, make_sink, block):
    if "allow_delete" in block and search in ("elasticsearch8", "elasticsearch9"):
        pytest.skip("it lifts this block by itself while it does not look after its disk")
    left, right = two_products
    topics = [kafka.topic(label, 2, dead_letters=True) for label in ("blocked", "open")]
    left.create()
    right.create()
    left.set({block: True})
    sink = make_sink(kafka.servers, f"group-{topics[0]}", [
        {"topic": topics[0], "index": left.name}, {"topic": topics[1], "index": right.name}],
        left.url)
    for topic in topics:
        kafka.produce(topic, events(2000))
    with Watch(sink):
        sink.start()
        right.wait_count(2000, 60, sink.check_alive, lambda: sink.tail())
        sink.wait_metric("tailrace_sink_paused", 1, route=topics[0])
        assert sink.metric("tailrace_sink_paused", route=topics[1]) == 0
        reason = sink.wait_page("/readyz", 503, text=topics[0])
        assert "block" in reason, f"/readyz must say why the route waits: {reason!r}"
        assert "block" in json.dumps(sink.status()), "/status must say why the route waits"
        kafka.produce(topics[1], events(500, first=2000))
        right.wait_count(2500, 30, sink.check_alive, lambda: sink.tail())
        stays("the blocked route gives nothing up",
              lambda: sink.finished("dead_lettered") == 0
              and sink.finished("indexed", topics[0]) == 0, 1)
        left.set({block: None})
        left.wait_count(2000, 60, sink.check_alive, lambda: sink.tail())
        kafka.wait_committed(f"group-{topics[0]}", topics[0])
        sink.wait_page("/readyz")
        assert sink.metric("tailrace_sink_paused", route=topics[0]) == 0
    sink.stop()
    Tally(expected(events(2000)), key, left.name).add_all(left.documents()).check()
    Tally(expected(events(2500)), key, right.name).add_all(right.documents()).check()
    assert kafka.total(f"{topics[0]}.dlq") == 0


def test_a_document_that_only_fits_without_strict_mapping_is_a_dead_letter(kafka, product,
                                                                         make_sink):
    topic = kafka.topic("strict", 1, dead_letters=True)
    product.create({"dynamic": "strict", "properties": {
        "@timestamp": {"type": "date"}, "message": {"type": "text"}}})
    kafka.produce(topic, events(10) + [(event_key(50), event_value("new field", surprise=1))])
    sink = make_sink(kafka.servers, f"group-{topic}", [{"topic": topic, "index": product.name}],
                     product.url)
    sink.start()
    sink.wait_metric("tailrace_sink_finished_records_total", 1, outcome="dead_lettered")
    kafka.wait_committed(f"group-{topic}", topic)
    sink.stop()
    assert product.count() == 10
    letters = list(kafka.records(f"{topic}.dlq"))
    assert len(letters) == 1 and "strict" in headers(letters[0])["tailrace.reason"]


def test_large_dead_letters_are_not_refused_together(stack, kafka, product, make_sink):
    topic = kafka.topic("letters", 1)
    stack.create_topic(kafka.name, f"{topic}.dlq", 1, {"max.message.bytes": 200_000})
    product.create({"properties": {"amount": {"type": "long"}, "message": {"type": "text"}}})
    bad = [(event_key(number), event_value(os.urandom(40_000).hex(), amount="many"))
           for number in range(20)]
    kafka.produce(topic, bad)
    sink = make_sink(kafka.servers, f"group-{topic}", [{"topic": topic, "index": product.name}],
                     product.url)
    sink.start()
    sink.wait_metric("tailrace_sink_finished_records_total", 20, outcome="dead_lettered")
    sink.stop()
    letters = list(kafka.records(f"{topic}.dlq"))
    assert [each.value() for each in letters] == [value for _, value in bad], "each as it was"


def test_a_body_that_is_too_large_is_halved(kafka, tight, make_sink):
    index = Index.fresh(tight, "halved")
    topic = kafka.topic("halved", 1, dead_letters=True)
    records = events(1200, " " + "large body " * 600)       # 8 MB in one partition
    huge = (event_key(9999), event_value("n 9999 " + "x" * 1_300_000))
    kafka.stack.alter_topic_config(kafka.name, topic, {"max.message.bytes": 4_000_000})
    kafka.stack.alter_topic_config(kafka.name, f"{topic}.dlq", {"max.message.bytes": 4_000_000})
    kafka.produce(topic, records[:600] + [huge] + records[600:])
    sink = make_sink(kafka.servers, f"group-{topic}", [{"topic": topic, "index": index.name}],
                     index.url, bulk={"size": "5MiB", "interval": "500ms", "memory": "32MiB"})
    with Watch(sink):
        sink.start()
        index.wait_count(1200, 90, sink.check_alive, lambda: sink.tail())
        kafka.wait_committed(f"group-{topic}", topic)
        assert sink.finished("dead_lettered") == 1, "a document too large alone is a dead letter"
    sink.stop()
    Tally(expected(records), key, index.name).add_all(index.documents()).check()
    letters = list(kafka.records(f"{topic}.dlq"))
    assert [each.key().decode() for each in letters] == [huge[0]]
    assert letters[0].value() == huge[1]
    assert headers(letters[0])["tailrace.status"] == "413"
    index.drop()


def test_a_full_write_queue_means_the_same_items_again(kafka, tight, make_sink):
    index, noise = Index.fresh(tight, "queue"), Index.fresh(tight, "noise")
    index.create(settings={"number_of_shards": 4})
    noise.create(settings={"number_of_shards": 4})
    topic = kafka.topic("queue", 4, dead_letters=True)
    records = events(8000)
    kafka.produce(topic, records)
    sink = make_sink(kafka.servers, f"group-{topic}", [{"topic": topic, "index": index.name}],
                     index.url, bulk={"size": "64KiB", "interval": "50ms", "in_flight": 8})
    over = threading.Event()

    def shout():
        body = ('{"create":{}}\n{"message":"noise"}\n' * 300).encode()
        while not over.is_set():
            try:
                http("POST", f"{tight}/{noise.name}/_bulk", body)
            except OSError:
                pass

    def rejected():
        _, stats = http("GET", f"{tight}/_nodes/stats/thread_pool")
        return sum(node["thread_pool"]["write"]["rejected"] for node in stats["nodes"].values())

    before = rejected()
    shouters = [threading.Thread(target=shout, daemon=True) for _ in range(12)]
    for each in shouters:
        each.start()
    try:
        with Watch(sink):
            sink.start()
            wait_for("the server to reject writes", lambda: rejected() > before + 20, 30)
            index.wait_count(2000, 90, sink.check_alive, lambda: sink.tail())
            over.set()
            index.wait_count(8000, 90, sink.check_alive, lambda: sink.tail())
            kafka.wait_committed(f"group-{topic}", topic)
            assert sink.finished("dead_lettered") == 0, "a full queue is no document's fault"
    finally:
        over.set()
    for each in shouters:
        each.join(30)
    sink.stop()
    Tally(expected(records), key, index.name).add_all(index.documents()).check()
    index.drop()
    noise.drop()
