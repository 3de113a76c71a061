# SPDX-License-Identifier: Apache-2.0
"""A short walk of the model of the directory (test/model): the same every time, then a new one."""

import os
import sys
from pathlib import Path

import pytest

MODEL = Path(__file__).resolve().parent.parent / "model"
sys.path.insert(0, str(MODEL))

from model import Campaign, read_case  # noqa: E402
from rig import Rig, Run  # noqa: E402

SECONDS = float(os.environ.get("TAILRACE_MODEL_SECONDS") or 10)
CASES = sorted((MODEL / "cases").glob("*.case"))


@pytest.mark.parametrize("walk", ["known", "new"])
def test_no_line_is_lost_or_doubled_by_random_operations(walk, seed):
    campaign = Campaign(4711 if walk == "known" else seed, runs=1_000_000, seconds=SECONDS,
                        workers=2, without=[], findings_max=1)
    campaign.run()
    assert not campaign.findings, campaign.findings[0]
    assert campaign.begun > 2


@pytest.fixture(scope="module")
def rig():
    rig = Rig()
    yield rig
    rig.close()


@pytest.mark.parametrize("case", CASES, ids=[case.stem for case in CASES])
def test_what_once_failed(rig, case):
    Run(rig, read_case(case)).run()
