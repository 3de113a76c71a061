# SPDX-License-Identifier: Apache-2.0
"""Waiting for events with a deadline, and saying what was seen when it passes."""

import time
from typing import Any, Callable


class Late(AssertionError):
    """An event did not come before its deadline."""


def wait_for(what: str, condition: Callable[[], Any], seconds: float = 30,
             report: Callable[[], Any] | None = None, every: float = 0.05) -> Any:
    """Returns the first true value of condition(); an OSError in it counts as "not yet"."""
    deadline = time.monotonic() + seconds
    last: Any = None
    while True:
        try:
            last = condition()
            if last:
                return last
        except OSError as error:
            last = error
        if time.monotonic() > deadline:
            seen = report() if report else last
            raise Late(f"waited {seconds:.0f} s for: {what}. Last seen: {seen}")
        time.sleep(every)


def stays(what: str, condition: Callable[[], Any], seconds: float, every: float = 0.1) -> None:
    """Fails as soon as condition() is false within the given time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert condition(), f"did not stay so for {seconds:.0f} s: {what}"
        time.sleep(every)
