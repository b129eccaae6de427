#!/usr/bin/python3 -B
"""Restores a snapshot of a repository without Citadel, from what docs/backup-format.md says and nothing else.

    tests/extract.py REPOSITORY SNAPSHOT DIR

SNAPSHOT is the name of a snapshot, or how it begins. Needed are Python's standard library and libzstd. It is slow,
and short: whoever must get at his data in twenty years can read it in half an hour."""

import ctypes
import grp
import hashlib
import json
import os
import pathlib
import pwd
import struct
import sys

FORMS = ("plain", "f8", "bf16", "f16", "f32")
WIDTHS = (1, 1, 2, 2, 4)
PLANES = (1, 1, 2, 2, 4)
IS_FRAME = HAS_BASE = 1 << 31
DIRECTORY, FILE, SYMLINK, HARDLINK, FIFO, CHARACTER, BLOCK = range(1, 8)
SPARSE = 1

zstd = ctypes.CDLL("libzstd.so.1")
zstd.ZSTD_decompress.restype = ctypes.c_size_t
zstd.ZSTD_decompress.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_size_t]


class Damaged(Exception):
    """What is read is not what the format says."""


def need(condition, what):
    if not condition:
        raise Damaged(what)


def unpack_frame(frame, length):
    out = ctypes.create_string_buffer(max(length, 1))
    need(zstd.ZSTD_decompress(out, length, frame, len(frame)) == length, "a frame is not that of its plane")
    return out.raw[:length]


# ---- blocks ----


def masked(plane, mask, shift=0):
    """Each byte & mask, shifted to the left (or, below zero, to the right): all of them at once."""
    number = int.from_bytes(plane, "little") & int.from_bytes(bytes([mask]) * len(plane), "little")
    number = number << shift if shift >= 0 else number >> -shift
    return number


def joined(length, *numbers):
    total = 0
    for number in numbers:
        total |= number
    return total.to_bytes(length, "little")


def bytes_of_float(exponents, rest):
    """The two highest bytes of bf16 and f32: exponents, and signs with the highest bits of mantissas."""
    n = len(rest)
    low = joined(n, masked(exponents, 0x01, 7), masked(rest, 0x7F))
    high = joined(n, masked(exponents, 0xFE, -1), masked(rest, 0x80))
    return low, high


def put_together(form, planes):
    name = FORMS[form]
    if name in ("plain", "f8"):
        return planes[0]
    if name == "bf16":
        columns = bytes_of_float(planes[0], planes[1])
    elif name == "f16":
        columns = (planes[1], planes[0])
    else:
        columns = (planes[3], planes[2], *bytes_of_float(planes[0], planes[1]))
    out = bytearray(len(columns) * len(columns[0]))
    for i, column in enumerate(columns):
        out[i :: len(columns)] = column
    return bytes(out)


def decode(form, stored, length, base):
    need(form < len(FORMS), "a form that is not known")
    numbers, at, planes = length // WIDTHS[form], 0, []
    for _ in range(PLANES[form]):
        (head,) = struct.unpack_from("<I", stored, at)
        size = head & ~IS_FRAME
        piece = stored[at + 4 : at + 4 + size]
        planes.append(unpack_frame(piece, numbers) if head & IS_FRAME else piece)
        need(len(planes[-1]) == numbers, "a plane is not as long as its block has numbers")
        at += 4 + size
    need(at == len(stored), "a stored block goes on behind its planes")
    block = put_together(form, planes)
    if base is not None:
        block = joined(length, int.from_bytes(block, "little") ^ int.from_bytes(base, "little"))
    return block


class Repository:
    def __init__(self, path):
        self.path = pathlib.Path(path)
        about = json.loads((self.path / "citadel-repository").read_text())
        need(about["format"] == 1, f"format {about['format']} is not 1")
        need(not about.get("encrypted"), "it is encrypted, which takes libsodium: docs/backup-format.md, Encryption")
        self.places = {}  # digest of a block: pack, where its record begins, how long it is
        for pack in sorted((self.path / "packs").iterdir()):
            if len(pack.name) == 64:
                self.read_trailer(pack)

    def read_trailer(self, pack):
        with pack.open("rb") as file:
            need(file.read(16) == b"citadel pack 1\n\0", f"{pack.name} is no pack")
            file.seek(-32, os.SEEK_END)
            magic, count, begins = struct.unpack_from("<4sII", file.read(32))
            need(magic == b"CEND", f"{pack.name} does not end")
            file.seek(begins)
            trailer = file.read(48 * count)
        for digest, at, length, _, form in struct.iter_unpack("<32sIIII", trailer):
            if digest not in self.places or not form & HAS_BASE:  # what is a base is there without one
                self.places[digest] = (pack, at, length)

    def block(self, digest, is_base=False):
        need(digest in self.places, f"there is no block {digest.hex()}")
        pack, at, length = self.places[digest]
        with pack.open("rb") as file:
            file.seek(at)
            record = file.read(length)
        magic, form, has_base, _, size, stored, _, named = struct.unpack_from("<4sBBHIII32s", record)
        need(magic == b"CBLK" and named == digest, f"there is no record of {digest.hex()}")
        need(not (is_base and has_base), "the base of a block has a base itself")
        base = self.block(record[52:84], is_base=True) if has_base else None
        begins = 52 + 32 * has_base + 4
        block = decode(form, record[begins : begins + stored], size, base)
        need(hashlib.sha256(block).digest() == digest, f"{digest.hex()} comes back as something else")
        return block

    def snapshot(self, name):
        (path,) = [p for p in (self.path / "snapshots").iterdir() if p.name.startswith(name) and len(p.name) == 64]
        data = path.read_bytes()
        need(hashlib.sha256(data).hexdigest() == path.name, f"{path.name} is not what its name says")
        return data


