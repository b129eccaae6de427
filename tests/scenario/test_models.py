"""The catalogue: `citadel models` and `citadel models validate` on checkpoints as they are published,
whole ones and all the ways in which they are not."""

import json
import os
import subprocess

import checkpoints
import pytest
from program import error_json, run, run_json, run_on_terminal


def listed(where):
    """The models of a directory by name."""
    code, result = run_json("models", "--dir", str(where))
    assert code == 0
    return {m["name"]: m for m in result["models"]}


def read(where):
    return listed(where.parent)[where.name]


def validate(where, *names):
    return run("models", "validate", "--dir", str(where), *names)


@pytest.fixture
def tiny():
    """A configuration whose checkpoint is small."""
    c = checkpoints.config("Llama-3.1-8B-Instruct")
    c.update(hidden_size=64, intermediate_size=128, num_hidden_layers=2, vocab_size=100)
    return c


# --- whole checkpoints ----------------------------------------------------------------------------

WHOLE = {
    "Mixtral-8x7B-Instruct-v0.1": 19,
    "Llama-3.1-8B-Instruct": 4,
    "Llama-3.2-1B-Instruct": 1,
    "Llama-3.1-70B-Instruct": 30,
    "Mistral-7B-Instruct": 3,
    "Yi-34B-Chat": 15,
    "Qwen2.5-7B": 4,
    "Qwen2.5-72B": 37,
    "Qwen3-30B-A3B": 16,
}


@pytest.mark.parametrize("name", WHOLE)
def test_tensors_and_configuration_tell_the_same_size(name, tmp_path):
    facts = json.loads((checkpoints.FIXTURES / name / "facts.json").read_text())
    c = checkpoints.config(name)
    model = read(checkpoints.write(tmp_path / name, c, checkpoints.llama_like(c), WHOLE[name]))
    assert model["whole"] and model["problems"] == []
    assert model["parameters"] == facts["params"]
    assert not model["parameters_computed"]
    assert model["weights"]["bytes"] == model["weights"]["gpu_bytes"] == facts["total_size_bytes"]
    assert model["weights"]["files"] == model["weights"]["files_wanted"] == WHOLE[name]
    assert model["context"] == facts["native_context"]
    kv = facts["kv_bytes_per_token_16bit_all_attention_layers"]
    assert model["cache"]["kv_bytes_per_token"] == kv
    assert model["cache"]["kv_bytes_per_token_8bit"] == kv // 2
    assert model["tokenizer"] and model["chat_template"] and model["generation_config"]


def test_mixtral_has_its_published_size(tmp_path):
    c = checkpoints.config("Mixtral-8x7B-Instruct-v0.1")
    model = read(checkpoints.write(tmp_path / "mixtral", c, checkpoints.llama_like(c), 19))
    assert model["weights"]["bytes"] == model["weights"]["declared_bytes"] == 93405585408
    assert model["weights"]["tensors"] == 995


def test_32_bit_checkpoints_load_as_16_bit(tmp_path):
    c = checkpoints.config("DeepCoder-14B-Preview")
    model = read(checkpoints.write(tmp_path / "coder", c, checkpoints.llama_like(c, "F32")))
    assert model["parameters"] == 14770033664
    assert model["weights"]["bytes"] == 4 * 14770033664
    assert model["weights"]["gpu_bytes"] == 2 * 14770033664


@pytest.mark.parametrize(
    "name, matrix, text",
    [
        ("Llama-2-7B-AWQ", checkpoints.awq, "awq int4 group 128"),
        ("Llama-2-7B-GPTQ", checkpoints.gptq, "gptq int4 group 128"),
        ("Qwen3-8B-FP8", checkpoints.fp8, "fp8 e4m3 block 128x128 dynamic"),
    ],
)
def test_quantised_checkpoints_are_counted_unpacked(name, matrix, text, tmp_path):
    facts = json.loads((checkpoints.FIXTURES / name / "facts.json").read_text())
    c = checkpoints.config(name)
    model = read(checkpoints.write(tmp_path / name, c, checkpoints.llama_like(c, "F16", matrix)))
    assert model["whole"]
    assert model["quantization"]["text"] == text
    assert model["parameters"] == facts["params"]
    assert model["weights"]["gpu_bytes"] == model["weights"]["bytes"] < 2 * facts["params"]


