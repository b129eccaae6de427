"""The unit harness sees every way to fail: a program of tests that do (tap_selftest.c)."""

import os
import pathlib
import re
import subprocess

import pytest

TOP = pathlib.Path(__file__).resolve().parent.parent.parent

WANT = {
    "passes": "ok",
    "skips": "ok # SKIP there is no moon",
    "check_fails": "not ok",
    "require_ends_the_test": "not ok",
    "leaves_a_descriptor": "not ok",
    "closes_a_descriptor": "not ok",
    "aborts (killed by signal 6)": "not ok",
    "exits (exit status 7)": "not ok",
    "exits_as_if_all_were_well (exit status 0)": "not ok",
    "a_crash_test_that_crashes": "not ok",
    "overflows (exit status 1)": "not ok",
    "leaves_a_file": "ok",
    "leaks": "ok",
    "leak check at the end of the file (exit status 1)": "not ok",
}


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    temporary = tmp_path_factory.mktemp("tap")
    return temporary, subprocess.run(
        [TOP / "build-test/tests/tap_selftest"],
        env={**os.environ, "TMPDIR": str(temporary)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_every_failure_is_told_in_the_order_of_the_file(ran):
    line = re.compile(r"^(not ok|ok) (\d+) - tests/self/tap_selftest.c: (.*?)( # SKIP .*)?$", re.M)
    found = [(m[3], m[1] + (m[4] or "")) for m in line.finditer(ran[1].stdout)]
    assert found == list(WANT.items())
    assert ran[1].stdout.splitlines()[-1] == f"1..{len(WANT)}"
    assert ran[1].returncode == 1


def test_a_failed_check_says_what_it_got(ran):
    said = r"tap_selftest.c:\d+: failed: 1 \+ 1 is 2, not 3 \(the second row\)"
    assert re.search(said, ran[1].stdout)


def test_nothing_is_left_on_disk(ran):
    assert list(ran[0].iterdir()) == []
