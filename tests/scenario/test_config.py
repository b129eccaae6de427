"""citadel config: what is accepted, what is refused and in which words, and what is shown.

tests/data/config/bad/NAME.yaml is refused with the lines of NAME.want, each LINE:COLUMN: WORDS."""

import json
import os
import pathlib
import random
import re
import subprocess
import time

import jsonschema
import pytest
import yaml

from program import CITADEL, TOP, environment, error_json, run, run_json

EXAMPLES = sorted((TOP / "examples").glob("*.yaml"))
BAD = sorted((TOP / "tests/data/config/bad").glob("*.yaml"))
MINIMAL = "models:\n  phi3:\n    port: 11403\n"

LINE = re.compile(r"^(?P<file>.+?):(?P<line>\d+):(?P<column>\d+): (?P<words>.+)$")


def check(path, *more, **env):
    return run("config", "check", str(path), *more, **env)


def said(path, content):
    """What is said about a file with these bytes, which must be refused: (line, column, words)."""
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    done = check(path)
    assert done.returncode == 64, done
    assert done.stdout == ""
    *lines, last = done.stderr.splitlines()
    assert last.startswith(f"citadel: {path} has ") and last.endswith(("error", "errors"))
    found = [LINE.match(line) for line in lines if not line.endswith(" more")]
    assert found and all(m and m["file"] == str(path) for m in found), done.stderr
    return [(int(m["line"]), int(m["column"]), m["words"]) for m in found]


@pytest.fixture
def file(tmp_path):
    return tmp_path / "citadel.yaml"


@pytest.fixture(scope="session")
def schema():
    done = run("config", "schema")
    assert done.returncode == 0
    read = json.loads(done.stdout)
    jsonschema.Draft202012Validator.check_schema(read)
    return jsonschema.Draft202012Validator(read)


# --- what is refused ---------------------------------------------------------------------------


def test_there_are_enough_bad_files():
    assert len(BAD) >= 60
    assert len(BAD) == len(list(BAD[0].parent.glob("*.want")))


@pytest.mark.parametrize("path", BAD, ids=lambda p: p.stem)
def test_bad_file(path, file):
    want = path.with_suffix(".want").read_text().splitlines()
    found = said(file, path.read_bytes())
    assert [f"{line}:{column}: {words}" for line, column, words in found] == want


@pytest.mark.parametrize("path", BAD, ids=lambda p: p.stem)
def test_bad_file_as_json(path):
    code, result = run_json("config", "check", str(path))
    assert code == 64
    assert result["accepted"] is False and result["errors"] == len(result["problems"])
    want = path.with_suffix(".want").read_text().splitlines()
    for problem, line in zip(result["problems"], want, strict=True):
        assert set(problem) == {"file", "line", "column", "severity", "found", "allowed"}
        assert problem["severity"] == "error"
        words = ": ".join(p for p in (problem["found"], problem["allowed"]) if p)
        assert f"{problem['line']}:{problem['column']}: {words}" == line
    assert error_json(check(path, "--json"))["id"] == "config.invalid"


def test_secrets_are_not_repeated():
    for path in BAD:
        if not path.stem.startswith(("secret-", "password-", "url-with-password")):
            continue
        told = check(path).stderr + check(path, "--json").stdout
        for secret in ("my-plain-token", "hf_abc", "sk-abc", "me:secret", "T00000000"):
            assert secret not in told


TOKEN = "hf_" + "Ab3" * 12


def spoilt_references():
    """The reference with a token in place of one key or one value, a line after the other."""
    lines = (TOP / "examples/reference.yaml").read_text().splitlines()
    for n, line in enumerate(lines):
        found = re.match(r"^(\s*(?:- )?)([\w.-]+):(?: ([^#]*\S))?", line)
        if not found or line.lstrip().startswith("#"):
            continue
        yield lines[:n] + [f"{found[1]}{TOKEN}:{line[found.end(2) + 1:]}"] + lines[n + 1 :]
        if found[3]:
            yield lines[:n] + [f"{found[1]}{found[2]}: {TOKEN}"] + lines[n + 1 :]


def test_a_token_anywhere_is_not_repeated(file):
    count = 0
    for lines in spoilt_references():
        file.write_text("\n".join(lines) + "\n")
        done = check(file)
        assert TOKEN not in done.stderr + done.stdout, "\n".join(lines)
        assert done.returncode == 64
        count += 1
    assert count > 100


