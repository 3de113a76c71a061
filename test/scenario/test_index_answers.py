# SPDX-License-Identifier: Apache-2.0
"""Every class of answer that a search server gives, and what becomes of every document.

One sink serves one route per class; the fake server plays each route's script. Real servers'
versions of most classes are in test_index_faults.py; the shapes here are theirs (recorded).
"""

import json
from collections import defaultdict
from dataclasses import dataclass
from typing import Callable

import pytest

from fake_index import Answer, Bulk, FakeIndex, Script, item, refusal
from identity import OUTCOMES, Watch
from programs import free_port
from rss import RssWatch
from servers import event_key, event_value
from stack import Stack
from wait import wait_for

DOCUMENTS = 40
BAD = 7         # the number of the document that a script picks out
TIMEOUT_S = 5   # of a bulk
RSS_MAX_MIB = 100   # one route for each class, a thousand routes would have more


def number_of(name: str) -> int:
    return int(name.split(".")[2], 16)


def first(turns: int, answer: Callable[[FakeIndex, Bulk], Answer]) -> Script:
    """This answer the first few times; then a healthy server."""
    return lambda index, bulk: answer(index, bulk) if bulk.turn < turns else None


def whole(turns: int, answer: Answer) -> Script:
    return first(turns, lambda index, bulk: answer)


def one_refused(status: int, kind: str, reason: str, turns: int = 1 << 30) -> Script:
    """The document BAD is refused in the first requests, the others are created."""
    def script(index: FakeIndex, bulk: Bulk) -> Answer | None:
        if bulk.turn >= turns:
            return None
        return index.create(bulk, refuse=lambda name, value: item(status, kind, reason)
                            if number_of(name) == BAD else None)
    return script


def all_refused(turns: int, status: int, kind: str, reason: str) -> Script:
    """Every item is refused the first times: nothing of the document's fault."""
    return first(turns, lambda index, bulk: index.create(
        bulk, refuse=lambda name, value: item(status, kind, reason)))


def stored_without_answer(index: FakeIndex, bulk: Bulk) -> Answer:
    index.create(bulk)
    return Answer(hang_up=True)


def cut_answer(index: FakeIndex, bulk: Bulk) -> Answer:
    answer = index.create(bulk)
    answer.cut_at = len(json.dumps(answer.body)) // 2
    return answer


def slow_answer(index: FakeIndex, bulk: Bulk) -> Answer:
    answer = index.create(bulk)
    answer.pause = 1.0
    return answer


def too_few_items(index: FakeIndex, bulk: Bulk) -> Answer:
    answer = index.create(bulk)
    answer.body["items"].pop()
    return answer


def too_many_items(index: FakeIndex, bulk: Bulk) -> Answer:
    answer = index.create(bulk)
    answer.body["items"].append(item(201))
    return answer


def unknown_fields(index: FakeIndex, bulk: Bulk) -> Answer:
    answer = index.create(bulk)
    answer.body = {"took": 123456789012345678901234567890, "ingest_took": 1.5e3, "x": [{"y": []}],
                   **answer.body, "z": None}
    for each in answer.body["items"]:
        each["create"] |= {"_shards": {"total": 1}, "deep": {"error": {"type": "not this one"}}}
    return answer


def too_large_above(count: int, answer: Answer) -> Script:
    return lambda index, bulk: answer if len(bulk.documents) > count else None


def failure_store(index: FakeIndex, bulk: Bulk) -> Answer:
    """The real one stores it beside the data stream and says 201."""
    answer = index.create(bulk, refuse=lambda name, value: item(201, failure_store="used")
                          if number_of(name) == BAD else None)
    return answer


def packed(index: FakeIndex, bulk: Bulk) -> Answer:
    answer = index.create(bulk)
    answer.gzip = True
    return answer


def packed_and_cut(index: FakeIndex, bulk: Bulk) -> Answer:
    answer = packed(index, bulk)
    answer.cut_at = 30
    return answer


