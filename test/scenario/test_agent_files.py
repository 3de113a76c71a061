# SPDX-License-Identifier: Apache-2.0
"""What the agent reads, and what becomes of it on the topic."""

import json
import os
import time

from inputs import append, generate
from oracle import Tally, expected_by_place, expected_numbered, message_of, place_key
from wait import stays, wait_for


def read(kafka, topic):
    """All events of a topic, by file and offset."""
    return sorted((event for _, event in kafka.events(topic)),
                  key=lambda event: (event["log.file.path"], event["log.offset"]))


def arrive(kafka, topic, count, agent=None, seconds=40):
    """Waits for this many records and returns the events."""
    def enough():
        if agent:
            agent.check_alive()
        return kafka.total(topic) >= count

    wait_for(f"{count} records on {topic}", enough, seconds,
             lambda: f"{kafka.total(topic)}{agent.tail() if agent else ''}")
    return read(kafka, topic)


def messages(events):
    return [event["message"] for event in events]


def test_an_event_says_when_where_and_what(kafka, topic, logs, make_agent):
    append(logs / "a.log", b"first", b"second \"quoted\" \\ \t tab", "ünïcode 日志".encode())
    make_agent(kafka.servers, topic, [{"name": "logs", "paths": [str(logs / "*.log")]}]).once()
    found = list(kafka.events(topic))
    assert len(found) == 3
    events = read(kafka, topic)
    assert messages(events) == ["first", "second \"quoted\" \\ \t tab", "ünïcode 日志"]
    second = len(messages(events)[1])
    assert [event["log.offset"] for event in events] == [0, 6, 6 + second + 1]
    for key, event in found:
        version, generation, offset, hashed = key.split(".")
        assert version == "t1" and len(generation) == 24 and len(hashed) == 16
        assert int(offset, 16) == event["log.offset"]
        assert event["log.file.path"] == str(logs / "a.log")
        assert event["host.name"]
        assert "log.flags" not in event, f"nothing was repaired: {event}"
    stamps = [message.timestamp()[1] for message in kafka.records(topic)]
    assert all(abs(stamp / 1000 - time.time()) < 120 for stamp in stamps), \
        "the record's time is the time it was produced"


def test_records_of_one_file_keep_their_order(kafka, topic, logs, seed, make_agent):
    generate(logs / "a.log", 20_000, seed)
    make_agent(kafka.servers, topic, [{"name": "logs", "paths": [str(logs / "*.log")]}]).once()
    partitions = set()
    before = -1
    for message in kafka.records(topic):
        partitions.add(message.partition())
        offset = json.loads(message.value())["log.offset"]
        assert offset > before, f"offset {offset} came after {before}"
        before = offset
    assert len(partitions) == 1, "a file goes to one partition"


def test_start_at_end_skips_only_what_was_there_at_the_first_start(kafka, topic, logs, make_agent):
    append(logs / "old.log", b"old 1", b"old 2")
    agent = make_agent(kafka.servers, topic, [
        {"name": "logs", "paths": [str(logs / "*.log")], "start_at": "end"}])
    agent.start(wait="ready")
    append(logs / "old.log", b"old 3")
    append(logs / "new.log", b"new 1", b"new 2")
    assert messages(arrive(kafka, topic, 3, agent)) == ["new 1", "new 2", "old 3"]
    agent.stop()
    append(logs / "old.log", b"old 4")
    append(logs / "later.log", b"later 1")
    agent.start(wait="ready")
    assert messages(arrive(kafka, topic, 5, agent)) == [
        "later 1", "new 1", "new 2", "old 3", "old 4"]
    agent.stop()
    assert kafka.total(topic) == 5


def test_ignore_older_leaves_old_files_alone_until_they_are_written(kafka, topic, logs,
                                                                    make_agent):
    append(logs / "old.log", b"old 1")
    append(logs / "new.log", b"new 1")
    day_ago = time.time() - 86400
    os.utime(logs / "old.log", (day_ago, day_ago))
    agent = make_agent(kafka.servers, topic, [
        {"name": "logs", "paths": [str(logs / "*.log")], "ignore_older": "1h"}])
    agent.start(wait="ready")
    assert messages(arrive(kafka, topic, 1, agent)) == ["new 1"]
    stays("the old file is not read", lambda: kafka.total(topic) == 1, 1)
    append(logs / "old.log", b"old 2")
    assert messages(arrive(kafka, topic, 3, agent)) == ["new 1", "old 1", "old 2"]
    agent.stop()


