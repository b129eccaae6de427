"""A whole machine: the image of machine.py with Debian's cloud kernel, booted in qemu. Its kernel is its
own, so limits of memory, addresses and devices are what they are on a server, and its disk can lose power.

It is emulated, without KVM, which is not to be had everywhere, so that a boot takes a minute. Commands
reach it through a virtio port, on which `agent` listens; there is no network but its own.

Power: a disk promises to keep only what was written before its last flush; of what came later it may keep
any part, in any order. qemu logs all writes and flushes of the disk (blklogwrites) in the format of the
kernel's dm-log-writes, all numbers little endian, a sector being 512 bytes:

    sector 0      magic, version, number of entries (u64 each), sector size (u32)
    then entries  sector, number of sectors, flags, bytes of data (u64 each), filled up to a sector;
                  behind it the sectors that were written; none after a flush or a discard

so that any cut can be made of one log: see Writes."""

import base64
import contextlib
import json
import os
import select
import shlex
import shutil
import socket
import struct
import subprocess
import time

import pytest

import machine
from program import TOP

HERE = TOP / "tests/vm"
KERNEL = ("linux-image-cloud-amd64", "initramfs-tools", "zstd", "e2fsprogs")
SUITE = "bookworm"  # the kernel of trixie dies of how qemu 7.2 emulates it
DISK_BYTES = 3 << 30
# ext4 writes out what is closed after a truncation or renamed over another, for those who forget fsync(). Other
# file systems do not, and we do not forget it.
MOUNTED = "errors=panic,noauto_da_alloc"
MEMORY_MIB = 1536
PATIENCE_S = 300  # all takes ten times as long as on a real machine
ADDRESS = "10.0.2.15"  # of its own that is no loopback

AGENT = """[Unit]
BindsTo=dev-virtio\\x2dports-citadel.device
After=dev-virtio\\x2dports-citadel.device

[Service]
ExecStart=/opt/agent
"""
NOT_NEEDED = (  # and would take a second each
    *("getty@tty1.service", "serial-getty@ttyS0.service", "systemd-firstboot.service", "e2scrub_reap.service"),
    *("apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "e2scrub_all.timer"),
)
NETWORK = f"""[Match]
Driver=virtio_net

[Network]
Address={ADDRESS}/24
"""


def why_not():
    """Why no machine can be booted here; None: one can."""
    if not shutil.which("qemu-system-x86_64"):
        return "qemu-system-x86_64 is not here"
    return machine.why_not()


def wants(root, unit, target="multi-user.target"):
    """As `systemctl enable` does."""
    folder = root / f"etc/systemd/system/{target}.wants"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / unit).symlink_to(f"/etc/systemd/system/{unit}")


def prepare(root):
    """What it takes to be driven, and an address."""
    shutil.copy(HERE / "agent", root / "opt/agent")
    (root / "etc/systemd/system/agent.service").write_text(AGENT)
    wants(root, "agent.service")
    (root / "etc/systemd/network/any.network").write_text(NETWORK)
    (root / "etc/systemd/system/systemd-networkd.service").symlink_to("/lib/systemd/system/systemd-networkd.service")
    wants(root, "systemd-networkd.service")
    for unit in NOT_NEEDED:
        (root / "etc/systemd/system" / unit).symlink_to("/dev/null")
    (root / "etc/fstab").write_text(f"/dev/vda / ext4 {MOUNTED} 0 1\n")


def make_file_system(file, size, *options):
    with open(file, "wb") as f:
        f.truncate(size)
    subprocess.run(["mke2fs", "-q", "-F", "-t", "ext4", *options, file], check=True)


class Disk:
    """An image to boot from, with Citadel; what machines do to it is done to copies. more(root): adds to it.
    data_bytes: there is a second disk, with an empty file system of that size."""

    def __init__(self, suite, name, more=lambda root: None, data_bytes=0):
        base = machine.image(suite, f"{suite}-vm", KERNEL)
        self.top = machine.place(name)
        self.data = self.top / "data" if data_bytes else None
        try:
            self._make(base, more)
            if data_bytes:
                make_file_system(self.data, data_bytes)
        except BaseException:
            self.finish()
            raise

    def _make(self, base, more):
        root, self.bin = machine.lay(base, self.top)
        try:
            prepare(root)
            more(root)
            for part in ("vmlinuz", "initrd.img"):
                (found,) = (root / "boot").glob(f"{part}-*")
                shutil.copy(found, self.top / part)
            self.file = self.top / "disk"
            options = ("-E", "lazy_itable_init=0,lazy_journal_init=0")
            make_file_system(self.file, DISK_BYTES, *options, "-d", root)
        finally:
            subprocess.run(["umount", "-l", root], check=True)

    def copy(self, name):
        to = self.top / name
        subprocess.run(["cp", "--reflink=auto", "--sparse=always", self.file, to], check=True)
        return to

    def boot(self, file=None, log=None):
        """A machine; file: on this copy. log: its writes are kept there."""
        return VM(self, file or self.copy("running"), log)

    def finish(self):
        shutil.rmtree(self.top)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.finish()


