# SPDX-License-Identifier: Apache-2.0
"""Fixtures: the real servers, once per run; folders and processes, once per test.

A test's folder (configurations, logs, state) is removed when the test passes and named when it
fails. Servers that a run started are stopped at its end unless TAILRACE_STACK_KEEP is set.
"""

import os
import random
import re
import shutil
import sys
import tempfile
from pathlib import Path

import pytest

# With `pytest -n 2` the second worker has servers of its own, in the next folder and 1500 ports on.
WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
if WORKER > 0:
    os.environ["TAILRACE_STACK_DIR"] = \
        f"{os.environ.get('TAILRACE_STACK_DIR') or '/tmp/tailrace-stack'}-{WORKER}"
    os.environ["TAILRACE_STACK_PORT_BASE"] = \
        str(int(os.environ.get("TAILRACE_STACK_PORT_BASE") or 21000) + 1500 * WORKER)

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "stack"), str(HERE.parent / "chaos")]

from kafka_told import Watch  # noqa: E402
from products import PRODUCTS, url_of  # noqa: E402
from programs import Agent, Program, Sink  # noqa: E402
from servers import Broker, Index  # noqa: E402
from stack import SERVICES, Stack, http  # noqa: E402


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    if report.failed:
        item.has_failed = True


@pytest.fixture(scope="session")
def stack():
    stack = Stack()
    before = {name for name in SERVICES if stack.running(name)}
    yield stack
    for name in SERVICES:
        if name not in before and not os.environ.get("TAILRACE_STACK_KEEP"):
            stack.stop(name)


@pytest.fixture
def folder(request):
    base = os.environ.get("TAILRACE_TEST_DIR") or tempfile.gettempdir()
    Path(base).mkdir(parents=True, exist_ok=True)
    # No brackets in it: inputs name it in globs.
    name = re.sub("[^A-Za-z0-9]+", "_", request.node.name)[:40]
    path = Path(tempfile.mkdtemp(prefix=f"tailrace-{name}-", dir=base))
    yield path
    if getattr(request.node, "has_failed", False):
        print(f"\nconfigurations, logs and state are kept in {path}", file=sys.stderr)
    else:
        shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def logs(folder):
    """A folder for the files that an agent tails."""
    path = folder / "logs"
    path.mkdir()
    return path


@pytest.fixture
def topic(kafka):
    """A topic of its own for one test, on the single broker."""
    return kafka.topic("agent")


@pytest.fixture
def seed():
    """Printed by a failing test; TAILRACE_SEED repeats a run."""
    value = int(os.environ.get("TAILRACE_SEED") or random.SystemRandom().randrange(1 << 32))
    print(f"seed {value}")
    return value


@pytest.fixture
def kafka(stack):
    """One Kafka 4 broker."""
    stack.start("kafka")
    return Broker(stack, "kafka")


@pytest.fixture
def kafka3(stack):
    """Kafka 4 of three nodes, replication 3, two in sync."""
    stack.start("kafka3")
    return Broker(stack, "kafka3")


@pytest.fixture
def broker(request, stack):
    """The single broker that kafka_told.on() names."""
    stack.start(request.param)
    return Broker(stack, request.param)


@pytest.fixture
def watch(folder):
    """Makes exporters of a cluster."""
    made = []

    def make(broker, **options):
        made.append(Watch(folder / f"exporter{len(made)}", broker, **options))
        return made[-1]

    yield make
    for each in made:
        each.program.end()


@pytest.fixture
def opensearch(stack):
    """The URL of an OpenSearch with ordinary limits."""
    return stack.start("opensearch", settings={})


@pytest.fixture
def index(opensearch):
    """A fresh index name on OpenSearch; the index is dropped at the end."""
    found = Index.fresh(opensearch, "docs")
    yield found
    drop(found)


@pytest.fixture(scope="module", params=PRODUCTS)
def search(request):
    """The name of a search server, one after the other; see products.py."""
    return request.param


@pytest.fixture
def product(stack, search):
    """A fresh index on that server, which has ordinary limits; its template goes with it."""
    found = Index.fresh(url_of(stack, search), "docs")
    yield found
    drop(found)


@pytest.fixture
def two_products(product):
    """The same and a second one beside it."""
    second = Index.fresh(product.url, "beside")
    yield product, second
    drop(second)


@pytest.fixture
def two_indices(opensearch):
    found = [Index.fresh(opensearch, label) for label in ("left", "right")]
    yield found
    for each in found:
        drop(each)


def drop(index):
    try:
        index.drop()
        http("DELETE", f"{index.url}/_index_template/tailrace-{index.name}")
    except OSError:
        pass    # the server is away; the next fresh one forgets it


@pytest.fixture
def programs():
    """Collects processes, so that none is left behind."""
    started: list[Program] = []
    yield started
    for each in started:
        each.end()


@pytest.fixture
def make_agent(folder, programs):
    def make(servers, topic, files, **more) -> Agent:
        agent = Agent(folder, servers, topic, files, **more)
        programs.append(agent)
        return agent
    return make


@pytest.fixture
def make_sink(folder, programs):
    def make(servers, group, routes, url, **more) -> Sink:
        sink = Sink(folder, servers, group, routes, url, **more)
        programs.append(sink)
        return sink
    return make
