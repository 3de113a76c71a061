# SPDX-License-Identifier: Apache-2.0
"""Scrapes programs all the time and holds each sink to its identity:

    consumed = indexed + duplicate + failure_store + dead_lettered + skipped + revoked
               + in_flight
"""

import threading
from typing import Callable

from programs import Metrics, Program, get

OUTCOMES = {"indexed", "duplicate", "failure_store", "dead_lettered", "skipped", "revoked"}
CONSUMED = "tailrace_sink_consumed_records_total"
FINISHED = "tailrace_sink_finished_records_total"
IN_FLIGHT = "tailrace_sink_in_flight_records"


def violation(metrics: Metrics) -> str:
    """Why a scrape breaks the identity, or nothing."""
    for labels in metrics.labels(FINISHED):
        if labels["outcome"] not in OUTCOMES:
            return f"unknown outcome {labels['outcome']!r}"
    for labels in metrics.labels(CONSUMED):
        route = labels["route"]
        consumed = metrics.get(CONSUMED, route=route)
        finished = metrics.get(FINISHED, route=route)
        in_flight = metrics.get(IN_FLIGHT, route=route)
        if consumed != finished + in_flight or in_flight < 0:
            parts = {each: metrics.get(FINISHED, route=route, outcome=each) for each in OUTCOMES}
            return f"route {route}: consumed {consumed:.0f}, in flight {in_flight:.0f}, {parts}"
    return ""


class Watch:
    """Scrapes from a thread while it is entered; fails at the end if any scrape was wrong."""

    def __init__(self, *programs: Program, every: float = 0.2,
                 note: Callable[[Program, Metrics], None] = lambda program, metrics: None):
        self.programs = programs
        self.every = every
        self.note = note        # gets every page
        self.scrapes = 0
        self.violations: list[str] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(self, kind, *_) -> None:
        self._stop.set()
        self._thread.join(30)
        if kind is None:
            self.check()

    def check(self) -> None:
        assert not self.violations, \
            f"{len(self.violations)} of {self.scrapes} scrapes break the identity, first: " \
            f"{self.violations[0]}"
        assert self.scrapes, "the sink's /metrics never answered"

    def _run(self) -> None:
        while not self._stop.wait(self.every):
            for program in self.programs:
                try:
                    status, _, body = get(program.port, "/metrics", timeout=5)
                except OSError:
                    continue    # it is down just now
                if status == 200:
                    self.scrapes += 1
                    metrics = Metrics(body.decode())
                    self.note(program, metrics)
                    wrong = violation(metrics)
                    if wrong:
                        self.violations.append(f"{program.label} life {program.lives}: {wrong}")
