"""Writes a trained folder (train.py) as GGUF.

    export.py DIR OUT.gguf [--type F16] [--name NAME]

All gqa -> "llama"; all mla -> "deepseek2" (experts and MTP block included); kda + mla -> "kimi-linear"."""
import argparse
import os

import numpy as np
import torch

import bpe
import gguf_writer as G
from model import Cfg

TEMPLATE = ("{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
            "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}")
LICENSE = "other: see the model card for the sources of the text and their licences"


def metadata(g, c, kind, name, arch, mtp):
    a = g.arch_key
    layers = c.layers + mtp
    g.add("general.name", G.STR, name)
    g.add("general.license", G.STR, LICENSE)
    g.add("general.file_type", G.U32, G.FILE_TYPE[kind])
    a("vocab_size", G.U32, c.vocab)
    a("context_length", G.U32, c.ctx)
    a("embedding_length", G.U32, c.dim)
    a("block_count", G.U32, layers)
    a("feed_forward_length", G.U32, c.ffn)
    a("attention.head_count", G.U32, c.heads)
    a("attention.layer_norm_rms_epsilon", G.F32, c.eps)
    a("rope.freq_base", G.F32, c.theta)
    if arch == "llama":
        a("attention.head_count_kv", G.U32, c.kv_heads)
        a("attention.key_length", G.U32, c.head_dim)
        a("attention.value_length", G.U32, c.head_dim)
        a("rope.dimension_count", G.U32, c.head_dim)
        return
    if arch == "deepseek2":
        a("attention.head_count_kv", G.U32, 1)
    else:
        assert c.kda_heads == c.heads
        g.add_array(arch + ".attention.head_count_kv", G.I32, [0 if c.mixer(l) == "kda" else 1 for l in range(c.layers)])
        a("ssm.conv_kernel", G.U32, c.kda_conv)
        a("kda.head_dim", G.U32, c.kda_dim)
    if c.q_lora:
        a("attention.q_lora_rank", G.U32, c.q_lora)
    a("attention.kv_lora_rank", G.U32, c.kv_lora)
    a("attention.key_length", G.U32, c.kv_lora + c.rope_dim)
    a("attention.value_length", G.U32, c.kv_lora)
    a("attention.key_length_mla", G.U32, c.nope_dim + c.rope_dim)
    a("attention.value_length_mla", G.U32, c.v_dim)
    a("rope.dimension_count", G.U32, c.rope_dim)
    # The experts' keys are required by loaders of both architectures, so a dense model calls every layer dense.
    a("leading_dense_block_count", G.U32, c.dense_first if c.experts else layers)
    a("expert_count", G.U32, max(c.experts, 1))
    a("expert_used_count", G.U32, c.topk if c.experts else 1)
    a("expert_shared_count", G.U32, c.shared)
    a("expert_feed_forward_length", G.U32, c.expert_ffn)
    a("expert_weights_scale", G.F32, c.route_scale)
    a("expert_weights_norm", G.BOOL, True)
    a("expert_gating_func", G.U32, 2)                  # sigmoid
    if mtp:
        a("nextn_predict_layers", G.U32, 1)


def tokenizer(g, tok):
    t, m = tok.gguf_tokens()
    g.add("tokenizer.ggml.model", G.STR, "gpt2")
    g.add("tokenizer.ggml.pre", G.STR, "gpt-2")
    g.add_array("tokenizer.ggml.tokens", G.STR, t)
    g.add_array("tokenizer.ggml.token_type", G.I32, [3] * tok.off + [1] * (len(t) - tok.off))      # control, normal
    g.add_array("tokenizer.ggml.merges", G.STR, m)
    for key, i in (("padding", bpe.PAD), ("bos", bpe.BOS), ("eos", bpe.EOS), ("eot", bpe.IM_END)):
        g.add(f"tokenizer.ggml.{key}_token_id", G.U32, i)
    g.add("tokenizer.ggml.add_bos_token", G.BOOL, True)
    g.add("tokenizer.ggml.add_eos_token", G.BOOL, False)
    g.add("tokenizer.ggml.add_space_prefix", G.BOOL, False)
    g.add("tokenizer.chat_template", G.STR, TEMPLATE)


