#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Access-log events with the columns that the sample queries of conf/queries ask for.

    access_events.py --num-files 100 --lines-per-file 1000 --app nginx \\
        --start-date 2025-01-01 --end-date 2025-01-31 \\
        | kcat -P -b localhost:9092 -t logs-topic -K '\\t'

One event a line: its key, a tab, its value. The same seed gives the same events.
"""

import argparse
import datetime
import json
import random
import sys
from typing import Any, Iterator

from servers import event_key

DEVICES = ("Desktop", "Mobile", "Tablet", "Bot", "Other")
STATUSES = (200, 201, 204, 301, 302, 304, 400, 401, 403, 404, 429, 500, 502, 503)
PATHS = ("/", "/index.html", "/api/v1/orders", "/api/v1/users", "/static/app.js", "/health")


def event(chance: random.Random, host: str, first: datetime.datetime,
          seconds: int) -> dict[str, Any]:
    moment = first + datetime.timedelta(seconds=chance.randrange(seconds))
    year = moment.isocalendar()
    status = chance.choices(STATUSES, weights=[60] + [3] * (len(STATUSES) - 1))[0]
    # Few addresses ask often, many seldom; no two of the first are equal in number for long.
    address = f"10.{int(chance.paretovariate(1.2)) % 200}.{chance.randrange(4)}.7"
    size = 0 if status in (204, 304) else int(chance.lognormvariate(8, 2))
    path = chance.choice(PATHS)
    clock = moment.strftime("%d/%b/%Y:%H:%M:%S +0000")
    return {
        "@timestamp": moment.strftime("%Y-%m-%dT%H:%M:%S.000Z"), "host.name": host,
        "message": f'{address} - - [{clock}] "GET {path} HTTP/1.1" {status} {size} "-" "-"',
        "ip_address": address, "status_code": status, "status_category": f"{status // 100}xx",
        "response_size": size, "device_type": chance.choices(DEVICES, weights=(9, 7, 2, 2, 1))[0],
        "date": moment.strftime("%Y-%m-%d"), "hour": moment.hour, "year": moment.year,
        "iso_year": year[0], "week_of_year": year[1]}


def generate(num_files: int, lines_per_file: int, app: str, start_date: str, end_date: str,
             seed: int = 1) -> Iterator[tuple[str, dict[str, Any]]]:
    """(key, event) of every line of every file; end_date is the last day."""
    first = datetime.datetime.fromisoformat(start_date)
    days = (datetime.datetime.fromisoformat(end_date) - first).days + 1
    chance = random.Random(seed)
    for file in range(num_files):
        for line in range(lines_per_file):
            yield (event_key(line, generation=file + 1),
                   event(chance, f"{app}-{file % 3}", first, days * 86400))


def encode(value: dict[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="writes access-log events, KEY tab VALUE a line")
    parser.add_argument("--num-files", type=int, default=100)
    parser.add_argument("--lines-per-file", type=int, default=1000)
    parser.add_argument("--app", default="nginx")
    parser.add_argument("--start-date", default="2025-01-01")
    parser.add_argument("--end-date", default="2025-01-31")
    parser.add_argument("--seed", type=int, default=1)
    for each_key, each in generate(**vars(parser.parse_args())):
        sys.stdout.buffer.write(each_key.encode() + b"\t" + encode(each) + b"\n")
