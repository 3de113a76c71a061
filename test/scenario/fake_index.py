# SPDX-License-Identifier: Apache-2.0
"""A search server that answers by a script: for what a real one will not give on demand.

It keeps what it was told to create, and knows which of it was synced: `lose_unsynced()` is the
power cut of its only node. What it refuses looks as the recorded answers of real servers do.
"""

import gzip
import json
import threading
import time
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


class FakeIndex:
    """Runs from construction to close(). A script that answers None leaves it to the store."""

    def __init__(self, port: int):
        self.url = f"http://127.0.0.1:{port}"
        self.scripts: dict[str, Script] = {}
        self.flush_script: Callable[[str, int], Answer | None] = lambda index, turn: None
        self.stored: dict[str, dict[str, bytes]] = defaultdict(dict)
        self.synced: dict[str, set[str]] = defaultdict(set)
        self.created_again: list[str] = []      # an id that was there was created anew: never
        self.turns: dict[str, int] = defaultdict(int)
        self.flushes: dict[str, int] = defaultdict(int)
        self.lock = threading.Lock()
        self.server = ThreadingHTTPServer(("127.0.0.1", port), self._handler())
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()

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
            return Answer(PRODUCT)
        if method == "GET":
            return Answer({"error": {"type": "resource_not_found_exception", "reason": path},
                           "status": 404}, 404)
        return Answer({"acknowledged": True})

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        index = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def log_message(self, *_: Any) -> None:
                pass

            def serve(self) -> None:
                size = int(self.headers.get("Content-Length") or 0)
                body = self.rfile.read(size)
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                answer = index._answer(self.command, self.path, body)
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

            do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = serve

        return Handler
