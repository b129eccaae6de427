"""The table of requests in tests/data/http_front/requests, which says what they look like."""

import pathlib
import re
from dataclasses import dataclass, field

DATA = pathlib.Path(__file__).parent.parent / "data/http_front"


@dataclass
class Case:
    name: str
    about: str
    sent: bytes = b""
    statuses: list = field(default_factory=list)
    fate: str = ""
    reason: str = ""
    reached: list = field(default_factory=list)


def unescape(text):
    plain = {"r": b"\r", "n": b"\n", "t": b"\t", "0": b"\0", "\\": b"\\"}

    def one(found):
        return bytes([int(found[2], 16)]) if found[2] else plain[found[1].decode()]

    return re.sub(rb"\\(x([0-9a-f]{2})|.)", one, text.encode())


def times(line):
    """`>N BYTES`, or `> BYTES`: how often, and what."""
    count, _, text = line[1:].partition(" ")
    return int(count or 1), text


def expect(case, line):
    *statuses, last = re.findall(r"\S+", line[1:].split("kept")[0].split("closed")[0].split("waits")[0]) or [""]
    for word in [*statuses, last]:
        if word:
            count, _, status = word.rpartition("*")
            case.statuses += [int(status)] * int(count or 1)
    found = re.search(r"(kept|closed|waits) ?(\S*)$", line)
    case.fate, case.reason = found[1], found[2]


def read():
    cases = []
    for line in (DATA / "requests").read_text().splitlines():
        if line.startswith("["):
            name, _, about = line[1:].partition("] ")
            cases.append(Case(name, about))
        elif line.startswith(">"):
            count, text = times(line)
            cases[-1].sent += unescape(text) * count
        elif line.startswith("<"):
            expect(cases[-1], line)
        elif line.startswith("="):
            count, text = times(line)
            cases[-1].reached += [unescape(text)] * count
    return cases