def export(d, out, kind="F16", name=None):
    """-> the model's weights as a reader of the file sees them, by the names of model.py"""
    s = torch.load(os.path.join(d, "ckpt.pt"), map_location="cpu")
    c, w = Cfg(**s["config"]), {k: v.numpy() for k, v in s["model"].items()}
    mixers = frozenset(c.mixer(l) for l in range(c.layers))
    arch = {frozenset({"gqa"}): "llama", frozenset({"mla"}): "deepseek2", frozenset({"kda", "mla"}): "kimi-linear"}[mixers]
    assert arch != "llama" or not c.experts
    mtp = int(c.mtp and arch == "deepseek2" and c.experts > 0)
    g = G.Writer(arch)
    metadata(g, c, kind, name or os.path.splitext(os.path.basename(out))[0], arch, mtp)
    tokenizer(g, bpe.BPE(merges=[tuple(x) for x in s["merges"]]))
    back = dict(w)

    def put(name, key, kind=kind):
        back[key] = g.tensor(name, w[key], kind)

    put("token_embd.weight", "emb.weight")
    put("output_norm.weight", "norm.weight")
    if arch == "kimi-linear" or not c.tied:            # readers of kimi-linear want the head as a tensor of its own
        g.tensor("output.weight", w["emb.weight" if c.tied else "head.weight"], kind)

    def attention(b, q, mix):
        if mix == "gqa":
            for a, z in (("q", "q"), ("k", "k"), ("v", "v"), ("output", "o")):
                put(f"{b}attn_{a}.weight", f"{q}{z}.weight")
        elif mix == "mla":
            if c.q_lora:
                put(b + "attn_q_a.weight", q + "q_a.weight")
                put(b + "attn_q_a_norm.weight", q + "q_norm.weight")
                put(b + "attn_q_b.weight", q + "q_b.weight")
            else:
                put(b + "attn_q.weight", q + "q.weight")
            put(b + "attn_kv_a_mqa.weight", q + "kv_a.weight")
            put(b + "attn_kv_a_norm.weight", q + "kv_norm.weight")
            kv = w[q + "kv_b.weight"].reshape(c.heads, c.nope_dim + c.v_dim, c.kv_lora)
            k = g.tensor(b + "attn_k_b.weight", kv[:, :c.nope_dim].transpose(0, 2, 1), kind)       # as absorption wants it
            v = g.tensor(b + "attn_v_b.weight", kv[:, c.nope_dim:], kind)
            back[q + "kv_b.weight"] = np.concatenate((k.transpose(0, 2, 1), v), 1).reshape(-1, c.kv_lora)
            put(b + "attn_output.weight", q + "o.weight")
        else:
            for a in "qkv":
                put(f"{b}attn_{a}.weight", f"{q}{a}.weight")
                g.tensor(f"{b}ssm_conv1d_{a}.weight", w[f"{q}c{a}.weight"][:, None, :], "F32")
            for a in ("f_a", "f_b", "g_a", "g_b"):
                put(f"{b}ssm_{a}.weight", f"{q}{a}.weight")
            put(b + "ssm_beta.weight", q + "beta.weight")
            g.tensor(b + "ssm_a", -np.exp(w[q + "a_log"])[:, None], "F32")
            put(b + "ssm_dt.bias", q + "dt_bias")
            put(b + "ssm_norm.weight", q + "norm.weight")
            put(b + "attn_output.weight", q + "o.weight")

    def block(i, p, mix, moe):
        b, f = f"blk.{i}.", p + "ff."
        put(b + "attn_norm.weight", p + "an.weight")
        attention(b, p + "mix.", mix)
        put(b + "ffn_norm.weight", p + "fn.weight")
        if moe:
            put(b + "ffn_gate_inp.weight", f + "router.weight", "F32")
            put(b + "exp_probs_b.bias", f + "bias")
        for a in ("gate", "up", "down"):
            if not moe:
                put(f"{b}ffn_{a}.weight", f"{f}{a}.weight")
                continue
            put(f"{b}ffn_{a}_exps.weight", f + a)
            if c.shared:
                put(f"{b}ffn_{a}_shexp.weight", f"{f}sh.{a}.weight")

    for l in range(c.layers):
        block(l, f"blocks.{l}.", c.mixer(l), bool(c.experts) and l >= c.dense_first)
    if mtp:
        b = f"blk.{c.layers}."
        block(c.layers, "mtp.block.", c.mixer(c.layers - 1), True)
        put(b + "nextn.eh_proj.weight", "mtp.proj.weight")
        put(b + "nextn.enorm.weight", "mtp.en.weight")
        put(b + "nextn.hnorm.weight", "mtp.hn.weight")
        put(b + "nextn.shared_head_norm.weight", "mtp.norm.weight")
    g.write(out)
    return c, back


if __name__ == "__main__":
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("dir")
    ap.add_argument("out")
    ap.add_argument("--type", default="F16", choices=G.TYPES)
    ap.add_argument("--name", help="general.name (default: the file's name)")
    a = ap.parse_args()
    export(a.dir, a.out, a.type, a.name)
    print(a.out, os.path.getsize(a.out))
