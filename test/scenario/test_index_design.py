# SPDX-License-Identifier: Apache-2.0
"""The index as it is made: types, names, other writers' JSON, templates and their owners."""

import json

import pytest

from programs import REPO
from servers import event_key, event_value
from wait import wait_for

KEYS = 50_000
TIME = "2026-11-21T06:12:00.123Z"


def run(kafka, make_sink, index, records, dead_letters=0, **config):
    topic = kafka.topic("design", 1, dead_letters=True)
    kafka.stack.alter_topic_config(kafka.name, topic, {"max.message.bytes": 8_000_000})
    kafka.produce(topic, records)
    route = {"topic": topic, "index": index.name} | config.pop("route", {})
    sink = make_sink(kafka.servers, f"group-{topic}", [route], index.url, **config)
    sink.start()
    kafka.wait_committed(f"group-{topic}", topic)
    letters = [dict(each.headers())["tailrace.reason"].decode()
               for each in kafka.records(f"{topic}.dlq")]
    assert sink.finished("dead_lettered") == dead_letters, letters
    sink.stop()
    index.ask("POST", f"/{index.name}/_refresh")


def ids(index, query):
    found = index.ask("POST", f"/{index.name}/_search", {"size": 100, "query": query})
    return sorted(hit["_source"].get("message", hit["_id"]) for hit in found["hits"]["hits"])


def fields_of(properties):
    found = 0
    for each in properties.values():
        found += 1 + fields_of(each.get("properties", {})) + len(each.get("fields", {}))
    return found


def deep(levels):
    found = 1
    for _ in range(levels):
        found = {"a": found}
    return found


# What made peers' indices refuse documents: conflicts, dots, depth, length, reserved bytes.
STRANGERS = [
    {"message": "text host", "host": "web-1", "log": "x", "source": "y", "service": {"name": "s"}},
    {"message": "object host", "host": {"name": "web-1"}, "log": {"level": 1}, "source": {"ip": 5}},
    {"message": "dots", "spark.master": "local", "spark.master.x": "y", "spark": {"master": 1}},
    {"message": "odd names", "": 1, ".": 2, "a.": 3, ".b": 4, " ": 5, "..": 6},
    {"message": "nothing", "a": None, "b": [], "c": {}, "d": [None], "e": {"f": {"g": None}}},
    {"message": "arrays", "a": [1, "x", {"b": 2}, [3, [4]]], "b": [{"x": None}, {}]},
    {"message": "numbers", "a": 1.5e300, "b": 12345678901234567890123, "c": "2026-01-01"},
    {"message": "no number", "a": "many", "b": {"c": 1}, "c": "soon"},
    {"message": "long", "a": "x" * 40_000},
    {"message": "long name", "k" * 40_000: 1},
    {"message": "NUL", "a\0b": "c\0d"},
    {"message": "deep", "a": deep(150)},
    {"message": {"is": "an object"}, "@timestamp": TIME},
    {"message": "times", "date": "Mon, 3 Jan", "hour": "noon", "year": "MMXX", "time": "never"},
    {"message": "no address", "ip_address": "unix:"},
    {"message": "all at once"} | {f"once{number}": number for number in range(KEYS)},
]


def test_fifty_thousand_names_of_strangers_are_no_field_and_no_document_is_refused(
        kafka, product, make_sink):
    values = [json.dumps(each).encode() for each in STRANGERS]
    for first in range(0, KEYS, 500):
        values.append(json.dumps({"message": f"many {first}", "@timestamp": TIME} | {
            f"name{number}": f"value {number}" for number in range(first, first + 500)}).encode())
    events = (REPO / "test/fixtures/spark/events.jsonl").read_bytes().splitlines()
    values += events
    run(kafka, make_sink, product, [(None, value) for value in values])

    assert product.count() == len(values)
    mapping = product.ask("GET", f"/{product.name}/_mapping")[product.name]["mappings"]
    names = mapping["properties"]
    assert fields_of(names) < 80, f"the mapping grew: {sorted(names)}"
    assert ids(product, {"term": {"json.name49999": "value 49999"}}) == ["many 49500"]
    assert ids(product, {"term": {"json.host": "web-1"}}) == ["text host"]
    assert ids(product, {"term": {"json.host.name": "web-1"}}) == ["object host"]
    assert ids(product, {"term": {"json.once49999": "49999"}}) == ["all at once"]
    job_starts = sum(json.loads(line)["Event"] == "SparkListenerJobStart" for line in events)
    found = product.ask("POST", f"/{product.name}/_count",
                        {"query": {"term": {"json.Event": "SparkListenerJobStart"}}})
    assert found["count"] == job_starts > 0
    kept = product.ask("POST", f"/{product.name}/_search",
                       {"query": {"match_phrase": {"message": "long name"}}})["hits"]["hits"]
    assert kept[0]["_source"]["json_unindexed"] == {"k" * 40_000: 1}


