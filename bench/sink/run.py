#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What the sink costs beside the least that librdkafka and libcurl can cost.

    $(python3 test/stack/stack.py venv)/bin/python bench/sink/run.py --out /tmp/bench-sink
"""

import argparse
import json
import random
import statistics
import sys
import time
import urllib.request
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "agent")]

from measure import REPO, Cost, RealBroker, machine  # noqa: E402

BODY_BYTES = 2 << 20        # the sink's own bulk.size
FULL_PARTS = 8              # of the time that a full index is watched
FULL_PART_SECONDS = 5
GZIP_LEVEL = 1              # of the bare one; zlib


def fill(servers: str, topic: str, count: int) -> None:
    """Numbered access-log events as the agent writes them, compressed by lz4."""
    from confluent_kafka import Producer
    chance = random.Random(5)
    producer = Producer({"bootstrap.servers": servers, "compression.type": "lz4", "linger.ms": 50,
                         "queue.buffering.max.messages": 500_000})
    agent = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/{}.0 Safari/537.36"
    for number in range(count):
        address = ".".join(str(chance.randrange(256)) for _ in range(4))
        line = (f'{address} - - [21/Nov/2026:06:12:{number // 20_000 % 60:02d} +0000] '
                f'"GET /shop/item/{chance.randrange(100_000)}?ref={chance.randrange(1 << 30):x} '
                f'HTTP/1.1" {chance.choice((200, 200, 200, 304, 404, 500))} '
                f'{chance.randrange(100_000)} "https://example.com/{chance.randrange(1000)}" '
                f'"{agent.format(chance.randrange(90, 140))}" {number:010d}')
        value = json.dumps({"@timestamp": "2026-11-21T06:12:00.123Z", "host.name": "node-1",
                            "log.file.path": "/var/log/nginx/access.log",
                            "log.offset": number * 270, "message": line}, separators=(",", ":"))
        key = f"t1.{0x69000000:08x}{1:016x}.{number * 270:016x}.{chance.randrange(1 << 64):016x}"
        while True:
            try:
                producer.produce(topic, value, key, partition=0)
                break
            except BufferError:
                producer.poll(0.1)
        if number % 1000 == 0:
            producer.poll(0)
    assert producer.flush(60) == 0, "the test could not fill its topic"


class Index:
    """bench-index; with a seed it refuses some bulks and items, with "full" all."""

    def __init__(self, program: Path, port: int, log: Path, *faults: str):
        self.url = f"http://127.0.0.1:{port}"
        self.process = Cost([str(program), str(port), *faults], log)
        deadline = time.monotonic() + 10
        while True:
            try:
                self.ask("POST")
                break
            except OSError:
                assert time.monotonic() < deadline, "bench-index does not answer"
                time.sleep(0.05)

    def ask(self, method: str) -> dict[str, int]:
        """What came since the last POST, which forgets it."""
        request = urllib.request.Request(f"{self.url}/_bench", method=method)
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)

    def close(self) -> None:
        self.process.stop()


class Bench:
    def __init__(self, arguments: argparse.Namespace):
        self.arguments = arguments
        self.out: Path = arguments.out
        self.out.mkdir(parents=True, exist_ok=True)
        self.log = self.out / "log"
        self.broker = RealBroker()
        self.topic = self.broker.topic()
        fill(self.broker.servers, self.topic, arguments.events)
        self.runs = 0
        self.results: list[dict] = []
        self.refused: list[int] = []

    def sink(self, url: str, gzip: bool, verb: str = "once") -> Cost:
        self.runs += 1
        config = self.out / "sink.yaml"
        config.write_text(json.dumps({
            "kafka": {"bootstrap_servers": self.broker.servers,
                      "group_id": f"bench-{time.time_ns()}"},
            "routes": [{"topic": self.topic, "index": "bench"}],
            "elasticsearch": {"urls": [url], "gzip": gzip}, "http": {"listen": "off"}}))
        return Cost([str(self.arguments.bin / "tailrace-sink"), verb, "-c", str(config)],
                    self.log)

    def bare(self, url: str, gzip: bool) -> Cost:
        return Cost([str(self.arguments.bin / "bench/bench-copy"), self.topic,
                     str(self.arguments.events), f"{url}/bench/_bulk", str(BODY_BYTES),
                     str(GZIP_LEVEL if gzip else 0), "enable.auto.commit=false",
                     f"bootstrap.servers={self.broker.servers}", "group.id=bench-bare"], self.log)

    def measure(self, name: str, index: Index, gzip: bool, faults: bool) -> None:
        index.ask("POST")
        started = time.monotonic()
        cost = (self.bare if name == "bare" else self.sink)(index.url, gzip)
        cost.finish()
        assert cost.code == 0, f"{name} ended with {cost.code}: see {self.log}"
        came = index.ask("POST")
        self.results.append({
            "name": name, "gzip": gzip, "faults": faults,
            "seconds": time.monotonic() - started, "cpu_seconds": cost.cpu_seconds(),
            "rss_mib": cost.peak_rss_kib / 1024, "lost": self.arguments.events - came["documents"],
            "again": came["again"], "requests": came["requests"], "bytes": came["bytes"]})
        print(json.dumps(self.results[-1]), flush=True)

    def refuse(self) -> None:
        """Requests in each part of the time while every bulk is refused with 429."""
        index = Index(self.arguments.bin / "bench/bench-index", self.arguments.port + 2, self.log,
                      "full")
        sink = self.sink(index.url, True, "run")
        while index.ask("GET")["requests"] == 0:
            time.sleep(0.05)
        asked = [0]
        for _ in range(FULL_PARTS):
            time.sleep(FULL_PART_SECONDS)
            asked.append(index.ask("GET")["requests"])
        sink.stop()
        index.close()
        self.refused = [after - before for before, after in zip(asked, asked[1:])]

    def run(self) -> None:
        program = self.arguments.bin / "bench/bench-index"
        index = Index(program, self.arguments.port, self.log)
        faulty = Index(program, self.arguments.port + 1, self.log, "4711")
        for _ in range(self.arguments.rounds):
            for gzip in (False, True):
                for name in ("bare", "sink"):
                    self.measure(name, index, gzip, False)
            self.measure("sink", faulty, True, True)
        index.close()
        faulty.close()
        self.refuse()
        self.broker.drop(self.topic)
        self.broker.end()

    def table(self) -> str:
        def middle(key: str, **wanted) -> float:
            return statistics.median(each[key] for each in self.results
                                     if wanted.items() <= each.items())

        lines = ["| | CPU µs/event | to bare | events/s | peak RSS MiB | lost | sent again |",
                 "|---|---|---|---|---|---|---|"]
        for gzip, name, faults in ((False, "bare", False), (False, "sink", False),
                                   (True, "bare", False), (True, "sink", False),
                                   (True, "sink", True)):
            chosen = {"gzip": gzip, "name": name, "faults": faults}
            cpu = middle("cpu_seconds", **chosen)
            bare = middle("cpu_seconds", gzip=gzip, name="bare")
            words = f"{name}{', gzip' if gzip else ''}{', faults' if faults else ''}"
            lines.append(
                f"| {words} | {cpu * 1e6 / self.arguments.events:.2f} | {cpu / bare:.2f} "
                f"| {self.arguments.events / middle('seconds', **chosen):,.0f} "
                f"| {middle('rss_mib', **chosen):.0f} | {middle('lost', **chosen):.0f} "
                f"| {middle('again', **chosen):.0f} |")
        lines += ["", f"Every bulk refused with 429: requests in each {FULL_PART_SECONDS} s: "
                  f"{', '.join(map(str, self.refused))}"]
        return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--bin", type=Path, default=REPO / "build/release")
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--port", type=int, default=20990, help="of the index; and the next one")
    bench = Bench(parser.parse_args())
    bench.run()
    (bench.out / "results.json").write_text(json.dumps(bench.results, indent=1) + "\n")
    text = f"{machine()}\n\n{bench.table()}\n"
    (bench.out / "tables.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
