# SPDX-License-Identifier: Apache-2.0
"""One index a day, what retention deletes of them, and names with more than one index behind."""

import datetime
import http.server as web
import json
import os
import threading
import urllib.error
import urllib.request

import pytest

from identity import Watch
from oracle import Tally, digest
from servers import Index, event_key, event_value
from stack import http
from wait import wait_for

DAY = datetime.timedelta(days=1)


def today():
    return datetime.datetime.now(datetime.timezone.utc)


def stamp(moment):
    return moment.strftime("%Y-%m-%dT%H:%M:%S.000Z")


def name_of(index, moment):
    return f"{index.name}-{moment.strftime('%Y.%m.%d')}"


def event(number, moment, message=None):
    return event_key(number), json.dumps(
        {"@timestamp": stamp(moment), "message": message or f"n {number}"}).encode()


def indices(index):
    """name -> documents, of all that begin with the route's name."""
    index.ask("POST", f"/{index.name}*/_refresh")
    found = index.ask("GET", f"/_cat/indices/{index.name}*?format=json&h=index,docs.count")
    return {each["index"]: int(each["docs.count"] or 0) for each in found}


# TAILRACE_SEARCH names further ones of the stack, or addresses: elasticsearch9 http://…
PRODUCTS = ["opensearch", *os.environ.get("TAILRACE_SEARCH", "").split()]


@pytest.fixture(scope="module", params=PRODUCTS)
def opensearch(request, stack):
    given = request.param.startswith("http")
    return request.param if given else stack.start(request.param, settings={})


@pytest.fixture
def daily(opensearch):
    found = Index.fresh(opensearch, "daily")
    yield found
    forget(found)


def forget(index):
    for name in indices(index):
        http("DELETE", f"{index.url}/{name}")
    http("DELETE", f"{index.url}/_index_template/tailrace-{index.name}")


def test_events_go_to_the_index_of_their_own_day_and_a_repeat_changes_nothing(
        kafka, daily, make_sink):
    topic = kafka.topic("daily", 2, dead_letters=True)
    now = today()
    moments = [now - DAY * (number % 12) for number in range(1200)]
    records = [event(number, moment) for number, moment in enumerate(moments)]
    ago = stamp(now - DAY * 3)
    strangers = [(None, json.dumps({"message": "s 1", "@timestamp": ago}).encode()),
                 (None, b'{"message":"s 2","a":1}'),
                 (None, b'{"message":"s 3","@timestamp":"2099-01-01T00:00:00Z"}'),
                 (None, json.dumps({"x": 1, "message": "s 4",
                                    "time": (now - DAY * 5).timestamp()}).encode())]
    kafka.produce(topic, records + strangers)
    route = {"topic": topic, "index": daily.name, "rotate": "daily"}
    sink = make_sink(kafka.servers, f"group-{topic}", [route], daily.url)
    with Watch(sink):
        sink.start()
        kafka.wait_committed(f"group-{topic}", topic)
        assert sink.finished("indexed") == len(records) + len(strangers)
    sink.stop()

    expected = {}
    for moment in moments + [now - DAY * 3, now, now, now - DAY * 5]:
        name = name_of(daily, moment)
        expected[name] = expected.get(name, 0) + 1
    found = indices(daily)
    assert found == expected, "the day is the event's own, an implausible one that of the record"
    wanted = {("n", number): digest(f"n {number}") for number in range(1200)}
    wanted |= {("s", number): digest(f"s {number}") for number in range(1, 5)}

    def key(source):
        tag, number = source["message"].split(" ")
        return tag, int(number)

    Tally(wanted, key, f"the alias {daily.name}").add_all(daily.documents()).check()

    kafka.stack.reset_group_to_earliest(kafka.name, f"group-{topic}")
    sink.start()
    sink.wait_metric("tailrace_sink_consumed_records_total", len(wanted))
    kafka.wait_committed(f"group-{topic}", topic)
    assert sink.finished("duplicate") == len(wanted) and sink.finished("indexed") == 0
    sink.stop()
    assert indices(daily) == expected


def make_index(index, name, meta):
    index.ask("PUT", f"/{name}", {"mappings": {"_meta": meta} if meta else {}})


