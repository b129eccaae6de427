"""docs/hacking.md is true: its diffs apply to the tree as it is, no section touches more than three
files, what comes out builds without a warning, passes the tests that the page adds, and answers
what the page says it answers."""

import re
import shutil
import subprocess

import program

PAGE = program.TOP / "docs/hacking.md"
FILES_MOST = 3


class Section:
    def __init__(self, text):
        self.title = text.partition("\n")[0]
        self.changes = [
            Change(part)
            for block in re.findall(r"^```diff\n(.*?)^```$", text, re.M | re.S)
            for part in re.split(r"^(?=--- )", block, flags=re.M)
            if part
        ]
        self.talks = re.findall(r"^```console\n(.*?)^```$", text, re.M | re.S)


class Change:
    """What a diff does to one file. Its hunks have no line numbers: each must fit in one place."""

    def __init__(self, text):
        before, after, *rest = text.splitlines(keepends=True)
        self.path = after.removeprefix("+++ b/").strip()
        self.is_new = before.strip() == "--- /dev/null"
        self.hunks = "".join(rest).split("@@\n")[1:]

    def apply(self, top):
        path = top / self.path
        assert path.exists() != self.is_new, f"{self.path} is there, or is not"
        text = "" if self.is_new else path.read_text()
        for hunk in self.hunks:
            lines = hunk.splitlines(keepends=True)
            old = "".join(line[1:] for line in lines if line[0] in " -")
            new = "".join(line[1:] for line in lines if line[0] in " +")
            if not self.is_new:
                assert text.count(old) == 1, f"{self.path} has {text.count(old)} times:\n{old}"
            text = text.replace(old, new, 1) if old else new
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def sections():
    parts = re.split(r"^## ", PAGE.read_text(), flags=re.M)[1:]
    return [s for s in map(Section, parts) if s.changes]


def test_no_section_touches_more_than_three_files():
    assert len(sections()) >= 4
    for section in sections():
        paths = {change.path for change in section.changes}
        assert 1 <= len(paths) <= FILES_MOST, f"{section.title}: {paths}"


def copy_of_tree(top):
    for name in ("src", "sim", "tests", "tools", "docs", "examples", "systemd"):
        if (program.TOP / name).exists():
            shutil.copytree(program.TOP / name, top / name, symlinks=True)
    for path in program.TOP.iterdir():
        if path.is_file():
            shutil.copy(path, top)


def must(command, **more):
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, **more)
    assert done.returncode == 0, done.stdout + done.stderr


def build(top):
    fuzzers = [path.stem for path in (top / "tests/fuzz").glob("fuzz_*.c")]
    new = [f"tests/{name}" for name in fuzzers if not (program.TOP / f"tests/fuzz/{name}.c").exists()]
    must(["meson", "setup", "--buildtype=plain", top / "build"], cwd=top)
    must(["ninja", "-C", top / "build", "citadel", "tests/unit", *new], cwd=top)


def run_new_tests(top):
    paths = {c.path for s in sections() for c in s.changes if c.path.startswith("tests/scenario")}
    assert paths
    must(
        ["/usr/bin/python3", "-B", "-m", "pytest", "-q", "-p", "no:cacheprovider", *sorted(paths)],
        cwd=top,
        env=program.environment(CITADEL_BIN_DIR=str(top / "build")),
    )


def test_the_page_is_true(tmp_path):
    """One test, because the tree is built once for it."""
    copy_of_tree(tmp_path)
    for section in sections():
        for change in section.changes:
            change.apply(tmp_path)
    build(tmp_path)
    for section in sections():
        for text in section.talks:
            program.talk(text, tmp_path, f"{tmp_path}/build:{tmp_path}/build/tests")
    run_new_tests(tmp_path)