def late_answer(index: FakeIndex, bulk: Bulk) -> Answer:
    answer = index.create(bulk)
    answer.pause = TIMEOUT_S + 1
    return answer


def lying_answer(index: FakeIndex, bulk: Bulk) -> Answer:
    """It says that there are no errors, and some items were refused."""
    answer = index.create(bulk, refuse=lambda name, value: item(429, "x", "y")
                          if number_of(name) == BAD else None)
    answer.body["errors"] = False
    return answer


def text_for_an_items_error(index: FakeIndex, bulk: Bulk) -> Answer:
    """As servers before version 2 did, and some that imitate them do."""
    return index.create(bulk, refuse=lambda name, value: {"create": {
        "_id": None, "status": 400, "error": "MapperParsingException[failed to parse [x]]"}}
        if number_of(name) == BAD else None)


def nothing_said(index: FakeIndex, bulk: Bulk) -> Answer:
    return index.create(bulk, refuse=lambda name, value: {"create": {
        "_id": None, "status": 500, "error": {"type": None, "reason": None}}}
        if number_of(name) == BAD else None)


def overwritten(index: FakeIndex, bulk: Bulk) -> Answer:
    answer = index.create(bulk)
    for each in answer.body["items"]:
        each["create"] |= {"status": 200, "result": "updated"}
    return answer


def refused_while_bad_is_in_it(answer: Answer) -> Script:
    return lambda index, bulk: answer if any(number_of(name) == BAD
                                             for name, _ in bulk.documents) else None


def failure_store_unused(index: FakeIndex, bulk: Bulk) -> Answer:
    answer = index.create(bulk)
    words = ("not_applicable_or_unknown", "not_enabled", "failed")
    for number, each in enumerate(answer.body["items"]):
        each["create"]["failure_store"] = words[number % 3]
    return answer


def without_end(**answer) -> Script:
    return whole(1, Answer(**answer))


@dataclass
class Case:
    name: str
    script: Script
    letters: tuple[int, ...] = ()       # numbers of the documents that become dead letters
    reason: str = ""                    # and what their reason holds
    aside: tuple[int, ...] = ()         # kept by the server beside the index


HTML = Answer(b"<html><body><h1>502 Bad Gateway</h1></body></html>", 502,
              {"Content-Type": "text/html"})
PRESSURE = ("rejected execution of coordinating operation [coordinating_and_primary_bytes=0, "
            "coordinating_operation_bytes={size}, max_coordinating_and_primary_bytes=53687091]")

