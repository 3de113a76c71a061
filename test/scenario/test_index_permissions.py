# SPDX-License-Identifier: Apache-2.0
"""A real index with users and roles: what the sink's user may not do stops the route that needs it,
for as long as nobody changes it, and a password that is wrong stops all."""

import crypt
import json

import pytest

from identity import Watch
from products import LONG
from servers import Index, event_key, event_value
from wait import wait_for

pytestmark = pytest.mark.skipif(not LONG, reason="another server: with TAILRACE_SEARCH=all")

RECORDS = 500
# What nobody may without a login, everybody may as well: so it must not be writing.
ROLES = """\
onlooker:
  cluster: ["monitor"]
  indices:
    - names: ["*"]
      privileges: ["read", "view_index_metadata", "maintenance", "delete_index"]
writer:
  indices:
    - names: [{names}]
      privileges: ["create_doc", "create_index"]
"""
SETTINGS = {"xpack.security.enabled": True, "xpack.security.authc.anonymous.username": "onlooker",
            "xpack.security.authc.anonymous.roles": "onlooker"}


@pytest.fixture
def guarded(stack):
    """Who does not log in may look; `writer` may write to what allow() names."""
    config = stack.node_dir("elasticsearch7") / "config"
    config.mkdir(parents=True, exist_ok=True)
    secret = crypt.crypt("right", "$2a$10$abcdefghijklmnopqrstuu")
    (config / "users").write_text(f"writer:{secret}\n")
    (config / "users_roles").write_text("writer:writer\n")

    def allow(*names: str) -> None:
        (config / "roles.yml").write_text(ROLES.format(names=json.dumps(names)[1:-1]))

    allow("nothing")
    yield stack.start("elasticsearch7", settings=SETTINGS), allow
    stack.start("elasticsearch7", settings={})


def test_what_the_user_may_not_do_stops_its_route_until_somebody_allows_it(
        guarded, kafka, make_sink, folder):
    url, allow = guarded
    open_index, closed_index = Index.fresh(url, "allowed"), Index.fresh(url, "denied")
    topics = [kafka.topic(label, 2, dead_letters=True) for label in ("allowed", "denied")]
    sent = [(event_key(number), event_value(f"n {number}")) for number in range(RECORDS)]
    for topic in topics:
        kafka.produce(topic, sent)
    allow(open_index.name)
    password = folder / "password"
    password.write_text("wrong\n")
    sink = make_sink(kafka.servers, f"group-{topics[0]}", [
        {"topic": topics[0], "index": open_index.name},
        {"topic": topics[1], "index": closed_index.name}], url,
        elasticsearch={"urls": [url], "template": False, "username": "writer",
                       "password_file": str(password)})
    sink.start()
    reason = sink.wait_page("/readyz", 503, text="authenticate")
    assert "writer" in reason, reason
    assert sink.finished("dead_lettered") == 0
    sink.stop()

    password.write_text("right\n")
    with Watch(sink):
        sink.start()
        wait_for("the route that may write", lambda: sink.finished("indexed", topics[0]) +
                 sink.finished("duplicate", topics[0]) == RECORDS, 90, lambda: sink.tail())
        sink.wait_metric("tailrace_sink_paused", 1, route=topics[1], reason="index")
        told = next(each for each in sink.status()["routes"] if each["topic"] == topics[1])
        assert "security_exception" in told["paused"] and "unauthorized" in told["paused"], told
        assert sink.finished("dead_lettered") == 0
        allow(open_index.name, closed_index.name)
        for topic in topics:
            kafka.wait_committed(f"group-{topics[0]}", topic, 120)
    sink.stop()
    assert open_index.count() == closed_index.count() == RECORDS
    for index in (open_index, closed_index):
        index.drop()
