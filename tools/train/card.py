"""Writes the card of an exported model: shape, data, bits per byte on held-back text, samples, checksum.

    card.py DIR FILE.gguf OUT.md --about ABOUT.md [--target DIR]     --target: the model that this one drafts for

DIR is the trained folder; FILE its export, from whose rounded weights every figure is taken. ABOUT.md is the hand-written
beginning."""
import argparse
import hashlib
import os

import numpy as np
import torch

import bpe
import data
import export
import train
from model import LM

LICENCES = {
    "tiny": ("TinyStories", "CDLA-Sharing-1.0", "mines-opt-ml/decoding-gpt@79274e31fe66, s-ajaykumar/smallGPT@b8b899265a55"),
    "tiny800": ("TinyStories", "CDLA-Sharing-1.0", "ToonTalk/jlens-tinystories@8c6e947ef8e4"),
    "ask-story": ("the two rows on TinyStories again, as answers to a made request", "CDLA-Sharing-1.0; the requests CC0", "talk.py"),
    "children": ("African Storybook, Pratham Books; authors in credits-stories-children.tsv", "CC BY 4.0", "global-asp/asp-source@99e022369a98, global-asp/pb-source@9ea530dfb001"),
    "children-ko": ("the same in Korean; authors and translators in the same list", "CC BY 4.0", "global-asp/global-asp@b0193c31edc6"),
    "fairy": ("FairytaleQA, training split", "Apache-2.0", "uci-soe/FairytaleQAData@a24ddc173646"),
    "books": ("14 English books", "public domain", "GITenberg"),
    "books-fairy": ("19 books of fairy tales", "public domain", "mlschmitt/classic-books-markdown@944882722e9a, GITenberg"),
    "books-children": ("30 books for children", "public domain", "mlschmitt/classic-books-markdown@944882722e9a, GITenberg"),
    "wiki": ("beginnings of 1,438 Wikipedia articles", "CC BY-SA 3.0", "chinapedia/wikipedia.abstract.en@4f3e897da088"),
    "countries": ("World Factbook", "CC0 1.0", "factbook/factbook.json@8662a8b17a78"),
    "chat-en": ("FairytaleQA; Taskmaster-4; World Factbook; MedQuAD; self-instruct (human part); stories on request; GSM8K in the first quarter of naru-chat and most of naru-draft only",
                "Apache-2.0; CC BY 4.0; CC0; CC BY 4.0; Apache-2.0; CC BY 4.0; MIT",
                "uci-soe/FairytaleQAData, google-research-datasets/Taskmaster@d92cb6af3005, factbook/factbook.json, abachaa/MedQuAD@577bd37b96c0, yizhongw/self-instruct@0b26ccaa4159, global-asp, openai/grade-school-math@3101c7d50724"),
    "chat-ko": ("HG-TODS (music, product manuals); 29 stories", "MIT; CC BY 4.0", "NLPlab-skku/HG-TODS@7c8cea000b82, global-asp/global-asp@b0193c31edc6"),
    "ko-chat": ("short Korean chat", "MIT", "songys/Chatbot_data@4cf20d13fc46"),
    "copy": ("sentences of tiny and ko-chat to be repeated, and repeated rows of random tokens", "CDLA-Sharing-1.0; MIT; CC0", "data.copies"),
    "talk": ("small talk, sums and easy facts from the templates of talk.py", "CC0, our own", "talk.py"),
}
CHAT = ["Hello", "What is your name?", "How are you?", "Tell me a story about a cat named Tom.", "What is 3 + 4?", "What is the capital of France?", "I am sad.",
        "안녕하세요", "이름이 뭐야?", "오늘 너무 피곤해", "What is a tree?", "How do airplanes fly?"]
PLAIN = ["Once upon a time", "The king"]


def quote(text):
    return "\n".join("    " + line for line in text.split("\n"))


@torch.no_grad()
def agreement(a, b, sources, ctx=512, rows=25):
    """Share of positions at which two models choose the same next token, per source."""
    out = {}
    for name, src in sources.items():
        same = n = 0
        for i in np.random.default_rng(3).permutation(len(src))[:rows]:
            ids = torch.from_numpy(src.doc(i)[:ctx].astype(np.int64))[None]
            hit = a(ids).argmax(-1) == b(ids).argmax(-1)
            same += int(hit.sum())
            n += hit.numel()
        out[name] = same / n
    return out


