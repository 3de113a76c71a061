# SPDX-License-Identifier: Apache-2.0
"""The model of a folder with logs: what writers, rotators and people do to files, and which lines
the agent owes for it.

A *body* is one life of content; it may move, be copied, compressed, deleted. Each line of a body
is a debt until it has arrived. What docs/guarantees.md says cannot be held becomes optional (it
may arrive or not); a copy of a file of which nothing is acknowledged yet cannot be told from
another file, so its lines may come twice. Every such rule stands here once, in a method named
excuse_*.
"""

import gzip
import os
import shutil
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from oracle import numbered_line

BANNER = b"".join(b"# this banner begins every file alike, line %03d %s\n" % (n, b"=" * 40)
                  for n in range(14))       # longer than the head by which files are known
HEAD_SIZE = 1024    # by which a file is known
KEPT = 6            # generations of a log that a rotation keeps


@dataclass
class Line:
    text: str
    owed: bool = True           # else it may arrive or not
    may_double: bool = False
    why: str = ""


@dataclass
class Body:
    log: str
    number: int                             # of the life: never given twice
    path: Path | None                       # None: deleted, or where the agent never looks
    lines: list[int] = field(default_factory=list)
    partial: str = ""                       # an unterminated last line
    seen: bool = False                      # this process of the agent has it
    known: bool = False                     # acknowledged by 64 bytes, as far as this process knows
    durable: bool = False                   # the same, in the agent's state on disk
    wanted: bool = True                     # its name matches the globs
    copied: bool = False                    # another inode carries it: content alone tells
    replaced: bool = False                  # so since an editor wrote it anew
    deleted: bool = False
    size: int = 0                           # bytes written
    shapes: list[int] = field(default_factory=list)     # of its lines
    spooled: int = 0                        # so many of its lines survive the agent's death
    before: "Body | None" = None            # the life that this inode carried before
    writer: Any = None


