"""The runner counts what ran, and takes nothing for a success that did not look."""

import importlib.machinery
import importlib.util
import pathlib
import subprocess
import sys

import pytest

TOP = pathlib.Path(__file__).resolve().parent.parent.parent


def load():
    loader = importlib.machinery.SourceFileLoader("runner", str(TOP / "tests/run"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("runner", loader))
    loader.exec_module(module)
    return module


runner = load()


def numbers(counts):
    return counts.passed, counts.failed, len(counts.skipped)


@pytest.mark.parametrize(
    "text, status, want",
    [
        ("ok 1 - a\nok 2 - b\n1..2\n", 0, (2, 0, 0)),
        ("ok 1 - a\nok 2 - b # SKIP no moon\n1..2\n", 0, (1, 0, 1)),
        ("ok 1 - a\nnot ok 2 - b\n1..2\n", 1, (1, 1, 0)),
        ("ok 1 - a\n1..2\n", 0, (1, 1, 0)),  # one is missing
        ("ok 1 - a\n", 0, (1, 1, 0)),  # it never came to its end
        ("ok 1 - a\n1..1\n", 1, (1, 1, 0)),  # it says well and ends badly
        ("", 0, (0, 1, 0)),
    ],
)
def test_tap_is_counted(text, status, want):
    assert numbers(runner.count_tap(text, status)) == want


@pytest.mark.parametrize(
    "status, want", [(0, (1, 0, 0)), (1, (0, 1, 0)), (-11, (0, 1, 0)), (77, (0, 0, 1))]
)
def test_a_status_is_one_test(status, want):
    assert numbers(runner.count_status("no such device\n", status)) == want


def part(script, count=runner.count_tap, limit_s=20):
    return runner.Part("part", ["/bin/sh", "-c", script], limit_s, count)


def test_a_part_that_ran_nothing_failed():
    _, counts, _ = runner.run(part("echo 1..0"), {})
    assert numbers(counts) == (0, 1, 0)
    assert counts.notes == ["ran nothing"]


def test_a_part_that_is_not_there_failed():
    _, counts, _ = runner.run(runner.Part("part", ["/nonexistent"], 1, runner.count_tap), {})
    assert numbers(counts) == (0, 1, 0)


def test_a_part_that_takes_too_long_is_ended_with_its_children():
    _, counts, seconds = runner.run(part("echo ok 1 - a; sleep 60 & sleep 60", limit_s=1), {})
    assert counts.failed >= 1
    assert "not done after 1 s" in counts.notes
    assert seconds < 20


STRAY = """
import importlib.machinery, importlib.util, subprocess
loader = importlib.machinery.SourceFileLoader("runner", "tests/run")
runner = importlib.util.module_from_spec(importlib.util.spec_from_loader("runner", loader))
loader.exec_module(runner)
runner.adopt_strays()
begin = "setsid sleep 77 & until grep -q ^sleep /proc/$!/cmdline; do :; done"
subprocess.run(["sh", "-c", begin], check=True)
print(runner.end_strays(0), runner.children())
"""


def test_strays_are_named_and_ended():
    command = [sys.executable, "-B", "-c", STRAY]
    r = subprocess.run(command, cwd=TOP, capture_output=True, text=True, timeout=60, check=True)
    assert r.stdout.strip() == "['sleep 77'] []"
