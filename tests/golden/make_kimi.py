#!/usr/bin/env python3
"""Writes tests/golden/kimi: a tiny random Kimi Linear model as safetensors, and its logits.

    python3 tests/golden/make_kimi.py                   needs numpy

The reference below is our own, in float64, written row by row from the paper (Kimi Linear, arXiv
2510.26692, section 3; DeepSeek-V2, arXiv 2405.04434, expanded form) and from the names of the released
files; it shares nothing with the engine: no absorption, no chunks, dense products. The recurrence was
checked against vectors made by others (tests/unit/model/kda_test.c uses the same ones). Files are those
of make_fixtures.py; the same numpy writes the same bytes."""
import json
import os
import struct

import numpy as np

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "kimi")
V, D, LAYERS, FF, EXPERT_FF = 96, 48, 3, 64, 24
KDA_H, KDA_D, TAPS = 2, 16, 4
MLA_H, RANK, NOPE, ROPE, VDIM = 3, 24, 16, 8, 12
EXPERTS, USED, SCALE, EPS = 4, 2, 2.446, 1e-5
FULL = [3]  # counted from 1
CONFIG = {
    "model_type": "kimi_linear", "vocab_size": V, "hidden_size": D, "num_hidden_layers": LAYERS,
    "intermediate_size": FF, "num_attention_heads": MLA_H, "num_key_value_heads": MLA_H,
    "kv_lora_rank": RANK, "q_lora_rank": None, "qk_nope_head_dim": NOPE, "qk_rope_head_dim": ROPE,
    "v_head_dim": VDIM, "mla_use_nope": True, "rms_norm_eps": EPS, "hidden_act": "silu",
    "max_position_embeddings": 128, "tie_word_embeddings": False, "rope_theta": 10000.0,
    "first_k_dense_replace": 1, "num_experts": EXPERTS, "num_experts_per_token": USED,
    "num_shared_experts": 1, "moe_intermediate_size": EXPERT_FF, "moe_renormalize": True,
    "moe_router_activation_func": "sigmoid", "routed_scaling_factor": SCALE, "num_expert_group": 1,
    "topk_group": 1,
    "linear_attn_config": {"full_attn_layers": FULL, "kda_layers": [1, 2], "head_dim": KDA_D,
                           "num_heads": KDA_H, "short_conv_kernel_size": TAPS},
}


def weights(rng):
    """Unit gain, as float32; what is added to the logarithm of the decay spreads it over 0.1 to 0.99."""
    w = {}

    def mat(name, out, n):
        w[name] = (rng.standard_normal((out, n)) / np.sqrt(n)).astype(np.float32)

    def norm(name, n):
        w[name] = (1 + 0.2 * rng.standard_normal(n)).astype(np.float32)

    def ffn(stem, names, n):
        for name, shape in zip(names, ((n, D), (n, D), (D, n))):
            mat(f"{stem}.{name}.weight", *shape)

    w["model.embed_tokens.weight"] = rng.standard_normal((V, D)).astype(np.float32)
    mat("lm_head.weight", V, D)
    norm("model.norm.weight", D)
    for i in range(LAYERS):
        p, c = f"model.layers.{i}.", KDA_H * KDA_D
        a = p + "self_attn."
        norm(p + "input_layernorm.weight", D)
        norm(p + "post_attention_layernorm.weight", D)
        if i + 1 in FULL:
            mat(a + "q_proj.weight", MLA_H * (NOPE + ROPE), D)
            mat(a + "kv_a_proj_with_mqa.weight", RANK + ROPE, D)
            norm(a + "kv_a_layernorm.weight", RANK)
            mat(a + "kv_b_proj.weight", MLA_H * (NOPE + VDIM), RANK)
            mat(a + "o_proj.weight", D, MLA_H * VDIM)
        else:
            for x in "qkv":
                mat(a + x + "_proj.weight", c, D)
                w[a + x + "_conv1d.weight"] = rng.standard_normal((c, 1, TAPS)).astype(np.float32)
            w[a + "A_log"] = np.log(rng.uniform(1, 8, (1, 1, KDA_H, 1))).astype(np.float32)
            w[a + "dt_bias"] = rng.uniform(-4, 0, c).astype(np.float32)
            mat(a + "f_a_proj.weight", KDA_D, D)
            mat(a + "f_b_proj.weight", c, KDA_D)
            mat(a + "g_a_proj.weight", KDA_D, D)
            mat(a + "g_b_proj.weight", c, KDA_D)
            mat(a + "b_proj.weight", KDA_H, D)
            norm(a + "o_norm.weight", KDA_D)
            mat(a + "o_proj.weight", D, c)
        if i < CONFIG["first_k_dense_replace"]:
            ffn(p + "mlp", ("gate_proj", "up_proj", "down_proj"), FF)
            continue
        m = p + "block_sparse_moe."
        mat(m + "gate.weight", EXPERTS, D)
        w[m + "gate.e_score_correction_bias"] = (0.1 * rng.standard_normal(EXPERTS)).astype(np.float32)
        ffn(m + "shared_experts", ("gate_proj", "up_proj", "down_proj"), EXPERT_FF)
        for e in range(EXPERTS):
            ffn(m + f"experts.{e}", ("w1", "w3", "w2"), EXPERT_FF)
    return w


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def rms(x, w):
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + EPS) * w