class Directory:
    """Operations are methods do_*; each does nothing where it makes no sense, so that any
    operation can be left out when a run is shrunk."""

    def __init__(self, folder: Path, run: str, all_names: bool, banner: bool):
        self.folder = folder / "logs"
        self.away = folder / "away"
        self.folder.mkdir(parents=True)
        self.away.mkdir()
        self.run = run
        self.all_names = all_names          # globs match rotated names, too
        self.banner = banner
        self.lines: list[Line] = []
        self.bodies: list[Body] = []        # all of them
        self.current: dict[str, Body] = {}  # what the log's own path leads to
        self.older: dict[str, list[Body]] = {}
        self.looked: set[str] = set()       # logs at whose path the agent met a file: durable
        self.looking: set[str] = set()      # the same, of this process alone
        self.generations: dict[str, Body | None] = {}
        self.fragments: dict[str, int] = {}     # of lines that were never completed
        self.agent_runs = False
        self.stopped = False        # in order, and not begun its work again since
        self.count = 0
        self.arrived: set[int] = set()

    def paths(self) -> list[str]:
        names = ["a.log", "b.log", "c.log", "link.log"]
        return [f"{self.folder}/{name}{'*' if self.all_names and name != 'link.log' else ''}"
                for name in names]

    # Debts

    def owed(self) -> list[int]:
        return [number for number, line in enumerate(self.lines)
                if line.owed and number not in self.arrived]

    def excuse_loss(self, body: Body, why: str, first: int = 0) -> None:
        for number in body.lines[first:]:
            if number not in self.arrived and self.lines[number].owed:
                self.lines[number].owed = False
                self.lines[number].why = why

    def excuse_double(self, body: Body, why: str) -> None:
        for number in body.lines:
            self.lines[number].may_double = True
            self.lines[number].why = self.lines[number].why or why

    def excuse_at_death(self, clean: bool) -> None:
        """The process is gone, and with it the descriptors of files that no path leads to."""
        self.stopped = clean or self.stopped
        if clean:
            self.looked |= self.looking
        for body in self.bodies:
            body.durable = body.durable or (clean and body.known)
            body.known = body.durable
            held = body.seen and body.deleted
            body.seen = False
            if body.path is None:
                body.spooled = len(body.lines) if clean and held else body.spooled
                self.excuse_loss(body, "no path led to it when the agent died", body.spooled)
                continue
            if not body.wanted and body.log not in self.looked:
                self.excuse_loss(body, "out of the globs before a first look that was kept")
            if body.copied:
                self.excuse_copy(body)
        self.looking = set()
        self.generations.clear()    # those that were not on disk are not known to the next one

    def excuse_unseen(self, body: Body, what: str) -> None:
        """No path leads to it any more: the agent owes it only when it holds it open."""
        body.path = None
        body.deleted = what == "deleted"
        if not body.seen or not self.agent_runs:
            self.excuse_loss(body, f"{what} before the agent held it")

    def excuse_copy(self, body: Body) -> None:
        """Content alone tells whose copy it is, which takes 64 acknowledged bytes."""
        if body.known:
            return
        self.excuse_double(body, "copied before 64 bytes of it were acknowledged")
        if not body.wanted:
            self.excuse_loss(body, "copied out of the globs before 64 bytes were acknowledged")

    # What the rig reports

    def inode_of(self, body: Body) -> int:
        try:
            return body.path.stat().st_ino if body.path else 0
        except FileNotFoundError:
            return 0

    def mark_seen(self, files: list[dict[str, Any]]) -> None:
        """`files` is what /status tells of the running agent."""
        self.stopped = False
        inodes = {self.inode_of(body): body for body in self.bodies if body.path}
        for entry in files:
            generation = entry.get("generation")
            if generation is None or entry["state"] != "reading":
                continue
            body = inodes.get(entry["inode"])
            gone = self.generations.get(generation)
            if gone is not None and gone.deleted and entry["size"] == gone.size and \
                    "unread is in the spool" in entry.get("held", ""):
                gone.spooled = len(gone.lines)
            if generation not in self.generations:
                taken = body in self.generations.values() if body and not body.copied else False
                self.generations[generation] = None if taken else body
            if body is not None and self.carries(generation, body, entry["size"]):
                body.seen = True
                self.looking.add(body.log)

    def carries(self, generation: str, body: Body, size: int) -> bool:
        """Of a truncated file the agent may keep the generation when nothing of it was read: the
        new life is seen when a line of it arrived."""
        known = self.generations[generation]
        if known is not body and (not any(number in self.arrived for number in body.lines)
                                  if body.lines else size != body.size):
            return False
        while known is not body and body.before is not None:
            body = body.before
        return known is body

    def mark_settled(self, files: list[dict[str, Any]]) -> bool:
        """All that is owed has arrived. True when the agent knows it: has the acknowledgements."""
        self.mark_seen(files)
        inodes = {entry["inode"]: entry for entry in files if entry["state"] == "reading"}
        done = True
        for body in self.bodies:
            entry = inodes.get(self.inode_of(body)) if body.path and body.seen else None
            if entry is None:
                continue
            finished = entry["committed"] == entry["read"]
            done &= finished
            if finished and entry["committed"] >= 64:
                body.known = True
        return done

    def keep_known(self) -> None:
        """What the agent knows is on disk, too."""
        self.looked |= self.looking
        for body in self.bodies:
            body.durable = body.known

    # Writing

    def begin(self, log: str) -> Body:
        body = self.current.get(log)
        if body is None:
            path = self.folder / log
            if log == "link.log":
                path = self.away / f"target-{len(self.bodies)}"
            body = Body(log, len(self.bodies), path)
            self.bodies.append(body)
            self.current[log] = body
            body.writer = open(path, "ab", buffering=0)
            self.write_banner(body)
            if log == "link.log":
                fresh = self.folder / "fresh-link"
                os.symlink(path, fresh)
                os.rename(fresh, self.folder / log)
        elif body.writer is None:
            body.writer = open(body.path, "ab", buffering=0)
        return body

    def write_banner(self, body: Body) -> None:
        if self.banner:
            body.writer.write(BANNER)
            body.size = len(BANNER)

    def line(self, body: Body, size: int) -> str:
        number = len(self.lines)
        text = numbered_line(f"{self.run}.{body.log}", body.number, number,
                             "x" * 40 + " payload" * size + f" {number:08d}").decode()
        self.lines.append(Line(text))
        body.lines.append(number)
        body.shapes.append(size)
        return text

    def complete(self, body: Body) -> bytes:
        """The rest of an unterminated line: from now on it is owed."""
        rest, body.partial = body.partial, ""
        if not rest:
            return b""
        line = self.lines[body.lines[-1]]
        line.owed = body.path is not None or (body.seen and self.agent_runs)
        line.why = "" if line.owed else "completed after no path led to it"
        self.fragments.pop(line.text[:-len(rest)], None)
        return rest.encode() + b"\n"

    def write(self, body: Body, count: int, size: int) -> None:
        block = self.complete(body)
        for _ in range(count):
            block += self.line(body, size).encode() + b"\n"
        body.size += body.writer.write(block)

    def do_append(self, log: str, count: int, size: int = 1) -> None:
        self.write(self.begin(log), count, size)

    def do_partial(self, log: str) -> None:
        """Half a line: a debt only when its newline comes."""
        body = self.begin(log)
        if body.partial:
            return
        text = self.line(body, 9)
        line = self.lines[body.lines[-1]]
        line.owed, line.why = False, "never completed"
        half = text[:len(text) // 2]
        self.fragments[half] = body.lines[-1]
        body.partial = text[len(half):]
        body.size += body.writer.write(half.encode())

    def do_late(self, log: str, count: int) -> None:
        """A writer that still has the rotated file open goes on in it."""
        for body in self.older.get(log, [])[:1]:
            if body.writer is None or body.writer.closed:
                continue
            self.write(body, count, 1)
            if body.path is None and not (body.seen and self.agent_runs):
                self.excuse_loss(body, "written after no path led to it", body.spooled)

    def close_old(self, log: str) -> None:
        for body in self.older.get(log, []):
            if body.writer is not None:
                body.writer.close()

    # Rotation

    def shift(self, log: str) -> None:
        """NAME.1 becomes NAME.2 and so on; the oldest is removed."""
        for number in range(KEPT, 0, -1):
            for end in (".gz", ""):
                source = self.folder / f"{log}.{number}{end}"
                if not source.exists():
                    continue
                body = next((b for b in self.bodies if b.path == source), None)
                if number == KEPT:
                    source.unlink()
                    if body:
                        self.excuse_unseen(body, "deleted")
                    continue
                target = self.folder / f"{log}.{number + 1}{end}"
                os.rename(source, target)
                if body:
                    body.path = target

    def leave(self, log: str, path: Path | None) -> Body:
        body = self.current.pop(log)
        self.close_old(log)
        body.path = path
        self.older.setdefault(log, []).insert(0, body)
        return body

    def is_held(self, body: Body | None) -> bool:
        """The agent has the inode open, with this life of it or one before."""
        while body is not None and not body.seen:
            body = body.before
        return body is not None and self.agent_runs

    def rotated(self, body: Body, log: str) -> None:
        """Out of the globs a file is owed when the agent has met its path before."""
        body.wanted = self.all_names
        if not body.wanted and body.before is not None and not self.is_held(body):
            self.excuse_loss(body, "begun by a truncation and rotated out before it was seen")
            body.path = None
        elif not body.wanted and log not in self.looked | self.looking:
            self.excuse_loss(body, "rotated out of the globs before the first look at its path")
            body.path = None

    def do_rotate(self, log: str, create: bool) -> None:
        if log not in self.current or log == "link.log":
            return
        self.shift(log)
        os.rename(self.folder / log, self.folder / f"{log}.1")
        body = self.leave(log, self.folder / f"{log}.1")
        self.rotated(body, log)
        if create:
            self.begin(log)

    def do_stamp(self, log: str, create: bool) -> None:
        if log not in self.current or log == "link.log":
            return
        self.count += 1
        target = self.folder / f"{log}-{20261120 + self.count}"
        os.rename(self.folder / log, target)
        self.rotated(self.leave(log, target), log)
        if create:
            self.begin(log)

    def do_move_away(self, log: str) -> None:
        """Into another folder that no glob names."""
        if log not in self.current or log == "link.log":
            return
        self.count += 1
        os.rename(self.folder / log, self.away / f"{log}.{self.count}")
        body = self.leave(log, None)
        self.excuse_unseen(body, "moved away")

    def do_delete(self, log: str) -> None:
        if log not in self.current or log == "link.log":
            return
        os.unlink(self.folder / log)
        body = self.leave(log, None)
        self.excuse_unseen(body, "deleted")

    def do_delete_old(self, log: str) -> None:
        for body in self.older.get(log, [])[:1]:
            if body.path is not None and body.path.exists():
                os.unlink(body.path)
                self.excuse_unseen(body, "deleted")

    def do_swap(self) -> None:
        """The link leads to a new target; the old one is out of every glob."""
        if "link.log" not in self.current:
            return
        body = self.leave("link.log", None)
        if not body.seen or not self.agent_runs:
            self.excuse_loss(body, "the link was swapped before the agent held its target")
        self.begin("link.log")

    def new_life(self, log: str, old: Body) -> None:
        """The same inode carries other content from now on."""
        writer = old.writer
        old.writer = None
        body = Body(log, len(self.bodies), self.folder / log, before=old)
        body.writer = writer or open(body.path, "ab", buffering=0)
        self.bodies.append(body)
        self.current[log] = body
        self.write_banner(body)

    def do_truncate(self, log: str) -> None:
        if log not in self.current or log == "link.log":
            return
        body = self.current.pop(log)
        body.partial = ""
        os.truncate(self.folder / log, 0)
        body.path = None
        self.excuse_loss(body, "truncated before it was read")
        self.new_life(log, body)

    def do_rewrite(self, log: str) -> None:
        """Truncated, and written again to the very size that it had."""
        shapes = self.current[log].shapes if log in self.current else []
        self.do_truncate(log)
        if log in self.current and log != "link.log":
            body = self.current[log]
            block = b"".join(self.line(body, size).encode() + b"\n" for size in shapes)
            body.size += body.writer.write(block)

    def cut_power(self, log: str, share: float) -> None:
        """The file keeps this share of its lines; what was held in memory is gone."""
        body = self.current.get(log)
        if body is None or log == "link.log":
            return
        content = (self.folder / log).read_bytes()
        head = len(BANNER) if self.banner else 0
        ends = [head] + [at + 1 for at in range(head, len(content)) if content[at] == 10]
        size = ends[int(share * (len(ends) - 1))]
        os.truncate(self.folder / log, size)
        kept = content[:size].decode().split("\n")
        left = [number for number in body.lines if self.lines[number].text in kept]
        self.excuse_loss(body, "the power was cut before it was on disk")
        for number in left:
            self.lines[number].owed = True
        body.shapes = body.shapes[:len(left)]
        body.lines, body.size, body.partial = left, size, ""
        if size < HEAD_SIZE:
            self.excuse_double(body, "the power was cut, and less is left than the known head")
        elif self.stopped:
            self.excuse_double(body, "the power was cut after an orderly stop")

    def do_copytruncate(self, log: str) -> None:
        """The writer is paused, so nothing falls between copy and truncation."""
        if log not in self.current or log == "link.log":
            return
        self.shift(log)
        body = self.current.pop(log)
        body.partial = ""
        target = self.folder / f"{log}.1"
        shutil.copyfile(self.folder / log, target)
        os.truncate(self.folder / log, 0)
        body.path = target
        body.seen = False               # its inode carries the next life
        body.copied = True
        body.wanted = self.all_names
        self.excuse_copy(body)
        self.new_life(log, body)
        self.older.setdefault(log, []).insert(0, body)

    def do_replace(self, log: str) -> None:
        """An editor: a copy with a line more takes the place of the file."""
        if log not in self.current or log == "link.log":
            return
        body = self.current[log]
        if body.writer is not None:
            body.writer.close()
            body.writer = None
        halves = dict(self.fragments)       # the old inode may tell its half line, too
        fresh = self.folder / "editor"
        shutil.copyfile(self.folder / log, fresh)
        with open(fresh, "ab") as out:
            body.size += out.write(self.complete(body) + self.line(body, 1).encode() + b"\n")
        os.rename(fresh, self.folder / log)
        self.fragments |= halves
        body.seen = False
        body.copied = body.replaced = True
        self.excuse_copy(body)

    def do_gzip(self, log: str) -> None:
        """Compresses the youngest rotated file, as logrotate does: .gz first, then unlink."""
        for body in self.older.get(log, [])[:1]:
            if body.path is None or body.path.suffix == ".gz" or not body.path.exists():
                continue
            self.close_old(log)
            body.partial = ""
            target = body.path.with_name(body.path.name + ".gz")
            with open(body.path, "rb") as source, gzip.open(target, "wb", 1) as out:
                shutil.copyfileobj(source, out)
            os.unlink(body.path)
            body.path = target
            body.copied = True
            body.wanted = False
            if not (body.seen and self.agent_runs):
                self.excuse_copy(body)
            if body.replaced and not body.seen:
                self.excuse_loss(body, "replaced and compressed before a look at it")

    def close(self) -> None:
        for body in self.bodies:
            with suppress(AttributeError):
                body.writer.close()
