# SPDX-License-Identifier: Apache-2.0
"""tailrace-exporter: its frame, this host beside node_exporter, probes, and what hangs."""

import contextlib
import gzip
import http.server
import os
import re
import resource
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time

import pytest

from embedded import EmbeddedBroker
from programs import REPO, Exporter, Metrics, binary, free_port, get
from wait import wait_for

sys.path.append(str(REPO / "test" / "compare"))
import node_exporter  # noqa: E402

FIXTURES = REPO / "test" / "fixtures" / "host"
PROMETHEUS = {"Accept-Encoding": "gzip", "X-Prometheus-Scrape-Timeout-Seconds": "10"}

# What promtool has to say about names that are node_exporter's, and are kept.
COMPATIBLE = re.compile(r"^node_\w+ (no help text|metric names should not contain|metric names "
                        r"should be written in 'snake_case'|use base unit|non-counter metrics "
                        r"should not have|counter metrics should have|non-histogram and "
                        r"non-summary)")


@pytest.fixture
def make_exporter(folder):
    made = []

    def make(**config):
        exporter = Exporter(folder / f"exporter{len(made)}", config)
        made.append(exporter)
        return exporter

    yield make
    for exporter in made:
        exporter.end()


def test_every_value_of_node_exporter_is_ours_too(folder):
    if shutil.which(node_exporter.NODE_EXPORTER) is None:
        pytest.skip("prometheus-node-exporter is not installed")
    comparison = node_exporter.compare(str(binary("tailrace-exporter")), 10, folder)
    lines, fine = comparison.report()
    assert fine, "\n".join(lines)
    assert comparison.count > 300


def test_own_families_pass_promtool_and_the_compatible_ones_are_on_the_list(make_exporter, folder):
    (folder / "backups").mkdir()
    (folder / "backups" / "one").write_text("1")
    exporter = make_exporter(host={"newest_files": [str(folder / "backups")]},
                             probes=[{"name": "none", "tcp": "localhost:1"}])
    exporter.start()
    wait_for("the probe", lambda: exporter.scrape().has("tailrace_probe_success"))
    _, _, body = get(exporter.port, "/metrics")
    done = subprocess.run(["promtool", "check", "metrics"], input=body, capture_output=True)
    found = (done.stdout + done.stderr).decode().splitlines()
    others = [line for line in found if not COMPATIBLE.match(line)]
    assert not others, "\n".join(others)
    assert exporter.scrape().has("tailrace_newest_file_age_seconds")
    exporter.stop()


def test_collectors_can_be_chosen_in_the_query(make_exporter):
    exporter = make_exporter(host={})
    exporter.start()
    chosen = exporter.scrape("?collect[]=loadavg&collect[]=uname")
    assert chosen.has("node_load1") and chosen.has("node_uname_info")
    assert not chosen.has("node_cpu_seconds_total")
    assert {labels["collector"] for labels in chosen.labels("node_scrape_collector_success")} == \
        {"loadavg", "uname"}
    without = exporter.scrape("?exclude[]=cpu")
    assert without.has("node_load1") and not without.has("node_cpu_seconds_total")
    assert get(exporter.port, "/metrics?collect[]=nonsense")[0] == 400
    assert get(exporter.port, "/metrics?collect[]=cpu&exclude[]=stat")[0] == 400
    exporter.stop()


def test_a_thousand_scrapes_at_once_get_whole_pages(make_exporter):
    exporter = make_exporter(host={})
    exporter.start()

    request = "GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" + "".join(
        f"{name}: {value}\r\n" for name, value in PROMETHEUS.items()) + "\r\n"
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))
    with contextlib.ExitStack() as stack:
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        scrapers = [stack.enter_context(socket.create_connection(("127.0.0.1", exporter.port), 60))
                    for _ in range(1000)]
        for scraper in scrapers:
            scraper.sendall(request.encode())
        for scraper in scrapers:
            with scraper.makefile("rb") as answer:
                head, _, body = answer.read().partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200") and b"Content-Encoding: gzip" in head
            text = gzip.decompress(body)
            assert b"\nnode_load1 " in text and b"\nprocess_start_time_seconds " in text
            assert text.endswith(b"\n")
    assert exporter.rss_mib() < 64, "memory comes back"
    exporter.stop()