def test_retention_deletes_our_old_indices_and_nothing_else(kafka, daily, make_sink):
    topic = kafka.topic("kept", 1, dead_letters=True)
    now = today()
    ages = [0, 1, 6, 7, 8, 9, 400]
    kafka.produce(topic, [event(age, now - DAY * age) for age in ages])
    route = {"topic": topic, "index": daily.name, "rotate": "daily"}
    sink = make_sink(kafka.servers, f"group-{topic}", [route], daily.url)
    sink.start()
    kafka.wait_committed(f"group-{topic}", topic)
    sink.stop()
    strangers = [name_of(daily, now - DAY * 50), f"{daily.name}-2020.02.30",
                 f"{daily.name}-app-2020.01.01", f"{daily.name}-2020.01.01.old"]
    http("DELETE", f"{daily.url}/_index_template/tailrace-{daily.name}")
    for number, name in enumerate(strangers):
        make_index(daily, name, {"owner": "tailrace"} if number else {"owner": "somebody"})

    sink = make_sink(kafka.servers, f"group-{topic}", [route | {"retention": "7d"}], daily.url,
                     label="keeper")
    sink.start()
    sink.wait_metric("tailrace_sink_retention_deleted_total", 3)
    wait_for("the words on the last one",
             lambda: sink.logged(f"deleted index {name_of(daily, now - DAY * 8)}"), 30, sink.tail)
    for age in (400, 9, 8):
        assert sink.logged(f"retention of 7 days deleted index {name_of(daily, now - DAY * age)}")
    sink.stop()
    kept = {name_of(daily, now - DAY * age) for age in (0, 1, 6, 7)}
    assert set(indices(daily)) == kept | set(strangers)


class WrongClock(web.BaseHTTPRequestHandler):
    """In front of a search server: passes everything on, but its clock is two hours off."""

    behind = ""
    deletes: list[str] = []

    def log_message(self, *_):
        pass

    def serve(self):
        size = int(self.headers.get("content-length") or 0)
        body = self.rfile.read(size) if size else None
        headers = {name: self.headers[name] for name in ("content-type", "content-encoding")
                   if self.headers[name]}
        asked = urllib.request.Request(self.behind + self.path, body, headers, method=self.command)
        try:
            with urllib.request.urlopen(asked, timeout=30) as found:
                status, answer = found.status, found.read()
        except urllib.error.HTTPError as error:
            status, answer = error.code, error.read()
        if self.path.startswith("/_cat/health"):
            epoch = int(json.loads(answer)[0]["epoch"]) - 7200
            answer = json.dumps([{"epoch": str(epoch)}]).encode()
        if self.command == "DELETE":
            self.deletes.append(self.path)
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_GET = do_PUT = do_POST = do_DELETE = serve


def test_no_index_is_deleted_while_the_clocks_differ(kafka, daily, make_sink):
    topic = kafka.topic("clock", 1)
    kafka.produce(topic, [event(1, today() - DAY * 30)])
    WrongClock.behind, WrongClock.deletes = daily.url, []
    server = web.ThreadingHTTPServer(("127.0.0.1", 0), WrongClock)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    route = {"topic": topic, "index": daily.name, "rotate": "daily", "retention": "7d"}
    sink = make_sink(kafka.servers, f"group-{topic}", [route],
                     f"http://127.0.0.1:{server.server_port}")
    try:
        sink.start()
        wait_for("the words on the clocks", lambda: sink.logged("s apart; nothing is deleted"), 30,
                 sink.tail)
        kafka.wait_committed(f"group-{topic}", topic)
        sink.stop()
    finally:
        server.shutdown()
    assert not WrongClock.deletes and len(indices(daily)) == 1


def test_an_index_in_the_place_of_the_alias_stops_its_route_alone(
        kafka, daily, index, make_sink):
    blocked, free = kafka.topic("blocked", 1), kafka.topic("free", 1)
    daily.create()
    now = today()
    kafka.produce(blocked, [event(1, now)])
    kafka.produce(free, [event(2, now)])
    sink = make_sink(kafka.servers, f"group-{blocked}", [
        {"topic": blocked, "index": daily.name, "rotate": "daily"},
        {"topic": free, "index": index.name}], daily.url)
    done = sink.run_verb("check", "--connect")
    assert done.returncode == 1 and "cannot be the alias" in done.stdout, done.stdout
    sink.start()
    index.wait_count(1, 30, sink.check_alive, sink.tail)
    sink.wait_metric("tailrace_sink_paused", route=blocked, reason="index")
    assert sink.logged("exists with the same name as the alias"), sink.tail()
    daily.drop()
    wait_for("the route to go on", lambda: indices(daily) == {name_of(daily, now): 1}, 60,
             sink.tail)
    sink.stop()


