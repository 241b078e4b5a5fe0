"""Decoder with switchable mixers, for small checkpoints on a CPU.

Mixers (Cfg.attn: one name per layer, repeated over the layers):
  gqa  grouped-query attention with rotary positions (interleaved pairs)
  mla  multi-head latent attention (DeepSeek V2/V3); rotate=False keeps the shared key part but turns no position into it (Kimi Linear)
  kda  Kimi Delta Attention: short convolution, per-channel decay, delta rule, gated output
Feed-forward: dense SwiGLU, or experts with sigmoid router, balancing bias, top-k and shared experts (DeepSeek V3).
One multi-token-prediction block (DeepSeek V3) on request.

    python model.py      checks causality, gradients, and the blockwise KDA against its step-by-step definition"""
import functools
import math
from dataclasses import dataclass, field, asdict
import torch
import torch.nn as nn
import torch.nn.functional as F


@dataclass
class Cfg:
    vocab: int = 259
    dim: int = 256
    layers: int = 6
    heads: int = 4
    kv_heads: int = 2
    head_dim: int = 64
    ffn: int = 704
    ctx: int = 256
    theta: float = 10000.0
    eps: float = 1e-5
    attn: list = field(default_factory=lambda: ["gqa"])
    tied: bool = True
    # MLA
    q_lora: int = 0
    kv_lora: int = 64
    nope_dim: int = 32
    rope_dim: int = 16
    v_dim: int = 32
    rotate: bool = True
    # KDA
    kda_heads: int = 4
    kda_dim: int = 32
    kda_conv: int = 4
    # MoE
    experts: int = 0
    topk: int = 2
    shared: int = 1
    expert_ffn: int = 128
    dense_first: int = 1
    route_scale: float = 1.0
    bias_rate: float = 1e-3
    # extras
    mtp: bool = False

    def mixer(self, l):
        return self.attn[l % len(self.attn)]


class RMS(nn.Module):
    def __init__(self, d, eps):
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(d)), eps

    def forward(self, x):
        y = x.float()
        y = y * torch.rsqrt(y.pow(2).mean(-1, keepdim=True) + self.eps)
        return (y * self.weight.float()).to(x.dtype)


def lin(i, o, bias=False):
    return nn.Linear(i, o, bias=bias)


@functools.lru_cache(maxsize=None)
def turns(T, D, theta):
    f = theta ** (-torch.arange(0, D, 2, dtype=torch.float32) / D)
    a = torch.arange(T, dtype=torch.float32)[:, None] * f
    return a.cos(), a.sin()


def rope(x, theta):
    """x: [B,H,T,D]; rotates neighbouring pairs (2i, 2i+1)."""
    c, s = turns(*x.shape[-2:], theta)
    u, v = x.unflatten(-1, (-1, 2)).unbind(-1)
    return torch.stack((u * c - v * s, u * s + v * c), -1).flatten(-2)


def causal(q, k, v, scale):
    return F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=scale)


