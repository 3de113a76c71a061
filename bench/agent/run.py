#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What the agent costs, beside bare librdkafka and the peers on this machine: see README.md.

Prints tables; keeps every single measurement as JSON in the folder given. Needs a build with the
target `bench`, and the tests' servers (test/stack).
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

REPO = Path(__file__).resolve().parents[2]
try:
    import confluent_kafka  # noqa: F401
except ImportError:
    PYTHON = subprocess.run([sys.executable, str(REPO / "test/stack/stack.py"), "venv"],
                            capture_output=True, text=True, check=True).stdout.strip()
    os.execv(f"{PYTHON}/bin/python", [f"{PYTHON}/bin/python", *sys.argv])

from contestants import (AGENT_MEMORY, AGENT_RECORDS, Contestant, FluentBit,  # noqa: E402
                         Filebeat, Rsyslog, Tailrace, bare_command)
from measure import Broker, Cost, MockBroker, RealBroker, answer, deliver, machine  # noqa: E402

PARTS = ("full", "live", "idle", "many")
BARE = "librdkafka (a)"
SETTLE_SECONDS = 3       # after a start, before a live measurement
BARE_WAYS = {            # name -> records under way, bytes of records held
    BARE: (0, 0),
    "librdkafka, bounded": (AGENT_RECORDS, 0),
    "librdkafka, bounded, the same 9 MiB": (AGENT_RECORDS, AGENT_MEMORY),
}


