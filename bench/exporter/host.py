#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What a scrape of the host costs, beside node_exporter.

usage: bench/exporter/host.py [--bin DIR] [--scrapes N]
Both run with their default collectors on this machine and are scraped in turns, as Prometheus
does it (gzip, a kept connection). Prints CPU per scrape (user and system, of the whole process),
wall time, and memory at the end.
"""
import argparse
import http.client
import os
import pathlib
import shutil
import socket
import statistics
import subprocess
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
HEADERS = {"Accept": "text/plain;version=0.0.4;q=1,*/*;q=0.1", "Accept-Encoding": "gzip",
           "X-Prometheus-Scrape-Timeout-Seconds": "10"}


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def cpu_seconds(pid):
    """Of all threads, in nanoseconds' resolution."""
    total = 0
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        total += int((task / "schedstat").read_text().split()[0])
    return total / 1e9


def memory(pid, key):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(key):
            return int(line.split()[1]) / 1024
    return 0


class Exporter:
    def __init__(self, name, command, port):
        self.name, self.port = name, port
        self.process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        self.times, self.cpu, self.size = [], [], 0
        for _ in range(600):
            try:
                self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
                self.scrape()
                break
            except OSError:
                time.sleep(0.05)
        self.idle = memory(self.process.pid, "VmRSS")

    def scrape(self):
        self.connection.request("GET", "/metrics", headers=HEADERS)
        self.size = len(self.connection.getresponse().read())

    def measure(self):
        before, began = cpu_seconds(self.process.pid), time.perf_counter()
        self.scrape()
        self.times.append(time.perf_counter() - began)
        self.cpu.append(cpu_seconds(self.process.pid) - before)

    def report(self):
        print(f"{self.name:20} CPU per scrape {statistics.mean(self.cpu) * 1000:6.2f} ms (median "
              f"{statistics.median(self.cpu) * 1000:.2f}), wall median "
              f"{statistics.median(self.times) * 1000:6.2f} ms, {self.size} bytes gzip, RSS "
              f"{memory(self.process.pid, 'VmRSS'):.1f} MiB (of it anonymous "
              f"{memory(self.process.pid, 'RssAnon'):.1f}; after the first scrape {self.idle:.1f})")
        return statistics.mean(self.cpu)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--bin", default=os.environ.get("TAILRACE_BIN", ROOT / "build/release"))
    parser.add_argument("--scrapes", type=int, default=200)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        config = pathlib.Path(folder) / "exporter.yaml"
        config.write_text(f'host: {{}}\nhttp: {{listen: "127.0.0.1:{port}"}}\n')
        exporters = [Exporter("tailrace-exporter",
                              [f"{arguments.bin}/tailrace-exporter", "-c", str(config)], port)]
        if shutil.which("prometheus-node-exporter") is not None:
            port = free_port()
            exporters.append(Exporter(
                "node_exporter",
                ["prometheus-node-exporter", f"--web.listen-address=127.0.0.1:{port}"], port))
        try:
            for _ in range(arguments.scrapes):
                for exporter in exporters:
                    exporter.measure()
            costs = [exporter.report() for exporter in exporters]
            if len(costs) == 2:
                print(f"ours costs {costs[0] / costs[1]:.2f} of theirs")
        finally:
            for exporter in exporters:
                exporter.process.terminate()
                exporter.process.wait()


if __name__ == "__main__":
    main()