@pytest.fixture
def mount(folder):
    """A FUSE file system: (mount point, process); stopped, it hangs."""
    if not shutil.which("bindfs") or not os.access("/dev/fuse", os.W_OK):
        pytest.skip("needs bindfs and /dev/fuse")
    point, back = folder / "mount", folder / "back"
    point.mkdir()
    back.mkdir()
    process = subprocess.Popen(["bindfs", "-f", str(back), str(point)])
    wait_for("the mount", lambda: os.path.ismount(point))
    yield point, process
    process.send_signal(signal.SIGCONT)
    subprocess.run(["umount", "-l", str(point)], check=True)
    process.wait(20)


def test_a_mount_that_hangs_costs_its_own_series_only(make_exporter, mount):
    point, daemon = mount
    exporter = make_exporter(host={"mount_timeout": "100ms", "newest_files": [str(point)]})
    exporter.start()
    where = {"mountpoint": str(point)}
    assert exporter.scrape().get("node_filesystem_size_bytes", **where) > 0

    daemon.send_signal(signal.SIGSTOP)
    threads = f"/proc/{exporter.process.pid}/task"
    seen = set()
    for _ in range(10):
        page = exporter.scrape()
        assert page.get("node_filesystem_device_error", device_error="mountpoint timeout",
                        **where) == 1
        assert not [each for each in page.labels("node_filesystem_size_bytes")
                    if each["mountpoint"] == str(point)]
        assert page.get("node_filesystem_size_bytes", mountpoint="/") > 0, "others are there"
        assert page.get("tailrace_exporter_mounts_hung") == 1
        # Reading that folder hangs, too: its collector alone is given up.
        assert page.get("tailrace_exporter_collector_hung", collector="newest") == 1
        assert page.get("node_scrape_collector_success", collector="newest") == 0
        assert page.get("node_scrape_collector_success", collector="cpu") == 1
        assert page.has("node_cpu_seconds_total") and page.has("node_uname_info")
        seen.add(len(os.listdir(threads)))
    assert max(seen) - min(seen) <= 1, f"threads pile up: {seen}"
    assert "has not come back" in exporter.page("/")[1]
    assert get(exporter.port, "/healthz", timeout=5)[0] == 200

    daemon.send_signal(signal.SIGCONT)
    wait_for("the mount again", lambda: exporter.scrape().get(
        "node_filesystem_size_bytes", **where) > 0
        and exporter.scrape().get("tailrace_exporter_collector_hung", collector="newest") == 0)
    daemon.send_signal(signal.SIGSTOP)
    exporter.scrape()
    exporter.stop()


def test_an_agent_shows_its_host_and_goes_on_when_a_mount_of_it_hangs(make_exporter, make_agent,
                                                                     mount, logs):
    point, daemon = mount
    exporter = make_exporter(host={})
    exporter.start()
    path = logs / "a.log"
    with EmbeddedBroker("host:1") as broker:
        agent = make_agent(broker.servers, "host", [{"name": "a", "paths": [str(path)]}],
                           host={"enabled": True, "mount_timeout": "100ms"})
        agent.start(wait="ready")

        def shown():
            status, _, body = get(agent.port, "/metrics")
            assert status == 200
            return body.decode()

        def shipped(lines):
            with open(path, "ab") as file:
                file.write(b"a line\n" * lines)
            count = path.read_bytes().count(b"\n")
            agent.wait_metric("tailrace_agent_events_total", count)

        def of_host(page):
            return set(re.findall(r"^# TYPE (node_\w+)", page, re.M))

        assert of_host(shown()) == of_host(exporter.page("/metrics")[1])
        shipped(100)
        daemon.send_signal(signal.SIGSTOP)
        where = {"mountpoint": str(point)}
        for _ in range(5):
            page = Metrics(shown())
            assert page.get("node_filesystem_device_error", device_error="mountpoint timeout",
                            **where) == 1
            assert page.get("node_filesystem_size_bytes", mountpoint="/") > 0, "others are there"
            shipped(100)
        daemon.send_signal(signal.SIGCONT)
        agent.stop()
    exporter.stop()


def test_files_of_proc_that_vanish_or_grow_cost_their_own_series(make_exporter, folder):
    proc = folder / "proc"
    shutil.copytree(FIXTURES / "vm" / "proc", proc)
    exporter = make_exporter(host={"proc": str(proc), "sys": str(FIXTURES / "vm" / "sys"),
                                   "root": str(FIXTURES / "vm" / "root")})
    exporter.start()
    assert exporter.scrape().has("node_vmstat_pgfault")
    with open(proc / "meminfo", "a") as meminfo:
        meminfo.write("ThingOfTomorrow:  5 kB\nBroken line\nOther: x\n")
    assert exporter.scrape().get("node_memory_ThingOfTomorrow_bytes") == 5 * 1024
    (proc / "stat").write_text("garbage\n")
    shutil.rmtree(proc / "net")
    later = exporter.scrape("?exclude[]=cpu")       # opened before: what is open stays readable
    assert later.has("node_load1")
    exporter.stop()
    exporter.start()
    page = exporter.scrape()
    assert page.has("node_load1") and page.has("node_memory_MemTotal_bytes")
    for name in ("netdev", "netstat", "stat", "cpu"):
        assert page.get("node_scrape_collector_success", collector=name) == 0
    assert page.get("node_scrape_collector_success", collector="meminfo") == 1
    assert "/proc/stat names no processor" in exporter.page("/")[1]
    exporter.stop()


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(503 if self.path == "/bad" else 200)
        self.end_headers()

    def log_message(self, *arguments):
        pass


