#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Style as a test: what house rules a program can check, it checks here.

usage: test/tidy/tidy.py [BUILD_DIR]   (BUILD_DIR holds compile_commands.json, for clang-tidy)
Prints one line per finding, `file:line: what`, and exits 1 when there is any.
"""
import concurrent.futures
import json
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
CODE_FOLDERS = ("core", "agent", "sinks", "exporters", "local")
BANNED = ("strcpy", "strcat", "sprintf", "vsprintf", "strtok", "atoi", "atol", "gmtime",
          "localtime", "alloca", "system", "gets")
LINE_MAX = 100


def tracked(*patterns):
    """The project's files of these patterns, new ones included, deleted ones not."""
    listing = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "--", *patterns],
        cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [ROOT / name for name in listing.splitlines() if (ROOT / name).is_file()]


def without_comments_and_strings(text):
    """Same number of lines; strings and comments emptied, so that words in them do not count."""
    pattern = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.S)
    return pattern.sub(lambda match: "\n" * match.group().count("\n"), text)


def check_text(path, text):
    """Rules for every source file, whatever the language."""
    name = path.relative_to(ROOT)
    head = "\n".join(text.splitlines()[:3])
    if "SPDX-License-Identifier: Apache-2.0" not in head:
        yield f"{name}:1: no SPDX line on top"
    for number, line in enumerate(text.splitlines(), 1):
        if len(line) > LINE_MAX:
            yield f"{name}:{number}: {len(line)} columns, at most {LINE_MAX}"
        if "\t" in line:
            yield f"{name}:{number}: a tab"
        if line != line.rstrip():
            yield f"{name}:{number}: blanks at the end"
        if re.search(r"\b(TODO|FIXME|XXX)\b", line) and "re.search" not in line:
            yield f"{name}:{number}: an open end; finish it or name it in the documentation"


def check_c(path, text):
    name = path.relative_to(ROOT)
    folder = name.parts[0]
    bare = without_comments_and_strings(text)
    for number, line in enumerate(bare.splitlines(), 1):
        for call in BANNED:
            if re.search(rf"(?<![\w.>]){call}\s*\(", line):
                yield f"{name}:{number}: {call}() is banned"
        if folder in CODE_FOLDERS and path.name not in ("main.c", "broker.c"):
            if re.search(r"(?<![\w.>])_?exit\s*\(", line) and folder != "local":
                yield f"{name}:{number}: exit() outside main.c"
            logs = re.search(r"(?<![\w.>])log_(error|warn|info|debug)\s*\(", line)
            if logs and path.name not in ("pipeline.c", "log.h"):
                yield f"{name}:{number}: only main.c and pipeline.c log"
    for number, line in enumerate(text.splitlines(), 1):
        include = re.match(r'\s*#include "([^"]+)"', line)
        if not include or folder not in CODE_FOLDERS:
            continue
        target = include.group(1)
        if not (ROOT / target).is_file():
            yield f"{name}:{number}: \"{target}\" is not written from the root"
        other = target.split("/")[0]
        allowed = {"core", folder} | ({"exporters"} if folder == "agent" else set())
        if other not in allowed:
            yield f"{name}:{number}: {folder}/ may not include {other}/"


def check_reference():
    """conf/REFERENCE.md is made by the programs; a stale one lies."""
    for program in ("agent", "sink", "exporter"):
        binary = next((ROOT / "build" / preset / f"tailrace-{program}"
                       for preset in ("release", "dev")
                       if (ROOT / "build" / preset / f"tailrace-{program}").is_file()), None)
        if binary is None:
            yield f"conf/REFERENCE.md: tailrace-{program} is not built, so it cannot be checked"
            continue
        made = subprocess.run([binary, "reference"], capture_output=True, text=True, check=False)
        page = ROOT / "conf" / "REFERENCE.md"
        if made.returncode != 0:
            yield f"conf/REFERENCE.md: `tailrace-{program} reference` fails: {made.stderr.strip()}"
        elif not page.is_file() or made.stdout.strip() not in page.read_text():
            yield ("conf/REFERENCE.md: differs from what the programs print; run "
                   "test/tidy/reference")


def run_tool(command):
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    lines = [line for line in (done.stdout + done.stderr).splitlines()
             if re.search(r"(error|warning):", line)]
    if done.returncode != 0 and not lines:
        lines = [f"{command[0]} failed: {(done.stdout + done.stderr).strip()[:400]}"]
    return [line.replace(f"{ROOT}/", "") for line in lines] if done.returncode != 0 else []


def check_tools(build_dir, sources):
    """clang-format on everything of C, clang-tidy on what is compiled, two at a time."""
    commands = [["clang-format", "--dry-run", "-Werror", str(path)] for path in sources]
    if build_dir is not None:
        database = json.loads((build_dir / "compile_commands.json").read_text())
        compiled = {entry["file"] for entry in database}
        commands += [["clang-tidy", "-p", str(build_dir), "--quiet", str(path)]
                     for path in sources if path.suffix == ".c" and str(path) in compiled]
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for findings in pool.map(run_tool, commands):
            yield from findings


def main():
    build_dir = pathlib.Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else None
    sources = tracked("*.c", "*.h")
    findings = []
    for path in tracked("*.c", "*.h", "*.def", "*.py", "*.sh", "CMakeLists.txt",
                        "test/run", "local/up", "test/stack/up", "test/stack/down", "*.java"):
        text = path.read_text(errors="replace")
        findings += check_text(path, text)
        if path.suffix in (".c", ".h"):
            findings += check_c(path, text)
    findings += check_reference()
    findings += check_tools(build_dir, sources)
    for finding in dict.fromkeys(findings):
        print(finding)
    print(f"tidy: {len(sources)} C files, {len(findings)} findings")
    sys.exit(1 if findings else 0)


if __name__ == "__main__":
    main()