def disk_of(file, log):
    """Arguments of qemu for the first disk. The log is not synchronised: it is qemu that dies, not we."""
    node = {"driver": "raw", "node-name": "disk", "file": {"driver": "file", "filename": str(file)}}
    if log:
        log.write_bytes(b"")
        kept = {"driver": "raw", "cache": {"no-flush": True}, "file": {"driver": "file", "filename": str(log)}}
        node = {"driver": "blklogwrites", "node-name": "disk", "file": {**node, "node-name": "under"}, "log": kept}
    return ["-blockdev", json.dumps(node), "-device", "virtio-blk-pci,drive=disk,write-cache=on"]


class VM(machine.Host):
    """Booted, until the context is left."""

    def __init__(self, disk, file, log):
        self.disk, self.file, self.bin = disk, file, disk.bin
        self.console = disk.top / "console"
        ours, theirs = socket.socketpair()
        self.port, self.heard = ours, b""
        command = [
            *("nice", "qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"),
            *("-machine", "q35,accel=tcg", "-cpu", "Nehalem", "-smp", "2", "-m", str(MEMORY_MIB)),
            *("-kernel", disk.top / "vmlinuz", "-initrd", disk.top / "initrd.img"),
            *("-append", "root=/dev/vda rw console=ttyS0 quiet panic=-1 systemd.show_status=no"),
            *("-serial", f"file:{self.console}"),
            *("-nic", "user,restrict=on,model=virtio-net-pci"),
            *("-device", "virtio-serial-pci", "-chardev", f"socket,id=agent,fd={theirs.fileno()}"),
            *("-device", "virtserialport,chardev=agent,name=citadel"),
            *disk_of(file, log),
            *(("-drive", f"file={disk.data},format=raw,if=virtio") if disk.data else ()),
        ]
        self.process = subprocess.Popen(
            [str(word) for word in command], stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()]
        )
        theirs.close()
        try:
            assert self._hear() == b"up"
            self.run("systemctl", "is-system-running", "--wait", check=False)
        except BaseException:
            self.cut_power()
            raise

    def _hear(self, timeout=PATIENCE_S):
        """A line from the agent."""
        deadline = time.monotonic() + timeout
        while b"\n" not in self.heard:
            ready, _, _ = select.select([self.port], [], [], max(deadline - time.monotonic(), 0))
            piece = self.port.recv(65536) if ready else b""
            assert piece, f"the machine does not answer:\n{self.console.read_text(errors='replace')[-4000:]}"
            self.heard += piece
        line, _, self.heard = self.heard.partition(b"\n")
        return line

    def send(self, *words, user=None, input=None):
        """Types a command, and does not wait for it."""
        command = shlex.join(map(str, words))
        if user:
            command = shlex.join(["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups"]) + f" {command}"
        if input is not None:
            command = f"echo {base64.b64encode(input.encode()).decode()} | base64 -d | {command}"
        self.port.sendall(base64.b64encode(f"export LC_ALL=C.UTF-8\n{command}".encode()) + b"\n")

    def run(self, *words, check=True, timeout=PATIENCE_S, **more):
        """A command inside, to its end; check: its failure is ours."""
        self.send(*words, **more)
        code, out, err = self._hear(timeout).split()
        out, err = (base64.b64decode(part[:-1]).decode(errors="replace") for part in (out, err))
        done = subprocess.CompletedProcess(words, int(code), out, err)
        if check:
            assert done.returncode == 0, f"{words}: exit {done.returncode}\n{out}\n{err}\n{self.journal()}"
        return done

    def until(self, happened, what, patience_s=PATIENCE_S):
        """As machine.Machine does: asks again when the journal has another line."""
        deadline = time.monotonic() + patience_s
        while not (result := happened()):
            assert time.monotonic() < deadline, f"{what} has not happened:\n{self.journal()}"
            self.run("sh", "-c", "timeout 1 journalctl -f -n 0 -o cat | head -n 1")
        return result

    def cut_power(self):
        self.process.kill()
        self.process.wait()
        self.port.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.cut_power()


FLUSH, FUA, DISCARD = 1, 2, 4
SECTOR = 512


class Writes:
    """The log of a disk: what it was told to write, and when to keep it."""

    def __init__(self, log):
        self.log = open(log, "rb")
        self.entries = list(self._read())

    def _read(self):
        """(sector, sectors, flags, where its data are). The last may be half of one."""
        at, end = SECTOR, os.fstat(self.log.fileno()).st_size
        while at + SECTOR <= end:
            sector, sectors, flags, _ = struct.unpack("<4Q", os.pread(self.log.fileno(), 32, at))
            at += SECTOR
            length = 0 if flags & DISCARD else sectors * SECTOR
            if not (sectors or flags) or at + length > end:
                return
            yield sector, sectors, flags, at
            at += length

    def __len__(self):
        return len(self.entries)

    def cut(self, count, file, chance):
        """Power is lost after the first `count`: all that was flushed is on the disk `file`, and of what
        was not each write by chance, the order being the disk's."""
        done = self.entries[:count]
        flushed = max((i for i, e in enumerate(done) if e[2] & FLUSH), default=0)
        loose = [e for e in done[flushed:] if e[2] & FUA or chance.random() < 0.5]
        with open(file, "r+b") as disk:
            for sector, sectors, flags, at in done[:flushed] + loose:
                if not flags & DISCARD:
                    disk.seek(sector * SECTOR)
                    disk.write(os.pread(self.log.fileno(), sectors * SECTOR, at))


@contextlib.contextmanager
def fresh_disk(*of):
    """For a fixture: skipped where there is no machine. of: a Disk's."""
    if why := why_not():
        pytest.skip(why)
    with Disk(*of) as it:
        yield it
