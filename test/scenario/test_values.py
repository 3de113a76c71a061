# SPDX-License-Identifier: Apache-2.0
"""Foreign values on the topic: each becomes one document or one dead letter, neighbours intact."""

import json

from identity import Watch
from oracle import Tally, digest
from servers import event_key, event_value

TIME = "2026-11-21T06:12:00.123Z"
FORGED = b'{"create":{"_index":"forged","_id":"forged"}}\n{"message":"smuggled"}'


def pretty(message):
    return json.dumps({"@timestamp": TIME, "message": message, "list": [{"a": None}, {"a": "\n"}]},
                      indent=2).encode()


# name: (key, value, check of the document; None where a dead letter is as good)
VALUES = {
    "pretty-printed JSON": (None, pretty("pretty"), lambda doc: doc["message"] == "pretty"),
    "pretty-printed under our key": (event_key(900001), pretty("pretty, our key"),
                                     lambda doc: doc["message"] == "pretty, our key"),
    "a forged action line": (None, FORGED, lambda doc: doc["message"] == FORGED.decode()),
    "a forged action line under our key and our looks": (
        event_key(900002), b'{"@timestamp":"' + TIME.encode() + b'","message":"x"}\n' + FORGED,
        lambda doc: "smuggled" in doc["message"]),
    "a tombstone": (b"tomb", None, None),
    "the word null": (None, b"null", lambda doc: doc["message"] == "null"),
    "an empty value": (None, b"", None),
    "an empty object": (None, b"{}", lambda doc: "@timestamp" in doc),
    "900 KB": (None, event_value("L" * 900_000), lambda doc: doc["message"] == "L" * 900_000),
    "900 KB of newlines": (None, b"line\n" * 184_320,
                           lambda doc: doc["message"] == "line\n" * 184_320),
    "a plain line": (b"some key", b"GET / HTTP/1.1 \\ \"quoted\"",
                     lambda doc: doc["message"] == "GET / HTTP/1.1 \\ \"quoted\""),
    "an array": (None, b"[1,2,3]", lambda doc: doc["message"] == "[1,2,3]"),
    "a number": (None, b"42", lambda doc: doc["message"] == "42"),
    "two objects": (None, b'{"a":1}{"b":2}', lambda doc: doc["message"] == '{"a":1}{"b":2}'),
    "invalid UTF-8": (None, b"caf\xe9 \xff\xfe end",
                      lambda doc: doc["message"] == "caf\ufffd \ufffd\ufffd end"),
    "invalid UTF-8 inside JSON": (None, b'{"message":"caf\xe9"}',
                                  lambda doc: "caf\ufffd" in doc["message"]),
    "NUL bytes": (None, b"a\0b\0", lambda doc: doc["message"] == "a\0b\0"),
    "100,000 nested brackets": (None, b"[" * 100_000 + b"]" * 100_000, None),
    "100,000 nested objects under our key and our looks": (
        event_key(900003), b'{"@timestamp":"' + TIME.encode() + b'","a":' + b'{"a":' * 100_000
        + b"1" + b"}" * 100_001, None),
    "our key and our looks, broken JSON": (
        event_key(900004), b'{"@timestamp":"' + TIME.encode() + b'","message":"never ends', None),
    "our key, no JSON": (event_key(900005), b"plain under our key", None),
    "a key that looks like ours, but longer": (
        (event_key(900006) + '"},"x').encode(), event_value("bad key"),
        lambda doc: doc["message"] == "bad key"),
    "a key of 600 bytes": (b"k" * 600, event_value("long key"),
                           lambda doc: doc["message"] == "long key"),
    "a key with a quote and a newline": (b'"}\n{"', event_value("quoted key"),
                                         lambda doc: doc["message"] == "quoted key"),
    "a key of a later version": (b"t7.some-future.id", event_value("future"),
                                 lambda doc: doc["message"] == "future"),
    "a time that is no time": (None, b'{"@timestamp":"yesterday","message":"when?"}', None),
    "duplicate names": (None, b'{"message":"one","message":"two"}', None),
    "an object as message": (None, b'{"message":{"a":{"b":1}}}', None),
}