def test_gpt_oss_has_its_published_size(tmp_path):
    c = checkpoints.config("gpt-oss-20b")
    model = read(checkpoints.write(tmp_path / "gpt-oss-20b", c, checkpoints.gpt_oss(c)))
    assert model["quantization"] == {"text": "mxfp4", "bits": 4, "group_size": 32}
    assert model["weights"]["bytes"] == 13761264768
    assert model["parameters"] == 20914757184
    assert model["cache"]["window"]["layers"] == 12
    assert model["cache"]["window_tokens"] == 128


# --- what is wrong with a model -------------------------------------------------------------------


def third_of_three(where, tiny):
    checkpoints.write(where, tiny, checkpoints.llama_like(tiny), 3)
    return where / "model-00003-of-00003.safetensors"


def lose(where, tiny):
    third_of_three(where, tiny).unlink()
    return (
        "  shard-missing: model-00003-of-00003.safetensors is missing\n"
        f"    try: hf download REPOSITORY model-00003-of-00003.safetensors --local-dir {where}\n"
    )


def cut(where, tiny):
    path = third_of_three(where, tiny)
    has = path.stat().st_size
    checkpoints.cut(path)
    name = path.name
    return (
        f"  shard-truncated: {name} is too short: it has {has - 1} bytes and needs {has}\n"
        f"    try: hf download REPOSITORY {name} --force-download --local-dir {where}\n"
    )


def pointer(where, tiny):
    checkpoints.lfs_pointer(third_of_three(where, tiny))
    return (
        "  lfs-pointer: model-00003-of-00003.safetensors is a git-lfs pointer: its 4976698672 bytes "
        "were never fetched\n"
        f"    try: git -C {where} lfs pull\n"
    )


def dangle(where, tiny):
    path = third_of_three(where, tiny)
    path.unlink()
    path.symlink_to("../../blobs/0d1f")
    return (
        f"  dangling-link: {path.name} is a link to ../../blobs/0d1f, which is not there\n"
        "    try: download the model again: the store its links lead into has lost files\n"
    )


def huge_header(where, tiny):
    path = third_of_three(where, tiny)
    path.write_bytes(b"\0" * 7 + b"\x80" + b"{}")
    return (
        f"  bad-header: {path.name}: its header claims 9223372036854775808 bytes, more than the "
        "100000000 that are allowed\n"
    )


def no_config(where, tiny):
    third_of_three(where, tiny)
    (where / "config.json").unlink()
    return "  no-config: config.json is missing\n"


def bad_config(where, tiny):
    third_of_three(where, tiny)
    (where / "config.json").write_text('{\n  "hidden_size": 64,\n  }')
    return "  bad-json: config.json:3:3: expected a name in quotes, found '}'\n"


def no_tokenizer(where, tiny):
    third_of_three(where, tiny)
    (where / "tokenizer.json").unlink()
    return "  no-tokenizer: neither tokenizer.json nor tokenizer.model is there\n"


def empty(where, tiny):
    where.mkdir()
    return "  directory-empty: the directory is empty\n"


def lost_tensor(where, tiny):
    path = third_of_three(where, tiny)
    path.unlink()
    checkpoints.write_safetensors(path, [("another", "BF16", [8])])
    wanted = [
        name
        for name, shard in json.loads((where / "model.safetensors.index.json").read_text())[
            "weight_map"
        ].items()
        if shard == path.name
    ]
    lines = [
        f"  tensor-missing: {path.name} lacks the tensor {name}, which the index places in it\n"
        for name in wanted
    ]
    if len(lines) > 8:
        lines[8:] = [
            f"  tensor-missing: {path.name} lacks {len(lines) - 8} more tensors that the index "
            "places in it\n"
        ]
    return "".join(lines)