class Bench:
    def __init__(self, arguments: argparse.Namespace):
        self.arguments = arguments
        self.bin: Path = arguments.bin
        self.out: Path = arguments.out
        self.work = self.out / "work"
        self.work.mkdir(parents=True, exist_ok=True)
        self.log = self.out / "programs.log"
        self.rows: list[dict[str, Any]] = []
        self.real = RealBroker()
        mock = MockBroker(self.bin / "tailrace-local-broker")
        self.brokers: list[Broker] = [self.real if name == "real" else mock
                                      for name in arguments.brokers]
        self.agent = Tailrace(self.bin / "tailrace-agent")
        wanted = [self.agent, FluentBit(), Rsyslog(), Filebeat()]
        self.contestants: list[Contestant] = [
            each for each in wanted if each is self.agent or (arguments.peers and each.found())]

    def program(self, name: str) -> str:
        return str(self.bin / "bench" / f"bench-{name}")

    def folder(self, name: str) -> Path:
        path = self.work / name
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir()
        return path

    def keep(self, **row: Any) -> dict[str, Any]:
        self.rows.append(row)
        (self.out / "results.json").write_text(
            json.dumps({"machine": machine(), "rows": self.rows}, indent=1) + "\n")
        print("  " + ", ".join(f"{key} {value:.3f}" if isinstance(value, float) else
                               f"{key} {value}" for key, value in row.items()),
              file=sys.stderr, flush=True)
        return row

    def read_back(self, topic: str, lines: int, dump: str = "-", seconds: int = 10):
        return answer([self.program("read"), topic, str(lines), str(seconds), dump,
                       f"bootstrap.servers={self.real.servers}"])

    # At full speed

    def prepare(self) -> None:
        """The lines, and the records that the agent makes of them."""
        lines = self.arguments.lines
        self.lines_path = self.work / "access.log"
        self.records_path = self.work / "records"
        subprocess.run([self.program("write"), str(lines), "0", str(self.lines_path)], check=True)
        topic = self.real.topic()
        self.ship(self.agent, self.real, topic, "none")
        found = self.read_back(topic, lines, str(self.records_path))
        assert found["lost"] == 0 and found["doubled"] == 0, f"the agent shipped {found}"
        self.real.drop(topic)

    def ship(self, contestant: Contestant, broker: Broker, topic: str,
             compression: str) -> tuple[Cost, float]:
        folder = self.folder("contestant")
        command = contestant.command(folder, broker.servers, topic, str(self.lines_path),
                                     compression, once=True)
        cost = Cost(command, self.log)
        seconds = deliver(cost, broker, topic, self.arguments.lines)
        if contestant.ends:
            cost.finish()
            assert cost.code == 0, f"{contestant.name} ended with {cost.code}, see {self.log}"
        else:
            cost.stop()
        return cost, seconds

    def send_bare(self, way: str, broker: Broker, topic: str,
                  compression: str) -> tuple[Cost, float, float]:
        window, memory = BARE_WAYS[way]
        cost = Cost(bare_command(Path(self.program("send")), self.records_path, topic,
                                 self.arguments.lines, window, memory, broker.servers,
                                 compression), self.log)
        said = json.loads(cost.finish())
        assert said["refused"] == 0, said
        return cost, said["wall_ns"] / 1e9, said["cpu_ns"] / 1e9

    def full_once(self, name: str, broker: Broker, compression: str, round_: int) -> None:
        lines = self.arguments.lines
        topic = broker.topic()
        if name in BARE_WAYS:
            cost, seconds, cpu = self.send_bare(name, broker, topic, compression)
        else:
            contestant = next(each for each in self.contestants if each.name == name)
            cost, seconds = self.ship(contestant, broker, topic, compression)
            cpu = cost.cpu_seconds()
        count = broker.count(topic)
        lost, doubled = max(0, lines - count), max(0, count - lines)
        if broker.keeps and BARE_WAYS.get(name, (0, 0))[1] == 0:
            found = self.read_back(topic, lines)
            lost, doubled = found["lost"], found["doubled"]
        wire = broker.log_bytes(topic)
        broker.drop(topic)
        self.keep(part="full", broker=broker.name, compression=compression, who=name,
                  round=round_, cpu_us_per_line=cpu / lines * 1e6,
                  lines_per_second=lines / seconds, peak_rss_mib=cost.peak_rss_kib / 1024,
                  wire_bytes_per_line=wire / lines if wire else None, lost=lost, doubled=doubled)

    def full(self) -> None:
        self.prepare()
        names = [*BARE_WAYS, *(each.name for each in self.contestants)]
        for round_ in range(self.arguments.rounds):
            for broker in self.brokers:
                for compression in self.arguments.compression:
                    for name in names:
                        self.full_once(name, broker, compression, round_)

    # Lines as they come

    def live_once(self, part: str, contestant: Contestant, round_: int, rate: int, busy: int,
                  idle: int) -> None:
        """`rate` lines a second into `busy` files beside `idle` ones; on the real broker."""
        seconds = self.arguments.seconds
        lines = rate * seconds
        topic = self.real.topic()
        folder = self.folder("contestant")
        logs = self.folder("logs")
        paths = [logs / f"file{i:04d}.log" for i in range(busy + idle)]
        for path in paths:
            path.write_text("")
        cost = Cost(contestant.command(folder, self.real.servers, topic, str(logs / "*.log"),
                                       "none", once=False), self.log)
        reader = subprocess.Popen(
            [self.program("read"), topic, str(max(lines, 1)), "10", "-",
             f"bootstrap.servers={self.real.servers}", "fetch.wait.max.ms=500"],
            stdout=subprocess.PIPE) if lines > 0 else None
        time.sleep(SETTLE_SECONDS)
        cpu, wakeups, start = cost.running_cpu_seconds(), cost.wakeups(), time.monotonic()
        if lines > 0:
            subprocess.run([self.program("write"), str(lines), str(rate),
                            *map(str, paths[:busy])], check=True)
        else:
            time.sleep(seconds)
        passed = time.monotonic() - start
        cpu, wakeups = cost.running_cpu_seconds() - cpu, cost.wakeups() - wakeups
        found = json.loads(reader.communicate()[0]) if reader else {}
        cost.stop()
        self.real.drop(topic)
        self.keep(part=part, who=contestant.name, round=round_, cpu_percent=cpu / passed * 100,
                  wakeups_per_second=wakeups / passed, p50_ms=found.get("p50_ms"),
                  p99_ms=found.get("p99_ms"), rss_mib=cost.peak_rss_kib / 1024,
                  lost=found.get("lost"), doubled=found.get("doubled"))

    def live(self) -> None:
        kinds = {"live": [("one file, 20,000 lines/s", 20000, 1, 0)],
                 "idle": [("1,000 idle files", 0, 0, 1000),
                          ("1,000 idle files, one at 1,000 lines/s", 1000, 1, 1000)],
                 "many": [("1,000 files, a line a second each", 1000, 1000, 0)]}
        for round_ in range(self.arguments.rounds):
            for part in self.arguments.parts:
                for kind, rate, busy, idle in kinds.get(part, []):
                    for contestant in self.contestants:
                        self.live_once(kind, contestant, round_, rate, busy, idle)

    # What it came to

    def median(self, rows: list[dict[str, Any]], key: str) -> float | None:
        values = [row[key] for row in rows if row[key] is not None]
        return statistics.median(values) if values else None

    def groups(self, *keys: str) -> dict[tuple, list[dict[str, Any]]]:
        found: dict[tuple, list[dict[str, Any]]] = {}
        for row in self.rows:
            if all(key in row for key in keys):
                found.setdefault(tuple(row[key] for key in keys), []).append(row)
        return found

    def full_tables(self) -> list[str]:
        text: list[str] = []
        by_who = self.groups("broker", "compression", "who")
        for broker, compression in dict.fromkeys(key[:2] for key in by_who):
            text += [f"\n{self.arguments.lines:,} lines to {broker}, compression {compression}",
                     "", "| | CPU µs/line | to (a) | lines/s | peak RSS MiB | wire B/line | lost "
                     "| doubled |", "|---|---|---|---|---|---|---|---|"]
            bare = self.median(by_who[broker, compression, BARE], "cpu_us_per_line")
            for (of, with_, who), rows in by_who.items():
                if (of, with_) != (broker, compression):
                    continue
                cpu = self.median(rows, "cpu_us_per_line")
                wire = self.median(rows, "wire_bytes_per_line")
                text.append(
                    f"| {who} | {cpu:.2f} | {cpu / bare:.2f} | "
                    f"{self.median(rows, 'lines_per_second'):,.0f} | "
                    f"{self.median(rows, 'peak_rss_mib'):.0f} | "
                    f"{'-' if wire is None else f'{wire:.0f}'} | "
                    f"{sum(row['lost'] for row in rows)} | "
                    f"{sum(row['doubled'] for row in rows)} |")
        return text

    def live_table(self) -> list[str]:
        groups = {key: rows for key, rows in self.groups("part", "who").items()
                  if "cpu_percent" in rows[0]}
        if not groups:
            return []
        text = ["\nLines as they come, to Kafka 4.1, latency from the write to the consumer", "",
                "| | | CPU % | p50 ms | p99 ms | wake-ups/s | RSS MiB | lost | doubled |",
                "|---|---|---|---|---|---|---|---|---|"]
        for (part, who), rows in groups.items():
            delays = [self.median(rows, key) for key in ("p50_ms", "p99_ms")]
            shown = " | ".join("-" if each is None else f"{each:.0f}" for each in delays)
            text.append(f"| {part} | {who} | {self.median(rows, 'cpu_percent'):.2f} | {shown} | "
                        f"{self.median(rows, 'wakeups_per_second'):.0f} | "
                        f"{self.median(rows, 'rss_mib'):.0f} | "
                        f"{sum(row['lost'] or 0 for row in rows)} | "
                        f"{sum(row['doubled'] or 0 for row in rows)} |")
        return text

    def run(self) -> None:
        before = machine()
        if "full" in self.arguments.parts:
            self.full()
        if any(part in self.arguments.parts for part in ("live", "idle", "many")):
            self.live()
        text = [f"{before['date']}: {before['processor']}, {before['cores']} cores, "
                f"{before['memory_gib']} GiB, Linux {before['kernel']}, load {before['load']} to "
                f"{machine()['load']}; medians of {self.arguments.rounds} rounds",
                *self.full_tables(), *self.live_table()]
        print("\n".join(text))
        (self.out / "tables.md").write_text("\n".join(text) + "\n")


