#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What a round of the Kafka collector costs, on a large cluster that answers 2 ms late.

usage: bench/exporter/kafka.py [--bin DIR] [--rounds N] [--topics N] [--groups N] [--places N]
The cluster is franz-go's kfake in one process (bench/exporter/kfake, built with the Go on PATH from
Go's module proxy): topics of 100 partitions each, groups that have committed. Beside it run
kafka_exporter and kminion where they are on PATH; they read the cluster at each scrape, the
exporter in the background, in a process of its own. Prints CPU of a round or scrape (user and
system, of all threads and processes), how long it takes, the page's size and time, and the largest
memory: resident of each process, and of both together what is theirs (PSS: what processes share
counts in parts), looked at 50 times a second.
"""
import argparse
import http.client
import json
import os
import pathlib
import shutil
import subprocess
import tempfile
import threading
import time

from host import ROOT, cpu_seconds, free_port, memory


def fetch(port, gzip):
    """(seconds, bytes)"""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    began = time.monotonic()
    connection.request("GET", "/metrics", headers={"Accept-Encoding": "gzip"} if gzip else {})
    body = connection.getresponse().read()
    connection.close()
    return time.monotonic() - began, body


def measured(pid, port, gzip):
    """(seconds, seconds of CPU of the process that serves, bytes)"""
    cpu = cpu_seconds(pid)
    seconds, body = fetch(port, gzip)
    return seconds, cpu_seconds(pid) - cpu, body


def wait(port):
    for _ in range(600):
        try:
            return fetch(port, True)
        except OSError:
            time.sleep(0.1)
    raise SystemExit(f"nothing answers at port {port}")


def value(body, name):
    return next(float(line.rsplit(b" ", 1)[1]) for line in body.splitlines()
                if line.startswith(name.encode()))


def processes(pid):
    """The process and its children."""
    found = [pid]
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        found += [int(child) for child in (task / "children").read_text().split()]
    return found


class PeakMemory(threading.Thread):
    """The largest PSS of a process and its children, in MiB."""

    def __init__(self, pid):
        super().__init__(daemon=True)
        self.pid, self.peak = pid, 0.0
        self.over = threading.Event()

    def run(self):
        while not self.over.wait(0.02):
            kib = 0
            try:
                for pid in processes(self.pid):
                    text = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
                    kib += int(text.split("\nPss:", 1)[1].split()[0])
            except (OSError, IndexError):
                continue        # it begins or ends
            self.peak = max(self.peak, kib / 1024)


def ours(options, servers, folder):
    port = free_port()
    config = pathlib.Path(folder) / "exporter.yaml"
    config.write_text(json.dumps({
        "host": {"enabled": False}, "page": {"series_per_family": 10_000_000},
        "kafka": {"bootstrap_servers": servers, "interval": "2s", "timeout": "60s"},
        "http": {"listen": f"127.0.0.1:{port}"}}))
    process = subprocess.Popen([options.bin / "tailrace-exporter", "run", "-c", config],
                               stderr=subprocess.DEVNULL)
    memory_of_all = PeakMemory(process.pid)
    memory_of_all.start()
    wait(port)
    refreshes = "tailrace_exporter_target_refreshes_total"
    seen = []
    while not seen or value(seen[-1], refreshes) < 2:   # the first round looks up the past, too
        time.sleep(0.2)
        seen.append(fetch(port, False)[1])
    first = value(seen[-1], refreshes)
    cpu = sum(cpu_seconds(pid) for pid in processes(process.pid))
    time.sleep(2 * options.rounds)
    cpu = sum(cpu_seconds(pid) for pid in processes(process.pid)) - cpu
    plain, plain_cpu, body = min(measured(process.pid, port, False) for _ in range(9))
    packed, packed_cpu, packed_body = min(measured(process.pid, port, True) for _ in range(9))
    rounds = value(body, refreshes) - first
    resident = [f"{memory(pid, 'VmHWM'):.0f}" for pid in processes(process.pid)]
    memory_of_all.over.set()
    memory_of_all.join()
    print(f"| tailrace-exporter | {cpu / rounds * 1000:.0f} ms | "
          f"{value(body, 'tailrace_exporter_target_duration_seconds') * 1000:.0f} ms | "
          f"{len(body) / 1e6:.1f} MB in {plain * 1000:.0f} ms "
          f"({plain_cpu * 1000:.1f} of CPU), gzip "
          f"{len(packed_body) / 1e6:.1f} MB in {packed * 1000:.0f} ms "
          f"({packed_cpu * 1000:.1f}) | "
          f"{' + '.join(resident)} MiB, {memory_of_all.peak:.0f} MiB PSS |")
    process.terminate()
    process.wait()


def peer(name, command, environment, port, rounds):
    process = subprocess.Popen(command, env=os.environ | environment, stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)
    wait(port)
    cpu = cpu_seconds(process.pid)
    took = [fetch(port, True) for _ in range(rounds)]
    cpu = cpu_seconds(process.pid) - cpu
    took.sort(key=lambda each: each[0])
    print(f"| {name} | {cpu / rounds * 1000:.0f} ms | {took[len(took) // 2][0] * 1000:.0f} ms | "
          f"gzip {len(took[0][1]) / 1e6:.1f} MB | {memory(process.pid, 'VmHWM'):.0f} MiB |")
    process.terminate()
    process.wait()


def peers(options, servers):
    if shutil.which("kminion"):
        port = free_port()
        peer("kminion", ["kminion"], {
            "KAFKA_BROKERS": servers, "EXPORTER_PORT": str(port), "EXPORTER_HOST": "127.0.0.1",
            "MINION_CONSUMERGROUPS_GRANULARITY": "partition",
            "MINION_TOPICS_GRANULARITY": "partition", "MINION_LOGDIRS_ENABLED": "false"},
            port, options.rounds)
    if shutil.which("kafka_exporter"):
        port = free_port()
        peer("kafka_exporter", ["kafka_exporter", f"--web.listen-address=127.0.0.1:{port}",
             *(f"--kafka.server={server}" for server in servers.split(","))], {}, port,
             options.rounds)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bin", type=pathlib.Path, default=ROOT / "build/release")
    parser.add_argument("--rounds", type=int, default=10)
    for name, count in (("topics", 100), ("groups", 1000), ("places", 20)):
        parser.add_argument(f"--{name}", type=int, default=count)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["go", "build", "-o", f"{folder}/kfake", "."], check=True,
                       cwd=ROOT / "bench/exporter/kfake")
        cluster = subprocess.Popen(
            [f"{folder}/kfake", "-topics", str(options.topics), "-groups", str(options.groups),
             "-places", str(options.places)], stdout=subprocess.PIPE, text=True)
        try:
            servers = cluster.stdout.readline().strip()
            print(f"{options.topics * 100} partitions, {options.groups} groups of "
                  f"{options.places} places each, answers 2 ms late\n")
            print("| | CPU | takes | page | peak RSS |\n|---|---|---|---|---|")
            ours(options, servers, folder)
            peers(options, servers)
        finally:
            cluster.kill()


if __name__ == "__main__":
    main()
