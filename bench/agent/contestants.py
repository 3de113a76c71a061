# SPDX-License-Identifier: Apache-2.0
"""Who takes part: how each is told to ship files to a topic. All get what makes the agent safe
(acks=all, idempotence), the agent's linger and the same compression, as far as they can be told."""

import json
import shutil
from pathlib import Path

LINGER_MS = 20          # the agent's default
AGENT_RECORDS = 32768   # the agent has no more under way
AGENT_MEMORY = 9 << 20


class Contestant:
    name = ""
    ends = False         # by itself, when every file was read

    def found(self) -> bool:
        return True

    def command(self, folder: Path, servers: str, topic: str, paths: str, compression: str,
                once: bool) -> list[str]:
        """Writes its configuration into the folder."""
        raise NotImplementedError


class Tailrace(Contestant):
    name = "tailrace-agent"
    ends = True

    def __init__(self, program: Path):
        self.program = program

    def command(self, folder, servers, topic, paths, compression, once):
        config = {"state_dir": str(folder / "state"), "http": {"listen": "off"},
                  "kafka": {"bootstrap_servers": servers, "topic": topic,
                            "compression": compression},
                  "files": [{"name": "bench", "paths": [paths]}]}
        (folder / "agent.yaml").write_text(json.dumps(config))
        return [str(self.program), "once" if once else "run", "-c", str(folder / "agent.yaml")]


class Rsyslog(Contestant):
    name = "rsyslog"

    def found(self) -> bool:
        return shutil.which("rsyslogd") is not None and bool(
            list(Path("/usr/lib").glob("**/rsyslog/omkafka.so")))

    def command(self, folder, servers, topic, paths, compression, once):
        (folder / "rsyslog.conf").write_text(f'''
global(workDirectory="{folder}")
module(load="imfile")
module(load="omkafka")
template(name="event" type="list" option.jsonf="on") {{
  property(outname="@timestamp" name="timereported" dateFormat="rfc3339" format="jsonf")
  property(outname="host.name" name="hostname" format="jsonf")
  property(outname="log.file.path" name="$!metadata!filename" format="jsonf")
  property(outname="log.offset" name="$!metadata!fileoffset" format="jsonf")
  property(outname="message" name="msg" format="jsonf")
}}
input(type="imfile" file="{paths}" tag="bench" addMetadata="on" ruleset="send")
ruleset(name="send") {{
  action(type="omkafka" broker=["{servers}"] topic="{topic}" template="event"
    confParam=["linger.ms={LINGER_MS}", "acks=all", "enable.idempotence=true",
               "compression.codec={compression}"])
}}
''')
        return ["rsyslogd", "-n", "-f", str(folder / "rsyslog.conf"),
                "-i", str(folder / "rsyslog.pid")]


class FluentBit(Contestant):
    name = "Fluent Bit"

    def found(self) -> bool:
        return shutil.which("fluent-bit") is not None

    def command(self, folder, servers, topic, paths, compression, once):
        (folder / "fluent-bit.conf").write_text(f'''[SERVICE]
    flush 1
    grace 10
[INPUT]
    name tail
    path {paths}
    path_key log.file.path
    offset_key log.offset
    read_from_head on
    db {folder}/positions.db
[OUTPUT]
    name kafka
    match *
    brokers {servers}
    topics {topic}
    rdkafka.acks all
    rdkafka.enable.idempotence true
    rdkafka.linger.ms {LINGER_MS}
    rdkafka.compression.codec {compression}
''')
        return ["fluent-bit", "-q", "-c", str(folder / "fluent-bit.conf")]


class Filebeat(Contestant):
    name = "Filebeat"

    def found(self) -> bool:
        return shutil.which("filebeat") is not None

    def command(self, folder, servers, topic, paths, compression, once):
        (folder / "filebeat.yml").write_text(json.dumps({
            "path.data": str(folder / "data"), "path.logs": str(folder / "logs"),
            "filebeat.inputs": [{"type": "filestream", "id": "bench", "paths": [paths]}],
            "output.kafka": {"hosts": [servers], "topic": topic, "required_acks": -1,
                             "compression": compression}}))
        return ["filebeat", "-e", "--strict.perms=false", "-c", str(folder / "filebeat.yml")]


def bare_command(program: Path, records: Path, topic: str, count: int, window: int, memory: int,
                 servers: str, compression: str) -> list[str]:
    """bench-send. Its queue is unbounded: WINDOW alone bounds what is under way."""
    return [str(program), str(records), topic, str(count), str(window), str(memory),
            f"bootstrap.servers={servers}", "acks=all", "enable.idempotence=true",
            f"linger.ms={LINGER_MS}", f"compression.type={compression}",
            "queue.buffering.max.messages=10000000", "queue.buffering.max.kbytes=2097151"]
