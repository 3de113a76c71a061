# SPDX-License-Identifier: Apache-2.0
"""Log files to ship: real ones from the corpus and from test/fixtures/logs, generated ones."""

import os
import random
from pathlib import Path

from oracle import numbered_line, padding_for
from programs import REPO

FIXTURES = REPO / "test/fixtures/logs"


def corpus() -> list[Path]:
    """Real logs: our own fixtures, and the corpus folder where there is one."""
    folder = Path(os.environ.get("TAILRACE_CORPUS") or REPO.parent / "shared/corpus")
    found = sorted(FIXTURES.glob("*.log"))
    assert found, f"{FIXTURES} holds no logs"
    return found + sorted(folder.glob("*.log"))


def copy_head(source: Path, target: Path, lines: int) -> None:
    """The first lines of a file, as whole lines."""
    with open(source, "rb") as file, open(target, "wb") as out:
        for _, line in zip(range(lines), file):
            out.write(line)


def copy_rest(source: Path, target: Path) -> None:
    """What copy_head() left, appended; a last line without newline gets one."""
    rest = source.read_bytes()[target.stat().st_size:]
    with open(target, "ab") as out:
        out.write(rest if rest.endswith(b"\n") or not rest else rest + b"\n")


def generate(path: Path, lines: int, seed: int, tag: str = "gen", first: int = 0) -> None:
    """Appends numbered lines."""
    chance = random.Random(seed)
    paddings = [padding_for(chance) for _ in range(200)]
    with open(path, "ab") as out:
        for start in range(first, first + lines, 1000):
            out.write(b"".join(numbered_line(tag, 0, number, paddings[number % 200]) + b"\n"
                               for number in range(start, min(start + 1000, first + lines))))


def append(path: Path, *lines: bytes) -> None:
    """Whole lines, in one write."""
    with open(path, "ab") as out:
        out.write(b"".join(line + b"\n" for line in lines))