CASES = [
    # Documents that will never be accepted
    Case("type clash", one_refused(400, "mapper_parsing_exception",
                                   "failed to parse field [x] of type [long]"), (BAD,), "[x]"),
    Case("type clash of later versions", one_refused(
        400, "document_parsing_exception", "[1:40] failed to parse field [x] of type [long]"),
        (BAD,), "[x]"),
    Case("object against scalar", one_refused(
        400, "illegal_argument_exception", "mapper [message] of different type, current_type "
        "[long], merged_type [text]"), (BAD,), "merged_type"),
    Case("strict mapping", one_refused(
        400, "strict_dynamic_mapping_exception", "mapping set to strict"), (BAD,), "strict"),
    Case("field explosion", one_refused(
        400, "illegal_argument_exception", "Limit of total fields [1000] has been exceeded"),
        (BAD,), "Limit of total fields"),
    Case("no timestamp in a data stream", one_refused(
        400, "document_parsing_exception", "data stream timestamp field [@timestamp] is missing"),
        (BAD,), "@timestamp"),
    Case("immense term", one_refused(
        400, "illegal_argument_exception", "Document contains at least one immense term in "
        "field=\"message\""), (BAD,), "immense"),
    Case("unknown refusal of one document", one_refused(
        418, "teapot_exception", "short and stout"), (BAD,), "teapot"),
    Case("unknown refusal of the request", refused_while_bad_is_in_it(refusal(
        400, "illegal_argument_exception", "Malformed action/metadata line [3], expected "
        "FIELD_NAME")), (BAD,), "Malformed"),
    Case("empty id", one_refused(
        400, "illegal_argument_exception", "if _id is specified it must not be empty"), (BAD,),
        "_id"),
    Case("field name too long", one_refused(
        400, "illegal_argument_exception", "name [x] is too long, must be no longer than [512]"),
        (BAD,), "too long"),
    Case("mapping too deep", one_refused(
        400, "illegal_argument_exception", "Limit of mapping depth [20] has been exceeded"),
        (BAD,), "mapping depth"),
    Case("text for an item's error", text_for_an_items_error, (BAD,), "MapperParsingException"),
    Case("an error of the server for one document", nothing_said, (BAD,)),
    Case("too large even alone", refused_while_bad_is_in_it(Answer(b"", 413)), (BAD,),
         "larger than"),
    Case("too large, said of the item", one_refused(413, "", ""), (BAD,), "larger than"),
    Case("too large for the memory even alone", refused_while_bad_is_in_it(refusal(
        429, "rejected_execution_exception", PRESSURE.format(size=54215758))), (BAD,),
        "larger than"),
    # Again, that item alone
    Case("queue full", one_refused(429, "es_rejected_execution_exception",
                                   "rejected execution of TimedRunnable on EsThreadPoolExecutor "
                                   "[name = x/write, queue capacity = 1000]", 3)),
    Case("queue full of the other product", all_refused(
        2, 429, "rejected_execution_exception", "rejected execution of primary operation")),
    Case("circuit breaker of an item", one_refused(
        429, "circuit_breaking_exception", "[parent] Data too large", 2)),
    Case("circuit breaker of the request", whole(3, refusal(
        429, "circuit_breaking_exception", "[parent] Data too large, data for [<http_request>] "
        "would be [1gb], which is larger than the limit of [0.9gb]"))),
    Case("circuit breaker of old versions", whole(2, refusal(
        503, "circuit_breaking_exception", "[parent] Data too large"))),
    Case("timeout of an item", one_refused(408, "receive_timeout_transport_exception", "x", 2)),
    Case("gateway of an item", one_refused(504, "x", "y", 2)),
    Case("an error of the server for one document, for a while", one_refused(
        500, "null_pointer_exception", "Cannot invoke", 2)),
    Case("limit of a proxy", whole(2, Answer(b"<html>slow down</html>", 429))),
    Case("an answer that says no errors", first(2, lying_answer)),
    # The index refuses: its route waits
    Case("flood stage", all_refused(
        2, 429, "cluster_block_exception", "index [x] blocked by: [TOO_MANY_REQUESTS/12/disk usage "
        "exceeded flood-stage watermark, index has read-only-allow-delete block];")),
    Case("read only", all_refused(
        2, 403, "cluster_block_exception",
        "index [x] blocked by: [FORBIDDEN/12/index read-only];")),
    Case("index missing", all_refused(
        2, 404, "index_not_found_exception", "no such index [x] and [require_alias] request flag")),
    Case("index missing, whole request", whole(2, refusal(
        404, "index_not_found_exception", "no such index [x]"))),
    Case("no write index", all_refused(
        2, 400, "illegal_argument_exception", "no write index is defined for alias [x]")),
    Case("bad index name", all_refused(
        2, 400, "invalid_index_name_exception", "Invalid index name [X], must be lowercase")),
    Case("only create in a data stream", all_refused(
        2, 400, "illegal_argument_exception", "only write ops with an op_type of create are "
        "allowed in data streams")),
    Case("missing pipeline", all_refused(
        2, 400, "illegal_argument_exception", "pipeline with id [x] does not exist")),
    Case("shards full", all_refused(
        2, 400, "validation_exception", "Validation Failed: 1: this action would add [2] shards, "
        "but this cluster currently has [1000]/[1000] maximum normal shards open;")),
    Case("primary away", all_refused(
        2, 503, "unavailable_shards_exception",
        "[x][0] primary shard is not active Timeout: [1m]")),
    Case("no permission", whole(2, refusal(
        403, "security_exception", "action [indices:data/write/bulk] is unauthorized"))),
    Case("no permission for the items", all_refused(
        2, 403, "security_exception", "no permissions for [indices:data/write/bulk[s]]")),
    Case("index closed", all_refused(2, 400, "index_closed_exception", "closed")),
    Case("shards full, whole request", whole(2, refusal(
        400, "validation_exception", "Validation Failed: 1: this action would add [2] shards"))),
    Case("master is slow", all_refused(
        2, 503, "process_cluster_event_timeout_exception", "failed to process cluster event")),
    Case("alias taken", all_refused(
        2, 400, "invalid_alias_name_exception", "an index exists with the same name")),
    # The server refuses: all wait
    Case("no master", whole(1, refusal(
        503, "cluster_block_exception", "blocked by: [SERVICE_UNAVAILABLE/2/no master];"))),
    Case("no master yet", whole(1, refusal(503, "master_not_discovered_exception", ""))),
    Case("login page of a proxy", whole(1, Answer(b"<html>401</html>", 401))),
    Case("page of a proxy that forbids", whole(1, Answer(b"<html>403</html>", 403))),
    Case("media type", whole(1, refusal(
        400, "media_type_header_exception", "Invalid media-type value on headers"))),
    Case("a parameter that it does not know", whole(1, refusal(
        400, "illegal_argument_exception", "request [/_bulk] contains unrecognized parameter: "
        "[filter_path]"))),
    Case("empty body said", whole(1, refusal(
        400, "action_request_validation_exception", "Validation Failed: 1: no requests added;"))),
    Case("moved", whole(1, Answer(b"", 307, {"Location": "http://127.0.0.1:1/elsewhere"}))),
    Case("gateway timeout", whole(1, Answer(b"", 504))),
    Case("an error of the server", whole(1, refusal(500, "illegal_state_exception", "x"))),
    Case("wrong password", whole(1, refusal(
        401, "security_exception", "unable to authenticate user"))),
    Case("text for an error", whole(1, Answer({"error": "Content-Type header [] is not supported",
                                               "status": 406}, 406))),
    Case("page of a proxy", whole(1, HTML)),
    Case("overloaded", whole(1, Answer(b"", 503))),
    Case("page with status 200", whole(1, Answer(b"<html>sign in</html>", 200))),
    Case("pressure", whole(1, refusal(
        429, "rejected_execution_exception", PRESSURE.format(size=100)))),
    Case("answer without items", whole(1, Answer({"took": 1, "errors": False}))),
    Case("too few items", first(1, too_few_items)),
    Case("too many items", first(1, too_many_items)),
    Case("lost answer", first(1, stored_without_answer)),
    Case("cut answer", first(1, cut_answer)),
    Case("slow answer", first(2, slow_answer)),
    Case("late answer", first(1, late_answer)),
    Case("packed answer", first(1 << 30, packed)),
    Case("packed answer that is cut", first(1, packed_and_cut)),
    Case("no answer but 200", whole(1, Answer(b"", 200))),
    Case("no answer but 204", whole(1, Answer(b"", 204))),
    Case("answer of another service", whole(1, Answer({"message": "ok", "status": 200}))),
    Case("a gigabyte of items", without_end(
        body=b'{"items":[{"create":{"status":201}}', endless=b',{"create":{"status":201}}')),
    Case("a gigabyte of one reason", without_end(
        body=b'{"items":[{"create":{"status":400,"error":{"reason":"', endless=b"x")),
    Case("a gigabyte, packed to a thousandth", without_end(
        body=b'{"items":[', endless=b" ", gzip=True)),
    Case("a page without end", without_end(body=b"<html>", endless=b"<p>sorry</p>", status=502)),
    Case("not created but overwritten", first(1 << 30, overwritten)),
    Case("answer with more than asked", first(1 << 30, unknown_fields)),
    # Too large
    Case("too large", too_large_above(5, Answer(b"", 413))),
    Case("too large for a proxy", too_large_above(
        5, Answer({"Message": "Request size exceeded 10485760 bytes"}, 413))),
    Case("too large for the memory", too_large_above(5, refusal(
        429, "es_rejected_execution_exception", PRESSURE.format(size=54215758)))),
    Case("page of a proxy: too large", too_large_above(
        5, Answer(b"<html><h1>413 Request Entity Too Large</h1></html>", 413))),
    # Kept elsewhere
    Case("failure store without use", first(1 << 30, failure_store_unused)),
    Case("failure store", failure_store, aside=(BAD,)),
]


