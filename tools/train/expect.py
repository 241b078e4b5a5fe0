"""Reference values for the engine's tests, computed in float32 numpy from the GGUF files themselves.

    expect.py OUT.json FILE.gguf...

Reads the files with the gguf package and shares no code with model.py but the tokenizer, so it also checks the exporter.
Per file: for a few prompts the ids, the first 16 logits, the five best, 60 greedy ids and min_gap, the smallest distance
between the best and the second-best logit on the way (a mismatch below about 1e-3 is rounding, not a bug); the mean of
-ln p of a few passages; for an MTP block its prediction of the token after next."""
import hashlib
import json
import os
import sys

import numpy as np
from gguf import GGUFReader

import bpe
import data

TEXTS = ["Once upon a time", "", "The little dog ran to the river and", "옛날 옛날에"]
CHATS = [[("user", "Hello")], [("user", "안녕")], [("system", "You are Naru."), ("user", "What is 2 + 3?")]]
PASSAGES = [
    "Once upon a time there was a little girl who had a red hat. Every day she walked to the river with her dog. One day the dog saw a fish and jumped into the water. The girl laughed and said, \"Come back, you are all wet!\"",
    "The king had three sons. The eldest was strong, the second was clever, and the youngest was kind to every living thing that he met on the road.",
    "안녕하세요! 오늘은 날씨가 좋아요. 친구와 함께 공원에 가서 맛있는 것을 먹었어요. 정말 즐거운 하루였어요.",
]
GREEDY = 60


def split_tokens(r):
    """The tokenizer as the file holds it: -> BPE with the same ids."""
    f = r.fields
    strings = lambda k: [bytes(f[k].parts[i]).decode() for i in f[k].data]
    back = {c: b for b, c in bpe.byte_chars().items()}
    raw = lambda s: bytes(back[c] for c in s)
    toks = strings("tokenizer.ggml.tokens")
    assert toks[:len(bpe.SPECIALS)] == bpe.SPECIALS
    ids = {raw(t): i for i, t in enumerate(toks[len(bpe.SPECIALS):])}
    tok = bpe.BPE(merges=[tuple(ids[raw(p)] for p in m.split(" ")) for m in strings("tokenizer.ggml.merges")])
    assert tok.gguf_tokens()[0] == toks
    return tok


