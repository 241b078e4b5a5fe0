"""Byte-level BPE: trainer, encoder, decoder, in GPT-2's scheme (byte alphabet, GPT-2 pre-split).

    bpe.py OUT.json VOCAB [--shared DIR]      learns the merges from the corpora named in data.BPE_MIX

Ids: the special tokens first (SPECIALS), then the 256 bytes, then one id per merge, in merge order.
Digits never merge with each other, so a number is a row of single digits: a small model can then add."""
import collections
import heapq
import json
import sys

import regex

SPECIALS = ["<|pad|>", "<|bos|>", "<|eos|>", "<|im_start|>", "<|im_end|>"]
PAD, BOS, EOS, IM_START, IM_END = range(5)
SPLIT = regex.compile(r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+")


def byte_chars():
    """The printable stand-in for each byte in GPT-2's token strings."""
    keep = list(range(33, 127)) + list(range(161, 173)) + list(range(174, 256))
    m, n = {b: chr(b) for b in keep}, 0
    for b in range(256):
        if b not in m:
            m[b] = chr(256 + n)
            n += 1
    return m


def digits(b):
    return sum(48 <= x <= 57 for x in b)


def train(counts, vocab):
    """counts: word (after SPLIT) -> weight. Returns the merges as pairs of ids without the specials' offset."""
    seqs = [[list(w.encode()), n] for w, n in counts.items()]
    pairs, where = collections.Counter(), collections.defaultdict(set)
    for i, (s, n) in enumerate(seqs):
        for p in zip(s, s[1:]):
            pairs[p] += n
            where[p].add(i)
    heap = [(-n, p) for p, n in pairs.items()]
    heapq.heapify(heap)
    text, merges = [bytes([i]) for i in range(256)], []
    while len(merges) < vocab - 256 - len(SPECIALS) and heap:
        n, p = heapq.heappop(heap)
        if pairs.get(p, 0) != -n:      # stale: the count changed since this entry was pushed
            continue
        if -n < 2:
            break
        both = text[p[0]] + text[p[1]]
        if digits(both) > 1:
            continue
        new = 256 + len(merges)
        merges.append(p)
        text.append(both)
        touched = set()
        for i in list(where.pop(p, ())):
            s, c = seqs[i]
            for q in zip(s, s[1:]):
                pairs[q] -= c
                touched.add(q)
                where[q].discard(i)
            o, j = [], 0
            while j < len(s):
                if j + 1 < len(s) and (s[j], s[j + 1]) == p:
                    o.append(new)
                    j += 2
                else:
                    o.append(s[j])
                    j += 1
            seqs[i][0] = o
            for q in zip(o, o[1:]):
                pairs[q] += c
                touched.add(q)
                where[q].add(i)
        for q in touched:
            if pairs[q] > 0:
                heapq.heappush(heap, (-pairs[q], q))
    return merges


class BPE:
    def __init__(self, path=None, merges=()):
        if path:
            with open(path, encoding="utf-8") as f:
                merges = [tuple(m) for m in json.load(f)["merges"]]
        self.merges = list(merges)
        self.rank = {m: i for i, m in enumerate(self.merges)}
        self.bytes = [bytes([i]) for i in range(256)]
        for a, b in self.merges:
            self.bytes.append(self.bytes[a] + self.bytes[b])
        self.off = len(SPECIALS)
        self.vocab = self.off + len(self.bytes)
        self.cache = {}

    def word(self, w):
        if w in self.cache:
            return self.cache[w]
        s = list(w.encode())
        while len(s) > 1:
            r, i = min((self.rank.get(p, 1 << 30), i) for i, p in enumerate(zip(s, s[1:])))
            if r == 1 << 30:
                break
            s[i:i + 2] = [256 + r]
        self.cache[w] = s = [x + self.off for x in s]
        return s

    def encode(self, text):
        """Plain text to ids; no special token is ever made from text."""
        out = []
        for w in SPLIT.findall(text):
            out += self.word(w)
        return out

    def length(self, i):
        """Bytes of text behind one id; a special token stands for none."""
        return len(self.bytes[i - self.off]) if i >= self.off else 0

    def decode(self, ids, specials=False):
        part = lambda i: self.bytes[i - self.off] if i >= self.off else SPECIALS[i].encode() if specials else b""
        return b"".join(part(i) for i in ids).decode("utf-8", "replace")

    def gguf_tokens(self):
        """Token strings and merges as GGUF's "gpt2" tokenizer stores them."""
        m = byte_chars()
        t = ["".join(m[x] for x in b) for b in self.bytes]
        return SPECIALS + t, [t[a] + " " + t[b] for a, b in self.merges]


def main():
    import argparse
    import data
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("out")
    ap.add_argument("vocab", type=int)
    ap.add_argument("--shared", default=data.SHARED)
    a = ap.parse_args()
    counts = collections.Counter()
    for name, weight in data.BPE_MIX.items():
        c = collections.Counter()
        for text in data.plain(name, a.shared):
            c.update(SPLIT.findall(text))
        for w, n in c.items():
            counts[w] += n * weight
    with open(a.out, "w", encoding="utf-8") as f:
        json.dump({"specials": SPECIALS, "split": SPLIT.pattern, "merges": train(counts, a.vocab)}, f)
        f.write("\n")
    print(a.out, BPE(a.out).vocab)


if __name__ == "__main__":
    sys.exit(main())