def topic_of(case: Case) -> str:
    return "answers-" + "".join(each if each.isalnum() else "-" for each in case.name)


@pytest.fixture
def fake():
    index = FakeIndex(free_port())
    yield index
    index.close()


def records(count: int) -> list[tuple[str, bytes]]:
    return [(event_key(number), event_value(f"n {number}")) for number in range(count)]


def test_every_class_of_answer_does_to_each_document_what_it_should(kafka, fake, make_sink):
    sent = records(DOCUMENTS)
    routes = []
    letters_topic = kafka.topic("answers-letters", 1)
    for case in CASES:
        topic = kafka.topic(topic_of(case).lower()[:40], 1)
        kafka.produce(topic, sent)
        fake.scripts[topic] = case.script
        routes.append({"topic": topic, "index": topic, "dead_letter_topic": letters_topic})
    sink = make_sink(kafka.servers, f"group-{routes[0]['topic']}", routes, fake.url,
                     elasticsearch={"urls": [fake.url], "timeout": f"{TIMEOUT_S}s", "gzip": False})
    with Watch(sink), RssWatch(sink) as rss:
        sink.start()
        sink.wait_metric("tailrace_sink_consumed_records_total", DOCUMENTS * len(CASES), 60)
        wait_for("every record to be finished",
                 lambda: sink.metric("tailrace_sink_in_flight_records") == 0, 120,
                 lambda: in_flight(sink, routes) + sink.tail())
        found = sink.metrics()
    sink.stop()
    assert max(rss.samples) < RSS_MAX_MIB, "an answer took memory"
    letters = defaultdict(list)
    for each in kafka.records(letters_topic):
        headers = {name: value.decode() for name, value in each.headers() or []}
        letters[headers["tailrace.topic"]].append((each.key().decode(), headers["tailrace.reason"]))
    problems = []
    for case, route in zip(CASES, routes, strict=True):
        problems += judge(case, route["topic"], letters[route["topic"]], fake, sent, found)
    assert not problems, "\n".join(problems)


