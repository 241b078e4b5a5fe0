#!/usr/bin/env python3
"""Writes the tiny random models of tests/golden and the logits an independent implementation gives.

    python3 tests/golden/make_fixtures.py [NAME...]     needs torch, transformers, tokenizers, gguf

Each NAME/ holds config.json, *.safetensors (as the Python transformers package saves them) and
expected.json:

    {"ids": [...], "positions": [...], "logits": [[...], ...], "argmax": [...]}

ids: one sequence, positions 0, 1, ...; logits: one row of n_vocab floats for each of `positions`, from
one float32 prefill of all ids with eager attention; argmax: the best id after every position. Weights
are stored in the `store` type and the reference computes in float32 on the stored values, so storage
costs no accuracy. Some also hold model.gguf: the same weights, written with the Python gguf package and
GGUF's own conventions (permuted Q and K for llama, norm + 1 for gemma), to show that both containers
give the same model. Weights have unit gain, so that attention is peaked and a mistake shows.

Random numbers are seeded; the same package versions (transformers 4.57.1, torch 2.7.1; the families with experts were written
with torch 2.15.0) write the same bytes."""
import json
import os
import shutil
import sys

import numpy as np
import torch
import transformers as tf

HERE = os.path.dirname(os.path.abspath(__file__))
BASE = dict(vocab_size=160, hidden_size=64, intermediate_size=96, num_hidden_layers=2,
            num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=128,
            bos_token_id=1, eos_token_id=2, pad_token_id=0, tie_word_embeddings=False)
SMALL = dict(BASE, vocab_size=96, hidden_size=32, intermediate_size=64, num_attention_heads=2,
             num_key_value_heads=1)


def llama(**kw):
    return tf.LlamaConfig(**{**BASE, **kw})


def phi3(**kw):
    kw = {**SMALL, "num_attention_heads": 2, "num_key_value_heads": 2, **kw}
    return tf.Phi3Config(**kw)


PHI_ROPE = {"type": "longrope", "short_factor": [1.0, 1.05, 1.1, 1.2, 1.3, 1.5, 1.75, 2.0],
            "long_factor": [1.1, 1.3, 1.7, 2.5, 4.0, 5.5, 7.0, 8.0]}
MLA = dict(BASE, num_key_value_heads=4, kv_lora_rank=24, qk_nope_head_dim=16, qk_rope_head_dim=8,
           v_head_dim=12, n_routed_experts=None, first_k_dense_replace=2, moe_intermediate_size=32,
           n_shared_experts=None)


