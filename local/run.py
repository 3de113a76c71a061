# SPDX-License-Identifier: Apache-2.0
"""run.py: the running part of ./local/up, which installed and built everything and holds the lock.

    nginx-log -> files -> agent -> broker -> sink -> SQLite

Stops in this order, waiting until what the broker holds has reached the store. The embedded broker
keeps records in memory alone: what it held when it was killed is shipped again at the next start,
from a copy of the agent's state that is known to be clean (class CleanPoint); the store drops what
it has already.
"""
import argparse
import ctypes
import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
BUILD = os.path.join(ROOT, "build", "release")
STATE = os.environ["TAILRACE_LOCAL_DIR"]

# As in agent.yaml and sink*.yaml; names of its own, so that --real meddles with nobody.
TOPIC, PARTITIONS, GROUP = "local-logs-topic", 64, "tailrace-local"
PORTS = {"agent": 10464, "sink": 10465}
LINES_PER_SECOND = 50

START_SECONDS = 30  # until both pages answer
STOP_SECONDS = 20  # a program stops in order within 15 s
KILL_SECONDS = 5  # a killed one is gone, unless a disk holds it
DRAIN_SECONDS = 60  # until the sink has stored what the broker holds
PLAIN_SECONDS = 5  # between two status lines that are not on a terminal
CLEAN_SECONDS = 5  # between two copies of the agent's state


class Failed(Exception):
    """Ends the run with exit code 1; the text is for the person at the screen."""


class Screen:
    """One status line that is written over on a terminal; elsewhere a plain line each 5 s."""

    def __init__(self):
        self.terminal = sys.stdout.isatty()
        self.open_line = False
        self.plain_due = 0.0

    def say(self, text=""):
        if self.open_line:
            sys.stdout.write("\r\033[K")
            self.open_line = False
        print(text, flush=True)

    def status(self, text):
        if not self.terminal:
            if time.monotonic() >= self.plain_due:
                self.plain_due = time.monotonic() + PLAIN_SECONDS
                print(text, flush=True)
            return
        width = shutil.get_terminal_size().columns - 1
        sys.stdout.write("\r\033[K" + text[:width])
        sys.stdout.flush()
        self.open_line = True


class Program:
    """A child in a process group of its own, so that Ctrl-C reaches only us and the order holds.
    It gets SIGTERM when we die."""

    def __init__(self, name, command, environment=None):
        self.name = name
        self.log = os.path.join(STATE, "log", name + ".log")
        environment = dict(os.environ, **(environment or {}))
        prctl = ctypes.CDLL(None).prctl
        if os.path.exists(self.log):
            os.replace(self.log, self.log + ".before")  # the run before this one
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment,
                cwd=STATE, preexec_fn=lambda: (os.setpgid(0, 0), prctl(1, signal.SIGTERM)))

    def alive(self):
        return self.process.poll() is None

    def last_lines(self, count=8):
        with open(self.log, "rb") as log:
            lines = log.read().decode("utf-8", "replace").splitlines()
        return "\n".join("    " + line for line in lines[-count:]) or "    (it said nothing)"

    def end(self):
        """How it ended, in words."""
        code = self.process.returncode
        return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"

    def stop(self, seconds=STOP_SECONDS):
        """SIGTERM and wait. False when it had to be killed or did not end well."""
        if self.alive():
            self.process.terminate()
            try:
                self.process.wait(seconds)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        return self.process.returncode == 0


class Progress:
    """What the broker program writes twice a second: how far the sink's group is, by partition."""

    def __init__(self):
        self.path = os.path.join(STATE, "broker.progress")
        self.time = 0.0  # time.monotonic() before the cluster was asked
        self.partitions = {}  # number: (low, end, committed)
        self.finished = {}  # number: how much the sink has finished, by its own word, as an offset
        self.dropped = 0  # records that the embedded broker dropped before the sink had them

    def read(self):
        try:
            with open(self.path, encoding="ascii") as file:
                head, *lines = file.read().splitlines()
        except (OSError, ValueError):
            return
        self.time = float(head)
        before, self.partitions = self.partitions, {}
        for line in lines:
            topic, partition, low, end, committed = line.split()
            if topic == TOPIC:
                self.partitions[int(partition)] = (int(low), int(end), int(committed))
        for partition, (low, _, _) in self.partitions.items():
            # Against what was committed before: since then the sink may have skipped the hole.
            self.dropped += max(0, low - max(before.get(partition, (0, 0, 0))[::2]))

    def done(self):
        """{number: how much is finished, as an offset}; the sink commits it a second later."""
        return {partition: max(low, committed, self.finished.get(partition, 0))
                for partition, (low, _, committed) in self.partitions.items()}

    def waiting(self):
        """Records in the broker that the sink has not finished."""
        done = self.done()
        return sum(max(0, end - done[partition]) for partition, end in self.ends().items())

    def covers(self, ends):
        return all(committed >= ends.get(partition, 0) or ends.get(partition, 0) == 0
                   for partition, (_, _, committed) in self.partitions.items())

    def ends(self):
        return {partition: end for partition, (_, end, _) in self.partitions.items()}


