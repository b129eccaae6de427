"""Every lint can fail: each is given a small tree with one thing wrong, and must name it."""

import pathlib
import shutil
import subprocess

import pytest

TOP = pathlib.Path(__file__).resolve().parent.parent.parent

LAYERS = """
rank 0 base
rank 1 sys fmt
rank 3 model plan run
rank 7 tests
edge run -> plan
library uv.h sys
"""

GOOD = {
    "src/base/a.h": "#pragma once\nint a(void);\n",
    "src/base/a.c": '#include "base/a.h"\n\nint\na(void)\n{\n    return 1;\n}\n',
    "src/sys/loop_int.h": "#pragma once\n",
    "src/plan/plan.h": "#pragma once\n",
    "src/run/run.c": '#include "base/a.h"\n#include "plan/plan.h"\n',
    "src/base/exit.def": '/* EXIT(NAME, code, "help") */\n'
    'EXIT(OK, 0, "done")\nEXIT(FAILED, 1, "not done")\n',
    "src/base/err.def": '/* ERR(NAME, "id", errno, EXIT, http, "help") */\n'
    'ERR(VALUE, "value.invalid", EINVAL, FAILED, 400, "it cannot be read")\n',
    "src/base/b.c": "int b = ERR_VALUE;\n",
    "tools/a": "#!/bin/sh\nexec true\n",
    # What tests/lint/analysis.h needs.
    "src/base/err.h": "#pragma once\n#include <assert.h>\nint err_set(int id);\n",
}


class Tree:
    def __init__(self, top):
        self.top = top
        shutil.copytree(TOP / "tests/lint", top / "tests/lint")
        for name in (".clang-format", ".clang-tidy"):
            shutil.copy(TOP / name, top)
        self.write("tests/lint/layers.txt", LAYERS)
        for path, text in GOOD.items():
            self.write(path, text)

    def write(self, path, text):
        file = self.top / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def lint(self, *command):
        r = subprocess.run(
            [self.top / "tests/lint" / command[0], *command[1:]],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
            check=False,
        )
        return r.returncode, r.stdout


@pytest.fixture
def tree(tmp_path):
    return Tree(tmp_path / "a tree")


@pytest.mark.parametrize("lint", ["layers", "banned", "tables", "words"])
def test_a_good_tree_passes(tree, lint):
    status, output = tree.lint(lint)
    assert status == 0, output


@pytest.mark.parametrize(
    "path, line, want",
    [
        ("src/base/a.c", '#include "sys/loop_int.h"', "'base' must not include 'sys'"),
        ("src/run/b.c", '#include "sys/loop_int.h"', "src/sys/loop_int.h is private to its room"),
        ("src/plan/b.c", '#include "model/m.h"', "'plan' must not include 'model'"),
        ("src/run/b.c", '#include "base/none.h"', 'there is no "base/none.h"'),
        ("src/base/a.c", "#  include <uv.h>", "<uv.h> belongs to sys"),
        ("src/attic/a.c", "int a;", "room 'attic' has no rank"),
        ("tests/lint/layers.txt", LAYERS + "edge model -> plan", "nobody uses the edge"),
        ("tests/lint/layers.txt", LAYERS + "edge plan -> run", "closes a circle"),
        ("tests/lint/layers.txt", LAYERS + "edge run -> base", "not of one rank"),
        ("tests/lint/layers.txt", LAYERS + "friend run base", "not a rank, an edge or a library"),
    ],
)
def test_layers(tree, path, line, want):
    tree.write("src/model/m.h", "#pragma once\n")
    tree.write(path, line + "\n")
    status, output = tree.lint("layers")
    assert status == 1
    assert want in output


@pytest.mark.parametrize(
    "name", ["strcpy", "sprintf", "strtok", "atoi", "gets", "system", "alloca", "rand", "signal"]
)
def test_banned(tree, name):
    tree.write("src/base/b.c", f"void\nf(void)\n{{\n    {name} (0);\n}}\n")
    status, output = tree.lint("banned")
    assert status == 1
    assert f"src/base/b.c:4: {name}(): " in output


@pytest.mark.parametrize(
    "line", ["/* strcpy(a) */", '"strcpy(a)"', "my_strcpy(a)", "a->signal(a)", "// gets()"]
)
def test_what_only_looks_banned_is_not(tree, line):
    tree.write("src/base/b.c", line + "\n")
    assert tree.lint("banned")[0] == 0


# Put together here, so that this file has none of the words.
@pytest.mark.parametrize(
    "line",
    [
        "TO" + "DO: later",
        "X" + "XX",
        "/wo" + "rk/x",
        "in this ses" + "sion",
        "blank at the end ",
        "<<<<" + "<<< a",
    ],
)
def test_words(tree, line):
    tree.write("README.md", f"first\n{line}\n")
    status, output = tree.lint("words")
    assert status == 1
    assert output.startswith("README.md:2: ")


