"""Trains, measures or samples a small decoder (model.py). One thread per process.

    train.py train  --preset P --out DIR --minutes 60    resumes if DIR holds a checkpoint
    train.py bench  --preset P [--steps 8]               tokens per second of the training step
    train.py sample --out DIR --prompt TEXT [--chat]
    train.py eval   --out DIR                            bits per byte on held-back text, by source

DIR gets ckpt.pt (weights, optimizer, progress; replaced atomically every few minutes) and log.txt. The time budget is
wall-clock; the rate falls to zero at its end. While the file named by --pause exists the loop sleeps, and that time
does not count."""
import argparse
import ctypes
import json
import math
import os
import sys
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")
import numpy as np
import torch

import bpe
import data
from model import Cfg, LM, asdict

HERE = os.path.dirname(os.path.abspath(__file__))
LAT = dict(q_lora=96, kv_lora=64, nope_dim=48, rope_dim=16, v_dim=64)
NOPOS = dict(LAT, q_lora=0, rotate=False)
EXP = dict(experts=8, topk=2, shared=1, expert_ffn=96, dense_first=1)
PRESETS = {
    "chat": dict(dim=192, layers=6, heads=3, kv_heads=1, head_dim=64, ffn=512),
    "draft": dict(dim=128, layers=2, heads=2, kv_heads=1, head_dim=64, ffn=320),
    "mla-moe-mtp": dict(dim=192, layers=4, heads=4, attn=["mla"], ffn=512, mtp=True, **LAT, **EXP),
    "kda-mla": dict(dim=192, layers=4, heads=3, ffn=448, attn=["kda", "kda", "kda", "mla"], kda_heads=3, kda_dim=64, **NOPOS),
}

# The mix by progress: (share of the budget at which the phase ends, context, {source: share of the rows}).
STORY = {"tiny": 14, "tiny800": 7, "ask-story": 16, "children": 8, "fairy": 5, "children-ko": 1, "books": 1, "books-fairy": 2, "books-children": 2}
CHAT = {"chat-en": 12, "ko-chat": 8, "chat-ko": 3, "talk": 16}
FIRST = {**STORY, **CHAT, "wiki": 2, "copy": 12}
LAST = {"tiny": 8, "tiny800": 4, "ask-story": 24, "children": 4, "fairy": 2, "children-ko": 1, "chat-en": 12, "ko-chat": 14, "chat-ko": 3, "talk": 25, "wiki": 2, "copy": 8}
RECIPE = [(0.60, 256, FIRST), (0.86, 256, LAST), (1.0, 1024, LAST)]


def orthogonal(g, steps=5):
    """Newton-Schulz iteration: the nearest (semi-)orthogonal matrix of each matrix in a batch, roughly."""
    a, b, c = 3.4445, -4.7750, 2.0315
    flip = g.shape[-2] > g.shape[-1]
    x = g.transpose(-1, -2) if flip else g
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(steps):
        m = x @ x.transpose(-1, -2)
        x = a * x + (b * m + c * (m @ m)) @ x
    return x.transpose(-1, -2) if flip else x


class Muon(torch.optim.Optimizer):
    """Momentum, then orthogonal update; matrices of one shape go through the iteration together."""

    def __init__(self, params, lr, momentum=0.95, decay=0.05):
        super().__init__(params, dict(lr=lr, momentum=momentum, decay=decay))

    @torch.no_grad()
    def step(self):
        for grp in self.param_groups:
            shapes = {}
            for p in grp["params"]:
                if p.grad is not None:
                    shapes.setdefault(tuple(p.shape), []).append(p)
            for shape, ps in shapes.items():
                ups = []
                for p in ps:
                    s = self.state[p]
                    if "m" not in s:
                        s["m"] = torch.zeros_like(p)
                    s["m"].lerp_(p.grad, 1 - grp["momentum"])
                    ups.append(p.grad.lerp(s["m"], grp["momentum"]))
                up = orthogonal(torch.stack(ups)) * (0.2 * max(shape[-2:]) ** 0.5)
                for p, u in zip(ps, up):
                    p.mul_(1 - grp["lr"] * grp["decay"]).add_(u, alpha=-grp["lr"])