def everything(where, tiny):
    """All of it is told, not only the first."""
    checkpoints.write(where, tiny, checkpoints.llama_like(tiny), 4)
    (where / "tokenizer.json").write_text("")
    (where / "model-00001-of-00004.safetensors").unlink()
    (where / "model-00002-of-00004.safetensors").write_bytes(b"\2\0\0\0\0\0\0\0[]")
    checkpoints.cut(where / "model-00004-of-00004.safetensors", 10)
    has = (where / "model-00004-of-00004.safetensors").stat().st_size
    (where / "model-00001-of-00004.safetensors.incomplete").write_text("x")
    fetch = "    try: hf download REPOSITORY"
    return (
        "  empty-file: tokenizer.json is empty\n"
        "  shard-missing: model-00001-of-00004.safetensors is missing\n"
        f"{fetch} model-00001-of-00004.safetensors --local-dir {where}\n"
        "  bad-header: model-00002-of-00004.safetensors: its header does not begin with '{'\n"
        f"  shard-truncated: model-00004-of-00004.safetensors is too short: it has {has} bytes and "
        f"needs {has + 10}\n"
        f"{fetch} model-00004-of-00004.safetensors --force-download --local-dir {where}\n"
        "  note: partial-download: model-00001-of-00004.safetensors.incomplete is a download that "
        "was begun and not ended\n"
    )


def huge_series(where, tiny):
    """One file of more than there are is no whole model."""
    checkpoints.write(where, tiny, checkpoints.llama_like(tiny), 1)
    name = "model-00001-of-99999.safetensors"
    (where / "model.safetensors").rename(where / name)
    return (
        f"  too-many-shards: {name} is one of more than 10000 files, the most that are looked at\n"
    )


def long_gap(where, tiny):
    checkpoints.write(where, tiny, checkpoints.llama_like(tiny), 9)
    for n in range(3, 8):
        (where / f"model-{n:05}-of-00009.safetensors").unlink()
    return (
        "  shard-missing: model-00003 to model-00007-of-00009.safetensors are missing: 5 files\n"
        f"    try: hf download REPOSITORY --local-dir {where}\n"
    )


def bad_tokenizer(where, tiny):
    checkpoints.write(where, tiny, checkpoints.llama_like(tiny), 1)
    (where / "tokenizer.json").write_bytes(b"\xff\xfe garbage")
    return "  bad-json: tokenizer.json:1:1: expected a value, found byte 0xFF\n"


BROKEN = [
    lose, cut, pointer, dangle, huge_header, no_config, bad_config, no_tokenizer, empty, lost_tensor,
    everything, huge_series, long_gap, bad_tokenizer,
]  # fmt: skip


@pytest.mark.parametrize("damage", BROKEN, ids=lambda damage: damage.__name__)
def test_what_is_wrong_is_named(damage, tmp_path, tiny):
    want = damage(tmp_path / "model", tiny)
    done = validate(tmp_path)
    assert done.stdout == f"model: not whole\n{want}0 of 1 model whole\n"
    assert done.stderr == ""
    assert done.returncode == 3
    code, result = run_json("models", "validate", "--dir", str(tmp_path))
    assert code == 3
    assert (result["count"], result["whole"]) == (1, 0)
    (model,) = result["models"]
    told = [p["message"] for p in model["problems"]]
    assert told == [line.split(": ", 2 if "note:" in line else 1)[-1] for line in want.splitlines()
                    if "  try: " not in line]
    assert any(p["breaks"] for p in model["problems"])


def test_validate_counts_and_exits(tmp_path, tiny):
    checkpoints.write(tmp_path / "a", tiny, checkpoints.llama_like(tiny))
    done = validate(tmp_path)
    assert (done.returncode, done.stdout) == (0, "a: whole\n1 of 1 model whole\n")
    checkpoints.write(tmp_path / "b", tiny, checkpoints.llama_like(tiny))
    os.unlink(tmp_path / "b/model.safetensors")
    done = validate(tmp_path)
    assert done.returncode == 3
    assert done.stdout == (
        "a: whole\nb: not whole\n  no-weights: no file *.safetensors is there\n"
        "1 of 2 models whole\n"
    )
    assert validate(tmp_path, "a").returncode == 0
    assert validate(tmp_path, "b").returncode == 3
    assert validate(tmp_path, "b", "a").stdout.splitlines()[0] == "b: not whole"