# ---- snapshots ----


def take_string(payload, at):
    (length,) = struct.unpack_from("<H", payload, at)
    return payload[at + 2 : at + 2 + length], at + 3 + length


def take_strings(payload, at, count):
    strings = []
    for _ in range(count):
        text, at = take_string(payload, at)
        strings.append(text)
    return strings


def records(data):
    need(data[:16] == b"citadel snap 1\n\0", "this is no snapshot")
    at = 16
    while at < len(data):
        tag, length = struct.unpack_from("<4sI", data, at)
        yield tag, data[at + 8 : at + 8 + length]
        at += 12 + length
        if tag == b"END ":
            break
    need(at == len(data) and tag == b"END ", "a snapshot does not end where it should")


class Entry:
    FIXED = struct.Struct("<BBHIIqqQQ32s")

    def __init__(self, payload):
        fields = self.FIXED.unpack_from(payload)
        self.kind, self.flags, self.mode, self.uid, self.gid, self.mtime, _, self.size, _, self.digest = fields
        self.path, self.target, self.owner, self.group = take_strings(payload, self.FIXED.size, 4)
        parts = self.path.split(b"/") if self.path else []
        need(not {b"", b".", b".."} & set(parts), f"{self.path} is no path")
        self.attributes, self.blocks = [], []


def entries(data):
    """Whole ones: each with its attributes and blocks."""
    entry = None
    for tag, payload in records(data):
        if tag == b"XATR":
            name, at = take_string(payload, 0)
            entry.attributes.append((name, payload[at:]))
        elif tag == b"BLKS":
            entry.blocks += [digest for digest, _ in struct.iter_unpack("<32sI", payload)]
        else:
            need(tag in (b"HEAD", b"ENTR", b"END "), f"a record {tag} is not known")
            if entry:
                yield entry
            entry = Entry(payload) if tag == b"ENTR" else None


# ---- restoring ----


def write_file(repository, entry, path):
    digest = hashlib.sha256()
    with open(path, "xb") as file:
        for block in map(repository.block, entry.blocks):
            digest.update(block)
            if entry.flags & SPARSE and not block.strip(b"\0"):
                file.seek(len(block), os.SEEK_CUR)
            else:
                file.write(block)
        file.truncate(entry.size)
    need(digest.digest() == entry.digest, f"{path} is not what was backed up")


def make(repository, entry, top, path):
    if entry.kind == DIRECTORY:
        os.mkdir(path, 0o700)
    elif entry.kind == FILE:
        write_file(repository, entry, path)
    elif entry.kind == SYMLINK:
        os.symlink(entry.target, path)
    elif entry.kind == HARDLINK:
        os.link(os.path.join(top, entry.target), path)
    elif entry.kind == FIFO:
        os.mkfifo(path)
    else:
        kind = 0o020000 if entry.kind == CHARACTER else 0o060000
        os.mknod(path, kind | 0o600, os.makedev(entry.size >> 32, entry.size & 0xFFFFFFFF))


def known(find, name, number):
    try:
        return find(name.decode())[2]
    except (KeyError, UnicodeDecodeError):
        return number


def give(entry, path):
    if entry.kind == HARDLINK:
        return
    if os.geteuid() == 0:
        uid, gid = known(pwd.getpwnam, entry.owner, entry.uid), known(grp.getgrnam, entry.group, entry.gid)
        os.chown(path, uid, gid, follow_symlinks=False)
    if entry.kind != SYMLINK:
        os.chmod(path, entry.mode)
    for name, value in entry.attributes:
        try:
            os.setxattr(path, name, value, follow_symlinks=False)
        except OSError as error:
            print(f"{os.fsdecode(path)}: {os.fsdecode(name)}: {error.strerror}", file=sys.stderr)
    os.utime(path, ns=(entry.mtime, entry.mtime), follow_symlinks=False)


def extract(where, name, to):
    repository, top = Repository(where), os.fsencode(to)
    directories = []
    for entry in entries(repository.snapshot(name)):
        path = os.path.join(top, entry.path) if entry.path else top
        make(repository, entry, top, path)
        if entry.kind == DIRECTORY:
            directories.append((entry, path))
        else:
            give(entry, path)
    for entry, path in reversed(directories):
        give(entry, path)


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    try:
        extract(*sys.argv[1:])
    except Damaged as damage:
        sys.exit(f"extract.py: {damage}")