def arguments_of() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of results and leftovers")
    parser.add_argument("--bin", type=Path, default=REPO / "build/release",
                        help="build folder with the target bench (build/release)")
    parser.add_argument("--lines", type=int, default=2_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=20, help="of each live measurement")
    parser.add_argument("--parts", type=lambda text: text.split(","), default=list(PARTS),
                        help="of " + ",".join(PARTS))
    parser.add_argument("--compression", type=lambda text: text.split(","),
                        default=["none", "lz4"])
    parser.add_argument("--brokers", type=lambda text: text.split(","), default=["mock", "real"],
                        help="for the full speed: mock,real")
    parser.add_argument("--no-peers", dest="peers", action="store_false")
    parser.add_argument("--keep-work", action="store_true", help="keep lines and records")
    arguments = parser.parse_args()
    arguments.out = arguments.out.absolute()
    arguments.bin = arguments.bin.absolute()
    unknown = set(arguments.parts) - set(PARTS)
    if unknown or set(arguments.brokers) - {"mock", "real"}:
        parser.error(f"unknown part or broker: {unknown or arguments.brokers}")
    for name in ("tailrace-agent", "tailrace-local-broker", "bench/bench-send"):
        if not (arguments.bin / name).is_file():
            parser.error(f"there is no {arguments.bin / name}: build the target bench")
    return arguments


def main() -> None:
    bench = Bench(arguments_of())
    try:
        bench.run()
    finally:
        bench.real.end()
        if not bench.arguments.keep_work:
            shutil.rmtree(bench.work, ignore_errors=True)


if __name__ == "__main__":
    main()
