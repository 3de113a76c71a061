# SPDX-License-Identifier: Apache-2.0
"""What real indices refuse, all of it at once: one sink, a route for each fault. Whose fault it is
decides: the document goes to the dead letters, or its route waits and the others go on. The
failure store of data streams is not among them: its module is not published."""

import json
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any, Callable

import pytest

from identity import Watch
from oracle import Tally, digest
from servers import Index, event_key, event_value
from stack import http
from wait import wait_for

DOCUMENTS = 40
BAD = 7         # the number of the document that differs
TYPES = {"properties": {"message": {"type": "text"}, "amount": {"type": "long"}}}


@dataclass
class Fault:
    name: str
    make: Callable[[Index], Any]                            # before the sink starts
    mend: Callable[[Index], Any] | None = None              # None: the document's fault
    bad: dict[str, Any] = field(default_factory=dict)       # fields of the document BAD
    reason: str = ""                                        # of the dead letter or of the wait
    only: tuple[str, ...] = ()                              # products that can do it


def settings(index: Index, **values: Any) -> None:
    index.ask("PUT", "/_cluster/settings", {"persistent": values})


def blocked(block: str) -> Callable[[Index], None]:
    def make(index: Index) -> None:
        index.create(TYPES)
        index.set({f"index.blocks.{block}": True})
    return make


def unblock(block: str) -> Callable[[Index], None]:
    return lambda index: index.set({f"index.blocks.{block}": None})


def closed(index: Index) -> None:
    index.create(TYPES)
    index.ask("POST", f"/{index.name}/_close")


def alias_without_write_index(index: Index) -> None:
    for number in (1, 2):
        index.ask("PUT", f"/{index.name}-{number}", {
            "mappings": TYPES, "aliases": {index.name: {}},
            "settings": {"number_of_shards": 1, "number_of_replicas": 0}})


def name_write_index(index: Index) -> None:
    index.ask("POST", "/_aliases", {"actions": [{"add": {
        "index": f"{index.name}-1", "alias": index.name, "is_write_index": True}}]})


def with_missing_pipeline(index: Index) -> None:
    index.create(TYPES, {"index.default_pipeline": "tailrace-is-not-there"})


def plain(index: Index) -> None:
    index.create(TYPES)


OPENSEARCH = ("opensearch", "opensearch3")
# Later ones lift it by themselves while they do not look after their disks.
KEEPS_FLOOD_BLOCK = (*OPENSEARCH, "elasticsearch7")
MANY = {f"field{number}": 1 for number in range(30)}

FAULTS = [
    Fault("number", plain, bad={"amount": "many"}, reason="amount"),
    Fault("object", plain, bad={"amount": {"of": 1}}, reason="amount"),
    Fault("merge", plain, bad={"message": {"is": "an object"}}, reason="message"),
    Fault("strict", lambda index: index.create({"dynamic": "strict"} | {"properties": {
        "@timestamp": {"type": "date"}, "message": {"type": "text"}}}),
        bad={"surprise": 1}, reason="surprise"),
    Fault("fields", lambda index: index.create(TYPES, {"mapping.total_fields.limit": 10}),
          bad=MANY, reason="Limit of total fields"),
    Fault("depth", lambda index: index.create(TYPES, {"mapping.depth.limit": 2}),
          bad={"a": {"b": {"c": {"d": 1}}}}, reason="depth"),
    Fault("term", lambda index: index.create({"properties": {
        "message": {"type": "text"}, "word": {"type": "keyword"}}}),
        bad={"word": "x" * 40_000}, reason="immense term"),
    Fault("write", blocked("write"), unblock("write"), reason="index write (api)"),
    Fault("flood", blocked("read_only_allow_delete"), unblock("read_only_allow_delete"),
          reason="read-only-allow-delete", only=KEEPS_FLOOD_BLOCK),
    Fault("readonly", blocked("read_only"), unblock("read_only"), reason="index read-only"),
    Fault("closed", closed, lambda index: index.ask("POST", f"/{index.name}/_open"),
          reason="closed"),
    Fault("noauto", lambda index: settings(index, **{
        "action.auto_create_index": f"-{index.name},+*"}), lambda index: settings(index, **{
            "action.auto_create_index": None}), reason="no such index"),
    Fault("alias", alias_without_write_index, name_write_index, reason="no write index"),
    Fault("pipeline", with_missing_pipeline,
          lambda index: index.set({"index.default_pipeline": None}), reason="pipeline with id",
          only=OPENSEARCH),
    # From here on no index can be made.
    Fault("shards", lambda index: settings(index, **{"cluster.max_shards_per_node": 1}),
          lambda index: settings(index, **{"cluster.max_shards_per_node": None}),
          reason="this action would add"),
]


