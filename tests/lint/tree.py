"""What the lints share: the files of the tree, and C without its comments and strings."""

import functools
import os
import pathlib
import re
import sys

TOP = pathlib.Path(__file__).resolve().parent.parent.parent
NOT_OURS = re.compile(r"\.git$|build$|build-|__pycache__$|\.pytest_cache$|node_modules$")

TOKEN = re.compile(r"""//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'""", re.S)


def files(*suffixes, under=()):
    """Paths of the tree, from its top, sorted: those that end so and stand below one of `under`."""
    found = []
    for folder, folders, names in os.walk(TOP):
        folders[:] = [f for f in folders if not NOT_OURS.match(f)]
        for name in names:
            path = (pathlib.Path(folder) / name).relative_to(TOP)
            if name == ".git" or path.is_symlink():
                continue
            if (not suffixes or name.endswith(suffixes)) and (not under or path.parts[0] in under):
                found.append(path)
    return sorted(found)


def included(path, name):
    """The file that #include "name" means in path, or None."""
    for base in (path.parent, "src", "tests", "."):
        if (TOP / base / name).is_file():
            return (TOP / base / name).resolve().relative_to(TOP)
    return None


@functools.cache
def read(path):
    return (TOP / path).read_text(errors="replace")


def blank(text, keep_strings=False):
    """C with comments and the insides of strings as blanks, every line where it was."""

    def hide(match):
        token = match[0]
        if token[0] in "\"'":
            return token if keep_strings else token[0] + " " * (len(token) - 2) + token[0]
        return re.sub(r"[^\n]", " ", token)

    return TOKEN.sub(hide, text)


def line_of(text, at):
    return text.count("\n", 0, at) + 1


def report(findings, what):
    """Prints the findings, `file:line: sentence`, or what was looked at; the exit status."""
    for finding in findings:
        print(finding)
    if not findings:
        print(what)
    sys.exit(1 if findings else 0)
