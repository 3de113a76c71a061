# SPDX-License-Identifier: Apache-2.0
"""Bad configurations and bad command lines: exit 2 and one sentence that says what and where."""

import re
import subprocess

import pytest

from programs import binary, clean_environment

AGENT = """\
state_dir: {dir}/state
kafka:
  bootstrap_servers: localhost:9092
  topic: logs-topic
files:
  - name: nginx
    paths: [/var/log/nginx/access.log]
http: {{listen: "127.0.0.1:{port}"}}
"""
SINK = """\
kafka: {{bootstrap_servers: "localhost:9092", group_id: tailrace-sink}}
routes:
  - {{topic: logs-topic, index: dev-logs-index}}
elasticsearch: {{urls: ["http://localhost:9200"]}}
http: {{listen: "127.0.0.1:{port}"}}
"""
EXPORTER = """\
host: {{enabled: true}}
kafka:
  bootstrap_servers: localhost:9092
http: {{listen: "127.0.0.1:{port}"}}
"""
AGENT_PLAIN = AGENT.format(dir="/tmp/tailrace-config-test", port=0)
SINK_PLAIN = SINK.format(port=0)
EXPORTER_PLAIN = EXPORTER.format(port=0)

# name: (program, text to replace, what comes instead, line of the message (0: any), words in it)
CASES = {
    "unknown key at the top": ("agent", "state_dir:", "state_dri:", 1, ["state_dri", "state_dir"]),
    "unknown section": ("agent", "http:", "htpp:", 8, ["htpp", "http"]),
    "unknown key in a section": ("agent", "  topic:", "  topics:", 4, ["topics", "topic"]),
    "unknown key in an input": ("agent", "    paths:", "    pahts:", 7, ["pahts", "paths"]),
    "unknown key that is near to nothing": ("agent", "  topic:", "  qqqqqqqqqq:", 4,
                                            ["qqqqqqqqqq"]),
    "a required key is missing": ("agent", "  - name: nginx\n    paths:", "  - paths:", 6,
                                  ["name"]),
    "an input without paths": ("agent", "    paths: [/var/log/nginx/access.log]\n", "", 6,
                               ["paths"]),
    "a relative path": ("agent", "/var/log/nginx/access.log", "log/access.log", 6,
                        ["log/access.log", "absolute"]),
    "a section that is a scalar": ("agent", '{listen: "127.0.0.1:0"}', "yes", 8, ["http"]),
    "a sequence that is a mapping": (
        "agent", "  - name: nginx\n    paths:", "  name: nginx\n  paths:", 0, ["files"]),
    "a list where a scalar belongs": ("agent", "topic: logs-topic", "topic: [a, b]", 4, ["topic"]),
    "a size without sense": ("agent", "state_dir:", "memory: lots\nstate_dir:", 1,
                             ["memory", "lots"]),
    "a size with an unknown unit": ("agent", "state_dir:", "memory: 12 parsec\nstate_dir:", 1,
                                    ["memory", "parsec"]),
    "a size below its least": ("agent", "state_dir:", "memory: 1KiB\nstate_dir:", 1,
                               ["memory", "6MiB"]),
    "a negative size": ("agent", "state_dir:", "memory: -5MiB\nstate_dir:", 1, ["memory"]),
    "a duration without unit": ("agent", "    paths:", "    ignore_older: 5\n    paths:", 7,
                                ["ignore_older"]),
    "a word that is no choice": ("agent", "  topic:", "  compression: snapy\n  topic:", 4,
                                 ["compression", "snapy", "snappy"]),
    "a choice of another kind": ("agent", "    paths:", "    start_at: middle\n    paths:", 7,
                                 ["start_at", "middle", "beginning"]),
    "two inputs of one name": (
        "agent", "http:", "  - name: nginx\n    paths: [/b.log]\nhttp:", 8, ["nginx"]),
    "a key twice": ("agent", "  topic: logs-topic", "  topic: a\n  topic: b", 5, ["topic"]),
    "no inputs": ("agent", "  - name: nginx\n    paths: [/var/log/nginx/access.log]\n", "", 0,
                  ["files"]),
    "a property that carries a promise": (
        "agent", "  topic:", "  properties: {acks: 1}\n  topic:", 0, ["acks"]),
    "an alias of such a property": (
        "agent", "  topic:", "  properties: {request.required.acks: 1}\n  topic:", 0,
        ["request.required.acks"]),
    "a property of idempotence": (
        "agent", "  topic:", "  properties: {enable.idempotence: false}\n  topic:", 0,
        ["enable.idempotence"]),
    "a property that librdkafka does not know": (
        "agent", "  topic:", "  properties: {linger.mss: 5}\n  topic:", 0, ["linger.mss"]),
    "a property with a bad value": (
        "agent", "  topic:", "  properties: {linger.ms: soon}\n  topic:", 0, ["linger.ms"]),
    "a server with two ports": ("agent", "localhost:9092", "b-1:9092,b-2:9094:9094", 0,
                                ["b-2:9094:9094"]),
    "a server without port": ("agent", "localhost:9092", "b-1:9092,b-2", 0, ["b-2"]),
    "a topic name that is none": ("agent", "logs-topic", "logs topic!", 0, ["logs topic!"]),
    "a listen address that is none": ("agent", '"127.0.0.1:0"', '"127.0.0.1:99999"', 0, ["99999"]),
    "a field that the agent writes": (
        "agent", "    paths:", "    fields: {message: x}\n    paths:", 6, ["message"]),
    "a tab in the indentation": ("agent", "  topic:", "\ttopic:", 4, []),
    "a quote that never ends": ("agent", "logs-topic", '"logs-topic', 0, []),
    "an environment variable that is not set": (
        "agent", "logs-topic", "${TAILRACE_NOT_SET}", 4, ["TAILRACE_NOT_SET"]),
    "an include that is not there": ("agent", "state_dir:", "include: none.yaml\nstate_dir:", 1,
                                     ["none.yaml"]),
    "an empty file": ("agent", AGENT_PLAIN, "", 0, []),
    "a list at the top": ("agent", AGENT_PLAIN, "- a\n- b\n", 1, []),
    "bytes that are no UTF-8": ("agent", "logs-topic", "logs\udcff", 0, []),
    "no output": ("sink", 'elasticsearch: {urls: ["http://localhost:9200"]}\n', "", 0,
                  ["elasticsearch", "sqlite"]),
    "two outputs": ("sink", "http: {", "sqlite: {path: /tmp/x.db}\nhttp: {", 0,
                    ["elasticsearch", "sqlite"]),
    "no routes": ("sink", "  - {topic: logs-topic, index: dev-logs-index}\n", "", 0, ["routes"]),
    "a topic twice": ("sink", "elasticsearch:",
                      "  - {topic: logs-topic, index: other}\nelasticsearch:", 4, ["logs-topic"]),
    "an upper-case index": ("sink", "dev-logs-index", "Dev-Logs", 3, ["Dev-Logs"]),
    "a route without index": ("sink", ", index: dev-logs-index", "", 3, ["index"]),
    "a dead-letter topic that is consumed": (
        "sink", "index: dev-logs-index", "index: a, dead_letter_topic: logs-topic", 3,
        ["logs-topic"]),
    "a URL that is none": ("sink", "http://localhost:9200", "localhost", 0, ["localhost"]),
    "a URL with two ports": ("sink", "localhost:9200\"", "localhost:9200:9201\"", 4, ["two ports"]),
    "a URL with a query": ("sink", "localhost:9200\"", "localhost:9200/?pretty\"", 4, ["query"]),
    "a port out of range": ("sink", "localhost:9200\"", "localhost:92000\"", 4, ["65535"]),
    "a relative database": ("sink", 'elasticsearch: {urls: ["http://localhost:9200"]}',
                            "sqlite: {path: events.db}", 4, ["sqlite.path", "absolute"]),
    "the sink's offset reset": (
        "sink", "group_id: tailrace-sink", "properties: {auto.offset.reset: latest}", 0,
        ["auto.offset.reset"]),
    "the sink's offset store": (
        "sink", "group_id: tailrace-sink", "properties: {enable.auto.offset.store: true}", 0,
        ["enable.auto.offset.store"]),
    "a password file that is not there": (
        "sink", "9200\"]", "9200\"], username: u, password_file: /none/secret", 0,
        ["/none/secret"]),
    "bulks above the limit": ("sink", "http: {", "bulk: {in_flight: 1000}\nhttp: {", 5,
                              ["in_flight", "32"]),
    "an unknown key in a route": ("sink", ", index:", ", indx:", 3, ["indx", "index"]),
    "the exporter's server without port": ("exporter", "localhost:9092", "b-1", 3, ["b-1", "port"]),
    "the exporter's pattern that is none": (
        "exporter", "http:", "  topics: '(a'\nhttp:", 4, ["topics", "regular expression"]),
    "a property that the exporter's librdkafka does not know": (
        "exporter", "http:", "  properties: {linger.mss: 5}\nhttp:", 4, ["linger.mss"]),
    "a group for the exporter": (
        "exporter", "http:", "  properties: {group.id: x}\nhttp:", 4, ["group.id"]),
    "a port of the exporter's endpoint that is none": (
        "exporter", "127.0.0.1:0", "127.0.0.1:99999", 4, ["http.listen", "99999", "65535"]),
    "a flag that is no flag": ("sink", "9200\"]", "9200\"], gzip: maybe", 4, ["gzip", "maybe"]),
}


