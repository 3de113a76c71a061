# SPDX-License-Identifier: Apache-2.0
"""Each call that can fail does, one at a time or by chance, in the sink and in those libraries that
can tell: it ends with a word or goes on, and after a run without faults each record is in the store
once and each garbled one among the dead letters."""

import os
import random
from concurrent.futures import ThreadPoolExecutor

import pytest

from fake_index import FakeIndex
from programs import free_port
from sinks import SinkWorld, live, produce
from torture import IO, ROUNDS, SAMPLES, check_end, numbers

AT_ONCE = int(os.environ.get("TAILRACE_TORTURE_AT_ONCE", "16"))     # they wait for their groups
CASES = {"file-malloc": "malloc", "file-io": IO, "index-malloc": "malloc"}


@pytest.fixture
def fake():
    found = FakeIndex(free_port())
    yield found
    found.close()


def test_each_record_is_stored_once_whatever_call_fails(folder, broker, fake, seed):
    produce(broker)
    chance = random.Random(seed)

    def world(label):
        return SinkWorld(folder / label, broker, label, fake if "index" in label else None)

    def fail(case, number):
        """The nth call fails, then none does."""
        name = f"{case}-{number}"
        own = world(name)
        result = own.once(CASES[case], AT=number, SEED=seed)
        check_end(result, name)
        end(own, f"{name}: {result.faults}")

    def die(case, _):
        """Two in a hundred fail, again and again."""
        own = world(f"{case}-lives")
        live(own, max(2, ROUNDS - 1), CASES[case], 20000, seed)
        end(own, own.label)

    def end(own, what):
        done = own.once()
        assert done.code == 0, f"after {what}: {done.text}"
        own.check(1, what)

    def problem_of(task):
        try:
            task[0](*task[1:])
        except AssertionError as problem:
            return str(problem)
        return None

    with ThreadPoolExecutor(AT_ONCE) as pool:
        lives = [pool.submit(problem_of, (die, case, 0)) for case in CASES]
        total = dict(zip(CASES, pool.map(
            lambda case: world(f"{case}-0").once(CASES[case], AT=10**9).calls, CASES)))
        print(f"calls: {total}")
        assert min(total.values()) > 100, f"does the library work? It saw {total}"
        plan = [(fail, case, number) for case in CASES
                for number in numbers(total[case], SAMPLES // 2, chance)]
        problems = [*pool.map(problem_of, plan), *(each.result() for each in lives)]
    found = [each for each in problems if each]
    assert not found, f"{len(found)} of {len(problems)}, seed {seed}:\n" + "\n\n".join(found)