@pytest.mark.parametrize("kind", ["a data stream", "a rollover alias"])
def test_what_hides_several_indices_works_and_check_says_what_it_costs(
        kafka, opensearch, make_sink, kind):
    index = Index.fresh(opensearch, "stream")
    topic = kafka.topic("stream", 1, dead_letters=True)
    if kind == "a data stream":
        index.ask("PUT", f"/_index_template/{index.name}", {
            "index_patterns": [index.name], "priority": 500, "data_stream": {}})
        index.ask("PUT", f"/_data_stream/{index.name}")
    else:
        index.ask("PUT", f"/{index.name}-000001",
                  {"aliases": {index.name: {"is_write_index": True}}})
    records = [event(number, today()) for number in range(100)]
    kafka.produce(topic, records)
    sink = make_sink(kafka.servers, f"group-{topic}", [{"topic": topic, "index": index.name}],
                     index.url, elasticsearch={"urls": [index.url], "template": False})
    done = sink.run_verb("check", "--connect")
    assert "only inside one index behind it" in done.stdout, done.stdout
    sink.once()
    assert index.count() == 100
    kafka.stack.reset_group_to_earliest(kafka.name, f"group-{topic}")
    sink.once()
    assert index.count() == 100, "inside one index behind the name an id is known"
    index.ask("POST", f"/{index.name}/_rollover")
    kafka.stack.reset_group_to_earliest(kafka.name, f"group-{topic}")
    sink.once()
    assert index.count() == 200, "after a rollover it is not: this is what check warns of"
    if kind == "a data stream":
        index.ask("DELETE", f"/_data_stream/{index.name}")
        index.ask("DELETE", f"/_index_template/{index.name}")
    else:
        for name in (f"{index.name}-000001", f"{index.name}-000002"):
            index.ask("DELETE", f"/{name}")


def test_a_route_that_is_changed_after_a_stop_in_order_has_each_record_once(
        kafka, opensearch, make_sink):
    topic = kafka.topic("changed", 3)
    names = [Index.fresh(opensearch, "changed") for _ in range(4)]
    routes = [{"topic": topic, "index": each.name} for each in names]
    routes[2]["rotate"] = "daily"   # switched on, and off again: under names that nothing has
    count, left = 5000, []
    try:
        for number, route in enumerate(routes):
            kafka.produce(topic, [event(each, today())
                                  for each in range(number * count, (number + 1) * count)])
            sink = make_sink(kafka.servers, f"group-{topic}", [route], opensearch,
                             label=f"sink{number}", bulk={"size": "64KiB", "in_flight": 1})
            sink.start()
            sink.wait_metric("tailrace_sink_finished_records_total", 1000, 90)
            if number < len(routes) - 1:
                sink.stop()     # in the middle of its work
                left.append(kafka.lag(f"group-{topic}", topic))
        kafka.wait_committed(f"group-{topic}", topic, 90)
        sink.stop()
        ids = [id for each in names for id, _ in each.documents()]
        assert len(ids) == len(set(ids)) == count * len(routes)
        assert max(left) > 0, "each sink was done when it was stopped: the test proves nothing"
    finally:
        for each in names:
            forget(each)


@pytest.mark.parametrize("route, words", [
    ({"retention": "7d"}, "it needs rotate: daily"), ({"retention": "36h"}, "whole days"),
    ({"rotate": "hourly"}, "none or daily")])
def test_rotation_that_cannot_work_is_refused_at_the_start(make_sink, route, words):
    sink = make_sink("localhost:1", "nobody", [{"topic": "t", "index": "i"} | route],
                     "http://localhost:1")
    done = sink.run_verb("check")
    assert done.returncode == 2 and words in done.stderr, done.stderr


def test_rotation_is_refused_with_sqlite(make_sink, folder):
    sink = make_sink("localhost:1", "nobody", [{"topic": "t", "index": "i", "rotate": "daily"}],
                     "http://localhost:1")
    sink.config.pop("elasticsearch")
    sink.config["sqlite"] = {"path": str(folder / "events.db")}
    done = sink.run_verb("check")
    assert done.returncode == 2 and "retention alone deletes" in done.stderr, done.stderr