# name -> config, number of ids, type on disk, extras
def models():
    return {
        "llama2": dict(config=llama(num_key_value_heads=4), store="float32", gguf="llama"),
        "llama3": dict(config=llama(rope_theta=500000.0, rope_scaling={
            "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 16}), gguf="llama"),
        "mistral": dict(config=tf.MistralConfig(**{**BASE, "sliding_window": 8, "head_dim": 16})),
        "smollm": dict(config=llama(vocab_size=300, tie_word_embeddings=True, num_attention_heads=3,
                                    hidden_size=48, num_key_value_heads=1), store="float16", text=True),
        "qwen2": dict(config=tf.Qwen2Config(**{**BASE, "rope_theta": 1000000.0}), store="float32",
                      gguf="qwen2"),
        "qwen3": dict(config=tf.Qwen3Config(**{**BASE, "head_dim": 24, "tie_word_embeddings": True}),
                      shards="100KB", gguf="qwen3"),
        "gemma": dict(config=tf.GemmaConfig(**{**BASE, "head_dim": 32, "tie_word_embeddings": True,
                                               "num_attention_heads": 2, "num_key_value_heads": 1,
                                               "hidden_activation": "gelu_pytorch_tanh"})),
        "gemma2": dict(config=tf.Gemma2Config(**{
            **BASE, "head_dim": 16, "tie_word_embeddings": True, "sliding_window": 8,
            "query_pre_attn_scalar": 24, "attn_logit_softcapping": 5.0, "hidden_size": 48,
            "final_logit_softcapping": 3.0}), gguf="gemma2"),
        "gemma3": dict(config=tf.Gemma3TextConfig(**{
            **SMALL, "head_dim": 16, "tie_word_embeddings": True, "sliding_window": 8,
            "num_hidden_layers": 6, "hidden_size": 48, "query_pre_attn_scalar": 24,
            "rope_theta": 1000000.0, "rope_local_base_freq": 10000.0, "sliding_window_pattern": 3,
            "rope_scaling": {"rope_type": "linear", "factor": 8.0}}), gguf="gemma3"),
        "phi3": dict(config=phi3(num_key_value_heads=1, sliding_window=None)),
        "phi3-window": dict(config=phi3(sliding_window=8)),
        "phi3-partial": dict(config=phi3(partial_rotary_factor=0.75, tie_word_embeddings=True)),
        "phi3-short": dict(config=phi3(original_max_position_embeddings=64, rope_scaling=PHI_ROPE)),
        "phi3-long": dict(config=phi3(original_max_position_embeddings=16, rope_scaling=PHI_ROPE)),
        "rope-linear": dict(config=llama(**{**SMALL, "rope_scaling": {"type": "linear", "factor": 4.0}})),
        "rope-yarn": dict(config=llama(**{**SMALL, "rope_scaling": {
            "rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32}})),
        "rope-dynamic": dict(config=llama(**{**SMALL, "rope_scaling": {
            "rope_type": "dynamic", "factor": 2.0}})),
        "deepseek2": dict(config=tf.DeepseekV2Config(**{**MLA, "q_lora_rank": None})),
        "deepseek3": dict(config=tf.DeepseekV3Config(**{**MLA, "q_lora_rank": 20, "rope_scaling": {
            "type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32, "beta_fast": 32,
            "beta_slow": 1, "mscale": 1.0, "mscale_all_dim": 1.0}})),
        "mixtral": dict(config=tf.MixtralConfig(**{**SMALL, "num_local_experts": 4, "num_experts_per_tok": 2,
                                                   "sliding_window": None, "rope_theta": 1e6}), gguf="llama"),
        "qwen2moe": dict(config=tf.Qwen2MoeConfig(**{
            **SMALL, "num_experts": 6, "num_experts_per_tok": 3, "moe_intermediate_size": 24,
            "shared_expert_intermediate_size": 40, "norm_topk_prob": False}), gguf="qwen2moe"),
        "qwen3moe": dict(config=tf.Qwen3MoeConfig(**{
            **SMALL, "num_experts": 8, "num_experts_per_tok": 3, "moe_intermediate_size": 24, "head_dim": 16,
            "norm_topk_prob": True}), gguf="qwen3moe"),
        "qwen3moe-plain": dict(config=tf.Qwen3MoeConfig(**{
            **SMALL, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24, "head_dim": 16,
            "num_hidden_layers": 3, "mlp_only_layers": [1], "norm_topk_prob": False})),
    }


def fill(model, seed):
    """Unit-gain weights; q and k somewhat larger, norms around their neutral value."""
    g = torch.Generator().manual_seed(seed)
    gemma = type(model).__name__.startswith("Gemma")
    for name, p in model.named_parameters():
        x = torch.randn(p.shape, generator=g, dtype=torch.float32)
        if p.dim() == 1 and ("norm" in name):
            x = 0.2 * x + (0.0 if gemma else 1.0)
        elif p.dim() == 1:
            x = 0.3 * x
        elif "embed_tokens" in name:
            x = x / model.config.hidden_size ** 0.5 if gemma else 0.7 * x
        else:
            gain = 1.6 if any(s in name for s in ("q_proj", "k_proj", "q_b_proj")) else 1.0
            x = gain * x / p.shape[1] ** 0.5
        p.data.copy_(x)


def round_trip(model, store):
    for p in model.parameters():
        p.data.copy_(p.data.to(getattr(torch, store)).to(torch.float32))


def expected(model, n_ids, seed):
    g = torch.Generator().manual_seed(seed + 1)
    ids = torch.randint(3, model.config.vocab_size, (n_ids,), generator=g)
    with torch.no_grad():
        logits = model(input_ids=ids[None], use_cache=False).logits[0].to(torch.float32).numpy()
    where = sorted({0, 1, 7, 8, 9, n_ids // 2, n_ids - 2, n_ids - 1})
    return {"ids": ids.tolist(), "positions": where,
            "logits": [[float(f"{v:.7g}") for v in logits[p]] for p in where],
            "argmax": logits.argmax(axis=1).tolist()}


def write_text(path):
    """A byte-level BPE tokenizer of 300 tokens and a chat template, as a model directory carries them."""
    from tokenizers import Tokenizer, decoders, models as tm, pre_tokenizers, trainers
    tok = Tokenizer(tm.BPE())
    tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tok.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
    tok.train_from_iterator(["the ferry lands and the people of the landing wait for the ferry"] * 9, trainer)
    tok.save(os.path.join(path, "tokenizer.json"))
    config = {"bos_token": "<|im_start|>", "eos_token": "<|im_end|>", "unk_token": "<|endoftext|>",
              "add_bos_token": False, "tokenizer_class": "GPT2Tokenizer",
              "chat_template": "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}"
                               "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>"
                               "assistant\n{% endif %}"}
    with open(os.path.join(path, "tokenizer_config.json"), "w") as out:
        json.dump(config, out, indent=1)
        out.write("\n")


def permute(w, n_heads):
    """Rows of each head: halves become neighbours (GGUF's llama stores Q and K for adjacent pairs)."""
    return w.reshape(n_heads, 2, w.shape[0] // n_heads // 2, *w.shape[1:]).swapaxes(1, 2).reshape(w.shape)


HF_TO_GGUF = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output",
              "input_layernorm": "attn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k",
              "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
              "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm",
              "post_attention_layernorm": "ffn_norm", "mlp.gate_proj": "ffn_gate",
              "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down"}
GEMMA2_UP = {**HF_TO_GGUF, "post_attention_layernorm": "post_attention_norm",
             "pre_feedforward_layernorm": "ffn_norm", "post_feedforward_layernorm": "post_ffw_norm"}


EXPERTS = {**HF_TO_GGUF, "mlp.gate": "ffn_gate_inp", "block_sparse_moe.gate": "ffn_gate_inp",
           "mlp.shared_expert_gate": "ffn_gate_inp_shexp", "mlp.shared_expert.gate_proj": "ffn_gate_shexp",
           "mlp.shared_expert.up_proj": "ffn_up_shexp", "mlp.shared_expert.down_proj": "ffn_down_shexp"}
PARTS = {"w1": "gate", "w3": "up", "w2": "down", "gate_proj": "gate", "up_proj": "up", "down_proj": "down"}


def add_experts(w, model, c):
    """Keys and the stacked tensors (expert slowest) of a mixture; returns the names that are done."""
    n = getattr(c, "num_local_experts", None) or c.num_experts
    w.add_expert_count(n)
    w.add_expert_used_count(c.num_experts_per_tok)
    if hasattr(c, "moe_intermediate_size"):
        w.add_expert_feed_forward_length(c.moe_intermediate_size)
    if hasattr(c, "shared_expert_intermediate_size"):
        w.add_expert_shared_feed_forward_length(c.shared_expert_intermediate_size)
    stacks, done = {}, set()
    for name, p in model.state_dict().items():
        if ".experts." in name:
            layer, rest = name.split("model.layers.")[1].split(".", 1)
            expert, part = rest.split(".experts.")[1].split(".")[:2]
            stacks.setdefault((int(layer), PARTS[part]), {})[int(expert)] = p.numpy().astype(np.float32)
            done.add(name)
    for (layer, part), by_expert in stacks.items():
        w.add_tensor(f"blk.{layer}.ffn_{part}_exps.weight", np.stack([by_expert[e] for e in range(n)]))
    return done


def gguf_name(hf, table):
    stem, kind = hf.rsplit(".", 1)
    if stem.startswith("model.layers."):
        _, _, layer, rest = stem.split(".", 3)
        return f"blk.{layer}.{table[rest]}.{kind}"
    return f"{table[stem]}.{kind}"


def write_gguf(path, arch, model):
    import gguf
    c = model.config
    head = getattr(c, "head_dim", None) or c.hidden_size // c.num_attention_heads
    w = gguf.GGUFWriter(path, arch)
    w.add_block_count(c.num_hidden_layers)
    w.add_context_length(c.max_position_embeddings)
    w.add_embedding_length(c.hidden_size)
    w.add_feed_forward_length(c.intermediate_size)
    w.add_head_count(c.num_attention_heads)
    w.add_head_count_kv(c.num_key_value_heads)
    w.add_key_length(head)
    w.add_value_length(head)
    w.add_rope_dimension_count(head)
    w.add_layer_norm_rms_eps(c.rms_norm_eps)
    w.add_rope_freq_base(c.rope_theta)
    w.add_vocab_size(c.vocab_size)
    if arch == "gemma2":
        w.add_attn_logit_softcapping(c.attn_logit_softcapping)
        w.add_final_logit_softcapping(c.final_logit_softcapping)
    if arch in ("gemma2", "gemma3"):
        w.add_sliding_window(c.sliding_window)
        # GGUF has no key for this: engines know the released sizes. Naru reads this one.
        w.add_float32(f"{arch}.attention.scale", c.query_pre_attn_scalar ** -0.5)
    if arch == "gemma3":
        w.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        w.add_rope_scaling_factor(c.rope_scaling["factor"])
        w.add_array(f"{arch}.attention.sliding_window_pattern",
                    [t == "sliding_attention" for t in c.layer_types])
        w.add_float32(f"{arch}.rope.freq_base_swa", c.rope_local_base_freq)
    if arch == "llama" and getattr(c, "rope_scaling", None):
        base = 1.0 / (c.rope_theta ** (np.arange(0, head, 2, dtype=np.float64) / head))
        from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS
        inv, _ = ROPE_INIT_FUNCTIONS["llama3"](c, "cpu")
        w.add_tensor("rope_freqs.weight", (base / inv.double().numpy()).astype(np.float32))
    table = GEMMA2_UP if arch in ("gemma2", "gemma3") else EXPERTS
    done = add_experts(w, model, c) if getattr(c, "num_experts_per_tok", None) else set()
    for name, p in model.state_dict().items():
        x = p.numpy().astype(np.float32)
        if name in done:
            continue
        if name.endswith("shared_expert_gate.weight"):
            x = x[0]
        if name == "lm_head.weight" and c.tie_word_embeddings:
            continue
        if arch == "llama" and ("q_proj" in name or "k_proj" in name):
            x = permute(x, c.num_attention_heads if "q_proj" in name else c.num_key_value_heads)
        if arch.startswith("gemma") and "norm" in name:
            x = x + 1
        w.add_tensor(gguf_name(name, table), np.ascontiguousarray(x))
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def make(name, spec, index):
    path = os.path.join(HERE, name)
    shutil.rmtree(path, ignore_errors=True)
    os.makedirs(path)
    config, store = spec["config"], spec.get("store", "bfloat16")
    config._attn_implementation = "eager"
    model = tf.AutoModelForCausalLM.from_config(config, attn_implementation="eager").to(torch.float32).eval()
    fill(model, 1000 + index)
    model.tie_weights()
    round_trip(model, store)
    with open(os.path.join(path, "expected.json"), "w") as out:
        json.dump(expected(model, spec.get("n", 40), 1000 + index), out, separators=(",", ":"))
        out.write("\n")
    if "gguf" in spec:
        write_gguf(os.path.join(path, "model.gguf"), spec["gguf"], model)
    model.to(getattr(torch, store)).save_pretrained(path, max_shard_size=spec.get("shards", "5GB"))
    if spec.get("text"):
        write_text(path)
    size = sum(os.path.getsize(os.path.join(path, f)) for f in os.listdir(path))
    print(f"{name}: {sum(p.numel() for p in model.parameters())} parameters, {size} bytes")


def main():
    torch.set_num_threads(1)
    torch.manual_seed(1)
    for index, (name, spec) in enumerate(models().items()):
        if len(sys.argv) < 2 or name in sys.argv[1:]:
            make(name, spec, index)


main()
