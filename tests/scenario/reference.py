"""The reference deployment in a machine: the shipped configuration as it is but for the size of its disks,
two GPUs of 80 GB that the made-up driver shows, a virtual environment whose vLLM is the simulator, and a
small model in each of the seven directories."""

import shutil

import checkpoints
from program import TOP

MODELS = {  # the directory and the port of each
    "mixtral": ("mixtral-8x7b-instruct", 11400),
    "hermes": ("nous-hermes-2-mixtral", 11401),
    "openchat": ("openchat-3.5", 11402),
    "phi3": ("phi-3-mini-128k", 11403),
    "yi34b": ("yi-34b-chat", 11404),
    "coder": ("deepcoder-14b-instruct", 11405),
    "vision": ("mimo-vl-7b-rl", 11500),
}
PACKAGES = {"vllm": "0.26.0", "torch": "2.8.0", "transformers": "4.57.1", "tokenizers": "0.22.1", "fastapi": "0.121.0"}
ADDRESS = "192.168.10.35"
DRIVER = "/dev/shm/driver"  # where every unit may write, as in the /dev of a real one
ENV = "opt/citadel/vllm-env"

SUDO = '#!/bin/sh\nexec "$@"\n'  # who types here is root
NETWORK = f"[Match]\nName=lo\n\n[Network]\nAddress={ADDRESS}/32\n"
# Bound, so that something is mounted there, and is there again after a boot.
FSTAB = "/srv/models /mnt/citadel-models none bind 0 0\n/srv/backup /mnt/citadel-backup none bind 0 0\n"


def write_program(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


def write_driver(root):
    """As the system's own library, for whatever systemd starts."""
    shutil.copy(TOP / "build/sim/libnvidia-ml.so.1", root / "usr/lib/x86_64-linux-gnu")
    settings = root / "etc/systemd/system.conf.d"
    settings.mkdir()
    (settings / "driver.conf").write_text(f"[Manager]\nDefaultEnvironment=CITADEL_FAKE_NVML={DRIVER}\n")
    (root / "etc/tmpfiles.d/driver.conf").write_text(f"d {DRIVER} 0777\n")


def write_environment(root, bin):
    env = root / ENV
    write_program(env / "bin/vllm", f'#!/bin/sh\nCITADEL_FAKE_NVML={DRIVER} exec {bin}/citadel-sim "$@" --sim-version {PACKAGES["vllm"]}\n')
    (env / "bin/python3").symlink_to("/usr/bin/python3")
    for package, version in PACKAGES.items():
        info = env / f"lib/python3.12/site-packages/{package}-{version}.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n")


def write_models(root):
    """Of a few kilobytes, that claim to have been made for as long a context as the configuration asks for."""
    for directory, _ in MODELS.values():
        c = checkpoints.config("Llama-3.1-8B-Instruct")
        c.update(hidden_size=64, intermediate_size=128, num_hidden_layers=2, vocab_size=100)
        c.update(num_attention_heads=2, num_key_value_heads=2, head_dim=32)
        checkpoints.write(root / "srv/models/active" / directory, c, checkpoints.llama_like(c))


def configuration():
    text = (TOP / "examples/reference.yaml").read_text()
    assert "minimum_free: 500GB" in text
    return text.replace("minimum_free: 500GB", "minimum_free: 100MB")


def prepare(here):
    """Before it is booted."""
    root = here.root
    write_program(root / "usr/local/bin/sudo", SUDO)
    (root / "etc/systemd/network/lo.network").write_text(NETWORK)
    wants = root / "etc/systemd/system/multi-user.target.wants"
    (wants / "systemd-networkd.service").symlink_to("/lib/systemd/system/systemd-networkd.service")
    for part in ("models", "backup"):
        (root / f"mnt/citadel-{part}").mkdir()
        (root / "srv" / part).mkdir()
    (root / "etc/fstab").write_text(FSTAB)
    write_driver(root)
    write_environment(root, here.bin)
    write_models(root)
    (root / "etc/citadel").mkdir()
    (root / "etc/citadel/citadel.yaml").write_text(configuration())