@pytest.mark.parametrize(
    "row, want",
    [
        ('ERR(A, "value.a", EINVAL, FAILED, 400)', "ERR has 5 columns, its form has 6"),
        ('ERR(A, "value.a", EINVAL, FAILED, 400, "")', 'has no "help"'),
        ('ERR(A, "value.a", , FAILED, 400, "a")', "has an empty column"),
        ('ERR(VALUE, "value.b", EINVAL, FAILED, 400, "a")', "is in line 2 too"),
        ('ERR(A, "value.invalid", EINVAL, FAILED, 400, "a")', "is there twice"),
        ('ERR(A, "Value", EINVAL, FAILED, 400, "a")', "is not of the form room.what-is-wrong"),
        ('ERR(A, "value.a", EINVAL, MAYBE, 400, "a")', "there is no exit code MAYBE"),
        ('ERR(A, "value.a", EINVAL, FAILED, 200, "a")', "200 is not an HTTP status of an error"),
        ('ERR(A, "value.a", EINVAL, FAILED, 400, "a")', "nothing says ERR_A"),
        ('OTHER(A, "a, (b)")', "the head does not show the form of OTHER"),
    ],
)
def test_tables(tree, row, want):
    tree.write("src/base/err.def", GOOD["src/base/err.def"] + row + "\n")
    status, output = tree.lint("tables")
    assert status == 1
    assert want in output


OVERFLOW = "int\nb(int *p)\n{\n    int a[2];\n    a[2] = *p;\n    return a[0];\n}\n"


@pytest.mark.parametrize(
    "lint, tool, path, text, want",
    [
        ("format", "clang-format-14", "src/base/b.c", "int  b;\n", "clang-format"),
        ("headers", "clang", "src/base/b.h", "#pragma once\nsize_t b(void);\n", "size_t"),
        ("headers", "clang", "src/base/b.h", "struct b {\n    int a;\n};\n", "redefinition"),
        ("shell", "shellcheck", "tools/b", "#!/bin/sh\nrm $1\n", "SC2086"),
        ("cppcheck", "cppcheck", "src/base/b.c", OVERFLOW, "out of bounds"),
    ],
)
def test_tools(tree, lint, tool, path, text, want):
    if not shutil.which(tool):
        pytest.skip(f"needs {tool}, which `make lint` installs")
    assert tree.lint("run", lint)[0] == 0
    tree.write(path, text)
    status, output = tree.lint("run", lint)
    assert status == 1
    assert want in output
    assert output.splitlines()[-1] == f"lint: {lint} failed"


COMPILED = """[{
    "directory": "%s", "file": "../src/base/b.c", "output": "b.o",
    "command": "%s -I../src -Werror -MD -MQ b.o -MF b.o.d -o b.o -c ../src/base/b.c"
}]"""

EMPTY_IF = "if (p);\n    {\n        free(p);\n    }"


@pytest.mark.parametrize(
    "lint, tool, directory, body, want",
    [
        ("analyzer", "gcc", "build", "free(p);\n    free(p);", "analyzer-double-free"),
        ("tidy", "clang-tidy", "build-clang", EMPTY_IF, "bugprone-suspicious-semicolon"),
    ],
)
def test_analyzers(tree, lint, tool, directory, body, want):
    if not shutil.which(tool):
        pytest.skip(f"needs {tool}, which `make lint` installs")
    compiler = "gcc" if tool == "gcc" else "clang"
    place = tree.top / directory
    head = "#include <stdlib.h>\n\nvoid b(void *p);\n\nvoid\nb(void *p)\n{\n    "
    tree.write(f"{directory}/compile_commands.json", COMPILED % (place, compiler))
    tree.write("src/base/b.c", head + "free(p);\n}\n")
    status, output = tree.lint("run", lint)
    assert status == 0, output
    tree.write("src/base/b.c", head + body + "\n}\n")
    status, output = tree.lint("run", lint)
    assert status == 1
    assert want in output


def test_a_clean_file_is_looked_at_once_and_again_when_what_it_includes_changed(tree):
    tree.write("src/base/a.h", "#pragma once\nint a(void);\n")
    command = ["cppcheck"]
    if not shutil.which("cppcheck"):
        pytest.skip("needs cppcheck, which `make lint` installs")
    seen = tree.top / "build-lint/seen"
    tree.lint("run", *command)
    first = {p.name for p in seen.iterdir()}
    tree.lint("run", *command)
    assert {p.name for p in seen.iterdir()} == first
    tree.write("src/base/a.h", "#pragma once\nint a(void); /* changed */\n")
    tree.lint("run", *command)
    assert len({p.name for p in seen.iterdir()} - first) == 2  # a.c and run.c include it
