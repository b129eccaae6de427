"""The catalogue: `citadel models` and `citadel models validate` on checkpoints as they are published,
whole ones and all the ways in which they are not."""

import json
import os

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


BROKEN = [
    lose, cut, pointer, dangle, huge_header, no_config, bad_config, no_tokenizer, empty, lost_tensor,
    everything,
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
        "  try: citadel models validate mixtral\n"
    )
    error = error_json(run("models", "validate", "--json", "--dir", str(tmp_path), "mixtrl"))
    assert error["id"] == "model.none-such"


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
        {"directory": str(tmp_path), "more": False, "models": []},
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
        "Model      Kind      Parameters    On GPU  Quantised           Context  KV/token  State\n"
        "gone       unknown            ?         ?                            ?         ?  1 problem\n"
        "llama-awq  generate      6.74 B  3.62 GiB  awq int4 group 128     4096   512 KiB  whole\n"
        "mixtral    generate      46.7 B  87.0 GiB                        32768   128 KiB  whole\n"
        "moe        generate      46.7 B  87.0 GiB                        32768   128 KiB  link to mixtral\n"
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
        assert done.stderr == f"citadel: the model '{name}' is off, or needs no files\n"
    done = check("mo")
    assert done.returncode == 4
    assert "  try: citadel models validate moe\n" in done.stderr
    done = check()
    assert done.returncode == 3
    assert done.stdout.endswith("3 of 4 models whole\n")


def test_without_a_configuration(tmp_path):
    done = run("models", "-c", str(tmp_path / "none.yaml"))
    assert done.returncode == 4
    assert "none.yaml" in done.stderr
