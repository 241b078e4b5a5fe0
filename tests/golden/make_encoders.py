#!/usr/bin/env python3
"""Writes the tiny random encoders tests/golden/{bert,nomic-bert} and what they give, computed here in float64.

    python3 tests/golden/make_encoders.py        needs numpy, gguf

model.gguf has a WordPiece vocabulary; expected.json holds texts: {"ids", "rows": hidden rows of the last
layer, "mean", "cls", "last": pooled, length 1}. The formulas are those of the papers (BERT: post-norm, exact
GELU, learned positions; Nomic: RoPE over halves, SwiGLU, no biases in the products), written out once more
with numpy and sharing nothing with src/. Seeded: the same versions (numpy 2.4.6, gguf 0.19) write the same bytes."""
import json
import math
import os

import gguf
import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
D, FF, LAYERS, HEADS, CTX = 48, 80, 2, 3, 64
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "▁hello", "▁world", "▁a", "▁cat", "▁sat", "s", "ing",
         "▁on", "▁the", "▁mat", "▁.", "▁,"] + ["▁" + c for c in "bdefghijk"] + list("abdefghijk")
EPS = 1e-12


def norm(x, w, b):
    mean = x.mean(-1, keepdims=True)
    return (x - mean) / np.sqrt(((x - mean) ** 2).mean(-1, keepdims=True) + EPS) * w + b


def gelu(x):
    return 0.5 * x * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


def turn(x, base):
    """RoPE of (T, heads, d): pairs (i, i + d/2)."""
    t, _, d = x.shape
    angle = np.arange(t)[:, None] * base ** (-np.arange(d // 2) * 2 / d)[None, :]
    cos, sin = np.cos(angle)[:, None, :], np.sin(angle)[:, None, :]
    a, b = x[..., :d // 2], x[..., d // 2:]
    return np.concatenate([a * cos - b * sin, a * sin + b * cos], -1)


def forward(w, ids, nomic):
    x = w["token_embd.weight"][ids] + w["token_types.weight"][0]
    if not nomic:
        x = x + w["position_embd.weight"][:len(ids)]
    x = norm(x, w["token_embd_norm.weight"], w["token_embd_norm.bias"])
    for l in range(LAYERS):
        p = lambda name: w[f"blk.{l}.{name}"]
        lin = lambda v, name: v @ p(name + ".weight").T + (0 if nomic else p(name + ".bias"))
        if nomic:
            q, k, v = np.split(x @ p("attn_qkv.weight").T, 3, -1)
        else:
            q, k, v = lin(x, "attn_q"), lin(x, "attn_k"), lin(x, "attn_v")
        q, k, v = (y.reshape(len(ids), HEADS, D // HEADS) for y in (q, k, v))
        if nomic:
            q, k = turn(q, 1000.0), turn(k, 1000.0)
        s = np.einsum("ihd,jhd->hij", q, k) / math.sqrt(D // HEADS)
        s = np.exp(s - s.max(-1, keepdims=True))
        y = np.einsum("hij,jhd->ihd", s / s.sum(-1, keepdims=True), v).reshape(len(ids), D)
        x = norm(x + lin(y, "attn_output"), p("attn_output_norm.weight"), p("attn_output_norm.bias"))
        up = lin(x, "ffn_up")
        if nomic:
            gate = lin(x, "ffn_gate")
            up = gate / (1 + np.exp(-gate)) * up
        else:
            up = gelu(up)
        x = norm(x + lin(up, "ffn_down"), p("layer_output_norm.weight"), p("layer_output_norm.bias"))
    return x


def weights(rng, nomic):
    w = {}

    def mat(name, n_out, n_in, gain=1.0):
        w[name + ".weight"] = rng.normal(0, gain / math.sqrt(n_in), (n_out, n_in)).astype(np.float32)
        if not nomic:
            w[name + ".bias"] = rng.normal(0, 0.1, n_out).astype(np.float32)

    def vec(name):
        w[name + ".weight"] = (1 + rng.normal(0, 0.2, D)).astype(np.float32)
        w[name + ".bias"] = rng.normal(0, 0.2, D).astype(np.float32)

    w["token_embd.weight"] = rng.normal(0, 1, (len(WORDS), D)).astype(np.float32)
    w["token_types.weight"] = rng.normal(0, 0.5, (2, D)).astype(np.float32)
    if not nomic:
        w["position_embd.weight"] = rng.normal(0, 0.5, (CTX, D)).astype(np.float32)
    vec("token_embd_norm")
    for l in range(LAYERS):
        b = f"blk.{l}."
        if nomic:
            mat(b + "attn_qkv", 3 * D, D, 1.5)
            mat(b + "ffn_gate", FF, D)
        else:
            for n in ("attn_q", "attn_k", "attn_v"):
                mat(b + n, D, D, 1.5)
        mat(b + "attn_output", D, D)
        mat(b + "ffn_up", FF, D)
        mat(b + "ffn_down", D, FF)
        vec(b + "attn_output_norm")
        vec(b + "layer_output_norm")
    return w


def write(path, arch, w, nomic):
    g = gguf.GGUFWriter(path, arch)
    g.add_block_count(LAYERS)
    g.add_context_length(CTX)
    g.add_embedding_length(D)
    g.add_feed_forward_length(FF)
    g.add_head_count(HEADS)
    g.add_layer_norm_eps(EPS)
    g.add_causal_attention(False)
    g.add_pooling_type(gguf.PoolingType.MEAN if nomic else gguf.PoolingType.CLS)
    if nomic:
        g.add_rope_freq_base(1000.0)
    g.add_tokenizer_model("bert")
    g.add_token_list(WORDS)
    g.add_token_types([3] * 5 + [1] * (len(WORDS) - 5))
    g.add_token_type_count(2)
    for name, i in (("bos", 2), ("eos", 3), ("unknown", 1), ("seperator", 3), ("padding", 0), ("cls", 2), ("mask", 4)):
        g.add_uint32(f"tokenizer.ggml.{name}_token_id", i)
    for name, x in w.items():
        g.add_tensor(name, x)
    g.write_header_to_file()
    g.write_kv_data_to_file()
    g.write_tensors_to_file()
    g.close()


def unit(v):
    return (v / np.sqrt((v * v).sum())).tolist()


for arch in ("bert", "nomic-bert"):
    nomic = arch == "nomic-bert"
    rng = np.random.default_rng(7)
    w = weights(rng, nomic)
    write(os.path.join(HERE, arch, "model.gguf"), arch, w, nomic)
    wide = {k: v.astype(np.float64) for k, v in w.items()}
    texts = []
    for ids in ([2, 5, 6, 3], [2, 13, 8, 10, 9, 11, 12, 7, 14, 15, 3], [2] + rng.integers(5, len(WORDS), CTX - 2).tolist() + [3]):
        x = forward(wide, np.array(ids), nomic)
        texts.append({"ids": ids, "rows": np.round(x, 7).tolist(), "mean": unit(x.mean(0)), "cls": unit(x[0]),
                      "last": unit(x[-1])})
    with open(os.path.join(HERE, arch, "expected.json"), "w") as f:
        json.dump({"texts": texts}, f)
        f.write("\n")
