"""The procedures of docs/operations.md, typed on a machine as they stand there.

A block ```console NAME is a procedure, or a part of one. What it shows below a command is all that the
command says, but for "...", which stands for anything in a line, or alone for any lines; and columns may be
wider apart. A command below which nothing is shown says nothing."""

import re

from program import TOP

GUIDE = TOP / "docs/operations.md"


def procedures():
    """Commands and what they show, by the name of the block."""
    found = {}
    for name, text in re.findall(r"^```console (\S+)\n(.*?)^```$", GUIDE.read_text(), re.M | re.S):
        assert name not in found, f"two procedures are called {name}"
        parts = re.split(r"^\$ ", text, flags=re.M)[1:]
        found[name] = [tuple(part.partition("\n")[::2]) for part in parts]
    return found


def pattern(shown):
    """A regular expression for what is shown."""
    lines = []
    for line in shown.splitlines():
        if line == "...":
            lines.append(r"(?:.*\n)*?")
            continue
        words = [".*".join(map(re.escape, word.split("..."))) for word in line.split()]
        lines.append(r" *" + r" +".join(words) + r" *\n")
    return "".join(lines)


def play(here, name, exits=()):
    """Types it. exits: in their order, the commands that end otherwise than with 0, and how."""
    exits = list(exits)
    for command, shown in procedures()[name]:
        done = here.run("sh", "-c", f"exec 2>&1; {command}", check=False)
        want = exits.pop(0)[1] if exits and exits[0][0] == command else 0
        said = f"$ {command}\n{done.stdout}"
        assert done.returncode == want, f"{name}: exit {done.returncode}, not {want}\n{said}\n{here.journal()}"
        assert re.fullmatch(pattern(shown), done.stdout), f"{name}: the guide shows\n{shown}\nnot\n{said}"
