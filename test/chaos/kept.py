# SPDX-License-Identifier: Apache-2.0
"""The frame of a run by hand: a folder that is kept when it fails, and lines with the time."""

import shutil
import tempfile
import time
from pathlib import Path
from typing import Any, Callable


def run_kept(label: str, kept: Path | None, seed: int, done: str,
             run: Callable[[Path, Callable[[str], Any]], Any]) -> int:
    """Calls run(folder, say); the exit code. `kept` is the folder that the user named."""
    folder = kept or Path(tempfile.mkdtemp(prefix=f"tailrace-{label}-"))
    begun = time.monotonic()
    try:
        run(folder, lambda text: print(f"{time.monotonic() - begun:7.1f} s  {text}", flush=True))
    except AssertionError as error:
        print(f"FAILED, seed {seed}, everything is kept in {folder}:\n{error}")
        return 1
    if not kept:
        shutil.rmtree(folder)
    print(done)
    return 0