def optimizers(m, kind, lr, lr_adam):
    """Muon for the matrices inside the blocks, AdamW for embedding, router, convolutions, norms."""
    mats, emb, rest = [], [], []
    for n, p in m.named_parameters():
        if p.dim() < 2:
            rest.append(p)
        elif kind == "adamw" or "emb." in n or "head." in n or "router." in n or ".c" in n:
            emb.append(p)
        else:
            mats.append(p)
    out = [torch.optim.AdamW([{"params": emb, "weight_decay": 0.1 if kind == "adamw" else 0.01}, {"params": rest, "weight_decay": 0.0}],
                             lr_adam, betas=(0.9, 0.95), eps=1e-10, fused=True)]
    if mats:
        out.append(Muon(mats, lr))
    for o in out:
        for g in o.param_groups:
            g["base"] = g["lr"]
    return out


def lr_scale(step, frac, warm=60):
    return min(1.0, (step + 1) / warm) * max(0.0, 1.0 - frac)


def phase(frac, short):
    for end, ctx, mix in RECIPE:
        if frac < end:
            break
    return min(ctx, short) if short else ctx, mix


@torch.no_grad()
def bits_per_byte(m, tok, src, ctx, rows, seed=5):
    """Mean over windows of held-back documents, each document alone from its <|bos|>, cut to ctx."""
    rng, nat, nbytes = np.random.default_rng(seed), 0.0, 0
    for i in rng.permutation(len(src))[:rows]:
        ids = torch.from_numpy(src.doc(i)[:ctx + 1].astype(np.int64))[None]
        loss = m(ids[:, :-1], ids[:, 1:])[0]
        nat += loss.item() * (ids.shape[1] - 1)
        nbytes += sum(tok.length(t) for t in ids[0, 1:].tolist())
    return nat / max(1, nbytes) / math.log(2)


@torch.no_grad()
def generate(m, ids, n, temp, seed, stop, ctx=1024, top_k=40):
    gen = torch.Generator().manual_seed(seed)
    out = list(ids)
    for _ in range(n):
        lg = m(torch.tensor([out[-ctx:]]))[0, -1]
        if temp:
            v, i = lg.topk(top_k)
            t = int(i[torch.multinomial((v / temp).softmax(-1), 1, generator=gen)])
        else:
            t = int(lg.argmax())
        if t in stop:
            break
        out.append(t)
    return out[len(ids):]


def load(out):
    s = torch.load(os.path.join(out, "ckpt.pt"), map_location="cpu")
    m = LM(Cfg(**s["config"]))
    m.load_state_dict(s["model"])
    m.eval()
    return m, bpe.BPE(merges=[tuple(x) for x in s["merges"]]), s


