# SPDX-License-Identifier: Apache-2.0
"""Knows every line that a test wrote, and counts every line that arrived.

Numbered lines: TAG LIFE SEQUENCE CHECKSUM PADDING. TAG names the log, LIFE counts its rotations,
SEQUENCE counts lines of the tag over all lives, CHECKSUM is CRC-32 of the other three and the
padding.
"""

import hashlib
import random
import zlib
from collections import defaultdict
from pathlib import Path
from typing import Any, Iterable, Iterator

SHOWN = 8        # examples in a report
WORDS = ("the agent reads bytes and the sink writes documents "
         "ünïcode 日志 \t\"quoted\" \\back").split(" ")


def numbered_line(tag: str, life: int, sequence: int, padding: str) -> bytes:
    checksum = zlib.crc32(f"{tag} {life} {sequence} {padding}".encode())
    return f"{tag} {life:04d} {sequence:08d} {checksum:08x} {padding}".encode()


def padding_for(chance: random.Random) -> str:
    return " ".join(chance.choices(WORDS, k=chance.randint(1, 24)))


def message_of(line: bytes) -> str:
    """What `message` must be for a raw line: the same bytes, ill-formed UTF-8 repaired."""
    return line.decode("utf-8", "replace")


def lines_of(path: Path) -> Iterator[tuple[int, bytes]]:
    """(offset, line) of each complete line that is not empty."""
    offset = 0
    with open(path, "rb") as file:
        for line in file:
            if line.endswith(b"\n") and len(line) > 1:
                yield offset, line[:-1]
            offset += len(line)


# The counter


def expected_numbered(folder: Path) -> dict[tuple[str, int], bytes]:
    """(tag, sequence) -> digest of the message, for every complete line of the folder."""
    expected: dict[tuple[str, int], bytes] = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            for _, line in lines_of(path):
                tag, _, sequence, _ = line.split(b" ", 3)
                key = (tag.decode(), int(sequence))
                assert key not in expected, f"the test wrote {key} twice, at last to {path}"
                expected[key] = digest(message_of(line))
    return expected


def numbered_key(source: dict[str, Any]) -> tuple[str, int]:
    tag, _, sequence, _ = source["message"].split(" ", 3)
    return tag, int(sequence)


def expected_by_place(paths: Iterable[Path]) -> dict[tuple[str, int], bytes]:
    """(path, offset) -> digest of the message, for logs that stay where they are."""
    return {(str(path), offset): digest(message_of(line))
            for path in paths for offset, line in lines_of(path)}


def place_key(source: dict[str, Any]) -> tuple[str, int]:
    return source["log.file.path"], source["log.offset"]


def digest(message: str) -> bytes:
    return hashlib.blake2b(message.encode("utf-8", "surrogatepass"), digest_size=8).digest()


class Tally:
    """Compares what arrived with what was written."""

    def __init__(self, expected: dict[Any, bytes], key=numbered_key, where: str = "the index"):
        self.expected = expected
        self.key = key
        self.where = where
        self.ids: dict[Any, str] = {}                 # line -> the id under which it was seen
        self.line_of: dict[str, Any] = {}             # id -> its line
        self.records = 0
        self.repeats = 0                              # equal ids with equal bytes: harmless
        self.wrong: list[str] = []

    def add(self, id: str, source: dict[str, Any]) -> None:
        self.records += 1
        try:
            key = self.key(source)
        except (ValueError, KeyError, TypeError) as error:
            return self._wrong(f"{id} holds no known line ({error}): {str(source)[:200]!r}")
        known = self.line_of.get(id)
        if known is not None:
            self.repeats += 1
            if known != (key, digest(source["message"])):
                self._wrong(f"id {id} has two contents: {known[0]} and {key}")
            return None
        self.line_of[id] = (key, digest(source["message"]))
        if key not in self.expected:
            return self._wrong(f"{id}: {key} was never written: {source['message'][:120]!r}")
        if digest(source["message"]) != self.expected[key]:
            self._wrong(f"{id}: the message of {key} differs from its line: "
                        f"{source['message'][:120]!r}")
        if key in self.ids:
            self._wrong(f"{key} came under two ids: {self.ids[key]} and {id}")
        self.ids[key] = id
        return None

    def add_all(self, found: Iterable[tuple[str, dict[str, Any]]]) -> "Tally":
        for id, source in found:
            self.add(id, source)
        return self

    def check(self, seed: Any = None) -> None:
        missing = [key for key in self.expected if key not in self.ids]
        if not missing and not self.wrong:
            return
        text = [f"{self.where}: {len(self.expected)} lines were written, {len(self.ids)} arrived, "
                f"{len(missing)} are missing, {len(self.wrong)} are wrong or double, "
                f"{self.repeats} harmless repeats (seed {seed})"]
        text += [f"  missing {each}" for each in ranges(missing)]
        text += [f"  {each}" for each in self.wrong[:SHOWN]]
        raise AssertionError("\n".join(text))

    def _wrong(self, text: str) -> None:
        self.wrong.append(text)


def ranges(keys: list[Any]) -> list[str]:
    """(log, 3), (log, 4), (log, 9) -> "log: 3-4, 9"."""
    by_log: dict[str, list[int]] = defaultdict(list)
    for log, number in keys:
        by_log[log].append(number)
    found = []
    for log, numbers in sorted(by_log.items()):
        runs: list[list[int]] = []
        for number in sorted(numbers):
            if runs and number == runs[-1][1] + 1:
                runs[-1][1] = number
            else:
                runs.append([number, number])
        shown = ", ".join(f"{a}-{b}" if a != b else f"{a}" for a, b in runs[:SHOWN * 3])
        found.append(f"{log} ({len(numbers)}): {shown}{', …' if len(runs) > SHOWN * 3 else ''}")
    return found