def in_flight(sink, routes) -> str:
    metrics = sink.metrics()
    return str({route["topic"]: left for route in routes
                if (left := metrics.get("tailrace_sink_in_flight_records", route=route["topic"]))})


def judge(case: Case, topic: str, letters, fake: FakeIndex, sent, found) -> list[str]:
    """What is wrong with what became of the class's documents."""
    elsewhere = case.letters + case.aside
    due = {name: value for number, (name, value) in enumerate(sent) if number not in elsewhere}
    problems = []
    if fake.stored[topic] != due:
        missing = sorted(map(number_of, due.keys() - fake.stored[topic].keys()))
        more = sorted(map(number_of, fake.stored[topic].keys() - due.keys()))
        problems.append(f"{case.name}: missing {missing}, too many {more}")
    if [number_of(name) for name, _ in letters] != list(case.letters):
        problems.append(f"{case.name}: dead letters {letters}")
    for _, reason in letters:
        if case.reason not in reason:
            problems.append(f"{case.name}: the reason is {reason!r}")
    counted = {outcome: found.get("tailrace_sink_finished_records_total", route=topic,
                                  outcome=outcome) for outcome in OUTCOMES}
    stored = counted.pop("indexed") + counted.pop("duplicate")
    if stored != len(due) or counted != {
            "failure_store": len(case.aside), "dead_lettered": len(case.letters), "skipped": 0,
            "revoked": 0}:
        problems.append(f"{case.name}: counted as stored {stored}, and as {counted}")
    return problems


