# SPDX-License-Identifier: Apache-2.0
"""A search server that answers by a script: for what a real one will not give on demand.

It keeps what it was told to create, and knows which of it was synced: `lose_unsynced()` is the
power cut of its only node. What it refuses looks as the recorded answers of real servers do. More
nodes before the same documents are made by `add_node()`; each has faults of its own.
"""

import gzip
import json
import socket
import threading
import time
import zlib
from collections import defaultdict
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Callable

PRODUCT = {"name": "fake", "cluster_name": "fake",
           "version": {"number": "2.19.1", "distribution": "opensearch"}}


@dataclass
class Bulk:
    """One `_bulk` request: which of its index's requests it is, and what it asks for."""

    index: str
    turn: int                               # 0 is the first
    documents: list[tuple[str, bytes]]      # id and value, in order
    query: str
    body_size: int


@dataclass
class Answer:
    body: Any = b""                         # bytes, or what becomes JSON
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    cut_at: int | None = None               # bytes of the body, then the connection is closed
    pause: float = 0                        # seconds in the middle of the body
    hang_up: bool = False                   # closed without a word
    gzip: bool = False
    endless: bytes = b""                    # comes behind the body, again and again


def item(status: int, kind: str = "", reason: str = "", **more: Any) -> dict[str, Any]:
    """One item of an answer. A kind makes it a refusal."""
    found: dict[str, Any] = {"status": status} | more
    if kind:
        found["error"] = {"type": kind, "reason": reason}
    return {"create": found}


def refusal(status: int, kind: str, reason: str) -> Answer:
    """The whole request is refused."""
    return Answer({"error": {"type": kind, "reason": reason}, "status": status}, status)


Script = Callable[["FakeIndex", Bulk], Answer | None]


class FakeNode:
    """One address. Its faults are attributes, to be set at any time."""

    def __init__(self, index: "FakeIndex", port: int, host: str = "127.0.0.1"):
        self.index = index
        self.host = host
        self.port = port
        self.url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        self.bulks = 0                      # that it was asked
        self.silent = False                 # takes everything, answers nothing
        self.silent_bulks = False           # the same, but for bulks only
        self.away = False                   # 503, as a proxy before a dead node says
        self.pause = 0.0                    # seconds before each answer to a bulk
        self.stale = False                  # a connection that is used again is reset
        self.die_at: int | None = None      # the bulk with this number is stored, then it is killed
        self.open: set[socket.socket] = set()
        self.over = threading.Event()       # wakes those that are silent
        self.start()

    def start(self) -> None:
        kind = type("Server", (ThreadingHTTPServer,), {
            "address_family": socket.AF_INET6 if ":" in self.host else socket.AF_INET,
            "daemon_threads": True, "request_queue_size": 64})
        self.over.clear()
        self.server = kind((self.host, self.port), self.index._handler(self))
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def kill(self) -> None:
        """Nobody listens, every connection is reset."""
        self.server.shutdown()
        self.server.server_close()
        self.drop_connections()
        self.over.set()

    def drop_connections(self) -> None:
        for each in list(self.open):
            try:
                each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                each.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass    # it was closed just now