class Net:
    def __init__(self, path):
        r = GGUFReader(path)
        self.tok = split_tokens(r)
        self.arch = bytes(r.fields["general.architecture"].parts[-1]).decode()
        self.f = r.fields
        self.w = {}
        for t in r.tensors:
            shape = tuple(int(x) for x in reversed(t.shape))
            if t.tensor_type.name == "Q8_0":
                b = np.asarray(t.data).view("u1").reshape(-1, 34)
                x = b[:, 2:].copy().view("i1").astype("f4") * b[:, :2].copy().view("<f2").astype("f4")
            else:
                x = np.asarray(t.data).astype("f4")
            self.w[t.name] = x.reshape(shape)
        k = self.key
        self.eps, self.layers = k("attention.layer_norm_rms_epsilon"), k("block_count") - k("nextn_predict_layers", 0)
        self.heads, self.rot = k("attention.head_count"), k("rope.dimension_count")
        self.theta = k("rope.freq_base")

    def key(self, name, default=None):
        f = self.f.get(f"{self.arch}.{name}")
        if f is None:
            return default
        v = [f.parts[i][0] for i in f.data]
        return v[0].item() if len(v) == 1 else [x.item() for x in v]

    def norm(self, x, name):
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + np.float32(self.eps)) * self.w[name]

    def rope(self, x):
        """x: [..., T, D], neighbouring pairs."""
        T, D = x.shape[-2:]
        a = np.arange(T)[:, None] * self.theta ** (-np.arange(0, D, 2) / D)
        c, s = np.cos(a).astype("f4"), np.sin(a).astype("f4")
        y = np.empty_like(x)
        y[..., 0::2] = x[..., 0::2] * c - x[..., 1::2] * s
        y[..., 1::2] = x[..., 0::2] * s + x[..., 1::2] * c
        return y

    def attend(self, q, k, v):
        """q, k: [H, T, D]; v: [H, T, V] -> [T, H * V]"""
        T = q.shape[1]
        s = q @ k.transpose(0, 2, 1) * np.float32(q.shape[-1] ** -0.5)
        s = np.where(np.tri(T, dtype=bool), s, np.float32(-np.inf))
        p = np.exp(s - s.max(-1, keepdims=True))
        o = (p / p.sum(-1, keepdims=True)) @ v
        return o.transpose(1, 0, 2).reshape(T, -1)

    def gqa(self, x, b):
        T, kv = len(x), self.key("attention.head_count_kv")
        d = self.key("attention.key_length")
        q, k, v = ((x @ self.w[f"{b}attn_{n}.weight"].T).reshape(T, -1, d).transpose(1, 0, 2) for n in "qkv")
        rep = self.heads // kv
        return self.attend(self.rope(q), self.rope(k).repeat(rep, 0), v.repeat(rep, 0))

    def mla(self, x, b):
        T, w, r = len(x), self.w, self.key("attention.kv_lora_rank")
        if b + "attn_q_a.weight" in w:
            q = self.norm(x @ w[b + "attn_q_a.weight"].T, b + "attn_q_a_norm.weight") @ w[b + "attn_q_b.weight"].T
        else:
            q = x @ w[b + "attn_q.weight"].T
        q = q.reshape(T, self.heads, -1).transpose(1, 0, 2)
        kv = x @ w[b + "attn_kv_a_mqa.weight"].T
        lat, kr = self.norm(kv[:, :r], b + "attn_kv_a_norm.weight"), kv[None, :, r:]
        nope = q.shape[-1] - self.rot
        qn, qr = q[..., :nope], q[..., nope:]
        if self.arch == "deepseek2":
            qr, kr = self.rope(qr), self.rope(kr)
        kn = lat @ w[b + "attn_k_b.weight"]                               # [H, r, nope]
        v = lat @ w[b + "attn_v_b.weight"].transpose(0, 2, 1)             # [H, v, r]
        return self.attend(np.concatenate((qn, qr), -1), np.concatenate((kn, kr.repeat(self.heads, 0)), -1), v)

    def kda(self, x, b):
        T, w, K = len(x), self.w, self.key("kda.head_dim")
        sig = lambda z: 1 / (1 + np.exp(-z))
        rows = []
        for n in "qkv":
            z, c = x @ w[f"{b}attn_{n}.weight"].T, w[f"{b}ssm_conv1d_{n}.weight"].reshape(-1, self.key("ssm.conv_kernel"))
            pad = np.concatenate((np.zeros((c.shape[1] - 1, z.shape[1]), "f4"), z))
            y = sum(pad[i:i + T] * c[:, i] for i in range(c.shape[1]))
            rows.append((y * sig(y)).reshape(T, -1, K))
        q, k, v = rows
        q, k = (y / np.sqrt((y * y).sum(-1, keepdims=True) + 1e-6) for y in (q, k))
        raw = x @ w[b + "ssm_f_a.weight"].T @ w[b + "ssm_f_b.weight"].T + w[b + "ssm_dt.bias"]
        g = w[b + "ssm_a"].reshape(1, -1, 1) * np.logaddexp(0, raw).reshape(T, -1, K)
        beta = sig(x @ w[b + "ssm_beta.weight"].T)
        S, out = np.zeros((q.shape[1], K, K), "f4"), []
        for t in range(T):
            S = S * np.exp(g[t])[:, :, None]
            u = beta[t][:, None] * (v[t] - np.einsum("hk,hkv->hv", k[t], S))
            S = S + k[t][:, :, None] * u[:, None]
            out.append(np.einsum("hk,hkv->hv", q[t] * K ** -0.5, S))
        y = self.norm(np.stack(out), b + "ssm_norm.weight")
        gate = sig(x @ w[b + "ssm_g_a.weight"].T @ w[b + "ssm_g_b.weight"].T).reshape(T, -1, K)
        return (y * gate).reshape(T, -1).astype("f4")

    def swiglu(self, x, gate, up, down):
        z = x @ gate.T
        return (z / (1 + np.exp(-z)) * (x @ up.T)) @ down.T

    def feed(self, x, b):
        w = self.w
        if b + "ffn_gate_inp.weight" not in w:
            return self.swiglu(x, *(w[f"{b}ffn_{n}.weight"] for n in ("gate", "up", "down")))
        s = 1 / (1 + np.exp(-(x @ w[b + "ffn_gate_inp.weight"].T)))
        top = np.argsort(-(s + w[b + "exp_probs_b.bias"]), -1)[:, :self.key("expert_used_count")]
        y = self.swiglu(x, *(w[f"{b}ffn_{n}_shexp.weight"] for n in ("gate", "up", "down")))
        for t in range(len(x)):
            p = s[t, top[t]] / s[t, top[t]].sum() * np.float32(self.key("expert_weights_scale"))
            for e, f in zip(top[t], p):
                y[t] += f * self.swiglu(x[t], *(w[f"{b}ffn_{n}_exps.weight"][e] for n in ("gate", "up", "down")))
        return y

    def block(self, x, i):
        b = f"blk.{i}."
        mix = self.kda if b + "ssm_a" in self.w else self.gqa if self.arch == "llama" else self.mla
        x = x + mix(self.norm(x, b + "attn_norm.weight"), b) @ self.w[b + "attn_output.weight"].T
        return x + self.feed(self.norm(x, b + "ffn_norm.weight"), b)

    def head(self, x):
        return x @ self.w.get("output.weight", self.w["token_embd.weight"]).T

    def stream(self, ids):
        x = self.w["token_embd.weight"][ids]
        for i in range(self.layers):
            x = self.block(x, i)
        return x

    def logits(self, ids):
        return self.head(self.norm(self.stream(ids), "output_norm.weight"))

    def mtp(self, ids):
        """Logits of the token after ids[-1], made from the stream at ids[:-1] and the embeddings of ids[1:]."""
        b, x = f"blk.{self.layers}.", self.stream(ids[:-1])
        e = self.norm(self.w["token_embd.weight"][ids[1:]], b + "nextn.enorm.weight")
        h = self.norm(x, b + "nextn.hnorm.weight")
        y = self.block(np.concatenate((e, h), -1) @ self.w[b + "nextn.eh_proj.weight"].T, self.layers)
        return self.head(self.norm(y, b + "nextn.shared_head_norm.weight"))