@pytest.fixture
def services(folder):
    """Ports of an HTTP server, TLS servers with a good and an expired certificate, one that is
    silent, one that says garbage, and one that hangs up."""
    with contextlib.ExitStack() as stack:
        ports = {}

        def serve(name, certificate=None):
            server = http.server.ThreadingHTTPServer(("127.0.0.1", free_port()), Handler)
            if certificate:
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                context.load_cert_chain(certificate, folder / "key.pem")
                server.socket = context.wrap_socket(server.socket, server_side=True)
            threading.Thread(target=server.serve_forever, daemon=True).start()
            stack.callback(server.server_close)
            stack.callback(server.shutdown)
            ports[name] = server.server_port

        def listen(name, answer):
            listener = socket.create_server(("127.0.0.1", 0))
            stack.callback(listener.close)
            ports[name] = listener.getsockname()[1]

            def loop():
                held = []
                with contextlib.suppress(OSError):
                    while True:
                        connection, _ = listener.accept()
                        held.append(connection)
                        answer(connection)

            threading.Thread(target=loop, daemon=True).start()

        def garbage(connection):
            connection.sendall(b"\x00\xff" * 100 + b"\r\n")
            connection.close()

        def half(connection):
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf of")
            connection.shutdown(socket.SHUT_RDWR)
            connection.close()

        subprocess.run(["openssl", "genrsa", "-out", folder / "key.pem", "2048"], check=True,
                       capture_output=True)
        certify(folder, "good.pem", "20200101000000Z", "20450101000000Z")
        certify(folder, "old.pem", "20200101000000Z", "20210101000000Z")
        serve("http")
        serve("tls", folder / "good.pem")
        serve("expired", folder / "old.pem")
        listen("silent", lambda connection: None)
        listen("garbage", garbage)
        listen("half", half)
        yield ports


def certify(folder, name, begin, end):
    """A certificate for localhost, signed by its own key, with these dates."""
    (folder / "ca.cnf").write_text(
        f"[ca]\ndefault_ca=d\n[d]\nnew_certs_dir={folder}\ndatabase={folder}/index.txt\n"
        f"serial={folder}/serial\ndefault_md=sha256\npolicy=p\nunique_subject=no\n"
        "x509_extensions=x\n[p]\ncommonName=supplied\n[x]\nsubjectAltName=DNS:localhost\n"
        "[req]\ndistinguished_name=n\n[n]\n")
    (folder / "index.txt").write_text("")
    (folder / "serial").write_text("01\n")
    subprocess.run(["openssl", "req", "-new", "-key", folder / "key.pem", "-subj", "/CN=localhost",
                    "-config", folder / "ca.cnf", "-out", folder / "request.pem"], check=True,
                   capture_output=True)
    subprocess.run(["openssl", "ca", "-batch", "-selfsign", "-config", folder / "ca.cnf",
                    "-keyfile", folder / "key.pem", "-in", folder / "request.pem", "-startdate",
                    begin, "-enddate", end, "-out", folder / name], check=True,
                   capture_output=True)