def test_bomb(file):
    levels = "".join(f"l{i}: &l{i} [{', '.join([f'*l{i - 1}'] * 9)}]\n" for i in range(1, 10))
    began = time.monotonic()
    found = said(file, "l0: &l0 boom\n" + levels)
    assert time.monotonic() - began < 2
    assert found == [
        (7, 10, "the document holds more than 100000 values once its aliases are written out: "
                "use fewer aliases (*name), or a smaller file"),
    ]


def test_ten_megabytes_are_not_read(file):
    began = time.monotonic()
    found = said(file, b"# padding\n" * (1 << 20))
    assert time.monotonic() - began < 2
    assert found == [(1, 1, "the file is too large: 1 MiB at most")]


def test_a_file_without_end():
    done = check("/dev/zero")
    assert done.returncode == 64
    assert done.stderr.splitlines()[0] == "/dev/zero:1:1: the file is too large: 1 MiB at most"


def test_the_largest_that_is_read(file):
    text = MINIMAL + "#" * ((1 << 20) - len(MINIMAL) - 1) + "\n"
    file.write_text(text)
    assert check(file).returncode == 0
    assert said(file, text + "\n") == [(1, 1, "the file is too large: 1 MiB at most")]


@pytest.mark.parametrize("brackets", ["[]", "{}"])
def test_deep_nesting(file, brackets):
    found = said(file, f"models: {brackets[0] * 100000}\n")
    assert found == [(1, 72, "lists and maps are nested more than 64 deep")]


def test_deep_blocks(file):
    text = "".join(f"{' ' * i}k{i}:\n" for i in range(200))
    assert said(file, text) == [(65, 65, "lists and maps are nested more than 64 deep")]


def test_many_errors_end(file):
    found = said(file, MINIMAL + "".join(f"    nonsense{i}: 1\n" for i in range(5000)))
    assert len(found) == 100
    assert check(file).stderr.splitlines()[-2] == f"{file}: and 4900 more"


def test_many_models_end(file):
    text = "models:\n" + "".join(f"  m{i}: {{}}\n" for i in range(257))
    assert said(file, text) == [(2, 3, "models has 257 entries: 256 at most")]


def test_as_many_models_as_may_be(file):
    file.write_text("models:\n" + "".join(f"  m{i}: {{}}\n" for i in range(256)))
    began = time.monotonic()
    assert check(file).returncode == 0
    assert time.monotonic() - began < 2


def test_long_words_take_no_time(file):
    began = time.monotonic()
    said(file, MINIMAL + "".join(f"    {'x' * 200}{i}: 1\n" for i in range(4000)))
    assert time.monotonic() - began < 2


def test_a_long_text_many_times(file):
    """What aliases repeat is counted by its length, too: here 500 kB, forty thousand times."""
    text = f"models: {{m: {{}}}}\na: &a {'x' * 500000}\nb: [{', '.join(['*a'] * 40000)}]\n"
    began = time.monotonic()
    assert said(file, text)[0][2].startswith("the document holds more than 100000 values")
    assert time.monotonic() - began < 2


HEAVY = {
    "keys": "a: ", "explicit keys": "? ", "items": "- ", "lists": "[", "maps": "{", "anchors": "&a ",
    "tags": "!a ", "aliases": "*a ", "quotes": "'\n", "lines": "a:\n", "comments": "#\n",
    "words": "a ", "word lines": "a\n", "commas": ",", "colons": ":", "empty quotes": '""',
    "percents": "%a\n", "markers": "---\n", "ends": "...\n", "backslashes": "\\", "blank": " \n",
    "steps": "- - ", "pairs": "{a: ", "values": "[a, ", "block texts": "|\n ", "merges": "<<: \n",
}