def test_a_model_that_is_not_there(tmp_path, tiny):
    checkpoints.write(tmp_path / "mixtral", tiny, checkpoints.llama_like(tiny))
    done = validate(tmp_path, "mixtrl")
    assert (done.returncode, done.stdout) == (4, "")
    assert done.stderr == (
        f"citadel: there is no model 'mixtrl' in {tmp_path}\n"
        f"  try: citadel models validate --dir {tmp_path} mixtral\n"
    )
    error = error_json(run("models", "validate", "--json", "--dir", str(tmp_path), "xylophone"))
    assert (error["id"], error["fix"]) == ("model.none-such", f"citadel models --dir {tmp_path}")


def test_no_models_at_all(tmp_path):
    done = validate(tmp_path)
    assert (done.returncode, done.stdout) == (4, "")
    assert done.stderr == f"citadel: there are no models in {tmp_path}\n"
    done = run("models", "--dir", str(tmp_path / "nowhere"))
    assert done.returncode == 4
    assert done.stderr == (
        f"citadel: cannot open the models directory {tmp_path}/nowhere: No such file or directory\n"
    )
    assert run_json("models", "--dir", str(tmp_path)) == (
        0,
        {"directory": str(tmp_path), "directory_is_there": True, "more": False, "models": []},
    )


# --- the list -------------------------------------------------------------------------------------


def test_the_list(tmp_path, tiny):
    c = checkpoints.config("Mixtral-8x7B-Instruct-v0.1")
    checkpoints.write(tmp_path / "mixtral", c, checkpoints.llama_like(c), 19)
    c = checkpoints.config("Llama-2-7B-AWQ")
    checkpoints.write(tmp_path / "llama-awq", c, checkpoints.llama_like(c, "F16", checkpoints.awq))
    (tmp_path / "moe").symlink_to("mixtral")
    (tmp_path / "gone").mkdir()
    (tmp_path / "notes.txt").write_text("no model")
    done = run("models", "--dir", str(tmp_path))
    assert done.returncode == 0
    assert done.stdout == (
        "Model      Kind      Parameters    On GPU  Quantised           Context  GPUs  KV/token  State\n"
        "gone       unknown            ?         ?                            ?     1         ?  1 problem\n"
        "llama-awq  generate      6.74 B  3.62 GiB  awq int4 group 128     4096     1   512 KiB  whole\n"
        "mixtral    generate      46.7 B  87.0 GiB                        32768     1   128 KiB  whole\n"
        "moe        generate      46.7 B  87.0 GiB                        32768     1   128 KiB  link to mixtral\n"
    )  # fmt: skip


def test_a_narrow_terminal_keeps_what_matters(tmp_path, tiny):
    checkpoints.write(tmp_path / "llama", tiny, checkpoints.llama_like(tiny))
    code, shown = run_on_terminal("models", "--dir", str(tmp_path), columns=50, NO_COLOR="1")
    assert code == 0
    assert "llama" in shown and "whole" in shown
    assert all(len(line) <= 50 for line in shown.splitlines())


def test_odd_names_drive_no_terminal(tmp_path):
    (tmp_path / "a\033[2Jb").mkdir()
    (tmp_path / "a\033[2Jb" / "config.json").write_text('{"architectures": ["X\\u001b[2J"]}')
    done = run("models", "--dir", str(tmp_path))
    checked = validate(tmp_path)
    assert "\033" not in done.stdout + checked.stdout + checked.stderr
    assert checked.returncode == 3


HOSTILE = ["$(touch pwn)", "`touch pwn`", "a;touch pwn", "a b", "a'b", 'a"b', "a\\b", "~", "*", "-x",
           "tab\there", "\u202eabc", "\u009b31m", "\u2028", "é"]  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_to_be_tried_can_be_pasted(name, tmp_path, tiny):
    """Into a shell: it runs one command, in the directory of that name, whatever the name is."""
    where = tmp_path / "models" / name
    checkpoints.write(where, tiny, checkpoints.llama_like(tiny))
    checkpoints.cut(where / "model.safetensors")
    code, result = run_json("models", "validate", "--dir", str(where.parent))
    assert code == 3
    fix = result["models"][0]["problems"][0]["fix"]
    (tmp_path / "hf").write_text('#!/bin/sh\nprintf "%s\\0" "$@" >> got\n')
    (tmp_path / "hf").chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    done = subprocess.run(["bash", "-c", fix], cwd=tmp_path, env={"PATH": path}, timeout=60)
    assert done.returncode == 0
    assert (tmp_path / "got").read_bytes().decode().split("\0") == [
        "download", "REPOSITORY", "model.safetensors", "--force-download", "--local-dir",
        str(where), "",
    ]  # fmt: skip
    assert sorted(p.name for p in tmp_path.iterdir()) == ["got", "hf", "models"]