def run(program, *arguments, seconds=10):
    return subprocess.run([str(binary(f"tailrace-{program}")), *arguments], capture_output=True,
                          timeout=seconds, env=clean_environment(), stdin=subprocess.DEVNULL)


def sentence(done) -> str:
    """The one message on stderr, checked for form. What `run` says of its start does not count."""
    text = done.stderr.decode("utf-8", "replace")
    lines = [line for line in text.splitlines() if line.strip() and " INFO " not in line]
    assert len(lines) == 1, f"one sentence is due, not {len(lines)}:\n{text}{done.stdout.decode()}"
    return lines[0]


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("verb", ["check", "run"])
def test_a_bad_configuration_is_refused_in_one_sentence(folder, name, verb):
    program, old, new, line, words = CASES[name]
    plain = {"agent": AGENT.format(dir=folder, port=0), "sink": SINK_PLAIN,
             "exporter": EXPORTER_PLAIN}[program]
    old = plain if old == AGENT_PLAIN else old
    assert old in plain, f"the case's text {old!r} is not in the configuration"
    path = folder / f"{program}.yaml"
    path.write_bytes(plain.replace(old, new, 1).encode("utf-8", "surrogateescape"))
    done = run(program, verb, "-c", str(path))
    assert done.returncode == 2, f"exit {done.returncode}, 2 is due: {done.stderr.decode()}"
    text = sentence(done)
    where = re.search(rf"{re.escape(path.name)}:(\d+)", text)
    assert where, f"no file and line in: {text}"
    assert not line or int(where[1]) == line, f"line {line} is to blame, not {where[1]}: {text}"
    for word in words:
        assert word in text, f"{word!r} is not in: {text}"


