#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Real Kafka, OpenSearch and Elasticsearch servers for the tests and for use by hand.

    stack = Stack()
    url = stack.start("opensearch", fresh=True, settings={"http.max_content_length": "1mb"})
    status, health = http("GET", url + "/_cluster/health")
    stack.stop("opensearch")

Servers outlive the program that started them, and every Stack() sees the same ones. Data, logs
and pid files lie under ${TAILRACE_STACK_DIR:-/tmp/tailrace-stack}/SERVICE/nNODE.
"""

import argparse
import base64
import glob
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.parse
import uuid
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, Callable, ContextManager, Iterable

from stack_cache import HERE, StackError, jars, java17, java21, locked, say, venv

DEFAULT_PORT_BASE = 21000
EPHEMERAL = 32768        # ports from here on are handed out to outgoing connections
READY_SECONDS = 300
GRACE_SECONDS = 20
ZOOKEEPER = 0            # the node number of ZooKeeper in kafka36, kafka36x3
JAVA21 = ("opensearch3", "elasticsearch9")
MAINS = {"elasticsearch7": "Es7Main", "elasticsearch8": "EsMain", "elasticsearch9": "EsMain",
         "opensearch": "OsMain", "opensearch3": "Os3Main"}


@dataclass(frozen=True)
class Service:
    name: str
    jars: str                  # the set of jars, see stack_cache.SETS
    nodes: tuple[int, ...]     # in starting order
    offset: int                # of its ports from the port base
    heap: str                  # largest Java heap of a node

    @property
    def variable(self) -> str:
        """The environment variable that carries its address."""
        return "TAILRACE_" + self.name.upper()

    @property
    def is_kafka(self) -> bool:
        return self.name.startswith("kafka")

    @property
    def is_kraft(self) -> bool:
        return self.is_kafka and ZOOKEEPER not in self.nodes

    @property
    def brokers(self) -> tuple[int, ...]:
        return tuple(node for node in self.nodes if node != ZOOKEEPER)


SERVICES = {service.name: service for service in (
    Service("kafka36", "kafka36", (ZOOKEEPER, 1), 100, "512m"),
    Service("kafka36x3", "kafka36", (ZOOKEEPER, 1, 2, 3), 130, "384m"),
    Service("kafka39", "kafka39", (1,), 250, "512m"),
    Service("kafka", "kafka4", (1,), 200, "512m"),
    Service("kafka3", "kafka4", (1, 2, 3), 300, "384m"),
    Service("opensearch", "opensearch", (1,), 400, "512m"),
    Service("opensearch3", "opensearch3", (1,), 450, "512m"),
    Service("opensearchcluster", "opensearch", (1, 2, 3), 650, "384m"),
    Service("elasticsearch7", "elasticsearch7", (1,), 550, "512m"),
    Service("elasticsearch8", "elasticsearch8", (1,), 500, "512m"),
    Service("elasticsearch9", "elasticsearch9", (1,), 600, "512m"),
    Service("kafkaacl", "kafka4", (1,), 700, "384m"),
)}


def http(method: str, url: str, body: Any = None, headers: dict[str, str] | None = None,
         timeout: float = 30) -> tuple[int, Any]:
    """One HTTP request -> (status, decoded JSON or text); OSError if nobody answers.

    A dict or list is sent as JSON; str and bytes as they are, labelled NDJSON for a path that
    ends in /_bulk and JSON for any other, unless `headers` has a Content-Type.
    """
    parts = urllib.parse.urlsplit(url)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if isinstance(body, (dict, list)):
        body = json.dumps(body)
    if isinstance(body, str):
        body = body.encode()
    sent = {}
    if body is not None:
        bulk = parts.path.endswith("/_bulk")
        sent["content-type"] = "application/x-ndjson" if bulk else "application/json"
    sent.update({key.lower(): value for key, value in (headers or {}).items()})
    connection = HTTPConnection(parts.hostname or "", parts.port, timeout=timeout)
    try:
        with suppress(BrokenPipeError, ConnectionResetError):
            # A server that refuses a large body may answer before it has read all of it.
            connection.request(method, target, body, sent)
        response = connection.getresponse()
        text = response.read().decode("utf-8", "replace")
        is_json = "json" in response.headers.get_content_type()
        return response.status, json.loads(text) if text and is_json else text
    finally:
        connection.close()


class Stack:
    """Starts, stops and hurts the servers. Every failure is a StackError that says what to do."""

    def __init__(self, directory: str | Path | None = None, port_base: int | None = None):
        self.directory = Path(
            directory or os.environ.get("TAILRACE_STACK_DIR") or "/tmp/tailrace-stack").absolute()
        given = port_base or os.environ.get("TAILRACE_STACK_PORT_BASE") or DEFAULT_PORT_BASE
        highest = EPHEMERAL - 1000
        if not str(given).isdigit() or not 1024 <= int(given) <= highest:
            raise StackError(f"TAILRACE_STACK_PORT_BASE is {given!r}: give a number from 1024 to "
                             f"{highest}, so that all ports stay below {EPHEMERAL}.")
        self.port_base = int(given)
        self._admins: dict[str, Any] = {}    # kept: a client that is dropped answers no future

    # Addresses and files

    def port(self, name: str, node: int = 1) -> int:
        """The client port of a node: broker, ZooKeeper (node 0 of kafka36…) or HTTP."""
        service = self._service(name, node)
        return self.port_base + service.offset + (9 if node == ZOOKEEPER else 10 * (node - 1))

    def address(self, name: str, node: int | None = None) -> str:
        """The bootstrap list or the URLs of a service; with `node`, the address of that node."""
        service = self._service(name)
        nodes = service.brokers if node is None else (node,)
        scheme = "" if service.is_kafka else "http://"
        return ",".join(f"{scheme}127.0.0.1:{self.port(name, each)}" for each in nodes)

    def node_dir(self, name: str, node: int = 1) -> Path:
        return self.directory / name / f"n{node}"

    def log(self, name: str, node: int = 1) -> Path:
        return self.node_dir(name, node) / "log"

    def pid(self, name: str, node: int = 1) -> int | None:
        """The process id of a node, or None if it does not run."""
        with suppress(OSError, ValueError):
            pid = int((self.node_dir(name, node) / "pid").read_text())
            if pid in _children:
                _children[pid].poll()    # a child of ours that has ended must not stay a zombie
            arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            if self._mark(name, node).encode() in arguments:
                return pid
        return None

    def running(self, name: str) -> list[int]:
        """The nodes of a service that run (a paused one does)."""
        return [node for node in self._service(name).nodes if self.pid(name, node)]

    # Whole services

    def start(self, name: str, fresh: bool = False, settings: dict[str, Any] | None = None,
              timeout: float = READY_SECONDS) -> str:
        """Starts a service, waits until it is ready and returns its address.

        fresh: with empty data. settings: lines for its configuration file (`heap` is the Java
        heap); a running service with other settings is restarted with its data kept. Without
        both, a service that runs is left as it is.
        """
        service = self._service(name)
        with self._lock(name):
            before = self._state(name)
            alive = self.running(name)
            changed = settings is not None and settings != before.get("settings")
            if alive and (fresh or changed):
                self._end(service, alive, discard=fresh)
                alive = []
            if fresh:
                self._clear_data(service)
                before = {}
            if not alive:
                self._save_state(name, {
                    "settings": settings or {},
                    "cluster_id": before.get("cluster_id") or _new_cluster_id()})
            for node in alive:
                self._signal(name, node, signal.SIGCONT)
            self._start_nodes(service, [node for node in service.nodes if node not in alive],
                              timeout)
        return self.address(name)

    def stop(self, name: str, wipe: bool = False) -> None:
        """Stops all nodes: TERM, and KILL after a grace. wipe: kills and removes data and logs."""
        service = self._service(name)
        with self._lock(name):
            self._end(service, self.running(name), discard=wipe)
            for node in service.nodes:
                (self.node_dir(name, node) / "pid").unlink(missing_ok=True)
            if wipe:
                shutil.rmtree(self.directory / name, ignore_errors=True)

    def wait_ready(self, name: str, timeout: float = READY_SECONDS) -> None:
        """Waits until the service works with the nodes that were started and not ended.

        Kafka: exactly these brokers are visible, every partition is led and in sync on them, the
        controller accepts a topic, the group coordinator answers. Search: no shard is missing.
        """
        self._wait_ready(self._service(name), timeout)

    # Single nodes

    def kill(self, name: str, node: int = 1) -> None:
        """kill -9; data stays. start_node() brings the node back."""
        with self._lock(name):
            self._signal(name, node, signal.SIGKILL)
            self._wait_gone(name, [node], 10)

    def stop_node(self, name: str, node: int = 1) -> None:
        """Ends one node in order (TERM)."""
        with self._lock(name):
            self._signal(name, node, signal.SIGCONT)    # says so if it does not run
            self._end(self._service(name, node), [node])

    def start_node(self, name: str, node: int = 1, timeout: float = READY_SECONDS) -> None:
        """Starts a node that was killed or stopped, with its data, and waits until ready."""
        service = self._service(name, node)
        with self._lock(name):
            if not self._state(name):
                raise StackError(f"{name} was never started here ({self.directory}), so node "
                                 f"{node} has no configuration. Start the service first.")
            if not self.pid(name, node):
                self._start_nodes(service, [node], timeout)

    def pause(self, name: str, node: int = 1) -> None:
        """SIGSTOP: the node keeps its connections and answers nothing."""
        self._signal(name, node, signal.SIGSTOP)

    def resume(self, name: str, node: int = 1) -> None:
        self._signal(name, node, signal.SIGCONT)

    # Topics and groups

    def admin(self, cluster: str) -> Any:
        """The confluent_kafka AdminClient of a cluster."""
        if not self._service(cluster).is_kafka:
            raise StackError(f"{cluster} is not a Kafka cluster, it has no topics and groups.")
        if cluster not in self._admins:
            # log_level 0: a broker that is down is no news to whoever kills it.
            self._admins[cluster] = _confluent().admin.AdminClient(
                {"bootstrap.servers": self.address(cluster), "log_level": 0,
                 "reconnect.backoff.max.ms": 500, "socket.timeout.ms": 10000})
        return self._admins[cluster]

    def create_topic(self, cluster: str, topic: str, partitions: int = 1,
                     config: dict[str, Any] | None = None,
                     replication: int | None = None) -> None:
        """Creates a topic and waits until each of its partitions has a leader."""
        new = _confluent().admin.NewTopic(
            topic, partitions, replication or len(self._service(cluster).brokers),
            config={key: _plain(value) for key, value in (config or {}).items()})
        admin = self.admin(cluster)
        self._result(f"create topic {topic}", cluster, admin.create_topics([new])[topic])

        def led() -> bool:
            found = admin.list_topics(topic, timeout=10).topics[topic].partitions.values()
            return len(found) == partitions and all(each.leader >= 0 for each in found)

        self._until(led, f"{cluster}: topic {topic} has partitions without a leader")

    def delete_topic(self, cluster: str, topic: str) -> None:
        """Deletes a topic and waits until it is gone."""
        admin = self.admin(cluster)
        self._result(f"delete topic {topic}", cluster, admin.delete_topics([topic])[topic])
        self._until(lambda: topic not in admin.list_topics(timeout=10).topics,
                    f"{cluster}: topic {topic} is still listed after its deletion")

    def alter_topic_config(self, cluster: str, topic: str, config: dict[str, Any]) -> None:
        """Sets the given keys and leaves the others; None puts a key back to its default."""
        kafka = _confluent().admin
        resource = kafka.ConfigResource(kafka.ConfigResource.Type.TOPIC, topic)
        operation = kafka.AlterConfigOpType
        for key, value in config.items():
            resource.add_incremental_config(kafka.ConfigEntry(
                key, None if value is None else _plain(value),
                incremental_operation=operation.DELETE if value is None else operation.SET))
        futures = self.admin(cluster).incremental_alter_configs([resource])
        self._result(f"alter the configuration of topic {topic}", cluster, futures[resource])
        time.sleep(0.5)    # the brokers apply it a moment later, and nothing tells when

    def run_tool(self, cluster: str, main: str, *arguments: str) -> str:
        """Runs one of Kafka's own command line tools against a cluster; returns what it prints."""
        command = [f"{java17()}/bin/java", "-Xmx128m", "-XX:TieredStopAtLevel=1",
                   "-XX:+UseSerialGC", "-cp", f"{jars(self._service(cluster).jars)}/libs/*", main,
                   "--bootstrap-server", self.address(cluster), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        if done.returncode:
            raise StackError(f"{cluster}: {main} {' '.join(arguments)} ended with "
                             f"{done.returncode}: {done.stdout}{done.stderr}")
        return done.stdout

    def watermarks(self, cluster: str, topic: str) -> dict[int, tuple[int, int]]:
        """partition -> (first offset, end offset)."""
        wanted = [(topic, each) for each in self._partitions(cluster, topic)]
        first = self._offsets(cluster, wanted, "earliest")
        end = self._offsets(cluster, wanted, "latest")
        return {key[1]: (first[key], end[key]) for key in wanted}

    def group_offsets(self, cluster: str, group: str) -> dict[tuple[str, int], int]:
        """(topic, partition) -> committed offset of a group; empty for an unknown group."""
        admin = self.admin(cluster)
        topics = self._call("list the topics", cluster,
                            lambda: admin.list_topics(timeout=10)).topics.values()
        return self._committed(cluster, group, [
            (topic.topic, partition) for topic in topics for partition in topic.partitions])

    def reset_group_to_earliest(self, cluster: str, group: str,
                                topics: Iterable[str] = ()) -> dict[tuple[str, int], int]:
        """Commits the first offset for all partitions a group has committed (or of `topics`).

        The group must have no members. Returns the new offsets.
        """
        kafka = _confluent()
        wanted = [(topic, each) for topic in topics for each in self._partitions(cluster, topic)]
        wanted = wanted or list(self.group_offsets(cluster, group))
        if not wanted:
            raise StackError(f"{cluster}: group {group} has committed nothing, so there is "
                             f"nothing to reset. Name its topics to set them all the same.")
        first = self._offsets(cluster, wanted, "earliest")
        offsets = [kafka.TopicPartition(*key, offset) for key, offset in first.items()]
        failed = [f"{each.topic} partition {each.partition}: {each.error}"
                  for each in self._as_group(
                      f"reset group {group}, which must have no members", cluster, group,
                      lambda consumer: consumer.commit(offsets=offsets, asynchronous=False))
                  if each.error]
        if failed:
            raise StackError(f"{cluster}: cannot reset group {group} for {failed[0]}. "
                             f"End all its members first.")
        return first

    def _committed(self, cluster: str, group: str,
                   partitions: list[tuple[str, int]]) -> dict[tuple[str, int], int]:
        wanted = [_confluent().TopicPartition(*each) for each in partitions]
        found = self._as_group(f"list the offsets of group {group}", cluster, group,
                               lambda consumer: consumer.committed(wanted, timeout=10))
        return {(each.topic, each.partition): each.offset for each in found if each.offset >= 0}

    def _as_group(self, what: str, cluster: str, group: str, call: Callable[[Any], Any]) -> Any:
        """call(consumer) with a consumer of the group that does not join it.

        The AdminClient's calls for group offsets crash the process (librdkafka 2.16) when the
        coordinator answers that it is not the coordinator, as it does right after a start.
        """
        kafka = _confluent()
        consumer = kafka.Consumer({"bootstrap.servers": self.address(cluster), "log_level": 0,
                                   "group.id": group, "enable.auto.commit": False})
        try:
            return self._call(what, cluster, lambda: call(consumer))
        finally:
            consumer.close()

    def _offsets(self, cluster: str, partitions: list[tuple[str, int]],
                 which: str) -> dict[tuple[str, int], int]:
        kafka = _confluent()
        spec = getattr(kafka.admin.OffsetSpec, which)()
        deadline = time.monotonic() + 30
        while True:
            futures = self.admin(cluster).list_offsets(
                {kafka.TopicPartition(*each): spec for each in partitions})
            try:
                return {(key.topic, key.partition):
                        self._result(f"list offsets of {key.topic}", cluster, future).offset
                        for key, future in futures.items()}
            except StackError as error:     # leaders move while brokers come and go
                if "leader" not in str(error).lower() or time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    def _partitions(self, cluster: str, topic: str) -> list[int]:
        admin = self.admin(cluster)
        found = self._call(f"list topic {topic}", cluster,
                           lambda: admin.list_topics(topic, timeout=10)).topics[topic]
        if found.error:
            raise StackError(f"{cluster}: topic {topic} cannot be used: {found.error.str()}. "
                             f"Topics are not made by use, create it first.")
        return sorted(found.partitions)

    def _result(self, what: str, cluster: str, future: Any) -> Any:
        return self._call(what, cluster, lambda: future.result(timeout=60))

    def _call(self, what: str, cluster: str, function: Callable[[], Any]) -> Any:
        """function(), with what the Kafka client raises told as a StackError."""
        kafka = _confluent()
        try:
            return function()
        except FutureTimeout as error:
            reason, cause = "no answer within 60 s", error
        except kafka.KafkaException as error:
            reason, cause = error.args[0].str().rstrip("."), error
        raise StackError(f"{cluster}: cannot {what}: {reason}. See test/stack/status, and what the "
                         f"server says in {self.log(cluster)}.") from cause

    def _until(self, condition: Callable[[], bool], otherwise: str, timeout: float = 30) -> None:
        deadline = time.monotonic() + timeout
        while not condition():
            if time.monotonic() > deadline:
                raise StackError(f"{otherwise}, after {timeout:.0f} s. See test/stack/status and "
                                 f"the logs under {self.directory}.")
            time.sleep(0.05)

    # Starting

    def _start_nodes(self, service: Service, nodes: list[int], timeout: float) -> None:
        """Starts the nodes and waits for the service; ends them again if it does not get ready."""
        try:
            if nodes:
                self._launch(service, nodes)
            self._wait_ready(service, timeout)
        except BaseException:
            self._end(service, [node for node in nodes if self.pid(service.name, node)])
            for node in nodes:
                (self.node_dir(service.name, node) / "pid").unlink(missing_ok=True)
            raise

    def _launch(self, service: Service, nodes: list[int]) -> None:
        home = jars(service.jars)
        java = java21() if service.jars in JAVA21 else java17()
        self._check_ports(service, nodes)
        settings = dict(self._state(service.name)["settings"])
        heap = settings.pop("heap", service.heap)
        mains = {node: self._configure(service, node, home, settings) for node in nodes}
        if service.is_kraft:
            self._format(service, nodes, java, home)
        for node in nodes:
            if not service.is_kraft and service.is_kafka and node != ZOOKEEPER:
                self._wait_zookeeper(service, node)
            self._spawn(service, node, java, heap, home, mains[node])

    def _configure(self, service: Service, node: int, home: Path,
                   settings: dict[str, Any]) -> list[str]:
        """Writes the configuration of a node; returns its main class and arguments."""
        directory = self.node_dir(service.name, node)
        (directory / "tmp").mkdir(parents=True, exist_ok=True)
        (directory / "config").mkdir(exist_ok=True)
        if not service.is_kafka:
            return self._configure_search(service, node, directory, home, settings)
        if node == ZOOKEEPER:
            file = directory / "config/zookeeper.properties"
            lines: dict[str, Any] = {
                "tickTime": 2000, "dataDir": directory / "data", "maxClientCnxns": 0,
                "clientPort": self.port(service.name, node), "clientPortAddress": "127.0.0.1",
                "admin.enableServer": False, "4lw.commands.whitelist": "*"}
            main = "org.apache.zookeeper.server.quorum.QuorumPeerMain"
        else:
            file = directory / "config/server.properties"
            lines = self._broker_lines(service, node, directory) | settings
            main = "kafka.Kafka"
        file.write_text("".join(f"{key}={_plain(value)}\n" for key, value in lines.items()))
        return [main, str(file)]

    def _broker_lines(self, service: Service, node: int, directory: Path) -> dict[str, Any]:
        replicas = len(service.brokers)
        in_sync = max(1, replicas - 1)
        listener = f"PLAINTEXT://127.0.0.1:{self.port(service.name, node)}"
        if not service.is_kraft:
            zookeeper = self.address(service.name, ZOOKEEPER)
            mode = {"broker.id": node, "zookeeper.connect": zookeeper, "listeners": listener,
                    "zookeeper.session.timeout.ms": 6000}
        else:
            voters = ((each, self.port(service.name, each) + 1) for each in service.nodes)
            controller = f"CONTROLLER://127.0.0.1:{self.port(service.name, node) + 1}"
            mode = {
                "node.id": node, "process.roles": "broker,controller",
                "controller.quorum.voters": ",".join(
                    f"{each}@127.0.0.1:{port}" for each, port in voters),
                "listeners": f"{listener},{controller}",
                "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
                "controller.listener.names": "CONTROLLER",
                # A killed broker may register again only after this long.
                "broker.session.timeout.ms": 6000, "broker.heartbeat.interval.ms": 1000}
        if service.name == "kafkaacl":
            mode |= self._guarded_lines(service, node, mode)
            listener = mode["advertised.listeners"]
        return mode | {
            "advertised.listeners": listener,
            "log.dirs": directory / "data",
            "auto.create.topics.enable": False,
            "unclean.leader.election.enable": False,
            "default.replication.factor": replicas,
            "min.insync.replicas": in_sync,
            "offsets.topic.replication.factor": replicas,
            "offsets.topic.num.partitions": 3,
            "transaction.state.log.replication.factor": replicas,
            "transaction.state.log.min.isr": in_sync,
            "transaction.state.log.num.partitions": 3,
            "group.initial.rebalance.delay.ms": 0,
            "log.cleaner.dedupe.buffer.size": 10485760,
        }

    def _guarded_lines(self, service: Service, node: int,
                       mode: dict[str, Any]) -> dict[str, Any]:
        """Who is not logged in may do everything, users who log in (port +2) what ACLs allow."""
        plain, controller = mode["listeners"].split(",")
        login = f"SASL_PLAINTEXT://127.0.0.1:{self.port(service.name, node) + 2}"
        users = " ".join(f'user_{name}="{name}-secret"' for name in ("alice", "bob"))
        return {
            "listeners": f"{plain},{login},{controller}",
            "advertised.listeners": f"{plain},{login}",
            "listener.security.protocol.map":
                "PLAINTEXT:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT",
            "sasl.enabled.mechanisms": "PLAIN",
            "listener.name.sasl_plaintext.plain.sasl.jaas.config":
                f"org.apache.kafka.common.security.plain.PlainLoginModule required {users};",
            "authorizer.class.name":
                "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": "User:ANONYMOUS",
        }

    def _configure_search(self, service: Service, node: int, directory: Path, home: Path,
                          settings: dict[str, Any]) -> list[str]:
        elastic = service.name.startswith("elasticsearch")
        port = self.port(service.name, node)
        lines = {
            "cluster.name": f"stack-{service.name}", "node.name": f"n{node}",
            "network.host": "127.0.0.1", "http.port": port, "transport.port": port + 1,
            "http.max_content_length": "100mb",
            "cluster.routing.allocation.disk.threshold_enabled": False,
        }
        if len(service.nodes) == 1:
            lines["discovery.type"] = "single-node"
        else:
            transports = [self.port(service.name, each) + 1 for each in service.nodes]
            lines |= {"discovery.seed_hosts": [f"127.0.0.1:{each}" for each in transports],
                      "cluster.initial_cluster_manager_nodes": [f"n{each}" for each in
                                                                service.nodes]}
        lines |= settings
        file = directory / f"config/{'elasticsearch' if elastic else 'opensearch'}.yml"
        file.write_text("".join(f"{key}: {json.dumps(value)}\n" for key, value in lines.items()))
        if elastic:
            (directory / "modules").unlink(missing_ok=True)
            (directory / "modules").symlink_to(home / "modules")
        return [MAINS[service.jars], str(directory)]

    def _format(self, service: Service, nodes: list[int], java: Path, home: Path) -> None:
        """Gives KRaft nodes without data their identity, all at the same time."""
        cluster_id = self._state(service.name)["cluster_id"]
        running = []
        for node in nodes:
            directory = self.node_dir(service.name, node)
            if (directory / "data/meta.properties").exists():
                continue
            with open(self.log(service.name, node), "ab") as log:
                running.append((node, subprocess.Popen(
                    [f"{java}/bin/java", "-Xmx128m", "-XX:TieredStopAtLevel=1",
                     "-XX:+UseSerialGC", "-cp", f"{home}/libs/*", "kafka.tools.StorageTool",
                     "format", "-t", cluster_id, "-c", f"{directory}/config/server.properties"],
                    stdin=subprocess.DEVNULL, stdout=log, stderr=log)))
        failed = [node for node, process in running if process.wait()]
        if failed:
            raise StackError(f"{service.name}: cannot format the data of node {failed[0]}."
                             + self._log_tail(service.name, failed[0]))

    def _spawn(self, service: Service, node: int, java: Path, heap: str, home: Path,
               main: list[str]) -> None:
        directory = self.node_dir(service.name, node)
        if service.is_kafka:
            options = ["-Xms64m", "-XX:+UseSerialGC"]
        else:
            # The memory circuit breaker looks at the whole heap: collect early, as the stock
            # servers do, or it refuses requests because of garbage.
            options = ["-Xms256m", "-XX:+UseG1GC", "-XX:G1ReservePercent=25",
                       "-XX:InitiatingHeapOccupancyPercent=30"]
        if service.name == "elasticsearch9":
            options.append(f"-Des.nativelibs.path={self._native_libraries(directory)}")
        if service.jars.startswith("kafka3"):
            options.append(f"-Dlog4j.configuration=file:{HERE}/conf/log4j1.properties")
        else:
            options.append(f"-Dlog4j2.configurationFile=file:{HERE}/conf/log4j2.properties")
        command = [
            f"{java}/bin/java", self._mark(service.name, node), f"-Xmx{heap}", *options,
            "-XX:+ExitOnOutOfMemoryError", "-XX:-UsePerfData", f"-Djava.io.tmpdir={directory}/tmp",
            "-cp", f"{home}/classes:{home}/libs/*", *main]
        with open(self.log(service.name, node), "ab") as log:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                       cwd=directory, start_new_session=True)
        _children[process.pid] = process
        (directory / "pid").write_text(f"{process.pid}\n")
        # Popen returns a moment before the kernel shows the arguments by which pid() knows it.
        deadline = time.monotonic() + 10
        while not self.pid(service.name, node) and process.poll() is None:
            if time.monotonic() > deadline:
                process.kill()
                raise StackError(f"{service.name}: /proc/{process.pid}/cmdline does not show the "
                                 f"node's arguments, so it could not be stopped later. Run this "
                                 f"where /proc can be read.")
            time.sleep(0.005)

    @staticmethod
    def _native_libraries(directory: Path) -> Path:
        """What Elasticsearch 9 brings beside its jars: libzstd, without which best_compression
        fails its shards, is Debian's; libvec says that it can do nothing."""
        native = directory / "native"
        native.mkdir(exist_ok=True)
        link = native / "libzstd.so"
        link.unlink(missing_ok=True)
        link.symlink_to(next(iter(glob.glob("/usr/lib/*/libzstd.so.1")), "libzstd.so.1"))
        subprocess.run(["cc", "-shared", "-fPIC", "-xc", "-", "-o", str(native / "libvec.so")],
                       input=b"int vec_caps(void) { return 0; }\n", check=True)
        return native

    def _check_ports(self, service: Service, nodes: list[int]) -> None:
        for node in nodes:
            port = self.port(service.name, node)
            uses = {port: "ZooKeeper" if node == ZOOKEEPER else "clients"}
            if service.is_kraft:
                uses[port + 1] = "the controller"
            elif not service.is_kafka:
                uses[port + 1] = "the transport"
            for each, use in uses.items():
                with socket.socket() as probe:
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    try:
                        probe.bind(("127.0.0.1", each))
                        probe.listen()
                    except OSError as error:
                        raise StackError(
                            f"{service.name}: port {each} for {use} of node {node} is not free "
                            f"({error.strerror}; held by {_port_owner(each)}). Stop that program, "
                            f"or set TAILRACE_STACK_PORT_BASE (now {self.port_base}) to shift "
                            f"all ports.") from error

    # Readiness

    def _wait_ready(self, service: Service, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        started = [node for node in service.nodes
                   if (self.node_dir(service.name, node) / "pid").exists()]
        if not started:
            raise StackError(f"{service.name} is not running. Start it with "
                             f"test/stack/up {service.name}.")
        while True:
            self._check_alive(service, started)
            not_ready = (self._kafka_not_ready if service.is_kafka else self._search_not_ready)
            reason = not_ready(service, [node for node in started if node != ZOOKEEPER])
            if not reason:
                return
            if time.monotonic() > deadline:
                raise StackError(f"{service.name}: not ready after {timeout:.0f} s: {reason}."
                                 + self._log_tail(service.name, started[-1]))
            time.sleep(0.2)

    def _check_alive(self, service: Service, nodes: list[int]) -> None:
        for node in nodes:
            if not self.pid(service.name, node):
                raise StackError(f"{service.name}: node {node} ended by itself."
                                 + self._log_tail(service.name, node))

    def _kafka_not_ready(self, service: Service, nodes: list[int]) -> str:
        """Why the cluster is not ready, or nothing."""
        for node in nodes:
            if not _accepts(self.port(service.name, node)):
                return f"broker {node} accepts no connections"
        kafka = _confluent()
        admin = self.admin(service.name)
        try:
            cluster = admin.list_topics(timeout=5)
            if sorted(cluster.brokers) != nodes:
                return f"brokers {sorted(cluster.brokers)} are visible, {nodes} should be"
            for topic in cluster.topics.values():
                for each in topic.partitions.values():
                    missing = set(each.replicas) & set(nodes) - set(each.isrs)
                    if each.leader not in nodes or missing:
                        return (f"partition {each.id} of {topic.topic} has leader {each.leader}, "
                                f"replicas {each.replicas}, in sync {each.isrs}")
            probe = kafka.admin.NewTopic("tailrace-ready", 1, len(nodes))
            admin.create_topics([probe], validate_only=True, request_timeout=5,
                                operation_timeout=5)[probe.topic].result(timeout=10)
        except FutureTimeout:
            return "the controller does not answer"
        except kafka.KafkaException as error:
            return f"broker answers {error.args[0].str()}"
        try:
            self._committed(service.name, "tailrace-ready", [("tailrace-ready", 0)])
        except StackError as error:
            return str(error)
        return ""

    def _search_not_ready(self, service: Service, nodes: list[int]) -> str:
        """Why a server is not ready, or nothing. It can be red for a while after a kill."""
        for node in nodes:
            try:
                status, health = http("GET", self.address(service.name, node) + "/_cluster/health",
                                      timeout=10)
            except OSError as error:
                return f"HTTP port of node {node}: {error}"
            if status != 200 or health["status"] not in ("yellow", "green"):
                return f"health answers {status} {health}"
            if health["number_of_nodes"] != len(nodes):
                return f"node {node} sees {health['number_of_nodes']} nodes of {len(nodes)}"
        return ""

    def _wait_zookeeper(self, service: Service, broker: int) -> None:
        """Until ZooKeeper serves, and has forgotten the session of a broker that was killed."""
        port = self.port(service.name, ZOOKEEPER)

        def serving() -> bool:
            self._check_alive(service, [ZOOKEEPER])
            return (b"Mode:" in _four_letters(port, b"srvr")
                    and f"/brokers/ids/{broker}\n".encode() not in _four_letters(port, b"dump"))

        self._until(serving, f"{service.name}: ZooKeeper at 127.0.0.1:{port} does not serve, or "
                             f"keeps the old session of broker {broker}", 60)

    def _log_tail(self, name: str, node: int) -> str:
        log = self.log(name, node)
        lines = []
        with suppress(OSError):
            # Without the frames of Java's stack traces, which hide the reason above them.
            lines = [line for line in log.read_text(errors="replace").splitlines()
                     if not line.lstrip().startswith(("at ", "... "))][-20:]
        return (f" Find the cause in the log {log} and start it again with --fresh if its data "
                f"is to blame. The last lines:\n  " + "\n  ".join(lines or ["(nothing)"]))

    # Ending

    def _end(self, service: Service, nodes: list[int], discard: bool = False) -> None:
        """TERM, KILL after a grace. A ZooKeeper goes last: its broker signs off there.

        discard: the data is thrown away next, so there is nothing to end in order.
        """
        groups = [[node for node in nodes if node != ZOOKEEPER],
                  [node for node in nodes if node == ZOOKEEPER]]
        for group in filter(None, groups):
            for node in group:
                with suppress(StackError):     # it may end by itself just now
                    self._signal(service.name, node, signal.SIGKILL if discard else signal.SIGTERM)
                    self._signal(service.name, node, signal.SIGCONT)   # if it was paused
            if self._wait_gone(service.name, group, GRACE_SECONDS):
                continue
            for node in filter(lambda each: self.pid(service.name, each), group):
                say(f"{service.name}: node {node} did not end within {GRACE_SECONDS} s, killed")
                with suppress(StackError):
                    self._signal(service.name, node, signal.SIGKILL)
            if not self._wait_gone(service.name, group, 10):
                raise StackError(f"{service.name}: a node survives SIGKILL, it hangs in the "
                                 f"kernel. See test/stack/status and the state of the disk.")

    def _signal(self, name: str, node: int, number: int) -> None:
        self._service(name, node)
        pid = self.pid(name, node)
        if not pid:
            raise StackError(f"{name}: node {node} does not run, so it cannot get "
                             f"{signal.Signals(number).name}. See test/stack/status.")
        with suppress(ProcessLookupError):    # it has just ended
            os.kill(pid, number)

    def _wait_gone(self, name: str, nodes: list[int], timeout: float) -> bool:
        deadline = time.monotonic() + timeout
        files = [self.node_dir(name, node) / "pid" for node in nodes]
        pids = [int(file.read_text()) for file in files]
        while not all(map(_ended, pids)):
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)
        for file in files:
            file.unlink(missing_ok=True)
        return True

    def _clear_data(self, service: Service) -> None:
        """Empties the service for a fresh start; the logs of the last one stay as log.old."""
        for node in service.nodes:
            directory = self.node_dir(service.name, node)
            for part in ("data", "tmp", "config"):
                shutil.rmtree(directory / part, ignore_errors=True)
            with suppress(FileNotFoundError):
                self.log(service.name, node).rename(directory / "log.old")

    # Small things

    def _service(self, name: str, node: int | None = None) -> Service:
        if name not in SERVICES:
            raise StackError(f"no service is called {name!r}; there are {', '.join(SERVICES)}.")
        service = SERVICES[name]
        if node is not None and node not in service.nodes:
            raise StackError(f"{name} has no node {node}; it has {service.nodes}.")
        return service

    def _mark(self, name: str, node: int) -> str:
        """The argument by which a process is known as this node of this stack."""
        return f"-Dtailrace.stack={self.node_dir(name, node)}"

    def _lock(self, name: str) -> ContextManager[None]:
        self._service(name)
        return locked(self.directory / f"{name}.lock")

    def _state(self, name: str) -> dict[str, Any]:
        with suppress(FileNotFoundError):
            return json.loads((self.directory / name / "state.json").read_text())
        return {}

    def _save_state(self, name: str, state: dict[str, Any]) -> None:
        file = self.directory / name / "state.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.with_suffix(".new").write_text(json.dumps(state))
        file.with_suffix(".new").rename(file)


