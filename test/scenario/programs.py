# SPDX-License-Identifier: Apache-2.0
"""The programs under test as processes: configuration, start, readiness, metrics, death."""

import http.client
import json
import os
import random
import re
import signal
import socket
import subprocess
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from wait import wait_for

REPO = Path(__file__).resolve().parents[2]
# Below the ephemeral range, so that no outgoing connection holds them; each worker of pytest -n has
# its own.
PORTS = range(24000 + int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")), 32000,
              int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")))
STOP_SECONDS = 15               # what the programs promise for SIGTERM
SERIES = re.compile(r"^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? ([^ ]+)$")
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"')

_given: set[int] = set()
_given_lock = threading.Lock()


def binary(name: str) -> Path:
    folder = Path(os.environ.get("TAILRACE_BIN") or REPO / "build/release")
    path = (folder / name).absolute()
    assert path.is_file(), (f"there is no program {path}. Build it (cmake --preset release && "
                            f"cmake --build --preset release) or set TAILRACE_BIN to its folder.")
    return path


def free_port() -> int:
    """A port that nothing listens on now and that this process did not give out before."""
    with _given_lock:
        while True:
            port = random.SystemRandom().choice(PORTS)
            if port in _given:
                continue
            with socket.socket() as probe, suppress(OSError):
                probe.bind(("127.0.0.1", port))
                _given.add(port)
                return port


def get(port: int, path: str, headers: dict[str, str] | None = None,
        timeout: float = 10) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request("GET", path, headers=headers or {})
        answer = connection.getresponse()
        return answer.status, {key.lower(): value for key, value in answer.getheaders()}, \
            answer.read()
    except http.client.HTTPException as error:
        raise OSError(f"GET {path}: {error!r}") from error
    finally:
        connection.close()


class Metrics:
    """One scrape: sums of series, chosen by name and labels."""

    def __init__(self, text: str):
        self.series: list[tuple[str, dict[str, str], float]] = []
        for line in text.splitlines():
            if line and not line.startswith("#"):
                match = SERIES.match(line)
                assert match, f"/metrics has a line that is no series: {line!r}"
                labels = dict(LABEL.findall(match[2] or ""))
                self.series.append((match[1], labels, float(match[3])))

    def has(self, name: str) -> bool:
        return any(each == name for each, _, _ in self.series)

    def labels(self, name: str) -> list[dict[str, str]]:
        return [labels for each, labels, _ in self.series if each == name]

    def get(self, name: str, **labels: str) -> float:
        return sum(value for each, found, value in self.series
                   if each == name and labels.items() <= found.items())


class Program:
    """A process of ours with its own folder, configuration and log.

    The log of all its lives is one file; `lives` counts starts.
    """

    name = ""

    def __init__(self, folder: Path, config: dict[str, Any], label: str = ""):
        self.folder = folder
        self.label = label or self.name.removeprefix("tailrace-")
        folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.config = {"http": {"listen": f"127.0.0.1:{self.port}"}} | config
        self.config_path = folder / f"{self.label}.yaml"
        self.log_path = folder / f"{self.label}.log"
        self.process: subprocess.Popen | None = None
        self.open_files_max: int | None = None      # descriptors that it may have; prlimit
        self.lives = 0

    # Life

    def write_config(self) -> None:
        # JSON is YAML: nothing to quote by hand, and one key a line for messages with lines.
        text = json.dumps(self.config, indent=2) + "\n"
        # Not while it is the same: another thread may be starting the program with it.
        if not self.config_path.exists() or self.config_path.read_text() != text:
            self.config_path.write_text(text)

    def start(self, *arguments: str, wait: str = "alive",
              environment: dict[str, str] | None = None) -> "Program":
        """Starts `PROGRAM run`. wait: "ready" (/readyz is 200), "alive" (/healthz is), "no"."""
        assert not self.running(), f"{self.label} runs already"
        self.write_config()
        self.process = self._spawn(["run", "-c", str(self.config_path), *arguments], environment)
        self.lives += 1
        if wait != "no":
            self.wait_page("/readyz" if wait == "ready" else "/healthz")
        return self

    def run_verb(self, *arguments: str, seconds: float = 60, stdin: bytes | None = None,
                 config: bool = True) -> subprocess.CompletedProcess:
        """Runs `PROGRAM arguments -c FILE` to its end; output as text."""
        self.write_config()
        command = [str(binary(self.name)), *arguments]
        if config:
            command += ["-c", str(self.config_path)]
        try:
            done = subprocess.run(command, capture_output=True, timeout=seconds, input=stdin,
                                  env=clean_environment())
        except subprocess.TimeoutExpired as late:
            with open(self.log_path, "ab") as log:
                log.write(late.stderr or b"")
            raise AssertionError(f"{' '.join(command)} did not end within {seconds:.0f} s"
                                 f"{self.tail()}") from None
        with open(self.log_path, "ab") as log:
            log.write(done.stderr)
        return subprocess.CompletedProcess(done.args, done.returncode,
                                           done.stdout.decode("utf-8", "replace"),
                                           done.stderr.decode("utf-8", "replace"))

    def once(self, seconds: float = 120) -> None:
        done = self.run_verb("once", seconds=seconds)
        assert done.returncode == 0, f"{self.label} once: exit {done.returncode}{self.tail()}"

    def _spawn(self, arguments: list[str], environment: dict[str, str] | None):
        with open(self.log_path, "ab") as log:
            log.write(f"---- start {self.lives + 1}: {' '.join(arguments)}\n".encode())
            log.flush()
            limit = ["prlimit", f"--nofile={self.open_files_max}"] if self.open_files_max else []
            return subprocess.Popen([*limit, str(binary(self.name)), *arguments],
                                    stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                    env=clean_environment() | (environment or {}))

    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def kill(self) -> None:
        """kill -9."""
        assert self.process is not None
        self.check_alive()
        self.process.kill()
        self.process.wait()

    def terminate(self) -> None:
        assert self.process is not None
        self.check_alive()
        self.process.send_signal(signal.SIGTERM)

    def wait_exit(self, code: int | None = 0, seconds: float = STOP_SECONDS) -> int:
        assert self.process is not None
        try:
            got = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.label} did not end within {seconds:.0f} s"
                                 f"{self.tail()}") from None
        assert code is None or got == code, \
            f"{self.label} ended with {got}, expected {code}{self.tail()}"
        return got

    def stop(self, code: int = 0) -> None:
        """SIGTERM; the end must come in order and in time."""
        self.terminate()
        self.wait_exit(code)

    def reload(self) -> None:
        self.write_config()
        assert self.process is not None
        self.process.send_signal(signal.SIGHUP)

    def end(self) -> None:
        """For fixtures: no process is left behind, whatever happened."""
        if self.running():
            assert self.process is not None
            self.process.kill()
            self.process.wait()

    def check_alive(self) -> None:
        if self.process is None or self.process.poll() is not None:
            code = None if self.process is None else self.process.returncode
            raise AssertionError(f"{self.label} is not running (exit code {code}){self.tail()}")

    # What it says

    def tail(self, lines: int = 25) -> str:
        text = self.log_path.read_text(errors="replace") if self.log_path.exists() else ""
        last = "\n  ".join(text.splitlines()[-lines:])
        return f". Its log {self.log_path} ends with:\n  {last}"

    def logged(self, text: str) -> bool:
        return text in self.log_path.read_text(errors="replace")

    def page(self, path: str) -> tuple[int, str]:
        status, _, body = get(self.port, path)
        return status, body.decode("utf-8", "replace")

    def wait_page(self, path: str, status: int = 200, seconds: float = 40,
                  text: str = "") -> str:
        """Waits for a page with this status (and text in it); returns the page."""
        last: list[Any] = [None]

        def there() -> str | None:
            self.check_alive()
            last[0] = self.page(path)
            return (last[0][1] or "-") if last[0][0] == status and text in last[0][1] else None

        return wait_for(f"{self.label}: {path} to answer {status} {text!r}", there, seconds,
                        lambda: f"{last[0]}{self.tail(8)}")

    def readiness(self) -> str:
        return self.page("/readyz")[1]

    def status(self, query: str = "") -> dict[str, Any]:
        code, text = self.page(f"/status{query}")
        assert code == 200, f"{self.label}: /status answers {code}: {text[:300]}"
        return json.loads(text)

    def metrics(self) -> Metrics:
        status, text = self.page("/metrics")
        assert status == 200, f"{self.label}: /metrics answers {status}: {text[:300]}"
        return Metrics(text)

    def metric(self, name: str, **labels: str) -> float:
        return self.metrics().get(name, **labels)

    def wait_metric(self, name: str, least: float = 1, seconds: float = 30,
                    **labels: str) -> float:
        last: list[Any] = [None]

        def enough() -> bool:
            self.check_alive()
            last[0] = self.metric(name, **labels)
            return last[0] >= least

        wait_for(f"{self.label}: {name}{labels or ''} >= {least}", enough, seconds,
                 lambda: f"{last[0]}{self.tail(8)}")
        return last[0]

    def rss_mib(self) -> float:
        assert self.process is not None
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+) kB", text)[1]) / 1024