class GQA(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.c = c
        self.q, self.k, self.v = lin(c.dim, c.heads * c.head_dim), lin(c.dim, c.kv_heads * c.head_dim), lin(c.dim, c.kv_heads * c.head_dim)
        self.o = lin(c.heads * c.head_dim, c.dim)

    def forward(self, x):
        c, (B, T, _) = self.c, x.shape
        sp = lambda y, n: y.view(B, T, n, c.head_dim).transpose(1, 2)
        q, k, v = rope(sp(self.q(x), c.heads), c.theta), rope(sp(self.k(x), c.kv_heads), c.theta), sp(self.v(x), c.kv_heads)
        r = c.heads // c.kv_heads
        k, v = k.repeat_interleave(r, 1), v.repeat_interleave(r, 1)
        y = causal(q, k, v, c.head_dim ** -0.5)
        return self.o(y.transpose(1, 2).reshape(B, T, -1))


class MLA(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.c = c
        H, d = c.heads, c.nope_dim + c.rope_dim
        if c.q_lora:
            self.q_a, self.q_norm, self.q_b = lin(c.dim, c.q_lora), RMS(c.q_lora, c.eps), lin(c.q_lora, H * d)
        else:
            self.q = lin(c.dim, H * d)
        self.kv_a = lin(c.dim, c.kv_lora + c.rope_dim)
        self.kv_norm = RMS(c.kv_lora, c.eps)
        self.kv_b = lin(c.kv_lora, H * (c.nope_dim + c.v_dim))
        self.o = lin(H * c.v_dim, c.dim)

    def forward(self, x):
        c, (B, T, _) = self.c, x.shape
        H = c.heads
        q = self.q_b(self.q_norm(self.q_a(x))) if c.q_lora else self.q(x)
        q = q.view(B, T, H, -1).transpose(1, 2)
        lat, kr = self.kv_a(x).split([c.kv_lora, c.rope_dim], -1)
        kn, v = self.kv_b(self.kv_norm(lat)).view(B, T, H, -1).transpose(1, 2).split([c.nope_dim, c.v_dim], -1)
        if c.rope_dim:
            qn, qr = q.split([c.nope_dim, c.rope_dim], -1)
            turn = (lambda y: rope(y, c.theta)) if c.rotate else (lambda y: y)
            q = torch.cat((qn, turn(qr)), -1)
            k = torch.cat((kn, turn(kr[:, None]).expand(B, H, T, -1)), -1)
        else:
            k = kn
        y = causal(q, k, v, (c.nope_dim + c.rope_dim) ** -0.5)
        return self.o(y.transpose(1, 2).reshape(B, T, -1))


def kda_steps(q, k, v, g, b):
    """Token by token; the definition. q,k,g [B,H,T,K], v [B,H,T,V], b [B,H,T]; g is the log decay (<= 0)."""
    B, H, T, K = q.shape
    S, o = q.new_zeros(B, H, K, v.shape[-1]), []
    for t in range(T):
        S = S * g[:, :, t, :, None].exp()
        u = b[:, :, t, None] * (v[:, :, t] - (k[:, :, t, :, None] * S).sum(-2))
        S = S + k[:, :, t, :, None] * u[:, :, None]
        o.append((q[:, :, t, :, None] * S).sum(-2))
    return torch.stack(o, 2)


def kda_chunks(q, k, v, g, b, C=16):
    """The same result in blocks of C: inside a block one triangular solve, between blocks the state."""
    B, H, T, K = q.shape
    pad = -T % C
    if pad:
        q, k, v, g = (F.pad(x, (0, 0, 0, pad)) for x in (q, k, v, g))
        b = F.pad(b, (0, pad))
    n = (T + pad) // C
    q, k, v, g = (x.reshape(B, H, n, C, -1) for x in (q, k, v, g))
    b = b.reshape(B, H, n, C, 1)
    G = g.cumsum(-2)
    mid = G[..., C // 2 - 1:C // 2, :]
    up, dn = (G - mid).clamp(-80, 80).exp(), (mid - G).clamp(-80, 80).exp()   # centred, so neither side overflows
    ku, kd, qu = k * up, k * dn, q * up
    low = torch.ones(C, C, dtype=torch.bool, device=q.device)
    A = b * (ku @ kd.transpose(-1, -2)).masked_fill(low.triu(), 0)      # masked first: what lies above may be infinite
    P = (qu @ kd.transpose(-1, -2)).masked_fill(low.triu(1), 0)
    eye = torch.eye(C, device=q.device, dtype=A.dtype)
    ks, qs, tail = k * G.exp(), q * G.exp(), k * (G[..., -1:, :] - G).exp()
    UW = torch.linalg.solve_triangular(eye + A, torch.cat((b * v, b * ks), -1), upper=False, unitriangular=True)
    U, W = UW.split([v.shape[-1], K], -1)
    end = G[..., -1, :].exp()
    S, o = q.new_zeros(B, H, K, v.shape[-1]), []
    # unbind, not indexing: the gradient of an index is a whole zero tensor per block
    for U, W, qs, P, end, tail in zip(*(x.unbind(2) for x in (U, W, qs, P, end, tail))):
        u = U - W @ S
        o.append(qs @ S + P @ u)
        S = S * end[..., None] + tail.transpose(-1, -2) @ u
    return torch.cat(o, 2)[:, :, :T]


class Conv(nn.Module):
    """Causal depthwise convolution."""
    def __init__(self, d, k):
        super().__init__()
        self.k = k
        self.weight = nn.Parameter(torch.randn(d, k) * 0.3)

    def forward(self, x):
        T = x.shape[1]
        p = F.pad(x, (0, 0, self.k - 1, 0))
        return sum(p[:, i:i + T] * self.weight[:, i] for i in range(self.k))


class KDA(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.c = c
        H, K, n = c.kda_heads, c.kda_dim, c.kda_heads * c.kda_dim
        self.q, self.k, self.v = lin(c.dim, n), lin(c.dim, n), lin(c.dim, n)
        self.cq, self.ck, self.cv = Conv(n, c.kda_conv), Conv(n, c.kda_conv), Conv(n, c.kda_conv)
        self.f_a, self.f_b = lin(c.dim, K), lin(K, n)
        self.g_a, self.g_b = lin(c.dim, K), lin(K, n)
        self.beta = lin(c.dim, H)
        self.a_log = nn.Parameter(torch.empty(H).uniform_(1, 16).log())
        dt = torch.exp(torch.rand(n) * (math.log(0.1) - math.log(0.001)) + math.log(0.001))
        self.dt_bias = nn.Parameter(dt + torch.log(-torch.expm1(-dt)))
        self.norm = RMS(K, c.eps)
        self.o = lin(n, c.dim)

    def forward(self, x):
        c, (B, T, _) = self.c, x.shape
        H, K = c.kda_heads, c.kda_dim
        sp = lambda y: y.view(B, T, H, K).transpose(1, 2)
        q, k, v = (sp(F.silu(cv(p(x)))).float() for p, cv in ((self.q, self.cq), (self.k, self.ck), (self.v, self.cv)))
        q, k = (y * torch.rsqrt(y.pow(2).sum(-1, keepdim=True) + 1e-6) for y in (q, k))
        g = -self.a_log.float().exp()[:, None, None] * sp(F.softplus((self.f_b(self.f_a(x)) + self.dt_bias).float()))
        g = g.clamp_min(-10)           # keeps the exponents of a block of 16 in range; e^-10 of the state is nothing
        b = self.beta(x).float().sigmoid().transpose(1, 2)
        with torch.autocast(x.device.type, enabled=False):
            y = kda_chunks(q * K ** -0.5, k, v, g, b)
        y = self.norm(y) * sp(self.g_b(self.g_a(x))).float().sigmoid()
        return self.o(y.transpose(1, 2).reshape(B, T, -1).to(x.dtype))


class Dense(nn.Module):
    def __init__(self, d, h):
        super().__init__()
        self.gate, self.up, self.down = lin(d, h), lin(d, h), lin(h, d)

    def forward(self, x):
        return self.down(F.silu(self.gate(x)) * self.up(x))


class MoE(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.c = c
        E, d, h = c.experts, c.dim, c.expert_ffn
        self.router = lin(d, E)
        self.register_buffer("bias", torch.zeros(E))
        self.gate, self.up = nn.Parameter(torch.randn(E, h, d) * d ** -0.5), nn.Parameter(torch.randn(E, h, d) * d ** -0.5)
        self.down = nn.Parameter(torch.randn(E, d, h) * h ** -0.5)
        self.sh = Dense(d, h * c.shared) if c.shared else None
        self.load = None

    def forward(self, x):
        c, sh = self.c, x.shape
        x = x.reshape(-1, sh[-1])
        s = self.router(x).float().sigmoid()
        _, idx = (s + self.bias).topk(c.topk, -1)            # the bias chooses, the plain score weighs
        w = s.gather(1, idx)
        w = (w / w.sum(-1, keepdim=True) * c.route_scale).to(x.dtype)
        flat = idx.reshape(-1)
        order = flat.argsort()
        count = torch.bincount(flat, minlength=c.experts)
        if self.training:
            self.load = count
        rows = torch.div(order, c.topk, rounding_mode="floor")
        xs, out, p = x[rows], [], 0
        for e, n in enumerate(count.tolist()):
            if n:
                y = xs[p:p + n]
                out.append((F.silu(y @ self.gate[e].T) * (y @ self.up[e].T)) @ self.down[e].T)
                p += n
        y = torch.cat(out) * w.reshape(-1)[order][:, None]
        r = torch.zeros_like(x).index_add_(0, rows, y.to(x.dtype))
        return (r + self.sh(x) if self.sh else r).view(sh)

    def rebalance(self):
        if self.load is not None:
            n = self.load.float()
            self.bias += self.c.bias_rate * torch.sign(n.mean() - n)


class Block(nn.Module):
    def __init__(self, c, l):
        super().__init__()
        self.an, self.fn = RMS(c.dim, c.eps), RMS(c.dim, c.eps)
        self.mix = {"gqa": GQA, "mla": MLA, "kda": KDA}[c.mixer(l)](c)
        self.ff = MoE(c) if c.experts and l >= c.dense_first else Dense(c.dim, c.ffn)

    def forward(self, x):
        x = x + self.mix(self.an(x))
        return x + self.ff(self.fn(x))


class MTP(nn.Module):
    """Predicts token t+2 from the stream at t and the embedding of token t+1."""
    def __init__(self, c):
        super().__init__()
        self.hn, self.en, self.proj = RMS(c.dim, c.eps), RMS(c.dim, c.eps), lin(2 * c.dim, c.dim)
        self.block, self.norm = Block(c, c.layers - 1), RMS(c.dim, c.eps)

    def forward(self, h, emb_next):
        return self.norm(self.block(self.proj(torch.cat((self.en(emb_next), self.hn(h)), -1))))


class HeadLoss(torch.autograd.Function):
    """Mean cross-entropy of h @ w.T against targets. Rows go in blocks whose logits stay in the cache, and the gradient
    is made in the same pass: on a CPU this saves a tenth of a step."""
    @staticmethod
    def forward(ctx, h, w, targets, block=512):
        n, total = h.shape[0], 0.0
        need = any(ctx.needs_input_grad)
        dh, dw = (torch.empty_like(h), torch.zeros_like(w)) if need else (None, None)
        for i in range(0, n, block):
            x, t = h[i:i + block], targets[i:i + block, None]
            z = x @ w.T
            z -= z.amax(-1, keepdim=True)
            hit = z.gather(1, t)
            z.exp_()
            norm = z.sum(-1, keepdim=True)
            total += (norm.log() - hit).sum()
            if need:
                z /= norm * n
                z.scatter_add_(1, t, torch.full_like(hit, -1.0 / n))
                torch.mm(z, w, out=dh[i:i + block])
                dw.addmm_(z.T, x)
        ctx.save_for_backward(dh, dw)
        return total / n

    @staticmethod
    def backward(ctx, g):
        dh, dw = ctx.saved_tensors
        return dh * g, dw * g, None, None


class LM(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.c = c
        self.emb = nn.Embedding(c.vocab, c.dim)
        self.blocks = nn.ModuleList(Block(c, l) for l in range(c.layers))
        self.norm = RMS(c.dim, c.eps)
        self.head = None if c.tied else lin(c.dim, c.vocab)
        self.mtp = MTP(c) if c.mtp else None
        for n, p in self.named_parameters():
            if p.dim() >= 2 and not n.endswith("conv.weight") and ".c" not in n:
                nn.init.normal_(p, std=0.02 if "emb" in n else p.shape[-1] ** -0.5)
            if n.endswith(("o.weight", "down.weight", ".down")):
                with torch.no_grad():
                    p.mul_((2 * c.layers) ** -0.5)

    def out(self, h):
        return h @ self.emb.weight.T if self.head is None else self.head(h)

    def forward(self, ids, targets=None):
        x = self.emb(ids)
        for b in self.blocks:
            x = b(x)
        h = self.norm(x)
        if targets is None:
            return self.out(h)
        w = self.emb.weight if self.head is None else self.head.weight
        loss = HeadLoss.apply(h.flatten(0, 1), w, targets.flatten())
        if self.mtp is None:
            return loss, loss.new_zeros(())
        z = self.mtp(x[:, :-1], self.emb(targets[:, :-1]))     # the stream before the final norm
        return loss, HeadLoss.apply(z.flatten(0, 1), w, targets[:, 1:].flatten())

    def rebalance(self):
        for m in self.modules():
            if isinstance(m, MoE):
                m.rebalance()

    def counts(self):
        tot = sum(p.numel() for p in self.parameters())
        act = tot
        for m in self.modules():
            if isinstance(m, MoE):
                one = m.gate[0].numel() * 3
                act -= one * (self.c.experts - self.c.topk)
        return tot, act


def selftest():
    torch.manual_seed(0)
    B, H, T, K, V = 2, 3, 53, 8, 8
    q, k, v = torch.randn(B, H, T, K), F.normalize(torch.randn(B, H, T, K), dim=-1), torch.randn(B, H, T, V)
    for s in (0.05, 1.0, 4.0, 10.0):
        g, b = -s * torch.rand(B, H, T, K), torch.rand(B, H, T)
        d = (kda_steps(q, k, v, g, b) - kda_chunks(q, k, v, g, b)).abs().max().item()
        print(f"kda chunk vs step, decay up to {s}: {d:.2e}")
        assert d < 2e-4
    kw = dict(vocab=300, dim=64, layers=4, heads=4, kv_heads=2, head_dim=16, ffn=128, kv_lora=32, nope_dim=16, rope_dim=8, v_dim=16, kda_heads=2, kda_dim=16)
    ids = torch.randint(3, 300, (2, 40))
    for c in (Cfg(**kw), Cfg(**kw, attn=["mla"], q_lora=48), Cfg(**kw, attn=["kda", "kda", "kda", "mla"]),
              Cfg(**kw, attn=["mla"], experts=8, expert_ffn=32, mtp=True)):
        m = LM(c)
        m.eval()
        a = m(ids); x = ids.clone(); x[:, 25:] = 5
        e = (m(x)[:, :25] - a[:, :25]).abs().max().item()     # causality
        m.train()
        l, z = m(ids[:, :-1], ids[:, 1:])
        (l + z).backward()
        miss = [n for n, p in m.named_parameters() if p.grad is None]
        print(c.attn, "experts", c.experts, "mtp", c.mtp, f"loss {l.item():.3f} leak {e:.1e} no-grad {miss}")
        assert e < 1e-4 and not miss


if __name__ == "__main__":
    selftest()