_children: dict[int, subprocess.Popen] = {}


def _ended(pid: int) -> bool:
    """Whether a process is gone with all its threads; until then they hold its ports."""
    if pid in _children:
        return _children[pid].poll() is not None
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        return state == "Z" and len(os.listdir(f"/proc/{pid}/task")) == 1
    except OSError:
        return True


def _confluent() -> Any:
    """confluent_kafka, from the environment of venv() if this Python does not have it."""
    try:
        import confluent_kafka.admin
    except ImportError:
        sys.path += glob.glob(f"{venv()}/lib/python*/site-packages")
        import confluent_kafka.admin
    return confluent_kafka


def _plain(value: Any) -> str:
    """A value as Kafka writes it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _new_cluster_id() -> str:
    """A random id in Kafka's form; the first byte is 0 so that it never begins with a dash."""
    return base64.urlsafe_b64encode(b"\0" + uuid.uuid4().bytes[1:]).decode().rstrip("=")


def _accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
        return True
    except OSError:
        return False


def _four_letters(port: int, command: bytes) -> bytes:
    """What ZooKeeper answers to a four letter word, or nothing."""
    answer = b""
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
        connection.sendall(command)
        while part := connection.recv(65536):
            answer += part
    return answer


def _port_owner(port: int) -> str:
    """Who listens on a TCP port, as far as /proc shows it."""
    sockets = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with suppress(OSError):
            for line in Path(table).read_text().splitlines()[1:]:
                fields = line.split()
                if int(fields[1].rpartition(":")[2], 16) == port and fields[3] == "0A":
                    sockets.add(f"socket:[{fields[9]}]")
    for link in glob.glob("/proc/[0-9]*/fd/*"):
        with suppress(OSError):
            if os.readlink(link) in sockets:
                process = Path(link).parent.parent
                command = (process / "cmdline").read_bytes().decode(errors="replace")
                words = " ".join(command.replace("\0", " ").split())
                return f"process {process.name}: {words[:120]}"
    return "a process that cannot be seen"


