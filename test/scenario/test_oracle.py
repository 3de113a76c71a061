# SPDX-License-Identifier: Apache-2.0
"""The counter itself: it must find what is missing, double or changed."""

import re

import pytest

from identity import violation
from inputs import generate
from oracle import Tally, expected_numbered, message_of
from programs import Metrics


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("written")
    for number in range(4):
        generate(folder / f"log{number}.log", 1250, seed=number, tag=f"log{number}")
    return folder


@pytest.fixture
def documents(written):
    lines = [line for path in sorted(written.iterdir())
             for line in path.read_bytes().split(b"\n") if line]
    return [(f"id{number}", {"message": message_of(line)}) for number, line in enumerate(lines)]


def problem(expected, documents):
    with pytest.raises(AssertionError) as found:
        Tally(expected).add_all(documents).check(7)
    return str(found.value)


def test_all_lines_once_is_right_and_equal_repeats_are_harmless(written, documents):
    tally = Tally(expected_numbered(written)).add_all(documents + documents[:9])
    tally.check()
    assert tally.repeats == 9


def test_missing_lines_are_named_as_ranges(written, documents):
    gone = [source["message"] for _, source in documents[10:13]]
    text = problem(expected_numbered(written), documents[:10] + documents[13:])
    first, last = (int(gone[place].split(" ")[2]) for place in (0, 2))
    assert "3 are missing" in text and f"{first}-{last}" in text and "seed 7" in text


@pytest.mark.parametrize("change, words", [
    (lambda docs: docs + [("another", docs[0][1])], "under two ids"),
    (lambda docs: docs + [(docs[0][0], docs[1][1])], "two contents"),
    (lambda docs: [(docs[0][0], {"message": docs[0][1]["message"] + " "})] + docs[1:], "differs"),
    (lambda docs: docs + [("x", {"message": "log0 0000 99999999 0 x"})], "never written"),
    (lambda docs: docs + [("x", {"message": "junk"})], "no known line")])
def test_wrong_documents_are_found(written, documents, change, words):
    assert words in problem(expected_numbered(written), change(documents))


def test_an_identity_that_does_not_hold_is_found():
    page = ('tailrace_sink_consumed_records_total{route="a"} 10\n'
            'tailrace_sink_finished_records_total{route="a",outcome="indexed"} 7\n'
            'tailrace_sink_in_flight_records{route="a"} 3\n')
    assert violation(Metrics(page)) == ""
    assert re.search("consumed 10, in flight 2", violation(Metrics(page.replace("} 3", "} 2"))))