def test_a_duplicate_is_done_only_when_a_flush_says_that_it_is_on_disk(kafka, fake, make_sink):
    """The answer got lost, the node loses power behind the 409, the flush is not answered."""
    topic = kafka.topic("unsynced", 1, dead_letters=True)
    sent = records(DOCUMENTS)
    kafka.produce(topic, sent)

    def script(index: FakeIndex, bulk: Bulk) -> Answer | None:
        if bulk.turn == 0:
            index.create(bulk, sync=False)
            return Answer(hang_up=True)
        return None

    def power_cut(index: str, turn: int) -> Answer | None:
        if turn == 0:
            fake.lose_unsynced(index)
            return Answer(hang_up=True)
        return None

    fake.scripts[topic] = script
    fake.flush_script = power_cut
    sink = make_sink(kafka.servers, f"group-{topic}", [{"topic": topic, "index": topic}], fake.url)
    with Watch(sink):
        sink.start()
        kafka.wait_committed(f"group-{topic}", topic)
        assert sink.finished("indexed") == DOCUMENTS
    sink.stop()
    assert fake.flushes[topic] >= 1, "a 409 asks for a flush"
    assert fake.stored[topic] == dict(sent), "what a 409 was said of is lost with its node"


def test_duplicates_that_are_on_disk_are_done_after_one_flush(kafka, fake, make_sink):
    topic = kafka.topic("synced", 1, dead_letters=True)
    sent = records(DOCUMENTS)
    kafka.produce(topic, sent)
    fake.stored[topic] = dict(sent)
    sink = make_sink(kafka.servers, f"group-{topic}", [{"topic": topic, "index": topic}], fake.url)
    sink.start()
    kafka.wait_committed(f"group-{topic}", topic)
    assert sink.finished("duplicate") == DOCUMENTS
    assert sink.metric("tailrace_sink_flushes_total", result="synced") == fake.flushes[topic] == 1
    sink.stop()


def test_a_user_who_may_not_flush_is_told_so_and_goes_on(kafka, fake, make_sink):
    topic = kafka.topic("denied", 1, dead_letters=True)
    sent = records(DOCUMENTS)
    kafka.produce(topic, sent)
    fake.stored[topic] = dict(sent)
    fake.flush_script = lambda index, turn: refusal(403, "security_exception", "not allowed")
    sink = make_sink(kafka.servers, f"group-{topic}", [{"topic": topic, "index": topic}], fake.url)
    sink.start()
    kafka.wait_committed(f"group-{topic}", topic)
    assert sink.finished("duplicate") == DOCUMENTS
    assert "may not flush" in json.dumps(sink.status())
    sink.stop()


def test_one_failed_bulk_stops_nobody_and_two_in_a_row_stop_all(kafka, fake, make_sink):
    topic = kafka.topic("lone", 1)
    group = f"group-{topic}"
    away = refusal(503, "master_not_discovered_exception", "no master")
    fake.scripts[topic] = lambda index, bulk: away if bulk.turn in (1, 3, 4) else None
    sink = make_sink(kafka.servers, group, [{"topic": topic, "index": topic}], fake.url)
    sink.start()
    sent = records(3)
    kafka.produce(topic, sent[:1])      # turn 0: it is known to be well
    kafka.wait_committed(group, topic)
    kafka.produce(topic, sent[1:2])     # turn 1 fails alone
    kafka.wait_committed(group, topic)
    assert sink.logged("a bulk failed and is sent again, others go on")
    assert not sink.logged("all routes wait")
    kafka.produce(topic, sent[2:])      # turns 3 and 4
    kafka.wait_committed(group, topic)
    assert sink.logged("all routes wait")
    assert fake.stored[topic] == dict(sent)
    sink.stop()
