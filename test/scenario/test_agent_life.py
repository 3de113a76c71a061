# SPDX-License-Identifier: Apache-2.0
"""The agent as a process: reload, lock, verbs, pages."""

import json
import os
import re
import signal
import subprocess
import time

import pytest

from inputs import append, generate
from oracle import Tally, expected_by_place, place_key
from programs import Agent, binary, get
from test_agent_files import arrive, messages, read
from wait import stays, wait_for


def test_reload_adds_an_input_and_a_bad_file_keeps_the_old(kafka, topic, logs, make_agent):
    append(logs / "a.log", b"a1")
    append(logs / "b.txt", b"b1")
    agent = make_agent(kafka.servers, topic, [{"name": "a", "paths": [str(logs / "*.log")]}])
    agent.start(wait="ready")
    arrive(kafka, topic, 1, agent)
    agent.config["files"].append({"name": "b", "paths": [str(logs / "*.txt")]})
    agent.reload()
    assert messages(arrive(kafka, topic, 2, agent)) == ["a1", "b1"]
    wait_for("the reload to be counted",
             lambda: agent.metric("tailrace_config_last_reload_successful") == 1)

    good = list(agent.config["files"])
    agent.config["files"] = [{"name": "a", "pahts": ["/nowhere"]}]
    agent.reload()
    wait_for("the bad file to be reported",
             lambda: agent.logged("pahts") and agent.logged("paths"), 20, agent.tail)
    wait_for("the gauge to fall",
             lambda: agent.metric("tailrace_config_last_reload_successful") == 0)
    append(logs / "a.log", b"a2")
    append(logs / "b.txt", b"b2")
    arrive(kafka, topic, 4, agent)

    agent.config["files"] = good[:1]
    agent.reload()
    wait_for("the gauge to rise",
             lambda: agent.metric("tailrace_config_last_reload_successful") == 1)
    append(logs / "b.txt", b"b3")
    append(logs / "a.log", b"a3")
    arrive(kafka, topic, 5, agent)
    stays("a removed input is not read", lambda: kafka.total(topic) == 5, 1)

    agent.config["files"] = good
    agent.reload()
    assert messages(arrive(kafka, topic, 6, agent)) == ["a1", "a2", "a3", "b1", "b2", "b3"]
    agent.stop()


def test_a_key_that_cannot_be_reloaded_is_named(kafka, topic, logs, make_agent):
    agent = make_agent(kafka.servers, topic, [{"name": "a", "paths": [str(logs / "*.log")]}])
    agent.start(wait="ready")
    agent.config["kafka"]["client_id"] = "another"
    agent.reload()
    wait_for("the key to be named", lambda: agent.logged("client_id"), 20, agent.tail)
    agent.stop()


def test_a_second_agent_waits_for_the_lock_and_says_for_whom(kafka, topic, logs, make_agent):
    append(logs / "a.log", b"a1")
    files = [{"name": "a", "paths": [str(logs / "*.log")]}]
    first = make_agent(kafka.servers, topic, files)
    first.start(wait="ready")
    arrive(kafka, topic, 1, first)
    second = make_agent(kafka.servers, topic, files, label="second")
    second.config["state_dir"] = str(first.state_dir)
    second.start(wait="no")
    assert first.process
    wait_for("the second agent to say for whom it waits",
             lambda: second.logged(str(first.process.pid)), 20, second.tail)
    second.check_alive()
    append(logs / "a.log", b"a2")
    arrive(kafka, topic, 2, first)
    first.stop()
    second.wait_page("/readyz")
    append(logs / "a.log", b"a3")
    assert messages(arrive(kafka, topic, 3, second)) == ["a1", "a2", "a3"]
    second.stop()
    assert kafka.total(topic) == 3