def test_an_error_in_an_included_file_names_that_file(folder):
    (folder / "agent.d").mkdir()
    (folder / "agent.d/1.yaml").write_text("files:\n  - name: one\n    paths: [/a.log]\n")
    (folder / "agent.d/2.yaml").write_text("files:\n  - name: two\n    path: [/b.log]\n")
    path = folder / "agent.yaml"
    path.write_text(f"state_dir: {folder}/state\ninclude: agent.d/*.yaml\n")
    done = run("agent", "check", "-c", str(path))
    assert done.returncode == 2
    text = sentence(done)
    assert "2.yaml:3" in text and "paths" in text, text


def test_a_scalar_set_in_two_files_names_both(folder):
    (folder / "more.yaml").write_text("state_dir: /tmp/other\n")
    path = folder / "agent.yaml"
    path.write_text(AGENT.format(dir=folder, port=0) + "include: more.yaml\n")
    text = sentence(run("agent", "check", "-c", str(path)))
    assert "agent.yaml:1" in text and "more.yaml:1" in text, text


def test_good_configurations_pass(folder):
    for program, text in (("agent", AGENT.format(dir=folder, port=0)), ("sink", SINK_PLAIN),
                          ("exporter", EXPORTER_PLAIN)):
        path = folder / f"{program}.yaml"
        path.write_text(text)
        done = run(program, "check", "-c", str(path))
        assert done.returncode == 0, done
        assert b"OK" in done.stdout + done.stderr


def test_a_secret_is_never_printed(folder):
    secret = folder / "password"
    secret.write_text("hunter2-secret\n")
    path = folder / "sink.yaml"
    path.write_text(SINK_PLAIN.replace('9200"]', f'9200"], username: me, password_file: {secret}'))
    done = run("sink", "check", "-c", str(path))
    assert done.returncode == 0, done
    assert b"hunter2" not in done.stdout + done.stderr


def test_a_missing_or_unreadable_file_is_named(folder):
    for program in ("agent", "sink"):
        for path in (folder / "none.yaml", folder):
            done = run(program, "-c", str(path))
            assert done.returncode == 2, done
            assert str(path) in sentence(done)


COMMAND_LINES = {
    "an unknown verb": (["chekc"], ["chekc", "check"]),
    "a verb near to nothing": (["xyzzy"], ["xyzzy"]),
    "an unknown flag": (["--frobnicate"], ["--frobnicate"]),
    "-c without file": (["-c"], ["-c"]),
    "a verb with arguments that it has not": (["run", "surplus"], ["surplus"]),
    "check with a wrong flag": (["check", "--conect"], ["--conect"]),
}


@pytest.mark.parametrize("program", ["agent", "sink"])
@pytest.mark.parametrize("name", COMMAND_LINES)
def test_a_bad_command_line_is_refused(program, name):
    arguments, words = COMMAND_LINES[name]
    done = run(program, *arguments)
    assert done.returncode == 2, done
    text = done.stderr.decode()
    assert len(text.strip().splitlines()) <= 2, f"short, with at most a hint: {text}"
    for word in words:
        assert word in text, text


@pytest.mark.parametrize("arguments, words", [
    (["state"], ["show"]), (["state", "shwo"], ["show"]), (["explain"], ["PATH"])])
def test_a_verb_without_its_argument_says_what_is_due(folder, arguments, words):
    path = folder / "agent.yaml"
    path.write_text(AGENT.format(dir=folder, port=0))
    done = run("agent", *arguments, "-c", str(path))
    assert done.returncode == 2, done
    for word in words:
        assert word in done.stderr.decode(), done
