# SPDX-License-Identifier: Apache-2.0
"""Several nodes of one cluster, each with a fault of its own: nothing is lost, nothing is there
twice, and what is dead costs no time again and again."""

import json

import pytest

from fake_index import Answer, FakeIndex, refusal
from identity import Watch
from products import LONG
from programs import free_port
from servers import Index, event_key, event_value
from stack import StackError
from wait import wait_for

RECORDS = 4000
IN_FLIGHT = 6


@pytest.fixture
def fake():
    index = FakeIndex(free_port())
    yield index
    index.close()


def records(first: int, count: int) -> list[tuple[str, bytes]]:
    return [(event_key(number), event_value(f"n {number} " + "x" * 1000))
            for number in range(first, first + count)]


def options(urls: list[str], **more):
    """Small bulks, so that there are many."""
    return {"elasticsearch": {"urls": urls} | more,
            "bulk": {"interval": "20ms", "size": "64KiB", "in_flight": IN_FLIGHT}}


def state_of(sink, node) -> dict:
    return next(each for each in sink.status()["nodes"] if each["url"] == node.url)


def test_each_node_has_a_fault_and_the_others_do_its_work(kafka, fake, make_sink):
    killed = fake.nodes[0]
    away, silent, slow, fine = (fake.add_node(free_port()) for _ in range(4))
    topic = kafka.topic("nodes", 4, dead_letters=True)
    sink = make_sink(kafka.servers, f"group-{topic}", [{"topic": topic, "index": topic}],
                     fake.url, **options([each.url for each in fake.nodes]))
    sent = records(0, RECORDS + 200)
    more = sent[RECORDS:]

    def all_up(*nodes) -> bool:
        kafka.produce(topic, [more.pop()] if more else [])
        return all(state_of(sink, each)["state"] == "up" for each in nodes)

    kafka.produce(topic, sent[:RECORDS // 2])
    with Watch(sink):
        sink.start()
        kafka.wait_committed(f"group-{topic}", topic)
        assert all(node.bulks for node in fake.nodes), "bulks are spread over the nodes"

        killed.die_at = killed.bulks + 2
        silent.silent = away.away = True
        slow.pause = 1.5
        before = {node: node.bulks for node in fake.nodes}
        kafka.produce(topic, sent[RECORDS // 2:RECORDS])
        for node in (killed, away):
            wait_for("the node to be left alone",
                     lambda: state_of(sink, node)["state"] != "up", 20)
            assert sink.metric("tailrace_sink_node_bulks_total", node=node.url, result="failed")
            assert node.bulks - before[node] <= 6, "it is asked again and again"
            wait_for("the log to tell why", lambda: sink.logged(
                f"index node {node.url} is left alone for a while: "), 10)
        killed.start()
        away.away = False
        wait_for("both to take bulks again", lambda: all_up(killed, away), 30,
                 lambda: sink.status()["nodes"], every=0.2)

        # What the silent one held has moved long before the 90 s of a bulk are over.
        kafka.wait_committed(f"group-{topic}", topic, 40)
        assert silent.bulks - before[silent] <= 4, "a dead node gets its share once"
        assert sink.metric("tailrace_sink_node_up", node=silent.url) == 0
        assert state_of(sink, slow)["slow"] and not state_of(sink, fine)["slow"]
        asked = [node.bulks - before[node] for node in (slow, fine)]
        assert asked[1] > 5 * asked[0], f"a slow node gets less: {asked}"
        assert sink.metric("tailrace_sink_paused", route=topic) == 0, "the index was never away"
        silent.silent = False
        slow.pause = 0
        silent.over.set()
        wait_for("every node to take bulks again", lambda: all_up(*fake.nodes), 30,
                 lambda: sink.status()["nodes"], every=0.2)
        kafka.wait_committed(f"group-{topic}", topic)
        assert sink.finished("dead_lettered") == 0
        wait_for("the log to tell that it is back",
                 lambda: sink.logged(f"index node {killed.url} answers again"), 10)
    sink.stop()
    del sent[RECORDS:RECORDS + len(more)]
    assert fake.stored[topic] == dict(sent)


@pytest.mark.skipif(not LONG, reason="20 s of waiting for bulks: with TAILRACE_SEARCH=all")
def test_a_node_that_answers_all_but_bulks_costs_its_time_once_in_a_while(kafka, fake, make_sink):
    dead = fake.add_node(free_port())
    dead.silent_bulks = True
    topic = kafka.topic("halfdead", 4, dead_letters=True)
    sent = records(0, RECORDS)
    kafka.produce(topic, sent)
    sink = make_sink(kafka.servers, f"group-{topic}", [{"topic": topic, "index": topic}],
                     fake.url, **options([fake.url, dead.url], timeout="10s"))
    with Watch(sink):
        sink.start()
        kafka.wait_committed(f"group-{topic}", topic, 40)
        assert state_of(sink, dead)["failed"] > 0
        first = dead.bulks
        assert first <= 6, "its share of the first ones"
        assert sink.finished("indexed") + sink.finished("duplicate") == RECORDS
        dead.silent_bulks = False
        dead.over.set()
        more = records(RECORDS, 200)
        for each in more:
            kafka.produce(topic, [each])
        wait_for("it to prove itself", lambda: kafka.produce(topic, [sent[0]])
                 and state_of(sink, dead)["state"] == "up", 40, every=0.3)
    sink.stop()
    assert fake.stored[topic] == dict(sent + more)


def test_a_connection_that_was_closed_when_it_is_used_again_is_no_fault(kafka, fake, make_sink):
    """And neither is a proxy that hides `/`: no product is refused."""
    fake.root = Answer(b"forbidden", 403)
    fake.nodes[0].stale = True
    topic = kafka.topic("stale", 2, dead_letters=True)
    sent = records(0, 1000)
    kafka.produce(topic, sent)
    sink = make_sink(kafka.servers, f"group-{topic}", [{"topic": topic, "index": topic}],
                     fake.url, **options([fake.url], gzip=False))
    with Watch(sink):
        sink.start()
        kafka.wait_committed(f"group-{topic}", topic)
        assert sink.finished("indexed") == 1000, "what was reset had not been taken"
        assert sink.metric("tailrace_sink_node_bulks_total", node=fake.url, result="failed") == 0
        assert sink.metric("tailrace_sink_bulks_total", result="failed") == 0
        assert state_of(sink, fake.nodes[0])["product"] == "unknown (HTTP 403)"
    sink.stop()
    assert not sink.logged("the index is away")
    assert fake.stored[topic] == dict(sent)


def test_the_number_of_bulks_under_way_follows_the_answers(kafka, fake, make_sink):
    topic = kafka.topic("adapt", 4, dead_letters=True)
    sent = records(0, RECORDS)
    sink = make_sink(kafka.servers, f"group-{topic}", [{"topic": topic, "index": topic}],
                     fake.url, **options([fake.url]))
    fake.nodes[0].pause = 0.02
    full = refusal(429, "es_rejected_execution_exception", "rejected execution")
    kafka.produce(topic, sent[:RECORDS // 2])
    with Watch(sink):
        sink.start()
        sink.wait_metric("tailrace_sink_bulks_allowed", IN_FLIGHT)
        fake.scripts[topic] = lambda index, bulk: full
        kafka.produce(topic, sent[RECORDS // 2:])
        wait_for("fewer bulks while the queue is full",
                 lambda: sink.metric("tailrace_sink_bulks_allowed") == 1, 30)
        assert sink.metric("tailrace_sink_paused", route=topic) == 0, "a full queue is no fault"
        assert sink.finished("dead_lettered") == 0
        del fake.scripts[topic]
        kafka.wait_committed(f"group-{topic}", topic, 90)
        assert sink.metric("tailrace_sink_bulks_allowed") > 1
    sink.stop()
    assert 1 < fake.most_busy <= IN_FLIGHT
    assert fake.stored[topic] == dict(sent)


def test_a_name_with_two_addresses_outlives_either(kafka, fake, make_sink):
    """curl knows both addresses of localhost by itself."""
    first = fake.nodes[0]
    try:
        second = fake.add_node(first.port, "::1")
    except OSError:
        pytest.skip("no IPv6 on this machine")
    url = f"http://localhost:{first.port}"
    topic = kafka.topic("name", 2, dead_letters=True)
    sent = records(0, 900)
    sink = make_sink(kafka.servers, f"group-{topic}", [{"topic": topic, "index": topic}], url,
                     **options([url]))
    with Watch(sink):
        for number, node in enumerate((None, second, first)):
            if node is not None:
                node.kill()
                if node is first:
                    second.start()
            kafka.produce(topic, sent[300 * number:300 * (number + 1)])
            if number == 0:
                sink.start()
            kafka.wait_committed(f"group-{topic}", topic)
        assert first.bulks and second.bulks
        assert sink.finished("dead_lettered") == 0
    first.start()
    sink.stop()
    assert fake.stored[topic] == dict(sent)


@pytest.mark.skipif(not LONG, reason="three nodes of a real server: with TAILRACE_SEARCH=all")
def test_a_real_cluster_loses_a_node_in_the_middle_of_bulks(stack, kafka, make_sink):
    urls = stack.start("opensearchcluster").split(",")
    index = Index.fresh(urls[0], "cluster")
    index.create(settings={"number_of_shards": 3, "number_of_replicas": 2})
    topic = kafka.topic("cluster", 4, dead_letters=True)
    sent = records(0, 30_000)
    kafka.produce(topic, sent[:10_000])
    sink = make_sink(kafka.servers, f"group-{topic}", [{"topic": topic, "index": index.name}],
                     urls[0], **options(urls))
    try:
        with Watch(sink):
            sink.start()
            for victim in (1, 2, 3):
                kafka.produce(topic, sent[10_000:] if victim == 1 else [])
                seen = sink.finished("indexed")
                wait_for("bulks to be under way", lambda: sink.finished("indexed") > seen
                         or sink.metric("tailrace_sink_in_flight_records") == 0, 60)
                stack.kill("opensearchcluster", victim)
                wait_for("the sink to leave the node alone", lambda: sink.metric(
                    "tailrace_sink_node_bulks_total", node=urls[victim - 1], result="failed")
                    or sink.metric("tailrace_sink_in_flight_records") == 0, 60)
                stack.start_node("opensearchcluster", victim)
            kafka.wait_committed(f"group-{topic}", topic, 180)
            assert sink.finished("dead_lettered") == 0
        sink.stop()
        index.ask("POST", f"/{index.name}/_refresh")
        found = {name: source["message"] for name, source in index.documents()}
        assert found == {name: json.loads(value)["message"] for name, value in sent}
    finally:
        try:
            stack.stop("opensearchcluster")
        except StackError:
            pass