class Agent(Program):
    name = "tailrace-agent"

    def __init__(self, folder: Path, servers: str, topic: str, files: list[dict[str, Any]],
                 label: str = "agent", properties: dict[str, Any] | None = None, **config: Any):
        kafka = {"bootstrap_servers": servers, "topic": topic}
        kafka["properties"] = {"reconnect.backoff.max.ms": 1000} | (properties or {})
        self.state_dir = folder / f"{label}-state"
        self.state_dir.mkdir(parents=True, exist_ok=True)
        super().__init__(folder, {"state_dir": str(self.state_dir), "kafka": kafka,
                                  "files": files} | config, label)


class Sink(Program):
    name = "tailrace-sink"

    def __init__(self, folder: Path, servers: str, group: str, routes: list[dict[str, Any]],
                 url: str, label: str = "sink", properties: dict[str, Any] | None = None,
                 **config: Any):
        kafka = {"bootstrap_servers": servers, "group_id": group}
        # A member that was killed is forgotten after the session timeout: keep tests short.
        kafka["properties"] = {"session.timeout.ms": 6000, "heartbeat.interval.ms": 1000,
                               "reconnect.backoff.max.ms": 1000} | (properties or {})
        super().__init__(folder, {"kafka": kafka, "routes": routes,
                                  "elasticsearch": {"urls": [url]},
                                  "bulk": {"interval": "200ms"}} | config, label)

    def finished(self, outcome: str, route: str | None = None) -> float:
        labels = {"outcome": outcome} | ({"route": route} if route else {})
        return self.metric("tailrace_sink_finished_records_total", **labels)

    def consumed(self) -> float:
        return self.metric("tailrace_sink_consumed_records_total")


class Exporter(Program):
    name = "tailrace-exporter"

    def scrape(self, query: str = "", headers: dict[str, str] | None = None,
               timeout: float = 20) -> Metrics:
        status, _, body = get(self.port, f"/metrics{query}", headers, timeout)
        assert status == 200, f"/metrics{query} answers {status}: {body[:300]!r}{self.tail()}"
        return Metrics(body.decode())


def clean_environment() -> dict[str, str]:
    """Without what would win over the configuration files."""
    return {key: value for key, value in os.environ.items()
            if not key.startswith(("KAFKA_", "TAILRACE_", "NOTIFY_SOCKET", "JOURNAL_STREAM"))}


def now_ms() -> int:
    return int(time.time() * 1000)