def kda(w, x):
    n, c = len(x), KDA_H * KDA_D

    def conv(name):
        z = np.vstack([np.zeros((TAPS - 1, c)), x @ w[name + "_proj.weight"].T])
        taps = w[name + "_conv1d.weight"][:, 0]
        y = sum(taps[:, j] * z[j:j + n] for j in range(TAPS))
        return (y * sigmoid(y)).reshape(n, KDA_H, KDA_D)

    def unit(y):
        return y / np.sqrt((y * y).sum(-1, keepdims=True) + 1e-6)

    q, k, v = unit(conv("q")) / np.sqrt(KDA_D), unit(conv("k")), conv("v")
    f = (x @ w["f_a_proj.weight"].T) @ w["f_b_proj.weight"].T + w["dt_bias"]
    g = -np.exp(w["A_log"].reshape(KDA_H, 1)) * np.log1p(np.exp(f)).reshape(n, KDA_H, KDA_D)
    beta = sigmoid(x @ w["b_proj.weight"].T)
    out = np.zeros((n, KDA_H, KDA_D))
    for h in range(KDA_H):
        s = np.zeros((KDA_D, KDA_D))
        for t in range(n):
            s = np.exp(g[t, h])[:, None] * s
            s = s + beta[t, h] * np.outer(k[t, h], v[t, h] - s.T @ k[t, h])
            out[t, h] = s.T @ q[t, h]
    gate = sigmoid((x @ w["g_a_proj.weight"].T) @ w["g_b_proj.weight"].T)
    return (rms(out, w["o_norm.weight"]).reshape(n, c) * gate) @ w["o_proj.weight"].T


def mla(w, x):
    n = len(x)
    q = (x @ w["q_proj.weight"].T).reshape(n, MLA_H, NOPE + ROPE)
    row = x @ w["kv_a_proj_with_mqa.weight"].T
    kv = rms(row[:, :RANK], w["kv_a_layernorm.weight"]) @ w["kv_b_proj.weight"].T
    kv = kv.reshape(n, MLA_H, NOPE + VDIM)
    out = np.zeros((n, MLA_H, VDIM))
    for h in range(MLA_H):
        k = np.hstack([kv[:, h, :NOPE], row[:, RANK:]])  # the "rope" channels are not rotated
        z = q[:, h] @ k.T / np.sqrt(NOPE + ROPE)
        z[np.triu_indices(n, 1)] = -np.inf
        p = np.exp(z - z.max(-1, keepdims=True))
        out[:, h] = p / p.sum(-1, keepdims=True) @ kv[:, h, NOPE:]
    return out.reshape(n, -1) @ w["o_proj.weight"].T


def gated(w, stem, names, x):
    gate, up, down = (w[f"{stem}{name}.weight"] for name in names)
    a = x @ gate.T
    return (a * sigmoid(a) * (x @ up.T)) @ down.T


def moe(w, x):
    y = gated(w, "shared_experts.", ("gate_proj", "up_proj", "down_proj"), x)
    s = sigmoid(x @ w["gate.weight"].T)
    for t in range(len(x)):
        best = np.argsort(-(s[t] + w["gate.e_score_correction_bias"]), kind="stable")[:USED]
        for e in best:
            y[t] += SCALE * s[t, e] / s[t, best].sum() * gated(w, f"experts.{e}.", ("w1", "w3", "w2"), x[t])
    return y


def logits(w, ids):
    w = {k: v.astype(np.float64) for k, v in w.items()}

    def under(prefix):
        return {k[len(prefix):]: v for k, v in w.items() if k.startswith(prefix)}

    x = w["model.embed_tokens.weight"][ids]
    for i in range(LAYERS):
        p = f"model.layers.{i}."
        attn = mla if i + 1 in FULL else kda
        x = x + attn(under(p + "self_attn."), rms(x, w[p + "input_layernorm.weight"]))
        h = rms(x, w[p + "post_attention_layernorm.weight"])
        if i < CONFIG["first_k_dense_replace"]:
            x = x + gated(under(p + "mlp."), "", ("gate_proj", "up_proj", "down_proj"), h)
        else:
            x = x + moe(under(p + "block_sparse_moe."), h)
    return rms(x, w["model.norm.weight"]) @ w["lm_head.weight"].T


def save(path, tensors):
    """The safetensors container: length, JSON head, data."""
    head, at, data = {}, 0, b""
    for name in sorted(tensors):
        raw = tensors[name].tobytes()
        head[name] = {"dtype": "F32", "shape": list(tensors[name].shape), "data_offsets": [at, at + len(raw)]}
        data, at = data + raw, at + len(raw)
    text = json.dumps(head, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + data)


def main():
    rng = np.random.default_rng(20261125)
    w = weights(rng)
    ids = [int(i) for i in rng.integers(0, V, 40)]
    z = logits(w, ids)
    positions = [0, 1, 2, 3, 7, 15, 16, 31, 39]
    os.makedirs(HERE, exist_ok=True)
    save(os.path.join(HERE, "model.safetensors"), w)
    with open(os.path.join(HERE, "config.json"), "w", encoding="ascii") as f:
        json.dump(CONFIG, f, indent=1, sort_keys=True)
        f.write("\n")
    with open(os.path.join(HERE, "expected.json"), "w", encoding="ascii") as f:
        json.dump({"ids": ids, "positions": positions,
                   "logits": [[round(float(x), 6) for x in z[p]] for p in positions],
                   "argmax": [int(i) for i in z.argmax(-1)]}, f)
        f.write("\n")


main()