class CleanPoint:
    """A copy of the agent's state in which every line it calls finished is in the store.

    The state is copied; then the broker tells the end of each partition, which is behind everything
    the copy calls finished; once the sink's group has committed up to there, the copy is clean and
    takes the place of the one before. `unclean` is a file that exists while the broker may hold
    what is nowhere else."""

    def __init__(self):
        self.state = os.path.join(STATE, "agent")
        self.next = os.path.join(STATE, "agent.next")
        self.clean = os.path.join(STATE, "agent.clean")
        self.mark = os.path.join(STATE, "unclean")
        self.copied = None  # time.monotonic() after the copy that waits to become clean
        self.ends = None
        self.tried = 0.0

    def recover(self, screen):
        """Before the start: after an unclean stop goes back to the last clean copy."""
        if os.path.exists(self.mark):
            screen.say("The last run was cut short, and what its broker held is gone.")
            shutil.rmtree(self.state, ignore_errors=True)
            if os.path.isdir(self.clean):
                when = time.strftime("%H:%M:%S", time.localtime(os.stat(self.clean).st_mtime))
                shutil.copytree(self.clean, self.state)
                screen.say(f"  Shipping again what was read since {when}; the store drops what it "
                           "has already (see duplicates).")
            else:
                screen.say("  It was too short for a clean copy of its state: everything is "
                           "shipped again,\n  and lines that it did store are in there twice.")
        with open(self.mark, "w", encoding="ascii"):
            pass

    def step(self, progress):
        """Once a second. After records were dropped no later state is clean."""
        if progress.dropped > 0:
            return
        if self.copied is None:
            if time.monotonic() - self.tried >= CLEAN_SECONDS:
                self.copy()
        elif self.ends is None:
            if progress.time > self.copied:
                self.ends = progress.ends()
        elif progress.covers(self.ends):
            self.promote()

    def copy(self):
        self.tried = time.monotonic()
        shutil.rmtree(self.next, ignore_errors=True)
        try:
            shutil.copytree(self.state, self.next)
        except (OSError, shutil.Error):
            return  # a file was replaced under our hands: next time
        self.copied, self.ends = time.monotonic(), None

    def promote(self):
        old = self.clean + ".old"
        shutil.rmtree(old, ignore_errors=True)
        if os.path.isdir(self.clean):
            os.rename(self.clean, old)
        os.rename(self.next, self.clean)
        os.utime(self.clean, times=(time.time(), time.time() - (time.monotonic() - self.copied)))
        shutil.rmtree(old, ignore_errors=True)
        self.copied = None

    def finish(self):
        """After a stop in order: the state itself is clean."""
        self.copy()
        if self.copied is not None:
            self.promote()
            os.unlink(self.mark)


def metrics(port):
    """{name: {labels: value}} of a program's page; {} while it does not answer."""
    values = {}
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=2) as page:
            for line in page.read().decode().splitlines():
                if line and not line.startswith("#"):
                    series, value = line.rsplit(" ", 1)
                    name, _, labels = series.partition("{")
                    values.setdefault(name, {})[labels] = float(value)
    except (OSError, ValueError):
        pass
    return values