def test_no_output_can_turn_or_drive_what_is_read(tmp_path, tiny):
    """C1 controls, turns of direction and line separators, in names and in what files hold."""
    armed = "\u009b31m\u202e\u2028\u200b"
    where = tmp_path / f"m{armed}"
    checkpoints.write(where, dict(tiny, architectures=[f"X{armed}"]), checkpoints.llama_like(tiny))
    checkpoints.write_safetensors(where / "model.safetensors", [(f"t{armed}", "BF16", [2])])
    checkpoints.cut(where / "model.safetensors")
    words = ["--dir", str(tmp_path)]
    outputs = [run("models", *words), validate(tmp_path), run("models", "--json", *words),
               run("models", "validate", "--json", *words), validate(tmp_path, f"n{armed}")]
    for done in outputs:
        assert not set(armed.replace("31m", "")) & set(done.stdout + done.stderr)
    assert json.loads(outputs[2].stdout)["models"][0]["name"] == where.name


def test_a_named_model_is_found_among_many(tmp_path, tiny):
    for i in range(1100):
        (tmp_path / f"m{i}").mkdir()
    checkpoints.write(tmp_path / "zz", tiny, checkpoints.llama_like(tiny))
    for i in range(0, 1100, 50):
        assert validate(tmp_path, f"m{i}").returncode == 3
    assert validate(tmp_path, "zz").stdout == "zz: whole\n1 of 1 model whole\n"
    assert validate(tmp_path, "m1100").returncode == 4
    assert validate(tmp_path, "../etc").returncode == 4
    code, result = run_json("models", "--dir", str(tmp_path))
    assert (code, result["more"], len(result["models"])) == (0, True, 1000)


def test_more_models_than_are_checked_are_not_all_whole(tmp_path):
    head = b"GGUF\3" + b"\0" * 19
    for i in range(1001):
        (tmp_path / f"{i}.gguf").write_bytes(head)
    done = validate(tmp_path)
    assert done.returncode == 3
    assert done.stdout.endswith("1000 of 1000 models whole\n")
    assert done.stderr == f"{tmp_path} holds more than the 1000 models that are told\n"


def test_hostile_directories_end_quickly(tmp_path):
    """Much of everything, and a good model among it is still told."""
    (tmp_path / "loop").symlink_to(".")
    (tmp_path / "self").symlink_to("self")
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "config.json").write_text("[" * 1_000_000)
    (tmp_path / "wide").mkdir()
    (tmp_path / "wide" / "config.json").write_text(
        '{"architectures": ["LlamaForCausalLM"], "layer_types": [' + "0," * 2_000_000 + "0]}"
    )
    (tmp_path / "device").mkdir()
    (tmp_path / "device" / "config.json").symlink_to("/dev/zero")
    os.mkfifo(tmp_path / "device" / "model.safetensors")
    c = checkpoints.config("Llama-3.2-1B-Instruct")
    checkpoints.write(tmp_path / "good", c, checkpoints.llama_like(c))
    models = listed(tmp_path)
    assert [name for name, m in models.items() if m["whole"]] == ["good"]
    assert "nested deeper than 64 levels" in models["deep"]["problems"][0]["message"]
    assert "needs more than" in models["wide"]["problems"][0]["message"]
    told = [p["message"] for p in models["device"]["problems"]]
    assert "config.json is a pipe, socket or device, not a file" in told
    assert "model.safetensors is a pipe, socket or device, not a file" in told


# --- the configuration ----------------------------------------------------------------------------

