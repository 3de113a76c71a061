# SPDX-License-Identifier: Apache-2.0
"""Lines without a time of their own, and midnight: sent again, whenever that is, an event comes on
the day on which it was sent first, and so into the same daily index. The agent's clock is not the
machine's (torture/faults.c)."""

import datetime
import json
import os
import random
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "torture"))

from embedded import EmbeddedBroker, read_topic     # noqa: E402
from identity import Watch  # noqa: E402
from inputs import append, generate  # noqa: E402
from oracle import Tally, expected_numbered  # noqa: E402
from servers import Index   # noqa: E402
from test_rotate import forget, indices     # noqa: E402
from torture import library, write_clock    # noqa: E402
from wait import wait_for   # noqa: E402

PARTITIONS = 8
DAY = 24 * 3600
NIGHTS = int(os.environ.get("TAILRACE_NIGHTS") or 2)


class Clock:
    """The agent's, which is ahead of the machine's or behind it."""

    def __init__(self, folder, error=0):
        self.path = folder / "clock"
        self.environment = {"LD_PRELOAD": str(library()), "FAULTS_CLOCK": str(self.path)}
        self.set(error)

    def set(self, error):
        self.error = error
        write_clock(self.path, error)

    def advance(self, seconds):
        self.set(self.error + seconds)

    def before_midnight(self, seconds):
        """Of the day that it is now."""
        self.advance(DAY - seconds - int(time.time() + self.error) % DAY)

    def day(self):
        now = datetime.datetime.fromtimestamp(time.time() + self.error, datetime.timezone.utc)
        return now.strftime("%Y-%m-%d")


class Mock(EmbeddedBroker):
    """It remembers on which days each event came."""

    def __init__(self):
        super().__init__(f"days:{PARTITIONS}")
        self.consumer = read_topic(self.servers, "days", PARTITIONS)
        self.events = []
        self.days = {}      # message -> days
        self.ids = {}       # message -> ids

    def end(self):
        super().end()
        self.consumer.close()

    def take(self):
        while more := self.consumer.consume(5000, 0.2):
            for each in more:
                if not each.error():
                    self.add(each.key().decode(), json.loads(each.value()))
        return len(self.days)

    def add(self, id, event):
        self.events.append((id, event))
        self.days.setdefault(event["message"], set()).add(event["@timestamp"][:10])
        self.ids.setdefault(event["message"], set()).add(id)

    def check(self):
        wrong = [text for text in self.days
                 if len(self.days[text]) > 1 or len(self.ids[text]) > 1]
        assert not wrong, [(each, self.days[each], self.ids[each]) for each in wrong[:5]]

    def day_of(self, text):
        self.check()
        return next(iter(self.days[text]))


@pytest.fixture
def mock():
    broker = Mock()
    yield broker
    broker.end()


@pytest.fixture
def clock(folder):
    return Clock(folder)


@pytest.fixture
def agent(mock, logs, make_agent):
    return make_agent(mock.servers, "days", [{"name": "a", "paths": [str(logs / "*.log*")],
                                              "exclude": ["*.gz"]}],
                      properties={"linger.ms": 2})


def lines(tag, count):
    return [f"{tag} {number}".encode() for number in range(count)]


def wait_lines(mock, agent, count):
    wait_for(f"{count} lines", lambda: mock.take() >= count, 30,
             lambda: f"{len(mock.days)} came{agent.tail()}")


def wait_read(agent, path):
    """Until all of it is read, whatever is acknowledged."""
    def read():
        found = [each for each in agent.status()["files"] if each["path"] == str(path)]
        return found and found[0]["read"] == path.stat().st_size
    wait_for("the file to be read", read, 20, agent.tail)


def wait_known(agent, path):
    """Until the disk knows that all of it is acknowledged."""
    def known():
        done = agent.run_verb("state", "show", "--json")
        return any(each["path"] == str(path) and each["committed"] == path.stat().st_size
                   for each in json.loads(done.stdout)["generations"])
    wait_for("the state on the disk", known, 20, agent.tail)