def best(z, n=5):
    return [[int(t), round(float(z[t]), 5)] for t in np.argsort(-z)[:n]]


def run(net, ids, prompt):
    z = net.logits(ids)[-1]
    out, gap = list(ids), []
    for _ in range(GREEDY):
        y = net.logits(out)[-1]
        a, b = np.argsort(-y)[:2]
        gap.append(float(y[a] - y[b]))
        if a in (bpe.EOS, bpe.IM_END):
            break
        out.append(int(a))
    r = {"prompt": prompt, "ids": ids, "logits_head": [round(float(v), 5) for v in z[:16]], "top5": best(z),
         "greedy": out[len(ids):], "min_gap": round(min(gap), 4), "text": net.tok.decode(out[len(ids):])}
    if f"blk.{net.layers}.nextn.eh_proj.weight" in net.w:
        seq = ids + [int(np.argmax(z))]
        m = net.mtp(seq)[-1]
        r["mtp"] = {"next": seq[-1], "logits_head": [round(float(v), 5) for v in m[:16]], "top5": best(m)}
    return r


def passage(net, text):
    ids = [bpe.BOS] + net.tok.encode(text)
    z = net.logits(ids)[:-1].astype("f8")
    lp = z - z.max(-1, keepdims=True)
    lp -= np.log(np.exp(lp).sum(-1, keepdims=True))
    return {"text": text, "ids": len(ids), "mean": round(float(-lp[np.arange(len(ids) - 1), ids[1:]].mean()), 5)}


def dumps(x, depth=0):
    """JSON with one short list per line, so that the file stays small and its differences readable."""
    if isinstance(x, dict):
        return "{\n" + ",\n".join(" " * (depth + 1) + json.dumps(k) + ": " + dumps(v, depth + 1) for k, v in x.items()) + "\n" + " " * depth + "}"
    if isinstance(x, list) and x and isinstance(x[0], dict):
        return "[\n" + ",\n".join(" " * (depth + 1) + dumps(v, depth + 1) for v in x) + "\n" + " " * depth + "]"
    return json.dumps(x, ensure_ascii=False)


def main(out, files):
    res = {}
    for path in files:
        net = Net(path)
        with open(path, "rb") as f:
            sha = hashlib.sha256(f.read()).hexdigest()
        runs = [run(net, [bpe.BOS] + net.tok.encode(p), p) for p in TEXTS]
        for turns in CHATS:
            r = run(net, data.chat_ids(net.tok, turns, True), net.tok.decode(data.chat_ids(net.tok, turns, True)[1:], specials=True))
            runs.append(dict({"messages": turns}, **r))
        ps = [passage(net, t) for t in PASSAGES]
        res[os.path.splitext(os.path.basename(path))[0]] = {
            "sha256": sha, "architecture": net.arch, "runs": runs,
            "nll": {"rule": "each passage alone after <|bos|>; mean of -ln p over ids[1:]; \"mean\" is the plain mean over the passages", "pieces": ps,
                    "mean": round(sum(p["mean"] for p in ps) / len(ps), 5)}}
        print(path, net.arch, res[os.path.splitext(os.path.basename(path))[0]]["nll"]["mean"], flush=True)
    with open(out, "w", encoding="utf-8") as f:
        f.write(dumps(res) + "\n")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