@pytest.mark.parametrize("piece", HEAVY.values(), ids=HEAVY.keys())
@pytest.mark.parametrize("before", ["", "models: ", "models: [", "models:\n  - '", "models: |\n  "])
def test_a_megabyte_of_anything_is_answered(file, before, piece):
    file.write_text((before + piece * ((1 << 20) // len(piece)))[: 1 << 20])
    began = time.monotonic()
    assert check(file).returncode == 64
    assert time.monotonic() - began < 5


def test_nul_bytes(file):
    found = said(file, b"models:\n  phi3:\0\n")
    assert found == [(2, 8, "a NUL byte; is this file really text? (0x00)")]


def test_control_characters(file):
    assert said(file, b"models:\n  phi3: \x1b[2J\n") == [(2, 9, "a control character (0x1B)")]


def test_not_utf8(file):
    text = "models:\n  phi3: {source: café}\n".encode("latin-1")
    assert said(file, text) == [(2, 21, "a byte that is not UTF-8 (0xE9)")]


def test_utf16(file):
    text = MINIMAL.encode("utf-16")
    assert said(file, text) == [(1, 1, "the text is UTF-16: save it as UTF-8")]


def test_columns_count_characters(file):
    text = "models:\n  phi3: {source: Größe, port: 7}\n"
    assert said(file, text) == [
        (2, 31, "models.phi3.port is 7: a port from 1024 to 65535; or auto")
    ]


@pytest.mark.parametrize("seed", range(40))
def test_random_bytes(file, seed):
    random.seed(seed)
    content = bytes(random.randrange(256) for _ in range(random.randrange(1, 5000)))
    assert said(file, content)


@pytest.mark.parametrize("seed", range(60))
def test_damaged_reference(file, seed):
    """A line lost, a line twice, a character changed: accepted, or refused with a place in it."""
    random.seed(seed)
    text = (TOP / "examples/reference.yaml").read_text()
    lines = text.splitlines(keepends=True)
    at = random.randrange(len(lines))
    kind = seed % 3
    if kind == 0:
        del lines[at]
    elif kind == 1:
        lines.insert(at, lines[at])
    else:
        column = random.randrange(len(lines[at]))
        lines[at] = lines[at][:column] + random.choice("\t:{}[]'\"-#x9 ") + lines[at][column + 1 :]
    file.write_text("".join(lines))
    done = check(file)
    assert done.returncode in (0, 64)
    for line in done.stderr.splitlines()[:-1]:
        place = LINE.match(line)
        assert place and 1 <= int(place["line"]) <= len(lines) + 1


# --- what is accepted --------------------------------------------------------------------------


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.stem)
def test_example_is_right(path, schema):
    done = check(path)
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(rf"{re.escape(str(path))}: right, \d+ models?\n", done.stdout)
    schema.validate(yaml.safe_load(path.read_text()))


def test_minimal_is_small():
    assert len((TOP / "examples/minimal.yaml").read_text().splitlines()) <= 10


def test_reference_is_that_of_the_mission():
    code, shown = run_json("config", "show", "-c", str(TOP / "examples/reference.yaml"))
    assert code == 0
    config = shown["config"]
    rows = [
        ("mixtral", 11400, "mixtral-8x7b-instruct", 2, 0.90, 32768),
        ("hermes", 11401, "nous-hermes-2-mixtral", 2, 0.90, 32768),
        ("openchat", 11402, "openchat-3.5", 1, 0.70, 8192),
        ("phi3", 11403, "phi-3-mini-128k", 1, 0.60, 128000),
        ("yi34b", 11404, "yi-34b-chat", 2, 0.85, 4096),
        ("coder", 11405, "deepcoder-14b-instruct", 1, 0.80, 16384),
        ("vision", 11500, "mimo-vl-7b-rl", 1, 0.70, 4096),
    ]
    keys = ("port", "path", "tensor_parallel", "gpu_memory_fraction", "max_model_len")
    assert [(n, *(m[k] for k in keys)) for n, m in config["models"].items()] == [
        (n, port, f"/opt/citadel/models/{d}", *more) for n, port, d, *more in rows
    ]
    assert config["gateway"]["port"] == 8000 and config["monitor"]["port"] == 8001
    assert config["network"]["address"] == "192.168.10.35"
    assert config["devops"]["address"] == "192.168.10.36"
    assert "192.168.10.36" in config["gateway"]["metrics_allow"]
    assert config["paths"]["vllm_env"] == "/opt/citadel/vllm-env"
    assert config["storage"]["minimum_free"] == "500GB"
    assert config["deploy"]["test_model"] == "phi3"
    backup = config["backup"]
    assert (backup["models"]["daily"], backup["models"]["keep_daily"]) == ("daily 02:00", 7)
    assert (backup["models"]["weekly"], backup["models"]["keep_weekly"]) == ("weekly sunday 03:00", 4)
    assert (backup["models"]["monthly"], backup["models"]["keep_monthly"]) == ("monthly 1 04:00", 12)
    assert backup["configuration"] == {"schedules": ["every 15m", "daily 01:00"], "keep": "30d"}
    assert backup["logs"] == {"schedules": ["hourly", "daily 05:00"], "keep": "90d"}


def test_lines_may_end_as_windows_ends_them(file):
    file.write_bytes(b"\xef\xbb\xbf" + MINIMAL.replace("\n", "\r\n").encode())
    assert check(file).returncode == 0


def test_json_is_yaml(file):
    file.write_text(json.dumps({"models": {"phi3": {"port": 11403, "gpus": [0]}}}))
    assert check(file).returncode == 0


def test_aliases_may_share(file):
    file.write_text(
        "models:\n  a: &a {dtype: float16, lora: &l {max_rank: 8}}\n  b: *a\n  c: {lora: *l}\n"
    )
    _, shown = run_json("config", "show", "models", "-c", str(file))
    models = shown["config"]["models"]
    assert models["b"]["dtype"] == "float16" and models["c"]["lora"]["max_rank"] == 8
    assert [m["port"] for m in models.values()] == [11400, 11401, 11402]


def test_warnings_are_told_and_accepted(file):
    file.write_text(MINIMAL + "gateway: {anonymous: true}\n")
    done = check(file)
    assert done.returncode == 0
    assert done.stderr == (
        f"{file}:4:22: warning: gateway.anonymous lets everybody use the models who reaches "
        "0.0.0.0: make keys with `citadel keys create`, or listen on 127.0.0.1\n"
    )
    code, result = run_json("config", "check", str(file))
    assert code == 0 and result["accepted"] and result["errors"] == 0
    assert [p["severity"] for p in result["problems"]] == ["warning"]


# --- where the file is looked for --------------------------------------------------------------


def write(path, port):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"models: {{m: {{port: {port}}}}}\n")
    return path


def port(*words, **more):
    done = run("config", "show", "models.m.port", *words, **more)
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def test_search_order(tmp_path):
    root = tmp_path / "root"
    write(root / "etc/citadel/citadel.yaml", 2001)
    here = tmp_path / "here"
    here.mkdir()
    assert port("--root", str(root), cwd=here) == 2001
    write(here / "citadel.yaml", 2002)
    assert port("--root", str(root), cwd=here) == 2002
    named = write(tmp_path / "env.yaml", 2003)
    assert port("--root", str(root), cwd=here, CITADEL_CONFIG=str(named)) == 2003
    given = write(tmp_path / "given.yaml", 2004)
    assert port("-c", str(given), "--root", str(root), cwd=here, CITADEL_CONFIG=str(named)) == 2004
    assert port("--root", str(root), cwd=here, CITADEL_CONFIG="") == 2002


def put_link_of_nobody(here):
    (here / "citadel.yaml").rename(here / "ours.yaml")
    (here / "citadel.yaml").symlink_to("ours.yaml")
    os.chown(here / "citadel.yaml", 65534, 65534, follow_symlinks=False)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
@pytest.mark.parametrize(
    "spoil, why",
    [
        (lambda here: os.chown(here / "citadel.yaml", 65534, 65534), "it belongs to 65534"),
        (lambda here: os.chown(here, 65534, 65534), "its directory belongs to 65534"),
        (lambda here: (here / "citadel.yaml").chmod(0o666), "it can be written by others (mode 666)"),
        (put_link_of_nobody, "it belongs to 65534"),
        (lambda here: here.chmod(0o777), "its directory can be written by others (mode 777)"),
    ],
)
def test_what_a_stranger_could_have_written_is_passed_over(tmp_path, spoil, why):
    root, here = tmp_path / "root", tmp_path / "here"
    here.mkdir()
    system = write(root / "etc/citadel/citadel.yaml", 2001)
    write(here / "citadel.yaml", 2002)
    words = ("config", "show", "models.m.port", "--root", root)
    assert run(*words, cwd=here).stdout == "2002\n"
    spoil(here)
    done = run(*words, cwd=here)
    assert done.stdout == "2001\n", done
    assert f"warning: ./citadel.yaml is passed over: {why}: -c ./citadel.yaml reads it all the same" in done.stderr
    assert run(*words, "-c", "./citadel.yaml", cwd=here).stdout == "2002\n"
    system.unlink()
    done = run(*words, cwd=here)
    assert done.returncode == 4 and "neither ./citadel.yaml that is ours nor" in done.stderr


def test_nothing_found(tmp_path):
    done = run("config", "check", "--root", str(tmp_path), cwd=tmp_path)
    assert done.returncode == 4
    for place in ("-c", "$CITADEL_CONFIG", "./citadel.yaml", f"{tmp_path}/etc/citadel/citadel.yaml"):
        assert place in done.stderr
    assert "citadel config init" in done.stderr


def test_named_file_is_not_there(tmp_path):
    done = check(tmp_path / "no.yaml")
    assert (done.returncode, done.stderr) == (
        4, f"citadel: there is no {tmp_path}/no.yaml\n  try: citadel config init > {tmp_path}/no.yaml\n"
    )
    done = run("config", "show", CITADEL_CONFIG="/no/such.yaml")
    assert done.returncode == 4
    assert done.stderr == (
        "citadel: there is no /no/such.yaml, which $CITADEL_CONFIG names\n"
        "  try: citadel config init > /no/such.yaml\n"
    )


def test_a_link_that_leads_in_a_circle_is_told_with_what_shows_it(tmp_path):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    done = check(tmp_path / "a")
    assert done.returncode == 1
    assert done.stderr == (
        f"citadel: {tmp_path}/a: Too many levels of symbolic links\n"
        f"  try: see what leads there: namei -l {tmp_path}/a\n"
    )


def test_a_directory_is_no_file(tmp_path):
    done = check(tmp_path)
    assert done.returncode != 0 and "Is a directory" in done.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_unreadable_file(file):
    file.write_text(MINIMAL)
    file.chmod(0)
    done = check(file)
    assert done.returncode == 77 and "Permission denied" in done.stderr


def test_from_a_pipe():
    done = subprocess.run(
        [CITADEL, "config", "check", "/dev/stdin"],
        input=MINIMAL, env=environment(), capture_output=True, text=True, timeout=60,
    )
    assert (done.returncode, done.stdout) == (0, "/dev/stdin: right, 1 model\n")


def test_paths_lie_under_the_root(tmp_path):
    write(tmp_path / "etc/citadel/citadel.yaml", 2001)
    done = run("config", "show", "--root", str(tmp_path), cwd=tmp_path)
    assert done.returncode == 0 and str(tmp_path) not in done.stdout


# --- what is shown -----------------------------------------------------------------------------


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.stem)
def test_what_is_shown_is_a_configuration(path, tmp_path, schema):
    first = run("config", "show", "-c", str(path)).stdout
    shown = tmp_path / "shown.yaml"
    shown.write_text(first)
    again = run("config", "show", "-c", str(shown)).stdout

    def values(text):
        return [line.split("  # ")[0] for line in text.splitlines()]

    assert values(first) == values(again)
    assert "# default" in first and "# default" not in again
    schema.validate(yaml.safe_load(first))
    # PyYAML reads it as we do: nothing depends on whose parser it is.
    _, as_json = run_json("config", "show", "-c", str(path))
    assert yaml.safe_load(first) == as_json["config"]


