# SPDX-License-Identifier: Apache-2.0
"""The straight path: files, agent, Kafka, sink, index; once, and then all of it again."""

import os
import shutil

import pytest

from identity import Watch
from inputs import copy_head, copy_rest, corpus, generate
from oracle import Tally, expected_by_place, place_key
from servers import Broker, Index

LINES = int(os.environ.get("TAILRACE_LINES") or 100_000)
HEAD = 50           # lines of each file that are shipped before the state is copied


def test_each_line_is_one_document_and_a_repeat_of_everything_changes_nothing(
        kafka, product, folder, seed, make_agent, make_sink):
    logs = folder / "logs"
    logs.mkdir()
    sources = corpus()
    for source in sources:
        copy_head(source, logs / source.name, HEAD)
    generate(logs / "generated.log", HEAD, seed)
    topic = kafka.topic("straight", dead_letters=True)
    agent = make_agent(kafka.servers, topic, [{"name": "logs", "paths": [str(logs / "*.log")]}])
    group = f"group-{topic}"
    sink = make_sink(kafka.servers, group, [{"topic": topic, "index": product.name}], product.url)

    agent.once()
    before = folder / "state-before"
    shutil.copytree(agent.state_dir, before)
    shipped_before = kafka.total(topic)
    for source in sources:
        copy_rest(source, logs / source.name)
    generate(logs / "generated.log", LINES - HEAD, seed, first=HEAD)
    expected = expected_by_place(logs.glob("*.log"))
    assert shipped_before >= HEAD

    patience = 300 + LINES / 500
    with Watch(sink):
        agent.start()
        sink.start()
        product.wait_count(len(expected), patience, sink.check_alive,
                          lambda: f"{kafka.total(topic)} records on the topic{sink.tail(8)}")
        kafka.wait_committed(group, topic)
        assert sink.finished("indexed") == len(expected)
        assert sink.finished("duplicate") == 0, "a first pass has no duplicates"
    agent.stop()
    sink.stop()
    assert kafka.total(topic) == len(expected)
    Tally(expected, place_key, product.name).add_all(product.documents()).check(seed)

    # Once more: every record again, and every line of the files again under the same ids.
    kafka.stack.reset_group_to_earliest(kafka.name, group)
    shutil.rmtree(agent.state_dir)
    shutil.copytree(before, agent.state_dir)
    agent.once(seconds=patience)
    again = kafka.total(topic)
    assert again == 2 * len(expected) - shipped_before, \
        "the restored agent must ship exactly the lines after its restored position"
    with Watch(sink):
        sink.start()
        sink.wait_metric("tailrace_sink_consumed_records_total", again, patience)
        kafka.wait_committed(group, topic)
        assert sink.finished("duplicate") == again
        assert sink.finished("indexed") == 0
        assert sink.finished("dead_lettered") == 0
    sink.stop()
    Tally(expected, place_key, product.name).add_all(product.documents()).check(seed)
    assert kafka.total(f"{topic}.dlq") == 0


@pytest.mark.parametrize("version", ["kafka36", "kafka39"])
def test_older_kafkas_carry_the_path_too(stack, opensearch, folder, seed, make_agent, make_sink,
                                         version):
    stack.start(version)
    old = Broker(stack, version)
    logs = folder / "logs"
    logs.mkdir()
    generate(logs / "generated.log", 5000, seed)
    expected = expected_by_place(logs.glob("*.log"))
    topic = old.topic("old", dead_letters=True)
    index = Index.fresh(opensearch, "old")
    make_agent(old.servers, topic, [{"name": "logs", "paths": [str(logs / "*.log")]}]).once()
    sink = make_sink(old.servers, f"group-{topic}", [{"topic": topic, "index": index.name}],
                     index.url)
    sink.once()
    Tally(expected, place_key, index.name).add_all(index.documents()).check(seed)
    index.drop()
    if not os.environ.get("TAILRACE_STACK_KEEP"):
        stack.stop(version)