# Commands


def _up(stack: Stack, options: argparse.Namespace) -> int:
    settings = None
    if options.set:
        if not all("=" in pair for pair in options.set):
            raise StackError(f"--set takes KEY=VALUE, not {options.set}. Try again with a value.")
        settings = dict(pair.partition("=")[::2] for pair in options.set)
    for name in options.service:
        service = stack._service(name)
        begin = time.monotonic()
        before = {node: stack.pid(name, node) for node in service.nodes}
        address = stack.start(name, fresh=options.fresh, settings=settings)
        after = {node: stack.pid(name, node) for node in service.nodes}
        done = (f"ready after {time.monotonic() - begin:.1f} s" if before != after
                else "already running")
        logs = stack.log(name, service.brokers[0])
        if len(service.brokers) > 1:
            logs = stack.directory / name / "n*/log"
        say(f"{name}: {done} at {address}, log {logs}")
    for name in options.service:
        print(f"export {SERVICES[name].variable}={stack.address(name)}")
        if ZOOKEEPER in SERVICES[name].nodes:
            print(f"export TAILRACE_ZOOKEEPER={stack.address(name, ZOOKEEPER)}")
    return 0


def _down(stack: Stack, options: argparse.Namespace) -> int:
    for name in options.service or SERVICES:
        ran = stack.running(name)
        if not ran and not options.wipe and not options.service:
            continue
        stack.stop(name, wipe=options.wipe)
        say(f"{name}: {'stopped' if ran else 'was not running'}"
            + (", data and logs removed" if options.wipe else ""))
    return 0


