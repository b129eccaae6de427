"""Python environments that have a release of vLLM, as far as anybody looks before it runs; what runs then is
the simulator."""

import pathlib

from program import BIN


def make(where, release, simulator=BIN / "citadel-sim", leave_out=()):
    """A directory, with what is named in leave_out missing: "package", "vllm" or "python3"."""
    where = pathlib.Path(where)
    packages = where / "lib/python3.12/site-packages"
    packages.mkdir(parents=True)
    (where / "pyvenv.cfg").write_text("home = /usr/bin\n")
    if "package" not in leave_out:
        (packages / f"vllm-{release}.dist-info").mkdir()
    (where / "bin").mkdir()
    for name in {"vllm", "python3"} - set(leave_out):
        program = where / "bin" / name
        program.write_text(f'#!/bin/sh\nexec {simulator} "$@" --sim-version {release} --sim-load-time 0.5\n')
        program.chmod(0o755)
    return where


def lead(link, name):
    """The link leads to a directory beside it, from one moment to the next."""
    link = pathlib.Path(link)
    draft = link.with_name(f".{link.name}.new")
    draft.symlink_to(name)
    draft.rename(link)
