# SPDX-License-Identifier: Apache-2.0
"""Each call that can fail does, one at a time: the agent ends with a word or goes on, and after a
run without faults every line arrived under one id."""

import random
from concurrent.futures import ThreadPoolExecutor

import pytest

from torture import IO, ROUNDS, SAMPLES, World, check_all, check_end, numbers, rounds

AT_ONCE = 4     # most of the time is waiting


@pytest.mark.parametrize("faults", ["malloc", IO], ids=["malloc", "io"])
def test_the_nth_call_fails_at_a_first_start(folder, broker, seed, faults):
    world = World(folder / "count", broker, "count")
    world.write()
    total = world.once(faults, AT=10**9).calls
    assert total > 30, f"only {total} calls of {faults} were seen: does the library work?"

    def fail(number):
        world = World(folder / f"first{number}", broker, f"first{number}")
        world.write()
        check_end(world.once(faults, AT=number, SEED=seed), f"{faults} {number}, seed {seed}")
        done = world.once()
        assert done.code == 0, f"after {faults} {number}, seed {seed}: {done.text}"

    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(fail, numbers(total, SAMPLES, random.Random(seed))))
    check_all(folder, broker, seed)


@pytest.mark.parametrize("faults", ["malloc", IO], ids=["malloc", "io"])
def test_the_nth_call_fails_in_a_long_life(folder, broker, seed, faults):
    def live(index):
        world = World(folder / f"life{index}", broker, f"life{index}")
        world.write()
        world.once()
        world.write()
        total = world.once(faults, AT=10**9).calls
        for number in numbers(total, SAMPLES, random.Random(seed))[index::AT_ONCE]:
            world.write()
            check_end(world.once(faults, AT=number, SEED=seed), f"{faults} {number}, seed {seed}")
        done = world.once()
        assert done.code == 0, f"seed {seed}: {done.text}"

    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(live, range(AT_ONCE)))
    check_all(folder, broker, seed)


@pytest.mark.parametrize("faults", ["malloc", IO], ids=["malloc", "io"])
def test_calls_fail_now_and_then_while_it_runs_and_dies(folder, broker, seed, faults):
    def live(index):
        world = World(folder / f"run{index}", broker, f"run{index}")
        world.write()
        world.once()
        rounds(world, ROUNDS, faults, 20000, seed + 1000 * index)
        done = world.once()
        assert done.code == 0, f"seed {seed}: {done.text}"

    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(live, range(AT_ONCE)))
    check_all(folder, broker, seed)