def test_exclude_and_double_star(kafka, topic, logs, make_agent):
    deep = logs / "one/two/three"
    deep.mkdir(parents=True)
    for place, name in ((logs, "top.log"), (deep, "deep.log"), (deep, "deep.log.gz"),
                        (deep.parent, "mid.log"), (logs, "other.txt"), (deep, "debug.log")):
        append(place / name, name.encode())
    agent = make_agent(kafka.servers, topic, [
        {"name": "logs", "paths": [f"{logs}/**/*.log*"],
         "exclude": ["*.gz", f"{logs}/**/debug.log"]}])
    agent.start(wait="ready")
    assert sorted(messages(arrive(kafka, topic, 3, agent))) == ["deep.log", "mid.log", "top.log"]
    # A directory that is made later is watched too.
    late = logs / "late/er"
    late.mkdir(parents=True)
    append(late / "late.log", b"late.log")
    assert "late.log" in messages(arrive(kafka, topic, 4, agent))
    agent.stop()
    assert kafka.total(topic) == 4


def test_a_file_that_two_inputs_match_is_read_once(kafka, topic, logs, make_agent):
    append(logs / "a.log", b"only once")
    agent = make_agent(kafka.servers, topic, [
        {"name": "first", "paths": [str(logs / "*.log")]},
        {"name": "second", "paths": [str(logs / "a.*")]}])
    agent.once()
    assert messages(read(kafka, topic)) == ["only once"]


def test_two_paths_of_one_inode_are_read_once(kafka, topic, logs, make_agent):
    append(logs / "a.log", b"only once")
    os.link(logs / "a.log", logs / "b.log")
    os.symlink(logs / "a.log", logs / "c.log")
    make_agent(kafka.servers, topic, [{"name": "logs", "paths": [str(logs / "*.log")]}]).once()
    assert messages(read(kafka, topic)) == ["only once"]


def test_a_rate_limit_waits_and_loses_nothing(kafka, topic, logs, seed, make_agent):
    generate(logs / "a.log", 3000, seed)
    size = (logs / "a.log").stat().st_size
    agent = make_agent(kafka.servers, topic, [
        {"name": "logs", "paths": [str(logs / "*.log")], "rate_limit": f"{size // 4}"}])
    begun = time.monotonic()
    agent.start()
    arrive(kafka, topic, 3000, agent)
    took = time.monotonic() - begun
    agent.stop()
    assert took > 1.5, f"a quarter of the file a second was allowed, all came in {took:.1f} s"
    Tally(expected_by_place(logs.glob("*.log")), place_key, topic).add_all(
        kafka.events(topic)).check(seed)


def test_a_line_of_five_megabytes_comes_in_parts_that_hold_every_byte(kafka, topic, logs,
                                                                      make_agent):
    long = b"".join(b"%08d \"\\\t " % number + "ä日".encode() for number in range(300_000))
    assert len(long) > 5_000_000
    append(logs / "a.log", b"before", long, b"after")
    make_agent(kafka.servers, topic, [{"name": "logs", "paths": [str(logs / "*.log")]}]).once()
    events = read(kafka, topic)
    assert events[0]["message"] == "before" and events[-1]["message"] == "after"
    parts = events[1:-1]
    assert len(parts) >= 5
    assert all(event["log.flags"] == ["part"] for event in parts), "each part is flagged"
    assert "".join(messages(parts)).encode() == long, "the parts must be the line"
    offset = 7
    for event in parts:
        assert event["log.offset"] == offset, "a part's offset is that of its first byte"
        offset += len(event["message"].encode())
    assert all(len(message.value()) < 1_000_000 for message in kafka.records(topic)), \
        "each part fits into an ordinary record"