CONFIG = """
paths: {{root: {top}/opt, models: {top}/mnt, backup: {top}/backup}}
models:
  moe: {{path: mixtral-8x7b, port: 11400}}
  phi3: {{path: phi-3-mini, port: 11401}}
  away: {{path: {top}/elsewhere/tiny, port: 11402}}
  "off": {{path: never, port: 11403, enabled: false}}
  pretend: {{engine: sim, port: 11404}}
"""


@pytest.fixture
def configured(tmp_path, tiny):
    (tmp_path / "citadel.yaml").write_text(CONFIG.format(top=tmp_path))
    active = tmp_path / "mnt/active"
    checkpoints.write(active / "mixtral-8x7b", tiny, checkpoints.llama_like(tiny))
    checkpoints.write(active / "unused", tiny, checkpoints.llama_like(tiny))
    checkpoints.write(tmp_path / "elsewhere/tiny", tiny, checkpoints.llama_like(tiny))
    return tmp_path


def test_models_of_the_configuration(configured):
    code, result = run_json("models", "-c", str(configured / "citadel.yaml"))
    assert code == 0
    assert result["directory"] == f"{configured}/mnt/active"
    state = {m["name"]: m["whole"] for m in result["models"]}
    assert state == {"mixtral-8x7b": True, "unused": True, "away": True, "phi-3-mini": False}


def test_validate_by_the_names_of_the_configuration(configured):
    def check(*names):
        return run("models", "validate", "-c", str(configured / "citadel.yaml"), *names)

    assert check("moe").stdout == "mixtral-8x7b: whole\n1 of 1 model whole\n"
    assert check("away").returncode == 0
    assert check("unused").returncode == 0
    done = check("phi3")
    assert done.returncode == 3
    assert done.stdout == (
        "phi-3-mini: not whole\n"
        f"  directory-missing: cannot open the model directory {configured}/opt/models/phi-3-mini: "
        "No such file or directory\n"
        "0 of 1 model whole\n"
    )
    for name in ("off", "pretend"):
        done = check(name)
        assert done.returncode == 4
        assert done.stderr == (
            f"citadel: the model '{name}' is off, or needs no files\n"
            f"  try: citadel config show models.{name}\n"
        )
    done = check("mo")
    assert done.returncode == 4
    assert "  try: citadel models validate moe\n" in done.stderr
    done = check()
    assert done.returncode == 3
    assert done.stdout.endswith("3 of 4 models whole\n")


USES = """
paths: {{root: {top}/opt, models: {top}/mnt, backup: {top}/backup}}
models:
  one: {{path: {top}/coder, port: 11400}}
  four: {{path: {top}/coder, port: 11401, tensor_parallel: 4}}
  eight: {{path: {top}/coder, port: 11402, tensor_parallel: 4, kv_cache_dtype: fp8}}
  many: {{path: {top}/coder, port: 11403, tensor_parallel: 16}}
  mla: {{path: {top}/deepseek, port: 11404, tensor_parallel: 8}}
"""


def kv_of(result):
    return {m["name"]: (m["service"], m["cache"]["tensor_parallel"], m["cache"]["kv_dtype"],
                        m["cache"]["kv_bytes_per_token"]) for m in result["models"]}  # fmt: skip


def write_config_only(where, name):
    where.mkdir()
    (where / "config.json").write_text(json.dumps(checkpoints.config(name)))


def test_a_token_takes_what_one_gpu_keeps_of_it(tmp_path):
    """Of 8 heads for keys and values; a GPU has one at least, and with MLA all have the same."""
    (tmp_path / "citadel.yaml").write_text(USES.format(top=tmp_path))
    write_config_only(tmp_path / "coder", "DeepCoder-14B-Preview")
    write_config_only(tmp_path / "deepseek", "DeepSeek-V3")
    words = ["models", "-c", str(tmp_path / "citadel.yaml")]
    code, result = run_json(*words)
    assert code == 0
    assert kv_of(result) == {
        "one": ("one", 1, "auto", 192 << 10),
        "four": ("four", 4, "auto", 48 << 10),
        "eight": ("eight", 4, "fp8", 24 << 10),
        "many": ("many", 16, "auto", 24 << 10),
        "mla": ("mla", 8, "auto", 61 * 576 * 2),
    }
    shown = run(*words).stdout
    assert [line.split()[-5:-3] for line in shown.splitlines()[1:]] == [
        ["1", "192"], ["4", "48.0"], ["4", "24.0"], ["16", "24.0"], ["8", "68.6"],
    ]  # fmt: skip
    _, result = run_json(*words, "--tensor-parallel", "2", "--kv-dtype", "fp8_e5m2")
    assert kv_of(result)["eight"] == ("eight", 2, "fp8_e5m2", 48 << 10)


