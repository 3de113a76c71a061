#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Random operations on a folder with logs, the agent running, stopped or killed in between; then
every line that was owed must have arrived, each under one id, and each id on one day.

With the Python of the test environment:
    $(python3 test/stack/stack.py venv)/bin/python test/model/model.py --runs 1000
    ... model.py --seed 4711 --runs 1           the same operations again
    ... model.py --replay FILE                  a list that a failure printed, or a kept case

directory.py knows what is owed, rig.py runs one list. A failing list is shrunk: operations are
left out, chunks first, as long as it still fails; what remains is printed as a case for --replay.
"""

import argparse
import json
import random
import sys
import threading
import time
from pathlib import Path
from typing import Any, Callable

HERE = Path(__file__).resolve().parent
for place in (HERE, HERE.parent / "scenario", HERE.parent / "stack", HERE.parent / "torture"):
    if str(place) not in sys.path:
        sys.path.insert(0, str(place))

from rig import Finding, Rig, Run  # noqa: E402

LOGS = ["a.log", "a.log", "b.log", "link.log"]
FILES = LOGS[:3]        # those that may be renamed
WEIGHTS = {
    "append": 30, "partial": 4, "late": 5, "rotate": 10, "stamp": 4, "move_away": 2, "delete": 4,
    "delete_old": 2, "swap": 4, "truncate": 4, "rewrite": 2, "copytruncate": 6, "replace": 4,
    "gzip": 5, "power_cut": 2,
    "start": 12, "kill": 8, "stop": 5, "settle": 9, "look": 6, "rest": 1, "pause": 8,
    "away": 2, "back": 3, "midnight": 3, "set_back": 1}
DAYS = ("midnight", "set_back")
SHRINK_SECONDS = 150
SHRINK_TRIES = 3        # of one list: what fails may depend on the moment


def make_operation(chance: random.Random, kind: str) -> list[Any]:
    if kind == "append":
        count = chance.choice([1, 1, 3, 10, 10, 50, chance.choice([1, 1500])])
        return [kind, chance.choice(LOGS), count, chance.choice([1, 4, 30])]
    if kind == "late":
        return [kind, chance.choice(LOGS), chance.choice([1, 5])]
    if kind == "power_cut":
        return [kind, chance.choice(FILES), round(chance.random(), 2)]
    if kind in ("rotate", "stamp"):
        return [kind, chance.choice(FILES), chance.random() < 0.6]
    if kind == "pause":
        return [kind, chance.choice([3, 20, 60, 60, 150, 400])]
    if kind == "partial":
        return [kind, chance.choice(LOGS)]
    if kind in ("move_away", "delete", "delete_old", "truncate", "rewrite", "copytruncate",
                "replace", "gzip"):
        return [kind, chance.choice(FILES)]
    return [kind]


def make_plan(seed: int, without: list[str] = ()) -> dict[str, Any]:
    chance = random.Random(seed)
    # The files' times are the host's, while the agent's clock goes ahead. So in a plan with days
    # nothing is to be told from files' times: no file leaves the globs, and none is compressed.
    days = not set(DAYS) <= set(without) and chance.random() < 0.4
    left_out = {*without, *(("gzip",) if days else DAYS)}
    kinds = [kind for kind in WEIGHTS if kind not in left_out]
    weights = [WEIGHTS[kind] for kind in kinds]
    operations = [make_operation(chance, chance.choices(kinds, weights)[0])
                  for _ in range(chance.choice([6, 12, 20, 30]))]
    banner = "banner" not in without and chance.random() < 0.3
    return {"seed": seed, "all_names": days or chance.random() < 0.5, "banner": banner,
            "again": chance.random() < 0.3, "operations": operations}


def failure_of(rig: Rig, plan: dict[str, Any]) -> str | None:
    try:
        Run(rig, plan).run()
    except Finding as finding:
        return str(finding)
    return None


def shrink(rig: Rig, plan: dict[str, Any], text: str,
           say: Callable[[str], None]) -> tuple[dict[str, Any], str]:
    """Leaves out what is not needed to fail: halves, quarters, …, single operations."""
    deadline = time.monotonic() + SHRINK_SECONDS
    tries = 1 if failure_of(rig, plan) else SHRINK_TRIES
    size = max(1, len(plan["operations"]) // 2)
    while size >= 1:
        start, removed = 0, False
        while start < len(plan["operations"]) and time.monotonic() < deadline:
            operations = plan["operations"]
            smaller = plan | {"operations": operations[:start] + operations[start + size:]}
            found = next(filter(None, (failure_of(rig, smaller) for _ in range(tries))), None)
            if found is None:
                start += size
            else:
                plan, text, removed = smaller, found, True
        say(f"shrunk to {len(plan['operations'])} operations")
        if time.monotonic() > deadline or (size == 1 and not removed):
            break
        size = max(1, size // 2)
    return plan, text


def case_text(plan: dict[str, Any]) -> str:
    head = json.dumps({key: value for key, value in plan.items() if key != "operations"})
    return "\n".join([head, *(json.dumps(each) for each in plan["operations"])])


def read_case(path: Path) -> dict[str, Any]:
    """The first line holds the plan's flags, each other one an operation; # is a comment."""
    lines = [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
    return json.loads(lines[0]) | {"operations": [json.loads(line) for line in lines[1:]]}


class Campaign:
    """Many runs, by several workers with a broker each."""

    def __init__(self, seed: int, runs: int, seconds: float, workers: int, without: list[str],
                 findings_max: int, say: Callable[[str], None] = print):
        self.seed, self.runs, self.without, self.say = seed, runs, without, say
        self.workers, self.findings_max = workers, findings_max
        self.deadline = time.monotonic() + seconds if seconds else None
        self.begun = 0
        self.findings: list[str] = []
        self.errors: list[BaseException] = []
        self.lock = threading.Lock()

    def next_seed(self) -> int | None:
        with self.lock:
            late = self.deadline is not None and time.monotonic() > self.deadline
            if late or self.begun >= self.runs or self.errors or \
                    len(self.findings) >= self.findings_max:
                return None
            self.begun += 1
            return self.seed + self.begun - 1

    def work(self) -> None:
        rig = Rig()
        try:
            while (seed := self.next_seed()) is not None:
                plan = make_plan(seed, self.without)
                text = failure_of(rig, plan)
                if text is not None:
                    self.say(f"seed {seed} fails: {text}\n--- as it was:\n{case_text(plan)}")
                    plan, text = shrink(rig, plan, text, self.say)
                    self.findings.append(
                        f"seed {seed}: {text}\n--- the case, for model.py --replay:\n"
                        f"{case_text(plan)}\n---")
        except BaseException as error:
            self.errors.append(error)
        finally:
            rig.close()

    def run(self) -> None:
        threads = [threading.Thread(target=self.work) for _ in range(self.workers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if self.errors:
            raise self.errors[0]


def replay(path: Path, times: int) -> int:
    plan = read_case(path)
    rig = Rig()
    failed = 0
    try:
        for _ in range(times):
            text = failure_of(rig, plan)
            failed += text is not None
            print(text or "fine", flush=True)
    finally:
        rig.close()
    print(f"{failed} of {times} failed")
    return 1 if failed else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=0, help="begin no run after this time")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--without", default="", help="kinds of operations, by comma")
    parser.add_argument("--findings", type=int, default=1, help="stop after so many")
    parser.add_argument("--replay", type=Path, metavar="FILE")
    parser.add_argument("--times", type=int, default=1, help="of --replay")
    options = parser.parse_args()
    if options.replay:
        return replay(options.replay, options.times)
    print(f"seed {options.seed}", flush=True)
    begun = time.monotonic()
    campaign = Campaign(options.seed, options.runs, options.seconds, options.workers,
                        [each for each in options.without.split(",") if each], options.findings,
                        lambda text: print(text, flush=True))
    campaign.run()
    for each in campaign.findings:
        print(each)
    print(f"{campaign.begun} runs from seed {options.seed}, {len(campaign.findings)} findings, "
          f"{time.monotonic() - begun:.0f} s")
    return 1 if campaign.findings else 0


if __name__ == "__main__":
    sys.exit(main())