def test_a_waiting_second_agent_ends_on_sigterm(kafka, topic, logs, make_agent):
    files = [{"name": "a", "paths": [str(logs / "*.log")]}]
    first = make_agent(kafka.servers, topic, files)
    first.start(wait="ready")
    second = make_agent(kafka.servers, topic, files, label="second")
    second.config["state_dir"] = str(first.state_dir)
    second.start(wait="no")
    wait_for("the second agent to wait", lambda: second.logged(str(first.process.pid)), 20)
    second.stop()
    first.stop()


def test_kill_and_restart_repeat_only_equal_bytes(kafka, topic, logs, seed, make_agent):
    """kill -9 at every stage of a large read; the topic holds every line under one id."""
    agent = make_agent(kafka.servers, topic, [{"name": "a", "paths": [str(logs / "*.log")]}])
    for life in range(5):
        generate(logs / "a.log", 30_000, seed, first=30_000 * life)
        agent.start(wait="no")
        wait_for("some lines of this life",
                 lambda: agent.check_alive() or agent.metric("tailrace_agent_events_total") > 0, 30)
        agent.kill()
    agent.once()
    expected = expected_by_place(logs.glob("*.log"))
    Tally(expected, place_key, topic).add_all(kafka.events(topic)).check(seed)


def test_a_damaged_state_is_reported_and_loses_no_line(kafka, topic, logs, seed, make_agent):
    generate(logs / "a.log", 2000, seed)
    agent = make_agent(kafka.servers, topic, [{"name": "a", "paths": [str(logs / "*.log")]}])
    agent.once()
    files = [path for path in agent.state_dir.rglob("*")
             if path.is_file() and path.stat().st_size > 64]
    assert files, f"no state in {agent.state_dir}"
    for path in files:
        with open(path, "r+b") as file:
            file.seek(path.stat().st_size // 3)
            file.write(b"\xa5" * 24)
    generate(logs / "a.log", 1000, seed, first=2000)
    agent.start(wait="ready")
    wait_for("the last line", lambda: any(
        event["message"].split(" ")[2] == "00002999" for event in read(kafka, topic)), 30,
        agent.tail)
    agent.stop()
    found = {event["message"] for event in read(kafka, topic)}
    assert len(found) == 3000, "damage may cost repeats, never a line"


def test_check_says_ok_or_why_not(kafka, topic, logs, make_agent):
    agent = make_agent(kafka.servers, topic, [{"name": "a", "paths": [str(logs / "*.log")]}])
    done = agent.run_verb("check")
    assert done.returncode == 0 and "OK" in done.stdout + done.stderr, done
    done = agent.run_verb("-t")
    assert done.returncode == 0, done
    done = agent.run_verb("check", "--connect")
    text = done.stdout + done.stderr
    assert topic in text, text
    assert "replication" in text or "min.insync" in text or "RF" in text, \
        f"one replica cannot carry the promise, and check must say so: {text}"
    agent.config["kafka"]["topic"] = "no-such-topic"
    done = agent.run_verb("check", "--connect")
    assert done.returncode == 1, done
    assert "no-such-topic" in done.stdout + done.stderr, done
    agent.config["kafka"]["bootstrap_servers"] = "127.0.0.1:9"
    done = agent.run_verb("check", "--connect")
    assert done.returncode == 1 and "127.0.0.1:9" in done.stdout + done.stderr, done
    assert not list(logs.iterdir())


def test_explain_says_if_a_path_is_read_and_why_not(kafka, topic, logs, make_agent):
    append(logs / "a.log", b"a1", b"a2")
    append(logs / "a.gz", b"zzz")
    append(logs / "a.txt", b"ttt")
    agent = make_agent(kafka.servers, topic, [
        {"name": "mine", "paths": [str(logs / "*.log"), str(logs / "*.gz")],
         "exclude": ["*.gz"]}])
    agent.once()

    def explain(name):
        done = agent.run_verb("explain", str(logs / name))
        return done.stdout + done.stderr

    assert "mine" in explain("a.log") and "6" in explain("a.log"), explain("a.log")
    assert "exclude" in explain("a.gz"), explain("a.gz")
    assert "no input" in explain("a.txt").lower() or "match" in explain("a.txt"), explain("a.txt")
    assert "not exist" in explain("none.log").lower() or "no such" in explain("none.log").lower(), \
        explain("none.log")


def test_state_show_lists_every_file_with_its_position(kafka, topic, logs, make_agent):
    append(logs / "a.log", b"a1", b"a2")
    agent = make_agent(kafka.servers, topic, [{"name": "a", "paths": [str(logs / "*.log")]}])
    agent.once()
    done = agent.run_verb("state", "show")
    assert done.returncode == 0, done
    assert str(logs / "a.log") in done.stdout and re.search(r"\b6\b", done.stdout), done.stdout
    generation = next(iter(kafka.events(topic)))[0].split(".")[1]
    assert generation in done.stdout, f"generation {generation} is not shown: {done.stdout}"


def test_status_and_pages_of_one_file(kafka, topic, logs, make_agent):
    append(logs / "a.log", b"a1", b"a2")
    agent = make_agent(kafka.servers, topic, [{"name": "mine", "paths": [str(logs / "*.log")]}])
    agent.start(wait="ready")
    arrive(kafka, topic, 2, agent)
    text = json.dumps(agent.status(f"?path={logs}/a.log"))
    assert str(logs / "a.log") in text and "6" in text, text
    assert str(logs / "a.log") in json.dumps(agent.status())
    status, headers, body = get(agent.port, "/")
    assert status == 200 and "text/html" in headers["content-type"] and b"mine" in body
    assert get(agent.port, "/nowhere")[0] == 404
    agent.stop()


def test_environment_wins_over_the_file_and_is_logged(kafka, topic, logs, make_agent):
    append(logs / "a.log", b"a1")
    agent = make_agent("127.0.0.1:9", topic, [{"name": "a", "paths": [str(logs / "*.log")]}])
    agent.start(environment={"KAFKA_BOOTSTRAP_SERVERS": kafka.servers})
    arrive(kafka, topic, 1, agent)
    assert agent.logged("KAFKA_BOOTSTRAP_SERVERS"), agent.tail()
    agent.stop()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_under_load_is_in_order(kafka, topic, logs, seed, make_agent, number):
    generate(logs / "a.log", 200_000, seed)
    agent = make_agent(kafka.servers, topic, [{"name": "a", "paths": [str(logs / "*.log")]}])
    agent.start()
    agent.wait_metric("tailrace_agent_events_total", 1)
    assert agent.process
    agent.process.send_signal(number)
    agent.wait_exit()
    agent.once()
    assert kafka.total(topic) == 200_000, "a stop in order repeats nothing"


def test_a_port_that_is_taken_is_named(kafka, topic, logs, make_agent):
    first = make_agent(kafka.servers, topic, [{"name": "a", "paths": [str(logs / "*.log")]}])
    first.start()
    second = make_agent(kafka.servers, topic, [{"name": "a", "paths": [str(logs / "*.log")]}],
                        label="second")
    second.config["http"]["listen"] = first.config["http"]["listen"]
    second.start(wait="no")
    second.wait_exit(1)
    assert second.logged(str(first.port)), second.tail()
    first.stop()


def test_version_and_help_name_the_program(folder):
    agent = Agent(folder, "127.0.0.1:9", "t", [])
    for arguments in (("version",), ("-V",), ("help",), ("-h",), ("reference",)):
        done = agent.run_verb(*arguments, config=False)
        assert done.returncode == 0 and done.stdout, (arguments, done)
    assert "tailrace-agent" in agent.run_verb("version", config=False).stdout
    assert "librdkafka" in agent.run_verb("version", config=False).stdout
    assert "state_dir" in agent.run_verb("reference", config=False).stdout
    assert os.access(binary("tailrace-agent"), os.X_OK)


def test_an_input_that_is_renamed_under_load_goes_on(kafka, topic, logs, make_agent):
    agent = make_agent(kafka.servers, topic, [{"name": "a", "paths": [str(logs / "*.log")]}])
    agent.start(wait="ready")
    for number in range(20):
        generate(logs / "a.log", 2000, 1, first=2000 * number)
        agent.config["files"][0]["name"] = "ab"[number % 2]
        agent.reload()
        time.sleep(0.1)
        agent.check_alive()
    arrive(kafka, topic, 40000, agent)
    Tally(expected_by_place([logs / "a.log"]), place_key).add_all(kafka.events(topic)).check()
    agent.stop()


def test_an_input_that_comes_back_before_its_answers_is_read(kafka, topic, logs, make_agent):
    inputs = [{"name": name, "paths": [str(logs / f"{name}.log")]} for name in ("a", "b")]
    agent = make_agent(kafka.servers, topic, inputs)
    agent.start(wait="ready")
    append(logs / "a.log", b"a1")
    arrive(kafka, topic, 1, agent)
    kafka.stack.pause(kafka.name)
    try:
        append(logs / "a.log", b"a2")
        time.sleep(1.5)
        for files in (inputs[1:], inputs):
            agent.config["files"] = files
            agent.reload()
            time.sleep(1.5)
            agent.check_alive()
    finally:
        kafka.stack.resume(kafka.name)
    append(logs / "a.log", b"a3")
    assert messages(arrive(kafka, topic, 3, agent)) == ["a1", "a2", "a3"]
    agent.stop()


@pytest.mark.parametrize("restart", [False, True])
def test_a_file_that_is_excluded_later_is_let_go(kafka, topic, logs, make_agent, restart):
    agent = make_agent(kafka.servers, topic, [{"name": "a", "paths": [str(logs / "*.log")]}])
    agent.start(wait="ready")
    append(logs / "a.log", b"a1")
    append(logs / "b.log", b"b1")
    arrive(kafka, topic, 2, agent)
    agent.config["files"][0]["exclude"] = ["b.log"]
    if restart:
        agent.stop()
        agent.start(wait="ready")
    else:
        agent.reload()
    time.sleep(1)
    append(logs / "b.log", b"b2")
    append(logs / "a.log", b"a2")
    arrive(kafka, topic, 3, agent)
    stays("an excluded file is not read", lambda: kafka.total(topic) == 3, 2)
    agent.stop()


def test_more_files_than_descriptors(kafka, topic, logs, make_agent):
    for number in range(200):
        append(logs / f"{number}.log", b"%d %s" % (number, b"x" * 80))
    agent = make_agent(kafka.servers, topic,
                       [{"name": "a", "paths": [str(logs / "*.log"), str(logs / "*.1")]}])
    agent.open_files_max = 100
    agent.start(wait="ready")
    arrive(kafka, topic, 200, agent)
    for number in range(200):
        path = logs / f"{number}.log"
        append(path, b"%d second" % number)
        path.rename(f"{path}.1")
        append(path, b"%d third" % number)
    found = messages(arrive(kafka, topic, 600, agent))
    assert len(found) == len(set(found)) == 600
    agent.stop()


def test_too_few_descriptors_are_refused_in_a_sentence(logs, make_agent):
    agent = make_agent("127.0.0.1:1", "none", [{"name": "a", "paths": [str(logs / "*.log")]}])
    agent.write_config()
    done = subprocess.run(["prlimit", "--nofile=40", binary("tailrace-agent"), "run", "-c",
                           agent.config_path], capture_output=True, text=True, timeout=30)
    assert done.returncode == 1
    assert "only 40 descriptors may be open (ulimit -n): at least 64 are needed" in done.stderr


def test_a_file_between_with_the_inode_of_a_deleted_one(kafka, topic, logs, make_agent):
    path = logs / "app.log"
    agent = make_agent(kafka.servers, topic, [{"name": "a", "paths": [str(path)]}])
    agent.start(wait="ready")
    generate(path, 20, 1, "life0")
    arrive(kafka, topic, 20, agent)
    time.sleep(1.5)
    agent.stop()
    path.rename(f"{path}.1")
    generate(path, 20, 1, "life1")
    os.rename(f"{path}.1", f"{path}.2")
    path.rename(f"{path}.1")
    os.unlink(f"{path}.2")          # its inode is free
    generate(path, 20, 1, "life2")  # and taken
    os.rename(f"{path}.1", f"{path}.2")
    path.rename(f"{path}.1")
    generate(path, 20, 1, "life3")
    agent.start(wait="ready")
    found = messages(arrive(kafka, topic, 80, agent))
    assert len(set(found)) == 80
    agent.stop()


def test_a_longer_copy_in_the_place_of_a_file_goes_on(kafka, topic, logs, make_agent):
    path = logs / "a.log"
    agent = make_agent(kafka.servers, topic, [{"name": "a", "paths": [str(path)]}])
    agent.start(wait="ready")
    generate(path, 100, 1)
    arrive(kafka, topic, 100, agent)
    copy = logs / "copy"
    copy.write_bytes(path.read_bytes() + b"one more\n")
    copy.rename(path)
    arrive(kafka, topic, 101, agent)
    stays("nothing comes twice", lambda: kafka.total(topic) == 101, 3)
    agent.stop()


@pytest.mark.parametrize("damage", [b"", b"nonsense" * 40])
def test_start_at_end_skips_nothing_when_the_state_is_damaged(kafka, topic, logs, make_agent,
                                                              damage):
    append(logs / "a.log", b"old")
    agent = make_agent(kafka.servers, topic, [
        {"name": "a", "paths": [str(logs / "*.log")], "start_at": "end"}])
    agent.start(wait="ready")
    time.sleep(1.5)
    agent.stop()
    (agent.state_dir / "journal").write_bytes(damage)
    append(logs / "a.log", b"while down")
    agent.start(wait="ready")
    assert "while down" in messages(arrive(kafka, topic, 1, agent))
    agent.stop()


def test_a_topic_of_tiny_requests_does_not_stop_another(kafka, topic, logs, make_agent):
    tiny = kafka.topic("tiny", max_message_bytes=1000)
    agent = make_agent(kafka.servers, topic, [
        {"name": "a", "paths": [str(logs / "a.log")]},
        {"name": "tiny", "paths": [str(logs / "tiny.log")], "topic": tiny}])
    agent.start(wait="ready")
    append(logs / "tiny.log", *[b"%d %s" % (number, os.urandom(40).hex().encode())
                                for number in range(100)], os.urandom(1500).hex().encode())
    append(logs / "a.log", b"a1")
    arrive(kafka, tiny, 101, agent)
    arrive(kafka, topic, 1, agent)
    assert agent.metric("tailrace_agent_producer_restarts_total") < 10
    agent.stop()


def test_an_event_that_no_part_size_helps_waits_with_a_reason(kafka, topic, logs, make_agent):
    tiny = kafka.topic("tiny", max_message_bytes=300)
    agent = make_agent(kafka.servers, topic, [
        {"name": "a", "paths": [str(logs / "a.log")]},
        {"name": "tiny", "paths": [str(logs / "tiny.log")], "topic": tiny}])
    agent.start(wait="ready")
    assert agent.metric("tailrace_agent_paused", topic=tiny, reason="size") == 0
    append(logs / "tiny.log", os.urandom(1000).hex().encode())
    append(logs / "a.log", b"a1")
    agent.wait_metric("tailrace_agent_paused", 1, topic=tiny, reason="size")
    assert "max.message.bytes" in json.dumps(agent.status()), agent.status()
    arrive(kafka, topic, 1, agent)
    agent.stop()