def test_what_was_under_way_at_a_kill_is_sent_again_on_its_old_day(agent, mock, logs, clock):
    path = logs / "a.log"
    clock.before_midnight(60)
    evening = clock.day()
    append(path, *lines("known", 50))
    agent.start(wait="ready", environment=clock.environment)
    wait_lines(mock, agent, 50)
    mock.freeze()
    append(path, *lines("under way", 50))
    wait_read(agent, path)
    agent.kill()
    clock.advance(3600)
    mock.thaw()
    append(path, *lines("while dead", 50))
    agent.start(wait="ready", environment=clock.environment)
    wait_lines(mock, agent, 150)
    append(path, *lines("new", 50))
    wait_lines(mock, agent, 200)
    agent.stop()
    mock.take()
    assert len(mock.events) > 200, "nothing was sent again: the test proves nothing"
    assert mock.day_of("known 49") == evening
    assert mock.day_of("under way 0") == mock.day_of("under way 49") == evening
    assert mock.day_of("while dead 0") == mock.day_of("while dead 49") == evening, \
        "nobody knows that it was not sent"
    assert mock.day_of("new 0") == mock.day_of("new 49") == clock.day() != evening
    times = {event["@timestamp"][11:] for _, event in mock.events
             if event["message"].startswith("while dead")}
    assert times == {"23:59:59.999Z"}
    shown = json.loads(agent.run_verb("state", "show", "--json").stdout)["generations"][0]
    size = sum(len(text) + 1 for text in lines("known", 50) + lines("under way", 50)
               + lines("while dead", 50))
    assert shown["days"] == [{"from": 0, "day": evening}, {"from": size, "day": clock.day()}]


@pytest.mark.parametrize("end", ["a stop in order", "a kill on a later day"])
def test_what_was_not_sent_for_certain_comes_on_the_day_of_its_reading(
        agent, mock, logs, clock, end):
    idle, busy = logs / "idle.log", logs / "busy.log"
    append(idle, b"first")
    agent.start(wait="ready", environment=clock.environment)
    wait_lines(mock, agent, 1)
    if end == "a stop in order":
        agent.stop()
        clock.advance(3 * DAY)
    else:
        wait_known(agent, idle)
        clock.advance(3 * DAY)
        append(busy, b"second")
        wait_lines(mock, agent, 2)
        wait_known(agent, busy)
        agent.kill()
    append(idle, b"last")
    agent.start(wait="ready", environment=clock.environment)
    wait_for("the last line", lambda: mock.take() and "last" in mock.days, 30, agent.tail)
    agent.stop()
    assert mock.day_of("last") == clock.day() != mock.day_of("first")


def test_midnight_in_the_middle_of_many_lines_splits_them_once(agent, mock, logs, clock, seed):
    chance = random.Random(seed)
    clock.before_midnight(3)
    agent.config["files"][0]["rate_limit"] = "600KiB"
    days = {clock.day()}
    for part in range(6):
        generate(logs / f"{part % 3}.log", 3000, seed, tag=f"part{part}")
    agent.start(wait="ready", environment=clock.environment)
    for _ in range(6):
        time.sleep(0.3 + chance.random())
        mock.take()
        agent.kill()
        agent.start(environment=clock.environment)
    wait_for("midnight", lambda: clock.day() not in days)
    wait_lines(mock, agent, 18000)
    append(logs / "0.log", b"after midnight")   # the others may all have been before it
    wait_lines(mock, agent, 18001)
    agent.stop()
    mock.take()
    mock.check()
    assert len(mock.events) > 18001, "nothing was sent again"
    days.add(clock.day())
    assert {next(iter(each)) for each in mock.days.values()} == days
    assert mock.day_of("after midnight") == clock.day()