def test_defaults_are_marked(file):
    file.write_text("defaults: {dtype: float16}\n" + MINIMAL)
    text = run("config", "show", "models.phi3", "-c", str(file)).stdout
    assert "\nport: 11403\n" in text
    assert "\ndtype: float16  # from defaults\n" in text
    assert "\ntensor_parallel: 1  # default\n" in text
    _, shown = run_json("config", "show", "-c", str(file))
    assert "models.phi3.tensor_parallel" in shown["defaulted"]
    assert "models.phi3.port" not in shown["defaulted"]
    assert "models.phi3.dtype" not in shown["defaulted"]


def test_secrets_are_places(file):
    file.write_text(MINIMAL + "hub: {token: {file: /etc/citadel/secrets/hf}}\n")
    done = run("config", "show", "hub.token", "-c", str(file))
    assert done.stdout == "{file: /etc/citadel/secrets/hf}\n"


def test_an_unknown_path(file):
    file.write_text(MINIMAL)
    done = run("config", "show", "models.phi3.prt", "-c", str(file))
    assert done.returncode == 4
    assert "did you mean models.phi3.port?" in done.stderr


def test_a_program_is_told_the_problems_by_every_verb(file):
    file.write_text("models:\n  phi3: {port: 70000}\n")
    for words in (["config", "show"], ["models"], ["status"], ["run", "phi3", "--print"]):
        done = run(*words, "--json", "-c", str(file))
        assert done.returncode == 64
        (problem,) = error_json(done)["problems"]
        assert (problem["line"], problem["found"]) == (2, "models.phi3.port is 70000")


