"""Model directories as publishers lay them out, with every tensor of the real ones, in files that are
holes behind their headers: 93 GB take no disk and no time."""

import json
import os
import pathlib
import struct

import program

FIXTURES = program.TOP / "tests/data/models"
BYTES = {"F32": 4, "I32": 4, "F16": 2, "BF16": 2, "U8": 1, "F8_E4M3": 1}
SHARD_BYTES = 5_000_000_000  # what publishers split at


def config(name):
    return json.loads((FIXTURES / name / "config.json").read_text())


def size(tensor):
    name, dtype, shape = tensor
    total = BYTES[dtype]
    for n in shape:
        total *= n
    return total


def write_safetensors(path, tensors):
    """tensors: (name, dtype, shape) each."""
    header, at = {"__metadata__": {"format": "pt"}}, 0
    for name, dtype, shape in tensors:
        end = at + size((name, dtype, shape))
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, end]}
        at = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        f.truncate(8 + len(text) + at)


def attention(c, layer):
    """(name, out, in) of the matrices."""
    hidden, heads = c["hidden_size"], c["num_attention_heads"]
    dim = c.get("head_dim", hidden // heads)
    kv = c.get("num_key_value_heads", heads) * dim
    at = f"model.layers.{layer}.self_attn."
    yield at + "q_proj", heads * dim, hidden
    yield at + "k_proj", kv, hidden
    yield at + "v_proj", kv, hidden
    yield at + "o_proj", hidden, heads * dim


def mlps(c, layer):
    hidden, experts = c["hidden_size"], c.get("num_local_experts") or c.get("num_experts", 0)
    wide = c.get("moe_intermediate_size") or c["intermediate_size"]
    at = f"model.layers.{layer}."
    if not experts:
        yield at + "mlp.gate_proj", wide, hidden
        yield at + "mlp.up_proj", wide, hidden
        yield at + "mlp.down_proj", hidden, wide
    mixtral = c["model_type"] == "mixtral"
    part = "block_sparse_moe" if mixtral else "mlp"
    up, gate, down = ("w1", "w3", "w2") if mixtral else ("up_proj", "gate_proj", "down_proj")
    for expert in range(experts):
        yield f"{at}{part}.experts.{expert}.{up}", wide, hidden
        yield f"{at}{part}.experts.{expert}.{gate}", wide, hidden
        yield f"{at}{part}.experts.{expert}.{down}", hidden, wide


def plain(name, out, inner, dtype):
    yield name + ".weight", dtype, [out, inner]


def awq(name, out, inner, dtype):
    yield name + ".qweight", "I32", [inner, out // 8]
    yield name + ".qzeros", "I32", [inner // 128, out // 8]
    yield name + ".scales", "F16", [inner // 128, out]


def gptq(name, out, inner, dtype):
    yield name + ".qweight", "I32", [inner // 8, out]
    yield name + ".qzeros", "I32", [inner // 128, out // 8]
    yield name + ".scales", "F16", [inner // 128, out]
    yield name + ".g_idx", "I32", [inner]


def fp8(name, out, inner, dtype):
    yield name + ".weight", "F8_E4M3", [out, inner]
    yield name + ".weight_scale_inv", "F32", [-(-out // 128), -(-inner // 128)]


def llama_like(c, dtype="BF16", matrix=plain):
    """Every tensor of Llama, Mistral, Mixtral, Qwen2 and Qwen3 checkpoints."""
    hidden, vocabulary = c["hidden_size"], c["vocab_size"]
    experts = c.get("num_local_experts") or c.get("num_experts", 0)
    yield "model.embed_tokens.weight", dtype, [vocabulary, hidden]
    for layer in range(c["num_hidden_layers"]):
        at = f"model.layers.{layer}."
        for name, out, inner in attention(c, layer):
            yield from matrix(name, out, inner, dtype)
            if c["model_type"] == "qwen2" and not name.endswith("o_proj"):
                yield name + ".bias", dtype, [out]
        if c["model_type"].startswith("qwen3"):
            for norm in ("q_norm", "k_norm"):
                yield f"{at}self_attn.{norm}.weight", dtype, [c["head_dim"]]
        for name, out, inner in mlps(c, layer):
            yield from matrix(name, out, inner, dtype)
        if experts:
            part = "block_sparse_moe" if c["model_type"] == "mixtral" else "mlp"
            yield f"{at}{part}.gate.weight", dtype, [experts, hidden]
        yield at + "input_layernorm.weight", dtype, [hidden]
        yield at + "post_attention_layernorm.weight", dtype, [hidden]
    yield "model.norm.weight", dtype, [hidden]
    if not c.get("tie_word_embeddings"):
        yield "lm_head.weight", dtype, [vocabulary, hidden]


def gpt_oss(c):
    hidden, experts, wide = c["hidden_size"], c["num_local_experts"], c["intermediate_size"]
    yield "model.embed_tokens.weight", "BF16", [c["vocab_size"], hidden]
    for layer in range(c["num_hidden_layers"]):
        at = f"model.layers.{layer}."
        for name, out, inner in attention(c, layer):
            yield name + ".weight", "BF16", [out, inner]
            yield name + ".bias", "BF16", [out]
        yield at + "self_attn.sinks", "BF16", [c["num_attention_heads"]]
        yield at + "mlp.router.weight", "BF16", [experts, hidden]
        yield at + "mlp.router.bias", "BF16", [experts]
        for name, out, inner in (("gate_up_proj", 2 * wide, hidden), ("down_proj", hidden, wide)):
            yield f"{at}mlp.experts.{name}_blocks", "U8", [experts, out, inner // 32, 16]
            yield f"{at}mlp.experts.{name}_scales", "U8", [experts, out, inner // 32]
            yield f"{at}mlp.experts.{name}_bias", "BF16", [experts, out]
        yield at + "input_layernorm.weight", "BF16", [hidden]
        yield at + "post_attention_layernorm.weight", "BF16", [hidden]
    yield "model.norm.weight", "BF16", [hidden]
    yield "lm_head.weight", "BF16", [c["vocab_size"], hidden]


def write_config(where, c):
    where.mkdir(parents=True)
    (where / "config.json").write_text(json.dumps(c, indent=2))
    (where / "generation_config.json").write_text("{}")
    (where / "tokenizer.json").write_text('{"version": "1.0"}')
    (where / "tokenizer_config.json").write_text('{"chat_template": "{{ messages }}"}')


def write(where, c, tensors, shards=None):
    """A whole model: one file, or as many as it takes, or `shards` of about one size."""
    where = pathlib.Path(where)
    write_config(where, c)
    tensors = list(tensors)
    total = sum(map(size, tensors))
    limit = total / shards if shards else SHARD_BYTES
    groups, filled = [[]], 0
    for tensor in tensors:
        if filled + size(tensor) > limit and groups[-1] and len(groups) != shards:
            groups.append([])
            filled = 0
        groups[-1].append(tensor)
        filled += size(tensor)
    if len(groups) == 1:
        write_safetensors(where / "model.safetensors", tensors)
        return where
    index = {"metadata": {"total_size": total}, "weight_map": {}}
    for i, group in enumerate(groups):
        name = f"model-{i + 1:05}-of-{len(groups):05}.safetensors"
        write_safetensors(where / name, group)
        index["weight_map"].update({tensor[0]: name for tensor in group})
    (where / "model.safetensors.index.json").write_text(json.dumps(index, indent=2))
    return where


def cut(path, by=1):
    os.truncate(path, os.path.getsize(path) - by)


def lfs_pointer(path, bytes=4976698672):
    path.unlink(missing_ok=True)
    path.write_text(
        f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0d' * 32}\nsize {bytes}\n"
    )
