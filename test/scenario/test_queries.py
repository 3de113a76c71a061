# SPDX-License-Identifier: Apache-2.0
"""The sample queries of conf/queries, against a count of our own; the configurations of conf."""

import json
import sqlite3
import subprocess
from collections import Counter, defaultdict

import pytest

from access_events import encode, generate
from programs import REPO, binary, clean_environment
from servers import Index

QUERIES = REPO / "conf/queries"
SIZES = {"num_files": 20, "lines_per_file": 250}
MONTH = {"start_date": "2025-01-01", "end_date": "2025-01-31"}


def truth(events):
    """name of the query -> its rows, by nothing but Python."""
    def group(rows, *names):
        found = defaultdict(list)
        for each in rows:
            found[tuple(each[name] for name in names)].append(each)
        return found

    def summary(rows):
        return (len(rows), len({each["ip_address"] for each in rows}),
                round(sum(each["response_size"] for each in rows) / len(rows), 6))

    day = [each for each in events if each["date"] == "2025-01-15"]
    some = [each for each in events if "2025-01-05" <= each["date"] <= "2025-01-20"]
    top = Counter(each["ip_address"] for each in day)
    return {
        "1-daily": [(*key, *summary(rows)) for key, rows in sorted(group(events, "date").items())],
        "2-top-ips": sorted(top.items(), key=lambda each: (-each[1], each[0]))[:10],
        "3-devices": sorted((*key, *summary(rows)[:2])
                            for key, rows in group(some, "device_type").items()),
        "4-statuses": [(*key, len(rows), round(100 * len(rows) / len(events), 2)) for key, rows in
                       sorted(group(events, "status_category", "status_code").items())],
        "5-weekly": [(*key, *summary(rows)) for key, rows in
                     sorted(group(events, "year", "week_of_year").items())],
        "6-hours": sorted(each["message"] for each in day if 10 <= each["hour"] <= 12)}


def rows_of_index(index):
    def ask(name):
        body = json.loads((QUERIES / f"{name}.json").read_text())
        return index.ask("POST", f"/{index.name}/_search", body)

    def summary(bucket):
        return (bucket["doc_count"], bucket["distinct_ips"]["value"],
                round(bucket["avg_response_size"]["value"], 6))

    def buckets(name):
        (found,) = ask(name)["aggregations"].values()
        return found["buckets"]

    statuses = ask("4-statuses")
    total = statuses["hits"]["total"]["value"]
    return {
        "1-daily": [(each["key_as_string"], *summary(each)) for each in buckets("1-daily")],
        "2-top-ips": [(each["key"], each["doc_count"]) for each in buckets("2-top-ips")],
        "3-devices": sorted((each["key"], each["doc_count"], each["distinct_ips"]["value"])
                            for each in buckets("3-devices")),
        "4-statuses": sorted(
            (category["key"], each["key"], each["doc_count"],
             round(100 * each["doc_count"] / total, 2))
            for category in statuses["aggregations"]["per_category"]["buckets"]
            for each in category["per_code"]["buckets"]),
        "5-weekly": [(each["key"]["year"], each["key"]["week_of_year"], *summary(each))
                     for each in buckets("5-weekly")],
        "6-hours": sorted(each["_source"]["message"] for each in ask("6-hours")["hits"]["hits"])}


def rows_of_file(path):
    database = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    found = {}
    for query in sorted(QUERIES.glob("*.sql")):
        rows = database.execute(query.read_text()).fetchall()
        found[query.stem] = [tuple(round(value, 6) if isinstance(value, float) else value
                                   for value in row) for row in rows]
    database.close()
    found["3-devices"].sort()
    found["6-hours"] = sorted(json.loads(value)["message"] for _, value in found["6-hours"])
    return found


def test_sample_queries_equal_an_independent_count_on_all_three_stores(
        stack, kafka, make_sink, folder):
    events = list(generate(app="nginx", **SIZES, **MONTH))
    topic = kafka.topic("access", 3)
    kafka.produce(topic, [(key, encode(each)) for key, each in events])
    expected = truth([each for _, each in events])
    assert sum(row[1] for row in expected["1-daily"]) == len(events) == 5000
    assert all(expected.values()) and 0 < len(expected["6-hours"]) < 100, "each asks for something"

    path = folder / "events.db"
    found = {}
    for name in ("opensearch", "elasticsearch8", "sqlite"):
        index = Index.fresh("" if name == "sqlite" else stack.start(name, settings={}), "access")
        route = {"topic": topic, "index": "prod-logs-index" if name == "sqlite" else index.name}
        sink = make_sink(kafka.servers, f"{name}-{topic}", [route], index.url, label=name)
        if name == "sqlite":
            sink.config.pop("elasticsearch")
            sink.config["sqlite"] = {"path": str(path)}
        sink.once()
        if name == "sqlite":
            found[name] = rows_of_file(path)
        else:
            assert index.count() == len(events)
            found[name] = rows_of_index(index)
            index.drop()
            index.ask("DELETE", f"/_index_template/tailrace-{index.name}")
    for name, rows in found.items():
        for query, wanted in expected.items():
            assert rows[query] == wanted, f"{query} on {name}"


@pytest.mark.parametrize("stage", ["dev", "prod"])
def test_configurations_of_conf_have_the_documents_names(stage):
    path = REPO / f"conf/{stage}/sink.yaml"
    done = subprocess.run([binary("tailrace-sink"), "check", "-c", path], capture_output=True,
                          text=True, timeout=30, env=clean_environment())
    assert done.returncode == 0 and "configuration OK" in done.stdout, done.stderr
    topic = {"dev": "logs-topic", "prod": "prod-logs-topic"}[stage]
    assert f"topic: {topic}\n    index: {stage}-logs-index\n" in path.read_text()
    server = (REPO / f"conf/{stage}/elasticsearch.yml").read_text()
    assert f"cluster.name: {stage}-elasticsearch-cluster\n" in server