def test_probes_say_what_answers_and_when_a_certificate_ends(make_exporter, services, folder):
    def url(name, scheme="http", path="/"):
        return f"{scheme}://localhost:{services[name]}{path}"

    probes = {
        "tcp": {"tcp": f"127.0.0.1:{services['http']}"},
        "http": {"http": url("http")},
        "bad": {"http": url("http", path="/bad")},
        "https": {"http": url("tls", "https"), "ca_file": str(folder / "good.pem")},
        "tls": {"tls": f"localhost:{services['tls']}", "ca_file": str(folder / "good.pem")},
        "untrusted": {"tls": f"localhost:{services['tls']}"},
        "expired": {"tls": f"localhost:{services['expired']}",
                    "ca_file": str(folder / "old.pem")},
        "silent": {"http": url("silent"), "timeout": "500ms"},
        "garbage": {"http": url("garbage")},
        "half": {"http": url("half")},
        "nobody": {"tcp": "127.0.0.1:1"},
        "nowhere": {"tcp": "host.invalid:22"},
    }
    exporter = make_exporter(host={"enabled": False}, probes=[
        {"name": name, "interval": "1s"} | options for name, options in probes.items()])
    exporter.start()
    wait_for("a round of each", lambda: all(
        each["refreshes"] > 0 for each in exporter.status()["targets"]))
    page = exporter.scrape()
    right = {name for name in probes if page.get("tailrace_probe_success", probe=name) == 1}
    assert right == {"tcp", "http", "https", "tls"}, exporter.status()
    assert page.get("tailrace_probe_http_status_code", probe="bad") == 503
    for name, year in (("https", 2045), ("tls", 2045), ("untrusted", 2045), ("expired", 2021)):
        assert time.gmtime(page.get("tailrace_probe_tls_expiry_timestamp_seconds",
                                    probe=name)).tm_year == year
    assert page.get("tailrace_exporter_target_success", target="silent") == 0
    assert get(exporter.port, "/readyz")[0] == 200, "a probe is no condition of ours"
    errors = {each["target"]: each["error"] for each in exporter.status()["targets"]}
    assert "expired" in errors["expired"] and "status 503" in errors["bad"]
    assert "Connection refused" in errors["nobody"] and "resolve" in errors["nowhere"]
    people = exporter.page("/")[1]
    assert "Connection refused" in people and "answers" in people
    wait_for("the log", lambda: exporter.logged("probe nobody: cannot connect"))
    exporter.stop()


def test_check_says_what_will_be_there_and_why_not(make_exporter):
    tree = FIXTURES / "old-kernel"
    exporter = make_exporter(host={"proc": str(tree / "proc"), "sys": str(tree / "sys"),
                                   "root": str(tree), "exclude": ["timex"]},
                             probes=[{"name": "none", "tcp": "localhost:1"}])
    done = exporter.run_verb("check", "--connect")
    assert done.returncode == 1, done.stdout
    assert "  node_load1 (1)" in done.stdout
    assert "host pressure: not here: " in done.stdout
    assert "not node_pressure_irq_stalled_seconds_total: the kernel does not" in done.stdout
    assert "host timex: switched off in the configuration" in done.stdout
    assert "probe none: cannot connect" in done.stdout
    assert "NOT OK: 1 problem" in done.stdout
    exporter.config["probes"] = []
    assert exporter.run_verb("check", "--connect").returncode == 0
    exporter.config["probes"] = [{"name": "two", "tcp": "a:1", "tls": "b:2"}]
    done = exporter.run_verb("check")
    assert done.returncode == 2 and "must name one of tcp, http and tls" in done.stderr
    exporter.config["probes"] = []
    exporter.config["host"] = {"collectors": ["cpus"]}
    done = exporter.run_verb("check")
    assert done.returncode == 2 and "did you mean 'cpu'?" in done.stderr, done.stderr


def test_a_family_that_runs_wild_is_cut_and_counted(make_exporter, folder):
    lines = "".join(f'wild{{n="{number}"}} {number}\n' for number in range(60))
    (folder / "wild.prom").write_text(lines)
    exporter = make_exporter(host={"collectors": ["textfile", "loadavg"],
                                   "textfile_directories": [str(folder)]},
                             page={"series_per_family": 50})
    exporter.start()
    page = exporter.scrape()
    assert len(page.labels("wild")) == 50
    before = page.get("tailrace_exporter_series_left_out_total", family="wild")
    assert exporter.scrape().get("tailrace_exporter_series_left_out_total",
                                 family="wild") == before + 10
    exporter.stop()


def test_a_reload_says_what_needs_a_restart(make_exporter):
    exporter = make_exporter(host={})
    exporter.start()
    exporter.config["host"] = {"exclude": ["cpu"]}
    exporter.reload()
    wait_for("the warning", lambda: exporter.logged("need a restart: host.exclude"))
    assert not exporter.logged("\\x0a"), "the names stand in one line"
    exporter.reload()
    wait_for("the second answer, soon after the first",
             lambda: exporter.log_path.read_text().count("configuration reloaded") == 2, 5)
    exporter.config["host"] = {"nonsense": 1}
    exporter.reload()
    wait_for("the refusal", lambda: exporter.logged("the configuration stays as it was"))
    wait_for("the metric", lambda: exporter.metric("tailrace_config_last_reload_successful") == 0)
    assert exporter.scrape().has("node_cpu_seconds_total")
    exporter.stop()
