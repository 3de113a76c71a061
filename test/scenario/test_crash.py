# SPDX-License-Identifier: Apache-2.0
"""kill -9 of everything while lines are written and rotated: each line exactly once."""

import os

from crash import CrashRun, Plan


def number(name: str, default: int) -> int:
    return int(os.environ.get(f"TAILRACE_CRASH_{name}") or default)


def test_every_line_arrives_exactly_once_whatever_is_killed(stack, folder, seed):
    plan = Plan(agent=number("AGENT", 4), sink=number("SINK", 4), broker=number("BROKER", 1),
                index=number("INDEX", 1), rate=500, seed=seed)
    CrashRun(stack, plan, folder).run()