def test_clock_that_is_set_back_and_forth_gives_each_event_one_day(
        agent, mock, logs, clock, seed):
    chance = random.Random(seed)
    agent.start(wait="ready", environment=clock.environment)
    count = 0
    for number, jump in enumerate((30 * DAY, -30 * DAY, 2 * DAY, -1 * DAY, 5 * DAY, -5 * DAY)):
        wait_for("the clock to be followed", lambda: agent.log_path.read_text().count(
            "the wall clock was set") >= number, 20, agent.tail)
        append(logs / f"{number % 2}.log", *lines(f"round {number}", 100))
        count += 100
        if chance.random() < 0.5:
            wait_lines(mock, agent, count)
        agent.kill()
        agent.start(wait="ready", environment=clock.environment)
        wait_lines(mock, agent, count)
        append(logs / f"{number % 2}.log", b"now %d" % number)
        count += 1
        wait_lines(mock, agent, count)
        assert clock.day() in mock.days[f"now {number}"]
        clock.advance(jump)
    agent.stop()
    mock.take()
    mock.check()


# With real servers


@pytest.fixture
def daily(opensearch):
    found = Index.fresh(opensearch, "midnight")
    yield found
    forget(found)


def test_every_line_is_once_in_the_daily_indices_whatever_is_killed_around_midnight(
        kafka, daily, folder, logs, make_agent, make_sink, seed):
    chance = random.Random(seed)
    clock = Clock(folder, -3 * DAY)     # what an index does not want is far in the future
    topic = kafka.topic("midnight", 3, dead_letters=True)
    route = {"topic": topic, "index": daily.name, "rotate": "daily"}
    agent = make_agent(kafka.servers, topic, [{"name": "a", "paths": [str(logs / "*.log*")]}])
    sink = make_sink(kafka.servers, f"group-{topic}", [route], daily.url)
    days, written = set(), {tag: 0 for tag in ("one", "two", "three")}

    def write():
        tag = chance.choice(list(written))
        path, count = logs / f"{tag}.log", chance.randint(1, 300)
        generate(path, count, seed, tag, written[tag])
        written[tag] += count
        if chance.random() < 0.3:
            path.rename(logs / f"{tag}.log.{written[tag]}")

    def kill(program, **more):
        program.kill()
        program.start(wait="no", **more)
        program.wait_page("/healthz")

    def write_of_today():
        """What is written while nothing is in doubt is of its day: each day has an index."""
        def is_done():
            return agent.metric("tailrace_agent_lag_bytes") == 0 and len(
                {message.key() for message in kafka.records(topic)}) == sum(written.values())
        days.add(clock.day())
        wait_for("the agent to be done", is_done, 30, agent.tail)
        write()
        wait_for("the agent to be done", is_done, 30, agent.tail)

    agent.start(environment=clock.environment)
    sink.start()
    with Watch(sink, every=0.1) as watch:
        write_of_today()
        clock.before_midnight(2)
        for _ in range(NIGHTS):
            evening = clock.day()
            while clock.day() == evening or chance.random() < 0.5:
                days.add(clock.day())
                write()
                time.sleep(chance.random() * 1.5)   # it is killed at any moment of the work
                kill(agent, environment=clock.environment)
                write()
            kill(sink)
            write_of_today()
            clock.before_midnight(2)
        days.add(clock.day())
        # At least once it is killed when records are sent and not answered.
        kafka.stack.pause(kafka.name)
        write()
        time.sleep(0.5)
        agent.kill()
        kafka.stack.resume(kafka.name)
        agent.start(environment=clock.environment)
        total = sum(written.values())
        daily.wait_count(total, 90, sink.check_alive, lambda: agent.tail(6) + sink.tail(6))
        agent.stop()
        kafka.wait_committed(f"group-{topic}", topic)
    sink.stop()
    expected = expected_numbered(logs)
    on_topic = Tally(expected, where="the topic").add_all(kafka.events(topic))
    assert on_topic.repeats > 0, "nothing was sent again: the test proves nothing"
    indexed = Tally(expected, where="the indices").add_all(daily.documents())
    indexed.check(seed)
    assert indexed.repeats == 0, f"{indexed.repeats} lines are in two days' indices (seed {seed})"
    found = indices(daily)
    assert sum(found.values()) == total and len(found) > NIGHTS, found
    assert set(found) <= {f"{daily.name}-{day.replace('-', '.')}" for day in days}, found
    print(f"{watch.scrapes} scrapes, {on_topic.repeats} repeats, {found}")
