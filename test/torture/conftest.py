# SPDX-License-Identifier: Apache-2.0
"""A seed, a folder and a broker for each test."""

import os
import random
import shutil
import tempfile
from pathlib import Path

import pytest

from torture import Broker


@pytest.fixture
def seed():
    value = int(os.environ.get("TAILRACE_SEED") or random.SystemRandom().randrange(1 << 31))
    print(f"seed {value}")
    return value


@pytest.fixture
def folder():
    path = Path(tempfile.mkdtemp(prefix="tailrace-torture-",
                                 dir=os.environ.get("TAILRACE_TEST_DIR")))
    yield path
    if not os.environ.get("TAILRACE_TORTURE_KEEP"):
        shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def broker(folder):
    found = Broker(folder / "broker")
    yield found
    found.end()