def _status(stack: Stack, options: argparse.Namespace) -> int:
    missing = 0
    print(f"{'SERVICE':15} {'NODE':4} {'STATE':8} {'PID':>8} {'RSS':>7}  {'ADDRESS':28} LOG")
    for name in options.service or SERVICES:
        for node in stack._service(name).nodes:
            pid = stack.pid(name, node)
            facts = {}
            with suppress(OSError):
                facts = dict(line.split(":", 1) for line in
                             Path(f"/proc/{pid or 0}/status").read_text().splitlines())
            state = "down" if not pid else "paused" if "T" in facts.get("State", "") else "up"
            memory = int(facts.get("VmRSS", "0 kB").split()[0]) // 1024
            missing += not pid
            log = stack.log(name, node)
            print(f"{name:15} {node:<4} {state:8} {pid or '-':>8} {f'{memory}M' if pid else '-':>7}"
                  f"  {stack.address(name, node):28} {log if log.exists() else '-'}")
    return 1 if options.service and missing else 0


def _venv(stack: Stack, options: argparse.Namespace) -> int:
    print(venv())
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="stack.py", description="Real servers for the tests.",
                                     epilog=f"Services: {', '.join(SERVICES)}.")
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", help="start, wait until ready, print exports")
    up.add_argument("service", nargs="+")
    up.add_argument("--fresh", action="store_true", help="with empty data (restarts it)")
    up.add_argument("--set", action="append", metavar="KEY=VALUE",
                    help="a line of the server's configuration; heap=1g sets the Java heap")
    up.set_defaults(run=_up)
    down = commands.add_parser("down", help="stop; without a name, all services")
    down.add_argument("service", nargs="*")
    down.add_argument("--wipe", action="store_true", help="remove data and logs")
    down.set_defaults(run=_down)
    status = commands.add_parser("status", help="1 if a named service has a node down")
    status.add_argument("service", nargs="*")
    status.set_defaults(run=_status)
    commands.add_parser("venv", help="print the Python environment").set_defaults(run=_venv)
    options = parser.parse_args()
    try:
        return options.run(Stack(), options)
    except StackError as error:
        say(f"stack: {error}")
    except KeyboardInterrupt:
        say("stack: interrupted; what was being started is stopped again")
    return 1


if __name__ == "__main__":
    sys.exit(main())