def test_each_value_is_one_document_or_one_dead_letter_and_its_neighbours_stay(
        kafka, index, seed, make_sink):
    topic = kafka.topic("values", 1, dead_letters=True)
    for each in (topic, f"{topic}.dlq"):
        kafka.stack.alter_topic_config(kafka.name, each, {"max.message.bytes": 4_000_000})
    index.create({"properties": {"@timestamp": {"type": "date"}, "message": {"type": "text"},
                                 "n": {"type": "long"}}})
    records, neighbours = [], {}
    for number, (name, (key, value, _)) in enumerate(VALUES.items()):
        for side in range(2):
            place = number * 2 + side
            neighbours["neighbour", place] = digest(f"neighbour {place}")
            records.append((event_key(place), event_value(f"neighbour {place}")))
            if side == 0:
                records.append((key, value))
    kafka.produce(topic, records)
    sink = make_sink(kafka.servers, f"group-{topic}", [{"topic": topic, "index": index.name}],
                     index.url)
    with Watch(sink):
        sink.start()
        sink.wait_metric("tailrace_sink_consumed_records_total", len(records), 60)
        kafka.wait_committed(f"group-{topic}", topic)
        found = {each: sink.finished(each) for each in
                 ("indexed", "duplicate", "dead_lettered", "skipped", "revoked")}
    sink.stop()

    documents = dict(index.documents())
    near = {id: doc for id, doc in documents.items()
            if str(doc.get("message", "")).startswith("neighbour ")}

    def key_of(source):
        tag, number = source["message"].split(" ")
        return tag, int(number)

    Tally(neighbours, key_of, index.name).add_all(near.items()).check(seed)
    letters = list(kafka.records(f"{topic}.dlq"))
    rest = [doc for id, doc in documents.items() if id not in near]
    assert len(rest) + len(letters) + found["skipped"] == len(VALUES), \
        f"{len(VALUES)} values, {len(rest)} documents, {len(letters)} dead letters, {found}"
    assert found["duplicate"] == 0 and found["revoked"] == 0, found
    assert index.ask("GET", "/forged", ok=(404,)), "a forged action line reached the index"
    dead = [letter.value() for letter in letters]
    wrong = []
    for name, (_, value, check) in VALUES.items():
        lettered = value in dead
        if check and not lettered and not any(holds(check, doc) for doc in rest):
            wrong.append(f"{name}: no document of it, and no dead letter")
        if check and lettered:
            wrong.append(f"{name}: is a dead letter, a document is due")
    assert not wrong, "\n".join(wrong) + f"\ndocuments: {[str(each)[:150] for each in rest]}"
    for letter in letters:
        names = [name for name, _ in letter.headers() or []]
        assert "tailrace.reason" in names, f"a dead letter without reason: {names}"


def holds(check, doc):
    try:
        return check(doc)
    except (KeyError, TypeError):
        return False


def test_foreign_records_read_again_are_duplicates(kafka, index, make_sink):
    topic = kafka.topic("foreign", 1, dead_letters=True)
    group = f"group-{topic}"
    kafka.produce(topic, [(None, b"plain %d" % number) for number in range(200)])
    sink = make_sink(kafka.servers, group, [{"topic": topic, "index": index.name}], index.url)
    for outcome in ("indexed", "duplicate"):
        sink.start()
        sink.wait_metric("tailrace_sink_finished_records_total", 200, outcome=outcome)
        kafka.wait_committed(group, topic)
        sink.stop()
        kafka.stack.reset_group_to_earliest(kafka.name, group)
        assert index.count() == 200
    documents = list(index.documents())
    assert all(id.startswith("k1.") for id, _ in documents)
    assert sorted(doc["message"] for _, doc in documents) == \
        sorted(f"plain {number}" for number in range(200))
    assert all("unparsed" in doc["log.flags"] for _, doc in documents)