class FakeIndex:
    """Runs from construction to close(). A script that answers None leaves it to the store."""

    def __init__(self, port: int):
        self.scripts: dict[str, Script] = {}
        self.root: Answer = Answer(PRODUCT)     # what GET / answers
        self.flush_script: Callable[[str, int], Answer | None] = lambda index, turn: None
        self.stored: dict[str, dict[str, bytes]] = defaultdict(dict)
        self.synced: dict[str, set[str]] = defaultdict(set)
        self.turns: dict[str, int] = defaultdict(int)
        self.flushes: dict[str, int] = defaultdict(int)
        self.busy = 0                           # bulks under way now
        self.most_busy = 0
        self.lock = threading.Lock()
        self.nodes = [FakeNode(self, port)]
        self.url = self.nodes[0].url

    def add_node(self, port: int, host: str = "127.0.0.1") -> FakeNode:
        self.nodes.append(FakeNode(self, port, host))
        return self.nodes[-1]

    def close(self) -> None:
        for node in self.nodes:
            node.kill()

    def create(self, bulk: Bulk, sync: bool = True,
               refuse: Callable[[str, bytes], dict[str, Any] | None] = lambda name, value: None,
               ) -> Answer:
        """What a healthy server does with the documents that `refuse` has no item for."""
        items = []
        with self.lock:
            for name, value in bulk.documents:
                refused = refuse(name, value)
                if refused is not None:
                    items.append(refused)
                elif name in self.stored[bulk.index]:
                    items.append(item(409, "version_conflict_engine_exception",
                                      f"[{name}]: version conflict, document already exists "
                                      f"(current version [1])"))
                else:
                    self.stored[bulk.index][name] = value
                    if sync:
                        self.synced[bulk.index].add(name)
                    items.append(item(201))
        return Answer({"took": 1, "errors": any("error" in each["create"] for each in items),
                       "items": items})

    def lose_unsynced(self, index: str) -> None:
        with self.lock:
            self.stored[index] = {name: value for name, value in self.stored[index].items()
                                  if name in self.synced[index]}

    def _bulk(self, index: str, query: str, body: bytes) -> Answer:
        lines = body.split(b"\n")
        assert lines.pop() == b"", "a body ends with a newline"
        documents = [(json.loads(action)["create"]["_id"], value)
                     for action, value in zip(lines[::2], lines[1::2], strict=True)]
        with self.lock:
            turn = self.turns[index]
            self.turns[index] += 1
        bulk = Bulk(index, turn, documents, query, len(body))
        script = self.scripts.get(index)
        return (script(self, bulk) if script else None) or self.create(bulk)

    def _flush(self, indices: str) -> Answer:
        for index in indices.split(","):
            with self.lock:
                turn = self.flushes[index]
                self.flushes[index] += 1
            scripted = self.flush_script(index, turn)
            if scripted is not None:
                return scripted
            with self.lock:
                self.synced[index] |= self.stored[index].keys()
        return Answer({"_shards": {"total": 2, "successful": 1, "failed": 0}})

    def _answer(self, method: str, target: str, body: bytes) -> Answer:
        path, _, query = target.partition("?")
        index, _, action = path.strip("/").partition("/")
        if action == "_bulk":
            return self._bulk(index, query, body)
        if action == "_flush":
            return self._flush(index)
        if method == "GET" and path == "/":
            return self.root
        if method == "GET":
            return Answer({"error": {"type": "resource_not_found_exception", "reason": path},
                           "status": 404}, 404)
        return Answer({"acknowledged": True})

    def _handler(self, node: FakeNode) -> type[BaseHTTPRequestHandler]:
        index = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def setup(self) -> None:
                super().setup()
                self.requests = 0
                node.open.add(self.connection)

            def finish(self) -> None:
                node.open.discard(self.connection)
                super().finish()

            def log_message(self, *_: Any) -> None:
                pass

            def reset(self) -> None:
                self.close_connection = True
                linger = b"\1\0\0\0\0\0\0\0"
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)

            def serve(self) -> None:
                try:
                    self.serve_one()
                except OSError:
                    self.close_connection = True    # the sink left

            def serve_one(self) -> None:
                self.requests += 1
                if node.stale and self.requests > 1:
                    self.reset()
                    return
                size = int(self.headers.get("Content-Length") or 0)
                body = self.rfile.read(size)
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                bulk = "/_bulk" in self.path
                with index.lock:
                    node.bulks += bulk
                    index.busy += bulk
                    index.most_busy = max(index.most_busy, index.busy)
                try:
                    self.answer(body, bulk)
                finally:
                    with index.lock:
                        index.busy -= bulk

            def answer(self, body: bytes, bulk: bool) -> None:
                if node.silent or (node.silent_bulks and bulk):
                    node.over.wait(120)
                    self.reset()
                    return
                if node.away:
                    self.send(Answer(b"no server is available", 503))
                    return
                answer = index._answer(self.command, self.path, body)
                if bulk and node.die_at == node.bulks:
                    node.die_at = None
                    threading.Thread(target=node.kill, daemon=True).start()
                    node.over.wait(10)
                    self.reset()
                    return
                if bulk:
                    node.over.wait(node.pause)
                self.send(answer)

            def send(self, answer: Answer) -> None:
                if answer.hang_up:
                    self.close_connection = True
                    return
                content = answer.body
                if not isinstance(content, bytes):
                    content = json.dumps(content).encode()
                self.send_response(answer.status)
                if not any(name.lower() == "content-type" for name in answer.headers):
                    self.send_header("Content-Type", "application/json")
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                if answer.gzip:
                    self.send_header("Content-Encoding", "gzip")
                if answer.endless:
                    self.send_without_end(answer, content)
                    return
                if answer.gzip:
                    content = gzip.compress(content)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                if answer.cut_at is not None:
                    self.wfile.write(content[:answer.cut_at])
                    self.close_connection = True
                    return
                half = len(content) // 2 if answer.pause else len(content)
                self.wfile.write(content[:half])
                self.wfile.flush()
                time.sleep(answer.pause)
                self.wfile.write(content[half:])

            def send_without_end(self, answer: Answer, content: bytes) -> None:
                """A gigabyte, unless the peer leaves before."""
                self.close_connection = True
                self.end_headers()
                block = answer.endless * (65536 // len(answer.endless) + 1)
                packer = zlib.compressobj(wbits=31) if answer.gzip else None
                try:
                    for turn in range(1 << 14):
                        piece = content + block if turn == 0 else block
                        self.wfile.write(packer.compress(piece) if packer else piece)
                except OSError:
                    pass

            do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = serve

        return Handler
