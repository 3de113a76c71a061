# SPDX-License-Identifier: Apache-2.0
"""The sqlite output when its file cannot be written, is damaged, or has several users: nothing is
lost, nothing is there twice, and what a person has to do is said."""

import os
import shutil
import sqlite3
import subprocess

import pytest
from confluent_kafka import Producer
from embedded import EmbeddedBroker
from servers import event_key, event_value
from wait import wait_for

TOPIC = "docs"
PADDING = " and some words more" * 20


@pytest.fixture
def broker():
    with EmbeddedBroker(f"{TOPIC}:4", f"{TOPIC}.dlq:1") as found:
        yield found


@pytest.fixture
def small_disk(folder):
    """A file system of 16 MiB."""
    path = folder / "disk"
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", path], check=True)
    yield path
    subprocess.run(["umount", "-l", path], check=True)


def produce(broker, first, count):
    producer = Producer({"bootstrap.servers": broker.servers, "linger.ms": 5})
    for number in range(first, first + count):
        producer.produce(TOPIC, event_value(f"number {number}{PADDING}"), event_key(number))
    assert producer.flush(30) == 0


def file_sink(make_sink, broker, path, label="sink"):
    sink = make_sink(broker.servers, label, [{"topic": TOPIC, "index": "docs"}], "", label=label)
    sink.config.pop("elasticsearch")
    sink.config["sqlite"] = {"path": str(path)}
    return sink


def events_of(path):
    """Their ids; the file must be whole, and each message be found by its words."""
    database = sqlite3.connect(path)
    assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    ids = [row[0] for row in database.execute("SELECT id FROM events ORDER BY id")]
    words = database.execute("SELECT count(*) FROM messages WHERE messages MATCH 'number'")
    assert words.fetchone()[0] == len(ids)
    database.close()
    return ids


def keys(first, count):
    return sorted(event_key(number) for number in range(first, first + count))


def wait_indexed(sink, count):
    wait_for(f"{count} records in the file", lambda: sink.finished("indexed") == count, 60)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")
def test_a_full_or_read_only_disk_makes_the_route_wait_and_loses_nothing(
        broker, small_disk, make_sink):
    path = small_disk / "events.db"
    filler = small_disk / "filler"
    sink = file_sink(make_sink, broker, path).start()
    produce(broker, 0, 100)
    wait_indexed(sink, 100)

    filler.write_bytes(bytes(shutil.disk_usage(small_disk).free - 1024 * 1024))
    produce(broker, 100, 8000)
    sink.wait_page("/readyz", 503, text=f"'{path}': the disk is full")
    assert sink.finished("indexed") < 8100
    assert sink.finished("dead_lettered") == 0
    filler.unlink()
    wait_indexed(sink, 8100)
    sink.wait_page("/readyz", 200)

    sink.stop()     # while it has the file open the remount is refused
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    produce(broker, 8100, 50)
    sink = file_sink(make_sink, broker, path, "later").start()     # reads all of it again
    sink.wait_page("/readyz", 503, text="the file system is read-only")
    subprocess.run(["mount", "-o", "remount,rw", small_disk], check=True)
    wait_indexed(sink, 50)
    wait_for("all to be there", lambda: sink.finished("duplicate") == 8100)
    sink.stop()
    assert events_of(path) == keys(0, 8150)
    assert not sink.logged(" ERROR ")


def test_a_damaged_file_is_left_alone_and_the_sink_goes_on_in_a_new_one_when_it_is_moved(
        broker, folder, make_sink):
    path = folder / "events.db"
    sink = file_sink(make_sink, broker, path)
    produce(broker, 0, 500)
    sink.once()
    database = sqlite3.connect(path)
    query = "SELECT rootpage FROM sqlite_schema WHERE name = 'events'"
    page = database.execute(query).fetchone()[0]
    size = database.execute("PRAGMA page_size").fetchone()[0]
    database.close()
    with open(path, "r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\x5a" * size)

    produce(broker, 500, 50)
    sink = file_sink(make_sink, broker, path, "later").start()     # reads all of it again
    text = sink.wait_page("/readyz", 503, text="the file is damaged")
    assert str(path) in text and "move the file and its -wal and -shm away" in text
    assert path.stat().st_size > 500 * len(PADDING), "it is not made anew"
    for end in ("", "-wal", "-shm"):
        if (folder / f"events.db{end}").exists():
            (folder / f"events.db{end}").rename(folder / f"moved.db{end}")
    wait_indexed(sink, 550)
    sink.stop()
    assert sink.logged("is new: its tables were made")
    assert events_of(path) == keys(0, 550)

    path.write_bytes(b"no database, but long enough to be looked at as one" * 100)
    done = sink.run_verb("once")
    assert done.returncode == 2
    assert f"'{path}': it is not an SQLite database" in done.stderr


def test_two_sinks_write_one_file_while_it_is_searched(broker, folder, make_sink):
    path = folder / "events.db"
    sinks = [file_sink(make_sink, broker, path, label) for label in ("left", "right")]
    for sink in sinks:
        sink.start()
    seen = 0
    for first in range(0, 5000, 500):
        produce(broker, first, 500)
        if path.exists():
            done = sinks[0].run_verb("search", "--count", "number")
            assert done.returncode == 0 or "still empty" in done.stderr, done.stderr
            assert int(done.stdout or 0) >= seen
            seen = int(done.stdout or 0)
    wait_for("both to have seen all", lambda: all(
        sink.finished("indexed") + sink.finished("duplicate") == 5000 for sink in sinks), 60)
    assert sum(sink.finished("indexed") for sink in sinks) == 5000
    for sink in sinks:
        sink.stop()
    assert not (folder / "events.db-wal").exists(), "the last one folds the log back"
    assert events_of(path) == keys(0, 5000)