def test_fields_have_their_types_and_the_common_schemas_names(kafka, product, make_sink):
    columns = {"ip_address": "10.1.2.3", "status_code": 404, "status_category": "4xx",
               "response_size": 5_000_000_000, "device_type": "Mobile", "date": "2026-11-21",
               "hour": 6, "year": 2026, "week_of_year": 47, "iso_year": 2026,
               "log.level": "error", "host.name": "node-1", "log.flags": ["part"],
               "team": "2026-01-01"}
    old = json.dumps({"@timestamp": "2020-01-01T00:00:00.000Z", "message": "older"}).encode()
    run(kafka, make_sink, product, [
        (event_key(1), old), (event_key(2), event_value("a Line of words", **columns)),
        (event_key(3), event_value("broken", response_size="abc"))], dead_letters=1)
    for query in ({"term": {"ip_address": "10.1.0.0/16"}}, {"term": {"source.ip": "10.1.2.3"}},
                  {"range": {"http.response.body.bytes": {"gt": 4_000_000_000}}},
                  {"term": {"http.response.status_code": 404}}, {"match": {"message": "WORDS"}},
                  {"term": {"message.keyword": "a Line of words"}}, {"term": {"hour": 6}},
                  {"range": {"date": {"gte": "2026-11-01", "lt": "2026-12-01"}}},
                  {"term": {"team": "2026-01-01"}}, {"term": {"host.hostname": "node-1"}},
                  {"term": {"log.flags": "part"}}):
        assert ids(product, query) == ["a Line of words"], query
    settings = product.ask("GET", f"/{product.name}/_settings?flat_settings=true")
    settings = settings[product.name]["settings"]
    assert settings["index.codec"] == "best_compression"
    assert settings["index.sort.field"] in ("@timestamp", ["@timestamp"]), settings
    assert settings["index.mapping.total_fields.limit"] == "1000"


def template(index):
    found = index.ask("GET", f"/_index_template/tailrace-{index.name}")
    return found["index_templates"][0]["index_template"]


def test_older_templates_of_ours_are_replaced_newer_and_foreign_ones_are_left(
        kafka, product, make_sink):
    name, path = product.name, f"/_index_template/tailrace-{product.name}"

    def put(meta):
        product.ask("PUT", path, {"index_patterns": [name], "priority": 150, "_meta": meta,
                                  "template": {"mappings": {"properties": {
                                      "message": {"type": "keyword"}}}}})

    put({"owner": "tailrace", "version": 1})
    run(kafka, make_sink, product, [(event_key(1), event_value("one"))])
    found = template(product)
    assert found["_meta"]["version"] > 1 and found["priority"] > 200, "of version 1: replaced"
    product.drop()

    put({"owner": "tailrace", "version": 999})
    run(kafka, make_sink, product, [(event_key(1), event_value("one"))])
    assert template(product)["_meta"]["version"] == 999, "a newer sink knows better"
    product.drop()

    put({"owner": "somebody"})
    topic = kafka.topic("design", 1)
    kafka.produce(topic, [(event_key(1), event_value("one"))])
    sink = make_sink(kafka.servers, f"group-{topic}", [{"topic": topic, "index": name}],
                     product.url)
    sink.start()
    wait_for("the words on a foreign template", lambda: "belongs to somebody else" in sink.tail(),
             30, sink.tail)
    assert product.count() == 0 and template(product)["_meta"] == {"owner": "somebody"}
    sink.stop()


def test_a_template_of_ones_own_is_passed_through_and_renewed(kafka, index, make_sink, folder):
    own = folder / "own.json"
    for codec in ("default", "best_compression"):
        own.write_text(json.dumps({
            "settings": {"index": {"codec": codec}},
            "mappings": {"properties": {"message": {"type": "keyword"}}}}))
        run(kafka, make_sink, index,
            [(None, b'{"message":"kept","mine":{"a":1}}')],
            elasticsearch={"urls": [index.url], "template_file": str(own)})
        settings = template(index)["template"]["settings"]["index"]
        assert settings["codec"] == codec
        assert ids(index, {"term": {"mine.a": 1}}), "one's own template: one's own shape"
    index.ask("DELETE", f"/_index_template/tailrace-{index.name}")


def test_without_a_template_none_is_put_and_documents_keep_their_shape(kafka, index, make_sink):
    run(kafka, make_sink, index, [(None, b'{"message":"kept","mine":{"a":1}}')],
        elasticsearch={"urls": [index.url], "template": False})
    assert index.ask("GET", f"/_index_template/tailrace-{index.name}", ok=(404,))
    assert ids(index, {"term": {"mine.a": 1}})


@pytest.mark.parametrize("text, words", [
    ("[]", "must hold one JSON object"), ("{", "must hold one JSON object"),
    ('{"mappings":{},"aliases":{}}', "without aliases"), (None, "No such file")])
def test_a_template_file_that_is_none_is_refused_at_the_start(
        kafka, index, make_sink, folder, text, words):
    own = folder / "own.json"
    if text is not None:
        own.write_text(text)
    sink = make_sink(kafka.servers, "nobody", [{"topic": "t", "index": index.name}], index.url,
                     elasticsearch={"urls": [index.url], "template_file": str(own)})
    done = sink.run_verb("check")
    assert done.returncode == 2 and words in done.stderr, done.stderr
