"""`make install DESTDIR=` puts things where a distribution looks for them, and nowhere else."""

import subprocess

import pytest

import program

WANT = {
    "bin/citadel",
    "bin/citadel-sim",
    "bin/citadel-deploy",
    "bin/citadel-rollback",
    "bin/citadel-systemd",
    "share/man/man1/citadel.1",
    "share/man/man5/citadel.yaml.5",
    "share/bash-completion/completions/citadel.bash",
    "share/zsh/site-functions/_citadel",
    "share/fish/vendor_completions.d/citadel.fish",
    "share/doc/citadel/LICENSE",
    "share/doc/citadel/README.md",
    "share/doc/citadel/CHANGELOG.md",
    "share/doc/citadel/docs/operations.md",
    "share/doc/citadel/examples/reference.yaml",
    "lib/systemd/system/citadel-ai.target",
    "lib/systemd/system-generators/citadel-generator",
    "lib/sysusers.d/citadel.conf",
    "lib/tmpfiles.d/citadel.conf",
}


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    if not (program.BIN / "build.ninja").exists():
        pytest.skip(f"{program.BIN} is not a build directory")
    top = tmp_path_factory.mktemp("installed")
    subprocess.run(
        ["meson", "install", "--no-rebuild", "--quiet", "-C", program.BIN, "--destdir", top],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    (prefix,) = [path.parent.parent for path in top.rglob("bin/citadel")]
    return prefix


def test_everything_is_where_it_belongs(installed):
    files = {
        str(p.relative_to(installed)) for p in installed.rglob("*") if p.is_file() or p.is_symlink()
    }
    assert WANT <= files
    assert not [f for f in files if f.endswith((".a", ".h"))]


def test_what_is_installed_is_what_the_program_says(installed):
    pages = {
        "share/man/man1/citadel.1": ["manual"],
        "share/man/man5/citadel.yaml.5": ["manual", "5"],
        "share/bash-completion/completions/citadel.bash": ["completion", "bash"],
        "share/zsh/site-functions/_citadel": ["completion", "zsh"],
        "share/fish/vendor_completions.d/citadel.fish": ["completion", "fish"],
    }
    for path, words in pages.items():
        assert (installed / path).read_text() == program.run(*words).stdout


def test_the_installed_program_runs(installed):
    done = subprocess.run([installed / "bin/citadel", "--version"], capture_output=True, text=True)
    version = (program.TOP / "VERSION").read_text().strip()
    assert done.stdout.startswith(f"citadel {version}\n")


def test_systemd_finds_the_generator(installed):
    generator = installed / "lib/systemd/system-generators/citadel-generator"
    assert str(generator.readlink()).endswith("/bin/citadel")


def test_polkit_finds_the_rule(installed):
    top = next(p for p in installed.parents if p.name.startswith("installed"))
    (rule,) = top.rglob("60-citadel.rules")
    assert rule.parent in (top / "etc/polkit-1/rules.d", top / "usr/share/polkit-1/rules.d")