def sink_status():
    """What the sink says of itself at one moment; {} while it does not answer."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{PORTS['sink']}/status", timeout=2) as page:
            return json.load(page)
    except (OSError, ValueError):
        return {}


def total(values, name):
    return int(sum(values.get(name, {}).values()))


class Run:
    def __init__(self, options):
        self.options = options
        self.screen = Screen()
        self.programs = []
        self.progress = Progress()
        self.clean = CleanPoint()
        self.stopping = []  # signals that came
        self.agent_values = {}
        self.sink_status = {}
        self.started = time.monotonic()
        self.environment = {}
        self.ends_before = 0  # records that the topic had already

    # The start

    def check_ports(self):
        for name, port in PORTS.items():
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind(("", port))
                except OSError:
                    raise Failed(f"port {port} of the {name}'s page is taken by another program; "
                                 f"`ss -ltnp sport = :{port}` shows which")

    def wait_for_orphans(self):
        """After a kill of ours the last run's programs may still be on their way down."""
        pids = os.path.join(STATE, "pids")
        if not os.path.exists(pids):
            return
        with open(pids, encoding="ascii") as file:
            old = [int(pid) for pid in file.read().split()]
        names = ", ".join(f"{pid} {name}" for pid, name in running(old).items())
        if names:
            self.screen.say(f"Waiting for programs of the last run to end ({names}) ...")
        if not self.wait_for_end(old, STOP_SECONDS):
            left = running(old)
            names = ", ".join(f"{pid} {name}" for pid, name in left.items())
            self.screen.say(f"  They do not end within {STOP_SECONDS} s: killed ({names}).")
            for pid in left:
                kill_ours(pid)
            if not self.wait_for_end(old, KILL_SECONDS):
                raise Failed("programs of the last run cannot be killed (processes "
                             + " ".join(str(pid) for pid in running(old)) + ")")
        os.unlink(pids)

    def wait_for_end(self, pids, seconds):
        deadline = time.monotonic() + seconds
        while running(pids):
            if self.stopping:
                raise Failed("stopped while it was starting")
            if time.monotonic() > deadline:
                return False
            time.sleep(0.2)
        return True

    def start(self, name, command, environment=None):
        program = Program(name, command, environment)
        self.programs.append(program)
        with open(os.path.join(STATE, "pids"), "a", encoding="ascii") as pids:
            pids.write(f"{program.process.pid}\n")
        return program

    def start_stack(self):
        """Kafka and OpenSearch of test/stack; the environment that leads to them."""
        self.screen.say("Starting Kafka and OpenSearch (the first time this fetches them) ...")
        stack = subprocess.run([os.path.join(ROOT, "test", "stack", "up"), "kafka", "opensearch"],
                               stdout=subprocess.PIPE, text=True, check=False)
        if stack.returncode != 0:
            raise Failed("test/stack/up could not start them; its words are above")
        for line in stack.stdout.splitlines():
            if line.startswith("export "):
                key, _, value = line[len("export "):].partition("=")
                self.environment[key] = "".join(shlex.split(value))
        opensearch = self.environment["TAILRACE_OPENSEARCH"]
        if "://" not in opensearch:
            self.environment["TAILRACE_OPENSEARCH"] = "http://" + opensearch

    def start_broker(self):
        """The embedded broker; with --real the same program as an onlooker that makes topics."""
        address = os.path.join(STATE, "broker.address")
        for path in (address, self.progress.path):
            if os.path.exists(path):
                os.unlink(path)
        command = [os.path.join(BUILD, "tailrace-local-broker"), "--topic", f"{TOPIC}:{PARTITIONS}",
                   "--topic", f"{TOPIC}.dlq:1", "--address-file", address,
                   "--group", GROUP, "--progress-file", self.progress.path]
        if self.options.real:
            command[2] = f"{TOPIC}:6"
            command += ["--servers", self.environment["TAILRACE_KAFKA"]]
        broker = self.start("broker", command)
        self.wait_until(lambda: os.path.exists(address), "the broker")
        with open(address, encoding="ascii") as file:
            self.environment["KAFKA_BOOTSTRAP_SERVERS"] = file.read().strip()
        self.wait_until(lambda: os.path.exists(self.progress.path), "the broker")
        self.progress.read()
        self.ends_before = sum(self.progress.ends().values())
        return broker

    def start_all(self):
        for folder in ("log", "nginx"):
            os.makedirs(os.path.join(STATE, folder), exist_ok=True)
        self.wait_for_orphans()
        self.check_ports()
        if self.options.real:
            self.start_stack()
        else:
            self.clean.recover(self.screen)
        self.broker = self.start_broker()
        sink = "sink-real.yaml" if self.options.real else "sink.yaml"
        self.sink = self.start("sink", [os.path.join(BUILD, "tailrace-sink"), "run", "-c",
                                        os.path.join(HERE, sink)], self.environment)
        self.agent = self.start("agent", [os.path.join(BUILD, "tailrace-agent"), "run", "-c",
                                          os.path.join(HERE, "agent.yaml")], self.environment)
        self.nginx = self.start("nginx", [sys.executable, os.path.join(HERE, "nginx-log"),
                                          os.path.join(STATE, "nginx", "access.log"),
                                          str(LINES_PER_SECOND)])
        self.wait_until(lambda: all(metrics(port) for port in PORTS.values()), "the pages")

    def wait_until(self, condition, what):
        deadline = time.monotonic() + START_SECONDS
        while not condition():
            self.check_alive()
            if self.stopping:
                raise Failed("stopped while it was starting")
            if time.monotonic() > deadline:
                raise Failed(f"{what} did not come up within {START_SECONDS} s; see {STATE}/log")
            time.sleep(0.1)

    def check_alive(self, programs=None):
        for program in self.programs if programs is None else programs:
            if not program.alive():
                raise Failed(f"{program.name} has ended ({program.end()}). Its last lines, from "
                             f"{program.log}:\n{program.last_lines()}")

    # While it runs

    def read_counters(self):
        self.agent_values = metrics(PORTS["agent"]) or self.agent_values
        self.sink_status = sink_status() or self.sink_status
        for it in self.sink_status.get("partitions", ()):
            if it["topic"] == TOPIC and it["assigned"]:
                self.progress.finished[it["partition"]] = it["next_offset"] - it["in_flight"]
        self.progress.read()

    def counters(self):
        routes = self.sink_status.get("routes", ())
        stored, duplicates, letters = (sum(route[outcome] for route in routes) for outcome in
                                       ("indexed", "duplicate", "dead_lettered"))
        behind = total(self.agent_values, "tailrace_agent_lag_bytes")
        shipped = total(self.agent_values, "tailrace_agent_events_total")
        # The broker still counts when the agent has ended.
        shipped = max(shipped, sum(self.progress.ends().values()) - self.ends_before)
        in_broker = max(0, self.ends_before + shipped - sum(self.progress.done().values()))
        return (f"shipped {shipped:,}"
                f" | stored {stored:,} | duplicates {duplicates:,} | dead letters {letters:,}"
                f" | to read {behind / 1024:,.0f} KiB | in broker {in_broker:,}")

    def welcome(self):
        say = self.screen.say
        say()
        what = "with Kafka and OpenSearch" if self.options.real else "all of it on this machine"
        say(f"Tailrace is running, {what}. Where to look:")
        say(f"  agent   http://localhost:{PORTS['agent']}/")
        say(f"  sink    http://localhost:{PORTS['sink']}/")
        say(f"  search  {self.search_command()}")
        say(f"  files   {STATE} (logs of the programs in log/)")
        say("Ctrl-C stops in order." if self.options.duration is None else
            f"Stops by itself after {self.options.duration:g} s; Ctrl-C stops in order before.")
        say()

    def search_command(self):
        if self.options.real:
            query = '{"query":{"match":{"message":"GET"}},"sort":[{"@timestamp":"desc"}],"size":5}'
            address = self.environment["TAILRACE_OPENSEARCH"]
            return (f"curl -s '{address}/local-logs/_search?pretty' "
                    f"-H 'Content-Type: application/json' -d '{query}'")
        program = os.path.join(HERE, "search")
        beside = os.path.relpath(program)
        if len(beside) < len(program):
            program = beside
        where = f"TAILRACE_LOCAL_DIR={shlex.quote(STATE)} "
        if STATE == os.path.join(HERE, ".state"):
            where = ""
        return f"{where}{shlex.quote(program)} GET"

    def watch(self):
        """Until a signal, or the end of --duration."""
        end = None if self.options.duration is None else time.monotonic() + self.options.duration
        while not self.stopping and (end is None or time.monotonic() < end):
            self.check_alive()
            self.read_counters()
            if not self.options.real:
                self.clean.step(self.progress)
            self.screen.status(self.counters())
            self.pause(1 if end is None else min(1, max(0, end - time.monotonic())))

    def pause(self, seconds):
        """A sleep that a signal ends."""
        deadline = time.monotonic() + seconds
        while not self.stopping and time.monotonic() < deadline:
            time.sleep(min(0.1, max(0, deadline - time.monotonic())))

    # The stop

    def drain(self):
        """Until the sink has stored what the broker holds. True when it has."""
        begun = time.monotonic()
        signals = len(self.stopping)
        while time.monotonic() - begun < DRAIN_SECONDS and len(self.stopping) == signals:
            self.check_alive((self.broker, self.sink))
            self.read_counters()
            if self.progress.time > begun and self.progress.waiting() == 0:
                return True
            self.screen.status(f"Waiting for the sink: {self.progress.waiting():,} in the broker")
            time.sleep(0.25)
        return False

    def stop_in_order(self):
        """Writer, agent, then (when all is stored) sink, then broker. True when nothing is left."""
        self.screen.say("Stopping: agent, sink, broker.")
        self.nginx.stop()
        self.read_counters()
        agent_ok = self.agent.stop()
        drained = self.drain()
        self.read_counters()
        sink_ok = self.sink.stop()
        self.broker.stop()
        dropped = 0 if self.options.real else self.progress.dropped
        if not self.options.real and drained and dropped == 0:
            self.clean.finish()
        self.screen.say("Last: " + self.counters())
        for program, ok in ((self.agent, agent_ok), (self.sink, sink_ok)):
            if not ok:
                self.screen.say(f"{program.name} did not stop well ({program.end()}), last lines "
                                f"from {program.log}:\n{program.last_lines()}")
        if dropped > 0:
            self.screen.say(f"The broker was full and dropped up to {dropped:,} records that the "
                            "sink had not read; the next start ships them again.")
        if not drained:
            self.screen.say(f"{self.progress.waiting():,} records had not reached the store; "
                            + ("they wait in Kafka." if self.options.real
                               else "the next start ships them again."))
        if self.options.real:
            self.screen.say("Kafka and OpenSearch go on running; test/stack/down stops them.")
        os.unlink(os.path.join(STATE, "pids"))
        return agent_ok and sink_ok and drained and dropped == 0

    def abandon(self):
        """One of them died: the others still stop in order, quickly."""
        for name in ("nginx", "agent", "sink", "broker"):
            for program in self.programs:
                if program.name == name:
                    program.stop()
        if not self.options.real and os.path.exists(self.clean.mark):
            self.screen.say("What the broker held and the sink had not stored is shipped again at "
                            "the next start.")

    def run(self):
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda got, _: self.stopping.append(got))
        try:
            self.start_all()
            self.welcome()
            self.watch()
            return 0 if self.stop_in_order() else 1
        except (Failed, OSError) as failure:
            self.screen.say(f"local/up: {failure}")
            self.abandon()
            return 1