def train(a, tok):
    path = os.path.join(a.out, "ckpt.pt")
    os.makedirs(a.out, exist_ok=True)
    s = torch.load(path, map_location="cpu") if os.path.exists(path) else None
    c = Cfg(**s["config"]) if s else make_cfg(a, tok)
    m = LM(c)
    opts = optimizers(m, a.opt, a.lr, a.lr_adam)
    st = {"step": 0, "spent": 0.0, "tokens": 0, "rounds": {}}
    if s:
        m.load_state_dict(s["model"])
        for o, sd in zip(opts, s["opt"]):
            o.load_state_dict(sd)
        st = s["st"]
    log = open(os.path.join(a.out, "log.txt"), "a", encoding="utf-8")

    def say(x):
        print(x, flush=True)
        log.write(x + "\n")
        log.flush()

    names = sorted({n for _, _, mix in RECIPE for n in mix})
    src = {n: data.load(tok, n, a.shared, a.cache or os.path.join(a.out, "cache")) for n in names}
    mixer = data.Mixer({n: t for n, (t, _) in src.items()}, np.random.default_rng(a.seed + st["step"]))
    base = dict(st["rounds"])
    tot, act = m.counts()
    say(f"# {a.preset} {json.dumps(asdict(c))}")
    say(f"# parameters {tot} active {act}; training tokens " + ", ".join(f"{n} {len(t.ids)}" for n, (t, _) in src.items()))
    step_fn = torch.compile(m, dynamic=False) if a.compile else m

    def save():
        st["rounds"] = {**base, **{n: base.get(n, 0.0) + q.rounds for n, q in mixer.streams.items()}}
        torch.save({"config": asdict(c), "merges": tok.merges, "model": m.state_dict(), "opt": [o.state_dict() for o in opts], "st": st}, path + ".new")
        os.replace(path + ".new", path)

    def check():
        m.eval()
        v = {n: bits_per_byte(m, tok, src[n][1], 512, 12) for n in ("tiny", "fairy", "chat-en", "ko-chat", "talk")}
        m.train()
        return " ".join(f"{n} {x:.3f}" for n, x in v.items())

    t_say = t_save = time.time()
    n_say, l_say, warmed = 0, [], False
    while st["spent"] < a.minutes * 60 and not (a.steps and st["step"] >= a.steps):
        while os.path.exists(a.pause):
            time.sleep(1)
            t_say = time.time()
        t0 = time.time()
        frac = st["spent"] / (a.minutes * 60)
        f = lr_scale(st["step"], frac)
        for o in opts:
            for g in o.param_groups:
                g["lr"] = g["base"] * f
        ctx, mix = phase(frac, a.short)
        x, y = mixer.batch(mix, max(1, a.batch // ctx), ctx)
        l, z = step_fn(torch.from_numpy(x), torch.from_numpy(y))
        (l + 0.3 * z if c.mtp else l).backward()
        sound = torch.isfinite(torch.nn.utils.clip_grad_norm_(m.parameters(), 1.0))
        if not sound:
            say(f"step {st['step']}: gradient not finite, left out")
        for o in opts:
            if sound:
                o.step()
            o.zero_grad(set_to_none=True)
        m.rebalance()
        st["step"] += 1
        st["tokens"] += x.size
        st["spent"] += time.time() - t0
        n_say += x.size
        l_say.append(l.item())
        if st["step"] % a.every == 0 or st["step"] <= 2:
            say(f"step {st['step']} min {st['spent'] / 60:.2f} Mtok {st['tokens'] / 1e6:.2f} lr {f:.3f} ctx {ctx} loss {np.mean(l_say):.4f} mtp {z.item():.3f} tok/s {n_say / (time.time() - t_say):.0f}")
            t_say, n_say, l_say = time.time(), 0, []
        if time.time() - t_save > a.save_minutes * 60:
            t1 = time.time()
            try:
                save()
                say(f"saved; bits/byte {check()}")
            except (OSError, RuntimeError) as e:       # a full disk must not end a long run; the next save may work
                say(f"not saved: {e}")
            t_save = t_say = time.time()
            st["spent"] += t_save - t1
            n_say = 0
    save()
    say(f"done step {st['step']} min {st['spent'] / 60:.2f} tokens {st['tokens']} bits/byte {check()}")
    say("rounds over each source: " + " ".join(f"{n} {x:.2f}" for n, x in st["rounds"].items()))


def make_cfg(a, tok):
    kw = dict(PRESETS[a.preset], ctx=RECIPE[-1][1])
    for x in a.set:
        k, v = x.split("=", 1)
        kw[k] = json.loads(v)
    return Cfg(**dict(kw, vocab=tok.vocab))


def bench(a, tok):
    m = LM(make_cfg(a, tok))
    opts = optimizers(m, a.opt, a.lr, a.lr_adam)
    f = torch.compile(m, dynamic=False) if a.compile else m
    ctx = a.short or 512
    ts, us = [], []
    for _ in range(a.steps or 8):
        x = torch.randint(5, m.c.vocab, (max(1, a.batch // ctx), ctx + 1))
        t = time.time()
        l, z = f(x[:, :-1], x[:, 1:])
        (l + 0.3 * z).backward()
        t1 = time.time()
        for o in opts:
            o.step()
            o.zero_grad(set_to_none=True)
        us.append(time.time() - t1)
        ts.append(time.time() - t)
    tot, act = m.counts()
    n = x[:, 1:].numel()
    print(f"{a.preset} {tot / 1e6:.2f}M active {act / 1e6:.2f}M batch {n} ctx {ctx}: best {n / min(ts[2:]):.0f} tok/s, median {n / sorted(ts[2:])[len(ts[2:]) // 2]:.0f}; optimizer {min(us[2:]):.3f} s of {min(ts[2:]):.3f}")


def keep_memory():
    """glibc gives large blocks back to the kernel at each free; faulting them in again costs a tenth of a step."""
    try:
        libc = ctypes.CDLL(None)
        for what, n in ((-3, 1 << 30), (-1, (1 << 31) - 1), (-2, 1 << 28)):    # mmap threshold, trim threshold, top pad
            libc.mallopt(what, n)
    except (OSError, AttributeError):
        pass


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("mode", choices=["train", "bench", "sample", "eval"])
    ap.add_argument("--preset", default="chat", choices=PRESETS)
    ap.add_argument("--set", nargs="*", default=[], help="changes to the preset, e.g. layers=4")
    ap.add_argument("--tok", default=os.path.join(HERE, "tok.json"))
    ap.add_argument("--shared", default=data.SHARED, help="folder that holds corpora and corpora-train")
    ap.add_argument("--out", default="run")
    ap.add_argument("--cache", help="folder of encoded corpora (default: OUT/cache)")
    ap.add_argument("--minutes", type=float, default=60)
    ap.add_argument("--steps", type=int, default=0, help="stop after so many steps whatever the time")
    ap.add_argument("--batch", type=int, default=2048, help="tokens per step")
    ap.add_argument("--short", type=int, default=0, help="upper limit of the training context")
    ap.add_argument("--opt", default="muon", choices=["muon", "adamw"])
    ap.add_argument("--lr", type=float, default=5e-3, help="Muon's rate")
    ap.add_argument("--lr-adam", type=float, default=3e-3)
    ap.add_argument("--seed", type=int, default=1)
    ap.add_argument("--compile", action="store_true", help="torch.compile (needs a C++ compiler)")
    ap.add_argument("--pause", help="sleep while this file exists (default: OUT/pause)")
    ap.add_argument("--every", type=int, default=50, help="steps between log lines")
    ap.add_argument("--save-minutes", type=float, default=5)
    ap.add_argument("--prompt", default="Once upon a time")
    ap.add_argument("--chat", action="store_true")
    ap.add_argument("-n", type=int, default=200)
    ap.add_argument("--temp", type=float, default=0.7)
    ap.add_argument("--rows", type=int, default=60, help="documents per source in eval")
    a = ap.parse_args()
    a.pause = a.pause or os.path.join(a.out, "pause")
    torch.manual_seed(a.seed)
    torch.set_num_threads(1)
    keep_memory()
    if a.mode in ("train", "bench"):
        (train if a.mode == "train" else bench)(a, bpe.BPE(a.tok))
        return
    m, tok, s = load(a.out)
    if a.mode == "sample":
        ids = data.chat_ids(tok, [("user", a.prompt)], True) if a.chat else [bpe.BOS] + tok.encode(a.prompt)
        out = generate(m, ids, a.n, a.temp, a.seed, (bpe.EOS, bpe.IM_END))
        print(tok.decode(out) if a.chat else a.prompt + tok.decode(out))
        return
    res = {n: round(bits_per_byte(m, tok, data.load(tok, n, a.shared, a.cache or os.path.join(a.out, "cache"))[1], 1024, a.rows), 4)
           for n in sorted({n for _, _, mix in RECIPE for n in mix})}
    print(json.dumps({"step": s["st"]["step"], "tokens": s["st"]["tokens"], "minutes": round(s["st"]["spent"] / 60, 1), "bits_per_byte": res}))


if __name__ == "__main__":
    sys.exit(main())