def test_completion_does_not_wait_for_a_pipe(tmp_path):
    pipe = tmp_path / "citadel.yaml"
    os.mkfifo(pipe)
    for more in ({"CITADEL_CONFIG": str(pipe)}, {"cwd": tmp_path}):
        done = run("complete", "config", "show", "mod", **more)
        assert done.stdout.startswith("models\t")


def test_names_with_dots_are_found(file):
    file.write_text("models:\n  qwen2: {port: 11401}\n  qwen2.5: {port: 11402}\n")
    assert run("config", "show", "models.qwen2.5.port", "-c", str(file)).stdout == "11402\n"
    assert run("config", "show", "models.qwen2.port", "-c", str(file)).stdout == "11401\n"


def test_a_name_of_a_file_cannot_drive_a_terminal(tmp_path):
    odd = tmp_path / "x\x1b[31m\n.yaml"
    odd.write_text("a: 1\n")
    said = run("config", "check", str(odd)).stderr
    assert "\x1b" not in said and said.count("\n") == 3


def test_showing_a_bad_file(file):
    file.write_text("models: {phi3: {port: 1}}\n")
    done = run("config", "show", "-c", str(file))
    assert done.returncode == 64 and done.stdout == ""
    assert f"{file}:1:23: models.phi3.port is 1: " in done.stderr