def test_a_long_line_that_is_still_being_written_is_the_same_parts(kafka, topic, logs, make_agent):
    """The cut depends on the bytes alone: written at once or in pieces, the parts are equal."""
    block = b"0123456789abcdef" * 4096
    with open(logs / "whole.log", "wb") as out:
        out.write(block * 40 + b"\n")
    agent = make_agent(kafka.servers, topic, [{"name": "logs", "paths": [str(logs / "*.log")]}])
    agent.start(wait="ready")
    with open(logs / "slow.log", "wb", buffering=0) as out:
        for _ in range(40):
            out.write(block)
            time.sleep(0.02)    # the agent is to see it grow
        out.write(b"\n")
    whole = lambda name: [event["log.offset"] for event in read(kafka, topic)  # noqa: E731
                          if event["log.file.path"].endswith(name)]
    wait_for("both lines", lambda: sum(
        len(event["message"]) for event in read(kafka, topic)) == 2 * 40 * len(block), 30)
    agent.stop()
    assert whole("slow.log") == whole("whole.log")


def test_bytes_that_are_no_utf8_are_repaired_and_flagged(kafka, topic, logs, make_agent):
    lines = [b"x" * 2000, b"caf\xe9 au lait", b"\xff\xfe\x00 bom", b"cut \xe6\x97",
             b"nul \x00 byte", b"surrogate \xed\xa0\x80", b"overlong \xc0\xaf", "fine ü".encode(),
             b"high \xf4\x90\x80\x80 end", b"cr at the end\r"]
    append(logs / "a.log", *lines)
    make_agent(kafka.servers, topic, [{"name": "logs", "paths": [str(logs / "*.log")]}]).once()
    events = read(kafka, topic)
    assert messages(events) == [message_of(line) for line in lines]
    for line, event in zip(lines, events):
        flagged = event.get("log.flags", [])
        broken = "\ufffd" in message_of(line)
        assert flagged == (["invalid_utf8"] if broken else []), (line, event)


def test_a_binary_file_is_refused_with_a_warning_and_a_count(kafka, topic, logs, make_agent):
    (logs / "data.log").write_bytes(b"\0\1\2\3" * 1000 + b"\n")
    append(logs / "text.log", b"text")
    agent = make_agent(kafka.servers, topic, [{"name": "logs", "paths": [str(logs / "*.log")]}])
    agent.start(wait="ready")
    assert messages(arrive(kafka, topic, 1, agent)) == ["text"]
    agent.wait_metric("tailrace_agent_refused_files_total", 1, input="logs")
    assert agent.logged("binary") and agent.logged("data.log"), agent.tail()
    agent.stop()
    assert kafka.total(topic) == 1


def test_empty_lines_are_skipped_and_counted(kafka, topic, logs, make_agent):
    append(logs / "a.log", b"", b"one", b"", b"", b"two", b"")
    append(logs / "empty.log", b"", b"", b"")
    agent = make_agent(kafka.servers, topic, [{"name": "logs", "paths": [str(logs / "*.log")]}])
    agent.start(wait="ready")
    assert messages(arrive(kafka, topic, 2, agent)) == ["one", "two"]
    agent.wait_metric("tailrace_agent_skipped_lines_total", 7, input="logs")
    assert agent.metric("tailrace_agent_skipped_lines_total") == 7
    wait_for("no lag, although some lines became no event",
             lambda: agent.metric("tailrace_agent_lag_bytes", input="logs") == 0)
    agent.stop()
    agent.start(wait="ready")
    append(logs / "empty.log", b"three")
    assert messages(arrive(kafka, topic, 3, agent)) == ["one", "two", "three"]
    assert agent.metric("tailrace_agent_skipped_lines_total") == 0, \
        "skipped lines are finished: they are not read again"
    agent.stop()


def test_fixed_fields_and_a_topic_of_its_own(kafka, topic, logs, make_agent):
    own = kafka.topic("own")
    append(logs / "a.log", b"default")
    append(logs / "b.log", b"special")
    agent = make_agent(kafka.servers, topic, [
        {"name": "a", "paths": [str(logs / "a.log")]},
        {"name": "b", "paths": [str(logs / "b.log")], "topic": own,
         "fields": {"service.name": "shop \"x\"", "tier": 5, "version": "5", "beta": True}}])
    agent.once()
    assert messages(read(kafka, topic)) == ["default"]
    assert "service.name" not in read(kafka, topic)[0]
    event = read(kafka, own)[0]
    assert event["message"] == "special"
    assert event["service.name"] == "shop \"x\""
    assert event["tier"] == 5 and event["version"] == "5" and event["beta"] is True, event


