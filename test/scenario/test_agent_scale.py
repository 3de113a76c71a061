# SPDX-License-Identifier: Apache-2.0
"""The agent with very many files, few descriptors, no inotify, and mounts that hang.

All on the embedded broker, which only counts: what arrives exactly once is asked elsewhere."""

import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

from embedded import EmbeddedBroker
from inputs import append
from wait import stays, wait_for

FILES = int(os.environ.get("TAILRACE_FILES") or 100_000)
EVENTS = "tailrace_agent_events_total"
NO_INOTIFY = r"""
#include <errno.h>
int inotify_init1(int flags) { (void)flags; errno = EMFILE; return -1; }
"""
FEW_WATCHES = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdint.h>
int inotify_add_watch(int fd, const char *path, uint32_t mask)
{
    static int left = 2;
    int (*real)(int, const char *, uint32_t) = dlsym(RTLD_NEXT, "inotify_add_watch");
    if (left-- > 0)
        return real(fd, path, mask);
    errno = ENOSPC;
    return -1;
}
"""


@pytest.fixture
def servers():
    with EmbeddedBroker("scale:8") as broker:
        yield broker.servers


def write_all(folder: Path, count: int, text: str, step: int = 1) -> None:
    for number in range(0, count, step):
        with open(folder / f"{number:06}.log", "a") as file:
            file.write(f"{text} of file {number:06}, long enough to tell it from the others\n")


def arrived(agent, count: int, seconds: float = 60) -> None:
    def enough() -> bool:
        agent.check_alive()
        return agent.metric(EVENTS) >= count

    wait_for(f"{count} events", enough, seconds, agent.tail)
    assert agent.metric(EVENTS) == count


@pytest.fixture
def memory_logs():
    """A folder for the many files, in memory where that is possible: disks are shared."""
    base = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="tailrace-scale-", dir=base) as path:
        yield Path(path)


def test_very_many_files(servers, memory_logs, make_agent):
    logs = memory_logs
    write_all(logs, FILES, "first line")
    agent = make_agent(servers, "scale", [{"name": "all", "paths": [str(logs / "*.log")]}])
    start = time.monotonic()
    agent.start()
    wait_for("the first event", lambda: agent.metric(EVENTS) > 0, 60, agent.tail)
    first = time.monotonic() - start
    arrived(agent, FILES)
    print(f"fresh: first event after {first:.1f} s, all after {time.monotonic() - start:.1f} s, "
          f"{agent.rss_mib():.0f} MiB")
    per_file = (agent.rss_mib() - 20) * 1024 * 1024 / FILES
    assert per_file < 3000, f"{per_file:.0f} bytes a file"
    wait_for("all to be idle", lambda: agent.status()["busy_count"] == 0, 20, agent.tail)
    write_all(logs, FILES, "second line", 10)
    arrived(agent, FILES + FILES // 10)
    _, page = agent.page("/status")
    assert len(page) < 1_000_000, "a status has a bound"
    status = json.loads(page)
    assert status["file_count"] == FILES and len(status["talkers"]) == 10
    assert len(agent.page("/")[1]) < 100_000, "and the page for people"
    name = str(logs / f"{FILES - 1:06}.log")
    assert [each["path"] for each in agent.status(f"?path={name}")["files"]] == [name]
    agent.stop()

    write_all(logs, FILES, "third line", 10)
    start = time.monotonic()
    agent.start()
    wait_for("the first event", lambda: agent.metric(EVENTS) > 0, 60, agent.tail)
    print(f"known: first event after {time.monotonic() - start:.1f} s")
    arrived(agent, FILES // 10)
    agent.stop()


def test_ten_thousand_files_on_a_hundred_descriptors(servers, logs, make_agent):
    count = 10_000
    write_all(logs, count, "first line")
    agent = make_agent(servers, "scale", [{"name": "all", "paths": [str(logs / "*.log")]}])
    agent.open_files_max = 100
    agent.start()
    arrived(agent, count)
    write_all(logs, count, "second line")
    arrived(agent, 2 * count)
    agent.stop()


@pytest.fixture
def preload(folder):
    """Builds a library that stands before libc."""
    def build(source: str) -> dict[str, str]:
        (folder / "preload.c").write_text(source)
        subprocess.run(["cc", "-shared", "-fPIC", "-o", folder / "preload.so",
                        folder / "preload.c", "-ldl"], check=True)
        return {"LD_PRELOAD": str(folder / "preload.so")}
    return build


def test_without_inotify_the_sweep_finds_all(servers, logs, make_agent, preload):
    agent = make_agent(servers, "scale", [{"name": "all", "paths": [str(logs / "*.log")]}])
    append(logs / "old.log", b"1")
    agent.start(environment=preload(NO_INOTIFY))
    arrived(agent, 1)
    assert agent.metric("tailrace_agent_watch_errors_total", reason="none") == 1
    append(logs / "old.log", b"2")
    append(logs / "new.log", b"3")
    arrived(agent, 3)
    assert agent.log_path.read_text().count("the sweep finds what is new") == 1
    agent.stop()


def test_where_the_watches_do_not_suffice_the_sweep_helps(servers, logs, make_agent, preload):
    for number in range(6):
        (logs / f"{number}").mkdir()
        append(logs / f"{number}" / "a.log", b"1")
    agent = make_agent(servers, "scale", [{"name": "all", "paths": [str(logs / "*" / "*.log")]}])
    agent.start(environment=preload(FEW_WATCHES))
    arrived(agent, 6)
    assert agent.metric("tailrace_agent_watch_errors_total", reason="limit") >= 5
    assert agent.status()["blind_count"] == 5
    for number in range(6):
        append(logs / f"{number}" / "a.log", b"2")
    arrived(agent, 12)
    assert agent.log_path.read_text().count("are seen by the sweep") == 1, "said once"
    agent.stop()


@pytest.fixture
def mount(folder):
    """A FUSE file system over a folder: (mount point, folder, process); stopped, it hangs."""
    if not shutil.which("bindfs") or not os.access("/dev/fuse", os.W_OK):
        pytest.skip("needs bindfs and /dev/fuse")
    point, back = folder / "mount", folder / "back"
    point.mkdir()
    back.mkdir()
    process = subprocess.Popen(["bindfs", "-f", str(back), str(point)])
    wait_for("the mount", lambda: os.path.ismount(point))
    yield point, back, process
    process.send_signal(signal.SIGCONT)
    subprocess.run(["umount", "-l", str(point)], check=True)
    process.wait(20)


def test_a_mount_that_hangs_stops_its_own_files_only(servers, logs, mount, make_agent):
    point, back, daemon = mount
    append(logs / "a.log", b"1")
    append(back / "b.log", b"1")
    agent = make_agent(servers, "scale", [{"name": "local", "paths": [str(logs / "*.log")]},
                                          {"name": "remote", "paths": [str(point / "*.log")]}])
    agent.start()
    arrived(agent, 2)
    append(back / "b.log", b"2")
    arrived(agent, 3)

    daemon.send_signal(signal.SIGSTOP)
    agent.wait_metric("tailrace_agent_hung_mounts")
    append(back / "b.log", b"3")
    append(logs / "a.log", b"2")
    append(logs / "new.log", b"1")
    arrived(agent, 5)
    found = agent.status(f"?path={point / 'b.log'}")["files"]
    assert [each["reason"] for each in found] == ["its network mount does not answer"]
    assert agent.page("/healthz")[0] == 200, "the loop moves"
    stays("one that hangs costs nothing of the others",
          lambda: agent.metric(EVENTS) == 5
          and agent.metric("tailrace_agent_lost_bytes_total") == 0, 1)
    checked = agent.run_verb("check", seconds=20)
    assert checked.returncode == 1 and "does not answer" in checked.stdout
    assert "does not answer" in agent.run_verb("explain", str(point / "b.log"), seconds=20).stdout

    daemon.send_signal(signal.SIGCONT)
    arrived(agent, 6)
    daemon.send_signal(signal.SIGSTOP)
    agent.wait_metric("tailrace_agent_hung_mounts")
    agent.stop()
    assert agent.logged("answers again")