# --- schema, options, first configuration ------------------------------------------------------

SEEN_BY_SCHEMA = [
    "unknown-option", "unknown-section", "port-too-large", "port-quoted", "fraction-above-one",
    "length-zero", "length-suffix", "bool-number", "choice-typo", "duration-without-unit",
    "duration-nonsense", "size-nonsense", "path-relative", "gpus-number", "name-upper-case",
    "schedule-nonsense", "secret-plain", "secret-two-places", "peer-incomplete", "models-list",
    "no-models", "user-nonsense", "bad-repository", "fallback-scalar", "too-many-items",
]


@pytest.mark.parametrize("name", SEEN_BY_SCHEMA)
def test_schema_refuses(name, schema):
    content = yaml.safe_load((TOP / f"tests/data/config/bad/{name}.yaml").read_text())
    assert not schema.is_valid(content)


def test_schema_tells(schema):
    model = schema.schema["$defs"]["model"]
    assert model["additionalProperties"] is False
    for name, option in model["properties"].items():
        assert option["description"], name
    assert model["properties"]["tensor_parallel"]["minimum"] == 1
    assert model["properties"]["start_max"]["default"] == "2h"


def test_options_are_explained():
    code, options = run_json("config", "options")
    assert code == 0 and len(options) > 200
    for option in options:
        assert option["help"] and option["allowed"] and option["change"], option
    paths = [option["path"] for option in options]
    assert len(paths) == len(set(paths))
    text = run("config", "options", "max_model_len").stdout
    assert text.startswith("models.NAME.max_model_len\n")
    assert run("config", "options", "frobnicate").returncode == 4


def test_every_default_may_be_written(file):
    """What the manual tells as the default is accepted where it is told to be."""
    _, options = run_json("config", "options")
    tree = {}
    for option in options:
        if option["default"] is None or ".NAME." in option["path"] or "{" in option["default"]:
            continue
        *way, name = option["path"].split(".")
        place = tree
        for step in way:
            place = place.setdefault(step, {})
        place[name] = yaml.safe_load(option["default"])
    file.write_text(json.dumps(tree | {"models": {"m": {}}}))
    done = check(file)
    assert done.returncode == 0, done.stderr