def test_a_directory_served_in_several_ways_has_a_line_for_each(tmp_path):
    active = tmp_path / "mnt/active"
    active.mkdir(parents=True)
    write_config_only(active / "coder", "DeepCoder-14B-Preview")
    text = USES.format(top=tmp_path).replace(f"{tmp_path}/coder", "coder")
    (tmp_path / "citadel.yaml").write_text(text.replace(f"{tmp_path}/deepseek", "coder"))
    _, result = run_json("models", "-c", str(tmp_path / "citadel.yaml"))
    assert [(m["name"], m["service"], m["cache"]["kv_bytes_per_token"] >> 10)
            for m in result["models"]] == [
        ("coder", "one", 192), ("coder", "four", 48), ("coder", "eight", 24), ("coder", "many", 24),
        ("coder", "mla", 24)]  # fmt: skip
    _, result = run_json("models", "validate", "-c", str(tmp_path / "citadel.yaml"))
    assert result["count"] == 1
    code, result = run_json("models", "--dir", str(active), "--tensor-parallel", "4")
    assert kv_of(result) == {"coder": (None, 4, "auto", 48 << 10)}


@pytest.mark.parametrize(
    "words, said",
    [
        (["--tensor-parallel", "0"], "--tensor-parallel: 0 is not from 1 to 64"),
        (["--tensor-parallel", "65"], "--tensor-parallel: 65 is not from 1 to 64"),
        (["--tensor-parallel", "x"], "x"),
        (["--kv-dtype", "int4"], "int4"),
    ],
)
def test_ways_to_serve_that_there_are_not(words, said, tmp_path):
    done = run("models", "--dir", str(tmp_path), *words)
    assert (done.returncode, done.stdout) == (64, "")
    assert said in done.stderr


def test_models_elsewhere_need_no_directory_of_models(tmp_path, tiny):
    checkpoints.write(tmp_path / "tiny", tiny, checkpoints.llama_like(tiny))
    text = CONFIG.split("models:\n")[0] + "models: {{tiny: {{path: {top}/tiny}}}}\n"
    (tmp_path / "citadel.yaml").write_text(text.format(top=tmp_path))
    words = ["-c", str(tmp_path / "citadel.yaml")]
    absent = f"cannot open the models directory {tmp_path}/mnt/active: No such file or directory"
    done = run("models", "validate", *words)
    assert (done.returncode, done.stdout) == (0, "tiny: whole\n1 of 1 model whole\n")
    assert done.stderr == absent + ": told are the models that the configuration names\n"
    code, result = run_json("models", *words)
    assert (code, result["directory_is_there"]) == (0, False)
    assert [m["name"] for m in result["models"]] == ["tiny"]
    (tmp_path / "tiny/tokenizer.json").unlink()
    assert run("models", "validate", *words).returncode == 3


def test_a_name_in_both_places_is_two_models(tmp_path, tiny):
    """A directory of the active models, and a configured one of that name elsewhere."""
    checkpoints.write(tmp_path / "mnt/active/tiny", tiny, checkpoints.llama_like(tiny))
    text = CONFIG.split("models:\n")[0] + "models: {{tiny: {{path: {top}/tiny}}}}\n"
    (tmp_path / "citadel.yaml").write_text(text.format(top=tmp_path))
    done = run("models", "validate", "-c", str(tmp_path / "citadel.yaml"))
    assert done.returncode == 3
    assert done.stdout.startswith(f"tiny: whole\n{tmp_path}/tiny: not whole\n")


def test_without_a_configuration(tmp_path):
    done = run("models", "-c", str(tmp_path / "none.yaml"))
    assert done.returncode == 4
    assert "none.yaml" in done.stderr