def test_lines_come_while_the_file_grows_and_partial_lines_wait(kafka, topic, logs, make_agent):
    agent = make_agent(kafka.servers, topic, [{"name": "logs", "paths": [str(logs / "*.log")]}])
    agent.start(wait="ready")
    with open(logs / "a.log", "ab", buffering=0) as out:
        out.write(b"one\ntw")
        assert messages(arrive(kafka, topic, 1, agent)) == ["one"]
        stays("half a line is no event", lambda: kafka.total(topic) == 1, 0.5)
        out.write(b"o\nthree")
        assert messages(arrive(kafka, topic, 2, agent)) == ["one", "two"]
        out.write(b"\n")
        assert messages(arrive(kafka, topic, 3, agent)) == ["one", "two", "three"]
    agent.stop()


def test_once_ships_an_unterminated_last_line_and_ends_with_zero(kafka, topic, logs, make_agent):
    (logs / "a.log").write_bytes(b"one\nlast without newline")
    agent = make_agent(kafka.servers, topic, [{"name": "logs", "paths": [str(logs / "*.log")]}])
    agent.once()
    assert messages(read(kafka, topic)) == ["one", "last without newline"]
    agent.once()
    assert kafka.total(topic) == 2, "a second run has nothing to do"
    with open(logs / "a.log", "ab") as out:
        out.write(b" and more\nthird\n")
    agent.once()
    assert messages(read(kafka, topic)) == ["one", "last without newline", " and more", "third"]


def test_many_small_files(kafka, topic, logs, seed, make_agent):
    for number in range(1000):
        append(logs / f"{number}.log", b"%d 0 0 first" % number)
    agent = make_agent(kafka.servers, topic, [{"name": "logs", "paths": [str(logs / "*.log")]}])
    agent.start(wait="ready")
    arrive(kafka, topic, 1000, agent)
    for number in range(1000):
        append(logs / f"{number}.log", b"%d 0 1 second" % number)
    arrive(kafka, topic, 2000, agent)
    assert agent.metric("tailrace_agent_files", input="logs") == 1000
    agent.stop()
    expected = expected_by_place(logs.glob("*.log"))
    Tally(expected, place_key, topic).add_all(kafka.events(topic)).check(seed)


# Rotation


def test_rename_while_the_agent_is_down(kafka, topic, logs, seed, make_agent):
    generate(logs / "a.log", 500, seed, "a")
    agent = make_agent(kafka.servers, topic, [{"name": "logs", "paths": [str(logs / "a.log*")]}])
    agent.start(wait="ready")
    arrive(kafka, topic, 500, agent)
    agent.stop()
    generate(logs / "a.log", 300, seed, "a", first=500)
    os.rename(logs / "a.log", logs / "a.log.1")
    generate(logs / "a.log", 200, seed, "a", first=800)
    agent.start(wait="ready")
    arrive(kafka, topic, 1000, agent)
    agent.stop()
    Tally(expected_numbered(logs), where=topic).add_all(kafka.events(topic)).check(seed)


def test_rename_out_of_the_glob_while_the_agent_is_down(kafka, topic, logs, seed, make_agent):
    """The rotated file is found among its siblings and finished there."""
    generate(logs / "a.log", 500, seed, "a")
    agent = make_agent(kafka.servers, topic, [{"name": "logs", "paths": [str(logs / "a.log")]}])
    agent.start(wait="ready")
    arrive(kafka, topic, 500, agent)
    agent.stop()
    generate(logs / "a.log", 300, seed, "a", first=500)
    os.rename(logs / "a.log", logs / "a.log.1")
    generate(logs / "a.log", 200, seed, "a", first=800)
    agent.start(wait="ready")
    arrive(kafka, topic, 1000, agent)
    agent.stop()
    Tally(expected_numbered(logs), where=topic).add_all(kafka.events(topic)).check(seed)