def machine(root):
    """A root with two GPUs, a mounted disk and models in several places."""
    for i, name in enumerate(("0000:17:00.0", "0000:65:00.0")):
        gpu = root / "proc/driver/nvidia/gpus" / name
        gpu.mkdir(parents=True)
        (gpu / "information").write_text(
            f"Model: \t\t NVIDIA H200\nIRQ:   \t\t 1\nGPU UUID: \t GPU-{i}{i}{i}\n"
        )
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/mountinfo").write_text(
        "21 1 8:1 / / rw - ext4 /dev/sda1 rw\n"
        "30 21 8:2 / /mnt/citadel-models rw,noatime shared:1 - xfs /dev/nvme1n1 rw\n"
    )

    def model(path, files=("config.json", "model.safetensors")):
        (root / path).mkdir(parents=True)
        for name in files:
            (root / path / name).write_bytes(b"x" * 1000)

    model("mnt/citadel-models/active/Phi-3 Mini")
    model("mnt/citadel-models/active/all")
    model("mnt/citadel-models/active/empty", files=())
    model("srv/models/org/coder")
    model("srv/models/quant", files=("a.gguf", "b.Q4_K_M.gguf"))
    model("home/ann/.cache/huggingface/hub/models--org--Chat-7B/snapshots/0abc")
    (root / "opt/citadel").mkdir(parents=True)
    (root / "opt/citadel/models").symlink_to(root / "mnt/citadel-models/active")


def test_init_looks_at_the_machine(tmp_path, schema):
    machine(tmp_path)
    done = run("config", "init", "--root", str(tmp_path))
    assert (done.returncode, done.stderr) == (0, "")
    text = done.stdout
    assert "#   0  NVIDIA H200  GPU-000\n#   1  NVIDIA H200  GPU-111\n" in text
    assert "#   /mnt/citadel-models is xfs on /dev/nvme1n1\n" in text
    assert "#   /mnt/citadel-backup is not mounted\n" in text
    assert str(tmp_path) not in text
    file = tmp_path / "citadel.yaml"
    file.write_text(text)
    assert check(file).returncode == 0
    schema.validate(yaml.safe_load(text))
    assert {name: m["path"] for name, m in yaml.safe_load(text)["models"].items()} == {
        "phi-3-mini": "Phi-3 Mini",
        "model": "all",
        "coder": "/srv/models/org/coder",
        "a": "/srv/models/quant/a.gguf",
        "b.q4_k_m": "/srv/models/quant/b.Q4_K_M.gguf",
        "chat-7b": "/home/ann/.cache/huggingface/hub/models--org--Chat-7B/snapshots/0abc",
    }


def test_init_on_an_empty_machine(tmp_path):
    text = run("config", "init", "--root", str(tmp_path)).stdout
    (tmp_path / "citadel.yaml").write_text(text)
    done = check(tmp_path / "citadel.yaml")
    assert done.returncode == 0 and done.stderr.endswith("warning: no model is enabled\n")


def test_init_can_be_switched_on_line_by_line(tmp_path):
    """Every default that is shown as a comment is accepted when its '#' is taken away."""
    text = run("config", "init", "--root", str(tmp_path)).stdout
    lines = text.splitlines(keepends=True)
    whole = [
        re.sub(r"^( *)#(\w+: )", r"\1\2", line) if "NAME" not in line and "..." not in line else line
        for line in lines
    ]
    assert sum(a != b for a, b in zip(lines, whole)) > 200
    (tmp_path / "citadel.yaml").write_text("".join(whole))
    done = check(tmp_path / "citadel.yaml")
    assert done.returncode == 0, done.stderr


def test_init_survives_odd_names(tmp_path):
    active = tmp_path / "mnt/citadel-models/active"
    for name in ("a: b", "# x", "'q'", "é", "-", "UPPER", "x" * 200, "new\nline", "tab\there", "%", "*a"):
        (active / name).mkdir(parents=True)
        (active / name / "config.json").write_text("{}")
    text = run("config", "init", "--root", str(tmp_path)).stdout
    (tmp_path / "citadel.yaml").write_text(text)
    done = check(tmp_path / "citadel.yaml")
    assert done.returncode == 0, done.stderr