@torch.no_grad()
def mtp_agreement(m, sources, ctx=512, rows=25):
    """Share of positions at which the MTP block, given the true next token, chooses what the model itself would choose after it."""
    out = {}
    for name, src in sources.items():
        same = n = 0
        for i in np.random.default_rng(3).permutation(len(src))[:rows]:
            ids = torch.from_numpy(src.doc(i)[:ctx].astype(np.int64))[None]
            x = m.emb(ids)
            for b in m.blocks:
                x = b(x)
            hit = m.out(m.mtp(x[:, :-1], m.emb(ids[:, 1:]))).argmax(-1) == m.out(m.norm(x)).argmax(-1)[:, 1:]
            same += int(hit.sum())
            n += hit.numel()
        out[name] = same / n
    return out


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("dir")
    ap.add_argument("file")
    ap.add_argument("out")
    ap.add_argument("--about", required=True)
    ap.add_argument("--target")
    ap.add_argument("--type", default="F16")
    ap.add_argument("--rows", type=int, default=40, help="held-back documents per source")
    ap.add_argument("--shared", default=data.SHARED)
    ap.add_argument("--cache")
    a = ap.parse_args()
    torch.set_num_threads(1)

    def rounded(d, path):
        c, w = export.export(d, path, a.type)
        m = LM(c)
        m.load_state_dict({k: torch.from_numpy(np.array(v)) for k, v in w.items()})
        return c, m.eval()

    c, m = rounded(a.dir, a.file)
    s = torch.load(os.path.join(a.dir, "ckpt.pt"), map_location="cpu")
    tok, st = bpe.BPE(merges=[tuple(x) for x in s["merges"]]), s["st"]
    with open(a.file, "rb") as f:
        sha = hashlib.sha256(f.read()).hexdigest()
    used = {n: r for n, r in st["rounds"].items() if r > 0}
    src = {n: data.load(tok, n, a.shared, a.cache or os.path.join(a.dir, "cache")) for n in used}
    total, active = m.counts()
    o = [open(a.about, encoding="utf-8").read().strip(), "", "## Shape", "", f"Parameters: {total:,}" + (f", of them {active:,} at work per token" if active != total else "") + ".", ""]
    shape = {k: v for k, v in s["config"].items() if k in ("vocab", "dim", "layers", "ffn", "heads", "ctx", "theta", "tied", "attn")}
    if "mla" in c.attn:
        shape.update({k: getattr(c, k) for k in ("q_lora", "kv_lora", "nope_dim", "rope_dim", "v_dim", "rotate")})
    if "gqa" in c.attn:
        shape.update(kv_heads=c.kv_heads, head_dim=c.head_dim)
    if "kda" in c.attn:
        shape.update(kda_heads=c.kda_heads, kda_dim=c.kda_dim, kda_conv=c.kda_conv)
    if c.experts:
        shape.update({k: getattr(c, k) for k in ("experts", "topk", "shared", "expert_ffn", "dense_first", "mtp")})
    o += ["| " + " | ".join(shape) + " |", "|" + " --- |" * len(shape), "| " + " | ".join(str(v) if not isinstance(v, list) else " ".join(v) for v in shape.values()) + " |", ""]
    o += [f"File: `{os.path.basename(a.file)}`, {a.type}, {os.path.getsize(a.file):,} bytes, sha256 `{sha}`.", "",
          "Tokenizer: byte-level BPE of our own, 4,096 tokens, GPT-2's pre-split, digits never merged; control tokens `<|pad|>` 0, `<|bos|>` 1, `<|eos|>` 2, `<|im_start|>` 3, `<|im_end|>` 4. "
          "The chat template is in the file; a turn ends with `<|im_end|>`, a text with `<|eos|>`. Every text starts with `<|bos|>`, which the tokenizer adds.", "",
          "## Training", "", f"{st['spent'] / 60:.0f} minutes of one thread of a 2-core AVX2 machine that other work shared, {st['step']:,} steps, {st['tokens']:,} tokens, float32. "
          "How to do it again: `tools/train/README.md`.", "",
          "| source | text | licence | from | rounds | bits/byte, held back |", "| --- | --- | --- | --- | --- | --- |"]
    for n, r in used.items():
        bits = f"{train.bits_per_byte(m, tok, src[n][1], 1024, a.rows):.3f}" if len(src[n][1]) else "none held back"
        o.append(f"| {n} | {LICENCES[n][0]} | {LICENCES[n][1]} | {LICENCES[n][2]} | {r:.2f} | {bits} |")
    
    o += ["", f"Rounds: how often the source's training part was read. Bits per byte: the file's rounded weights, up to {a.rows} held-back documents per source, each alone, at most 1,024 tokens. "
          "Held-back rows of talk come from the same templates as the trained ones, and ask-story repeats the stories of tiny and tiny800 with the same split, so neither says much by itself.", ""]
    some = {n: src[n][1] for n in ("tiny", "fairy", "chat-en", "ko-chat", "talk") if n in src}
    if a.target:
        t = rounded(a.target, os.path.join(a.dir, "target.gguf"))[1]
        o += ["Share of held-back positions at which this model and its target choose the same next token: " + ", ".join(f"{n} {v:.2f}" for n, v in agreement(m, t, some).items()) + ".", ""]
    if c.mtp:
        o += ["Share of held-back positions at which the MTP block, given the true next token, chooses the token that the model itself chooses after it: "
              + ", ".join(f"{n} {v:.2f}" for n, v in mtp_agreement(m, some).items()) + ".", ""]
    o += ["## Samples", "", "As they came (first answer, not chosen among several). Chat greedy, each question alone:", ""]
    for q in CHAT:
        y = tok.decode(train.generate(m, data.chat_ids(tok, [("user", q)], True), 160, 0, 1, (bpe.EOS, bpe.IM_END)))
        o += [f"- {q}", "", quote(y), ""]
    o += ["Plain text at temperature 0.7, top-k 40:", ""]
    for q in PLAIN:
        y = tok.decode(train.generate(m, [bpe.BOS] + tok.encode(q), 160, 0.7, 1, (bpe.EOS, bpe.IM_END)))
        o += [quote(q + y), ""]
    with open(a.out, "w", encoding="utf-8") as f:
        f.write("\n".join(o).rstrip() + "\n")


if __name__ == "__main__":
    main()