def test_rename_while_the_agent_runs_and_the_writer_goes_on(kafka, topic, logs, seed, make_agent):
    """Out of the glob; the old file still grows after its rename."""
    agent = make_agent(kafka.servers, topic, [{"name": "logs", "paths": [str(logs / "a.log")]}])
    agent.start(wait="ready")
    count = 0
    for life in range(1, 4):
        generate(logs / "a.log", 200, seed, "a", first=count)
        arrive(kafka, topic, count + 200, agent)
        with open(logs / "a.log", "ab"):
            os.rename(logs / "a.log", logs / f"a.log.{life}")
            generate(logs / f"a.log.{life}", 50, seed, "a", first=count + 200)
            generate(logs / "a.log", 50, seed, "a", first=count + 250)
            count += 300
            arrive(kafka, topic, count, agent)
    agent.stop()
    Tally(expected_numbered(logs), where=topic).add_all(kafka.events(topic)).check(seed)


def test_a_truncated_file_is_read_from_its_start(kafka, topic, logs, seed, make_agent):
    generate(logs / "a.log", 500, seed, "a")
    agent = make_agent(kafka.servers, topic, [{"name": "logs", "paths": [str(logs / "a.log")]}])
    agent.start(wait="ready")
    arrive(kafka, topic, 500, agent)
    os.truncate(logs / "a.log", 0)
    append(logs / "a.log", b"after 1", b"after 2")
    events = arrive(kafka, topic, 502, agent)
    agent.stop()
    after = [event for event in events if event["message"].startswith("after")]
    assert [(event["log.offset"], event["message"]) for event in after] == [
        (0, "after 1"), (8, "after 2")]
    keys = {key.split(".")[1] for key, _ in kafka.events(topic)}
    assert len(keys) == 2, "the new life has a generation of its own"
    assert kafka.total(topic) == 502


def test_a_file_truncated_and_grown_again_while_the_agent_was_down(kafka, topic, logs, seed,
                                                                   make_agent):
    generate(logs / "a.log", 500, seed, "a")
    agent = make_agent(kafka.servers, topic, [{"name": "logs", "paths": [str(logs / "a.log")]}])
    agent.once()
    size = (logs / "a.log").stat().st_size
    os.truncate(logs / "a.log", 0)
    generate(logs / "a.log", 800, seed + 1, "b")
    assert (logs / "a.log").stat().st_size > size
    agent.once()
    assert kafka.total(topic) == 1300
    Tally(expected_numbered(logs), where=topic).add_all(
        pair for pair in kafka.events(topic) if pair[1]["message"].startswith("b ")).check(seed)


def test_a_deleted_file_is_read_to_its_end(kafka, topic, logs, seed, make_agent, folder):
    """The broker is away, the reader is behind, the file goes: what was in it still arrives."""
    generate(logs / "a.log", 60_000, seed, "a")
    generate(logs / "b.log", 60_000, seed, "b")
    expected = expected_numbered(logs)
    agent = make_agent(kafka.servers, topic, [{"name": "logs", "paths": [str(logs / "*.log")]}])
    kafka.stack.stop(kafka.name)
    agent.start()
    agent.wait_page("/readyz", 503, text="kafka")
    wait_for("both files to be known", lambda: agent.metric("tailrace_agent_files") == 2)
    os.unlink(logs / "a.log")
    wait_for("the deleted file to be held",
             lambda: agent.metric("tailrace_agent_held_deleted_bytes") > 0, 30,
             lambda: agent.tail())
    append(logs / "a.log", b"a 0001 00060000 0 new life")
    kafka.stack.start(kafka.name)
    arrive(kafka, topic, 120_001, agent, 90)
    wait_for("the deleted file to be released",
             lambda: agent.metric("tailrace_agent_held_deleted_bytes") == 0, 60)
    assert agent.metric("tailrace_agent_lost_bytes_total") == 0
    agent.stop()
    expected |= expected_numbered(logs)
    Tally(expected, where=topic).add_all(kafka.events(topic)).check(seed)