def name_of_ours(pid):
    """The program's name when `pid` was started by a run with this state folder, else None."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            command = [os.fsdecode(word) for word in file.read().split(b"\0")]
        # Numbers are used again, and another folder may have a run of its own.
        if os.readlink(f"/proc/{pid}/cwd") != os.path.realpath(STATE):
            return None
    except OSError:
        return None
    for word in command[:2]:
        if word == os.path.join(HERE, "nginx-log") or os.path.dirname(word) == BUILD:
            return os.path.basename(word)
    return None


def running(pids):
    """{pid: name} of those that run still and are ours."""
    names = {pid: name_of_ours(pid) for pid in pids}
    return {pid: name for pid, name in names.items() if name is not None}


def kill_ours(pid):
    """What it had not finished comes again: from Kafka, or after CleanPoint.recover()."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass  # it has ended meanwhile


def main():
    parser = argparse.ArgumentParser(prog="local/up", add_help=False)  # up has checked them
    parser.add_argument("--duration", type=float)
    parser.add_argument("--real", action="store_true")
    options = parser.parse_args()
    global STATE
    if options.real:
        STATE = os.path.join(STATE, "real")  # its own agent state: another Kafka
        os.makedirs(STATE, exist_ok=True)
        os.environ["TAILRACE_LOCAL_DIR"] = STATE
    sys.exit(Run(options).run())


if __name__ == "__main__":
    main()
