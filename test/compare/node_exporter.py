#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""tailrace-exporter beside node_exporter on this machine, at the same moment.

usage: test/compare/node_exporter.py [--bin DIR] [--rounds N]
Starts both, reads ours, theirs, ours again, some times over, and prints what differs: a family, a
label set, a type, or a value that was never equal to, or between, our two reads around it.
Exit 1 on any difference that is not on the list below. Needs Debian's prometheus-node-exporter.
"""
import argparse
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
NODE_EXPORTER = "prometheus-node-exporter"

# node_exporter's collectors that ours are made after; both are asked for these alone.
COLLECTORS = ["conntrack", "cpu", "diskstats", "filefd", "filesystem", "loadavg", "meminfo",
              "netclass", "netdev", "netstat", "os", "pressure", "sockstat", "softnet", "stat",
              "textfile", "time", "timex", "udp_queues", "uname", "vmstat"]

# Families that ours has and Debian 12's node_exporter 1.5.0 has not; newer ones have them.
NEWER = {"node_softnet_cpu_collision_total", "node_softnet_received_rps_total",
         "node_softnet_flow_limit_count_total", "node_softnet_backlog_len",
         "node_pressure_irq_stalled_seconds_total"}
# Of the programs themselves.
OWN = re.compile(r"^(node_exporter_build_info|node_scrape_collector_duration_seconds|go_|promhttp_|"
                 r"process_|tailrace_)")

# Debian's package has defaults of its own; these are node_exporter's.
UPSTREAM = ["--collector.netdev.device-exclude=",
            "--collector.filesystem.mount-points-exclude=^/(dev|proc|run/credentials/.+|sys|"
            "var/lib/docker/.+|var/lib/containers/storage/.+)($|/)"]

SAMPLE = re.compile(r'^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)$')
LABEL = re.compile(r'([a-zA-Z_]\w*)="((?:[^"\\]|\\.)*)"')


def read(port, collectors):
    query = "&".join(f"collect[]={name}" for name in collectors)
    request = urllib.request.Request(f"http://127.0.0.1:{port}/metrics?{query}")
    with urllib.request.urlopen(request, timeout=30) as answer:
        return answer.read().decode()


def parse(text):
    """Types by family, and values by (name, labels without empty ones)."""
    types, series = {}, {}
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            types[name] = kind
        elif line and not line.startswith("#"):
            match = SAMPLE.match(line)
            if match is None:
                raise SystemExit(f"this is no sample: {line!r}")
            name, labels, value = match.groups()
            pairs = tuple(sorted(pair for pair in LABEL.findall(labels or "") if pair[1] != ""))
            if (name, pairs) in series:
                raise SystemExit(f"a series is there twice: {line!r}")
            series[name, pairs] = float(value)
    return types, series


def near(left, right):
    return left == right or abs(left - right) <= 1e-9 * max(abs(left), abs(right))


def shown(key):
    name, labels = key
    inside = ",".join(f'{label}="{value}"' for label, value in labels)
    return f"{name}{{{inside}}}" if inside else name


class Comparison:
    def __init__(self):
        self.problems = set()   # of names, labels and types
        self.wrong = {}         # key: (ours before, theirs, ours after) of the last round
        self.right = set()
        self.count = 0

    def add(self, before, theirs, after):
        types_before, ours_before = parse(before)
        types_theirs, values = parse(theirs)
        _, ours_after = parse(after)
        for name, kind in types_theirs.items():
            if OWN.match(name):
                continue
            if types_before.get(name) != kind:
                self.problems.add(f"{name}: theirs is {kind}, ours {types_before.get(name)}")
        for name in types_before:
            if name not in types_theirs and not OWN.match(name) and name not in NEWER:
                self.problems.add(f"{name}: only ours has it")
        mine = {key for key in ours_before if not OWN.match(key[0]) and key[0] not in NEWER}
        their = {key for key in values if not OWN.match(key[0])}
        for key in their - mine - set(ours_after):
            self.problems.add(f"only theirs has {shown(key)}")
        for key in mine - their:
            self.problems.add(f"only ours has {shown(key)}")
        for key in mine & their & set(ours_after):
            low, high = sorted((ours_before[key], ours_after[key]))
            value = values[key]
            if low <= value <= high or near(value, low) or near(value, high):
                self.right.add(key)
            else:
                self.wrong[key] = (ours_before[key], value, ours_after[key])
        self.count = len(their)

    def report(self):
        """Lines to print, and whether all is well."""
        wrong = {key: triple for key, triple in self.wrong.items() if key not in self.right}
        lines = sorted(self.problems)
        lines += [f"{shown(key)}: ours {before}, theirs {value}, ours {after}"
                  for key, (before, value, after) in sorted(wrong.items())]
        lines.append(f"{self.count} series of node_exporter: {len(self.right)} equal or between "
                     f"two reads of ours, {len(wrong)} not, {len(self.problems)} other differences")
        return lines, not self.problems and not wrong


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(port):
    for _ in range(600):
        try:
            return read(port, COLLECTORS[:1])
        except OSError:
            time.sleep(0.05)
    raise SystemExit(f"nothing answers on port {port}")


def compare(binary, rounds, folder):
    folder = pathlib.Path(folder)
    textfiles = folder / "textfiles"
    textfiles.mkdir(exist_ok=True)
    (textfiles / "one.prom").write_text(
        "# HELP backup_size_bytes Size of the last backup.\n# TYPE backup_size_bytes gauge\n"
        'backup_size_bytes{name="a b"} 1.5e+06\nuntold 3\n')
    ours, theirs = free_port(), free_port()
    config = folder / "exporter.yaml"
    config.write_text(f'host: {{textfile_directories: ["{textfiles}"]}}\n'
                      f'http: {{listen: "127.0.0.1:{ours}"}}\nlog: {{level: warn}}\n')
    programs = [
        subprocess.Popen([binary, "-c", str(config)]),
        subprocess.Popen([NODE_EXPORTER, f"--web.listen-address=127.0.0.1:{theirs}",
                          f"--collector.textfile.directory={textfiles}", *UPSTREAM],
                         stderr=subprocess.DEVNULL)]
    comparison = Comparison()
    try:
        wait_for(ours)
        wait_for(theirs)
        for _ in range(rounds):
            before, between = read(ours, COLLECTORS), read(theirs, COLLECTORS)
            # It has the file open in which it reads how many are open; ours is open all the time.
            with open(os.devnull):
                comparison.add(before, between, read(ours, COLLECTORS))
            time.sleep(0.1)
    finally:
        for program in programs:
            program.terminate()
            program.wait()
    return comparison


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--bin", default=os.environ.get("TAILRACE_BIN", ROOT / "build/release"))
    parser.add_argument("--rounds", type=int, default=20)
    arguments = parser.parse_args()
    if shutil.which(NODE_EXPORTER) is None:
        raise SystemExit(f"{NODE_EXPORTER} is not installed")
    with tempfile.TemporaryDirectory() as folder:
        comparison = compare(f"{arguments.bin}/tailrace-exporter", arguments.rounds, folder)
    lines, fine = comparison.report()
    print("\n".join(lines))
    sys.exit(0 if fine else 1)


if __name__ == "__main__":
    main()