def records(fault: Fault) -> list[tuple[str, bytes]]:
    return [(event_key(number), event_value(**({"message": f"n {number}"} | (
        fault.bad if number == BAD else {})))) for number in range(DOCUMENTS)]


@pytest.fixture
def faults(search, product):
    """Each fault with an index of its own; the cluster's settings go back to what they were."""
    chosen = {fault.name: (fault, Index.fresh(product.url, fault.name)) for fault in FAULTS
              if not fault.only or search in fault.only}
    yield list(chosen.values())
    settings(product, **dict.fromkeys(["action.auto_create_index", "cluster.max_shards_per_node",
                                       "network.breaker.inflight_requests.limit"]))
    for _, index in chosen.values():
        for path in (f"/{index.name}", f"/{index.name}-1", f"/{index.name}-2",
                     f"/_index_template/{index.name}"):
            http("DELETE", f"{index.url}{path}")


def test_each_refusal_of_a_real_index_meets_the_document_or_its_route(
        kafka, search, product, faults, make_sink):
    letters_topic = kafka.topic("refusals-letters", 1)
    routes = {}
    for fault, index in faults:
        fault.make(index)
        routes[fault.name] = kafka.topic(f"refusals-{fault.name}", 1)
        kafka.produce(routes[fault.name], records(fault))
    # The server has no memory for any bulk at first: nobody's fault, so nothing but waiting.
    settings(product, **{"network.breaker.inflight_requests.limit": "1kb"})
    sink = make_sink(kafka.servers, f"group-{letters_topic}", [
        {"topic": routes[fault.name], "index": index.name, "dead_letter_topic": letters_topic}
        for fault, index in faults], product.url,
        elasticsearch={"urls": [product.url], "template": False})
    with Watch(sink):
        sink.start()
        sink.wait_metric("tailrace_sink_retried_records_total", DOCUMENTS * len(faults), 60)
        if search != "elasticsearch9":      # it takes a body in parts: some fit
            assert sink.finished("indexed") == sink.finished("dead_lettered") == 0
        settings(product, **{"network.breaker.inflight_requests.limit": None})

        check_while_it_lasts(sink, faults, routes)
        for fault, index in reversed(faults):
            if fault.mend is not None:
                fault.mend(index)
        for fault, index in faults:
            kafka.wait_committed(f"group-{letters_topic}", routes[fault.name], 90)
        sink.wait_page("/readyz")
        check_at_the_end(kafka, sink, faults, routes, letters_topic)
    sink.stop()


def check_while_it_lasts(sink, faults, routes) -> None:
    for fault, _ in faults:
        if fault.mend is None:
            wait_for(f"the documents of {fault.name} to be finished",
                     lambda: sink.metric("tailrace_sink_finished_records_total",
                                         route=routes[fault.name]) == DOCUMENTS, 90,
                     lambda: sink.status()["routes"])
            continue
        wait_for(f"the route of {fault.name} to wait",
                 lambda: sink.metric("tailrace_sink_paused", route=routes[fault.name],
                                     reason="index") == 1, 60, lambda: sink.tail())
        told = next(each for each in sink.status()["routes"]
                    if each["topic"] == routes[fault.name])
        assert fault.reason in told["paused"], f"{fault.name}: {told['paused']!r}"
        assert told["indexed"] == told["dead_lettered"] == 0, f"{fault.name}: {told}"
        assert told["in_flight"] == DOCUMENTS


def check_at_the_end(kafka, sink, faults, routes, letters_topic) -> None:
    letters = defaultdict(list)
    for each in kafka.records(letters_topic):
        headers = {name: value.decode() for name, value in each.headers() or []}
        letters[headers["tailrace.topic"]].append((each.key().decode(), each.value(),
                                                   headers["tailrace.reason"]))
    found = sink.metrics()
    for fault, index in faults:
        sent = records(fault)
        topic = routes[fault.name]
        if fault.mend is None:
            assert [each[:2] for each in letters[topic]] == [sent[BAD]], fault.name
            assert fault.reason in letters[topic][0][2], letters[topic]
            del sent[BAD]
        else:
            assert not letters[topic], f"{fault.name}: {letters[topic]}"
        stored = sum(found.get("tailrace_sink_finished_records_total", route=topic,
                               outcome=outcome) for outcome in ("indexed", "duplicate"))
        assert stored == len(sent), f"{fault.name}: {stored} counted"
        expected = {number_and_text(value)[0]: digest(number_and_text(value)[1])
                    for _, value in sent}
        Tally(expected, lambda source: source["message"], fault.name).add_all(
            index.documents()).check()


def number_and_text(value: bytes) -> tuple[str, str]:
    message = json.loads(value)["message"]
    return message, message
