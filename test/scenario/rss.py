# SPDX-License-Identifier: Apache-2.0
"""How large is a program?"""

import threading


class RssWatch:
    """The largest resident size of a program while it is entered, and the one at its start."""

    def __init__(self, program):
        self.program = program
        self.samples: list[float] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join(10)

    def _run(self):
        while not self._stop.wait(0.1):
            try:
                self.samples.append(self.program.rss_mib())
            except (OSError, TypeError):
                return
