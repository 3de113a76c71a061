# SPDX-License-Identifier: Apache-2.0
"""The pages of both programs as Prometheus and people read them."""

import gzip
import json
import subprocess
import sys

import pytest

from identity import violation
from inputs import append
from programs import Metrics, get
from wait import wait_for

OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
CLIENT = "prometheus_client==0.23.1"
AGENT_NAMES = ("events_total", "bytes_total", "lag_bytes", "lag_seconds", "files",
               "held_deleted_bytes", "kafka_wire_bytes_total", "kafka_message_bytes_total",
               "ack_latency_seconds_count")
SINK_NAMES = ("consumed_records_total", "finished_records_total", "in_flight_records",
              "bulk_seconds_count", "bulk_bytes_count", "event_age_seconds_count",
              "rebalances_total")


@pytest.fixture(scope="session")
def openmetrics_parser():
    try:
        import prometheus_client
    except ImportError:
        subprocess.run([sys.executable, "-m", "pip", "-q", "install", CLIENT], check=True)
        import importlib
        importlib.invalidate_caches()
        import prometheus_client
    assert prometheus_client
    from prometheus_client.openmetrics.parser import text_string_to_metric_families
    return text_string_to_metric_families


@pytest.fixture
def pair(kafka, index, folder, make_agent, make_sink):
    """An agent and a sink that have moved some lines and met an odd label value."""
    topic = kafka.topic("metrics", dead_letters=True)
    logs = folder / "logs"
    logs.mkdir()
    append(logs / "a.log", *(b"line %d" % number for number in range(100)))
    agent = make_agent(kafka.servers, topic, [{"name": "logs", "paths": [str(logs / "*.log")]}])
    sink = make_sink(kafka.servers, f"group-{topic}", [{"topic": topic, "index": index.name}],
                     index.url)
    agent.start()
    sink.start()
    index.wait_count(100, 40, sink.check_alive)
    wait_for("both to have counted", lambda: sink.finished("indexed") == 100
             and agent.metric("tailrace_agent_events_total") == 100)
    for program in (agent, sink):       # which is looked at once a second
        program.wait_page("/readyz")
    yield agent, sink
    agent.stop()
    sink.stop()


def test_metrics_pages_pass_promtool_and_the_openmetrics_parser(pair, openmetrics_parser):
    for program in pair:
        status, headers, body = get(program.port, "/metrics")
        assert status == 200
        assert headers["content-type"].startswith("text/plain; version=0.0.4"), headers
        done = subprocess.run(["promtool", "check", "metrics"], input=body, capture_output=True)
        assert done.returncode == 0 and not done.stdout and not done.stderr, \
            f"promtool on {program.label}: {(done.stdout + done.stderr).decode()}"

        status, headers, body = get(program.port, "/metrics", {
            "Accept": "application/openmetrics-text;version=1.0.0,text/plain;q=0.5"})
        assert headers["content-type"].replace(" ", "") == OPENMETRICS.replace(" ", ""), headers
        text = body.decode()
        assert text.endswith("# EOF\n")
        families = list(openmetrics_parser(text))
        assert len(families) > 10
        names = {sample.name for family in families for sample in family.samples}
        assert "tailrace_build_info" in names and "process_resident_memory_bytes" in names

        _, headers, packed = get(program.port, "/metrics", {"Accept-Encoding": "gzip"})
        assert headers["content-encoding"] == "gzip"
        assert b"tailrace_build_info" in gzip.decompress(packed)


def test_the_names_of_the_contract_are_there(pair):
    for program, prefix, names in zip(pair, ("tailrace_agent_", "tailrace_sink_"),
                                      (AGENT_NAMES, SINK_NAMES)):
        metrics = program.metrics()
        missing = [name for name in names if not metrics.has(prefix + name)]
        assert not missing, f"{program.label} lacks {missing}"
        for name in ("tailrace_build_info", "process_cpu_seconds_total",
                     "process_resident_memory_bytes", "process_open_fds",
                     "tailrace_config_last_reload_successful",
                     "tailrace_config_last_reload_success_timestamp_seconds"):
            assert metrics.has(name), f"{program.label} lacks {name}"
    agent, sink = pair
    assert agent.metric("tailrace_agent_bytes_total", input="logs") == \
        sum(len(f"line {number}\n") for number in range(100))
    assert agent.metric("tailrace_agent_lag_bytes", input="logs") == 0
    assert not violation(sink.metrics())


def test_no_series_is_per_file_and_nothing_repeats(pair):
    for program in pair:
        _, text = program.page("/metrics")
        lines = [line.rsplit(" ", 1)[0] for line in text.splitlines() if not line.startswith("#")]
        assert len(lines) == len(set(lines)), f"{program.label} has a series twice"
        assert "a.log" not in text, "per-file values belong on /status"
        assert all(value == value for _, _, value in Metrics(text).series), "NaN on a page"


def test_every_page_answers_and_is_well_formed(pair):
    for program in pair:
        for path, kind in (("/healthz", "text/plain"), ("/readyz", "text/plain"),
                           ("/readyz?local", "text/plain"), ("/status", "application/json"),
                           ("/", "text/html")):
            status, headers, body = get(program.port, path)
            assert status == 200, (program.label, path, status, body[:200])
            assert headers["content-type"].startswith(kind), (path, headers)
            assert body
        assert isinstance(program.status(), dict)
        json.dumps(program.status())
