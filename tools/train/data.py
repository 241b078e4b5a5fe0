"""The text that the models learn: reading, splitting, chat format, and batches by recipe.

Every source is a list of documents. A document is either a str (plain text) or a list of (role, text) turns.
Held back and never trained on: of chats and short stories, blocks of ten documents, one block in 33; of long
works, the last 3 % of each work."""
import hashlib
import json
import lzma
import os
import re

import numpy as np

import bpe
import talk

SHARED = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "..", "shared")
LONG = 20000           # characters from which a document counts as a long work
SYSTEM = ["You are Naru, a small and friendly assistant.", "You are Naru.", "You are a helpful assistant.", "Be short and kind.", "You are Naru, a little language model."]

FILES = {
    "tiny800": "corpora/tinystories-800.txt.xz", "tiny": "corpora-train/stories-tiny.txt.xz",
    "children": "corpora-train/stories-children.txt.xz", "fairy": "corpora-train/stories-fairy.txt.xz",
    "children-ko": "corpora-train/stories-children-ko.txt.xz", "books": "corpora/en-books.txt.xz",
    "books-fairy": "corpora-train/books-fairy.txt.xz", "books-children": "corpora-train/books-children.txt.xz",
    "countries": "corpora-train/facts-countries.txt.xz", "wiki": "corpora-train/facts-wiki.txt.xz",
    "chat-en": "corpora-train/chat-en.jsonl.xz", "chat-en-all": "corpora-train/chat-en.jsonl.xz", "chat-ko": "corpora-train/chat-ko.jsonl.xz", "ko-chat": "corpora/ko-chat.txt.xz",
}
SUMS = re.compile(r"The answer is \S+$")        # grade-school word problems: beyond models of this size, left out
BPE_MIX = {"tiny800": 3, "tiny": 3, "children": 2, "fairy": 1, "children-ko": 6, "chat-en-all": 1, "chat-ko": 1, "ko-chat": 6, "talk": 1, "wiki": 1}


def read(name, shared):
    with lzma.open(os.path.join(shared, FILES[name]), "rt", encoding="utf-8") as f:
        return f.read()


def documents(name, shared):
    """All documents of a source, before the split."""
    if name == "talk":
        return talk.conversations(30000, seed=1)
    if name == "ask-story":
        docs = []
        for n in ("tiny", "tiny800"):
            docs += [talk.story_request(s, i) for i, s in enumerate(documents(n, shared))]
        return docs
    raw = read(name, shared)
    if name == "ko-chat":
        pairs = [p.split("\n", 1) for p in raw.split("\n\n")]
        return [[("user", p[0].strip()), ("assistant", p[1].strip())] for p in pairs if len(p) == 2 and p[0].strip() and p[1].strip()]
    if name.startswith("chat"):
        rows = [json.loads(r)["messages"] for r in raw.split("\n") if r.strip()]
        return [[(m["role"], m["content"].strip()) for m in r] for r in rows if name != "chat-en" or not SUMS.search(r[-1]["content"])]
    docs = [d.strip() for d in raw.split("<|endoftext|>")]
    return [d for d in docs if len(d) > 40]


def split(docs):
    """-> (train, held back)"""
    tr, va = [], []
    for i, d in enumerate(docs):
        if isinstance(d, str) and len(d) > LONG:
            cut = d.rfind("\n", 0, int(len(d) * 0.97))
            tr.append(d[:cut].strip())
            va.append(d[cut:].strip())
        else:
            (va if i // 10 % 33 == 32 else tr).append(d)
    return tr, va


def plain(name, shared):
    """The trained part of a source as plain strings, for the BPE trainer."""
    for d in split(documents(name, shared))[0]:
        yield d if isinstance(d, str) else "\n".join(t for _, t in d)


def chat_ids(tok, turns, prompt=False):
    """Turns in the chat format, the leading <|bos|> included; prompt=True leaves the assistant's turn open."""
    ids = [bpe.BOS]
    for role, text in turns:
        ids += [bpe.IM_START] + tok.encode(role + "\n") + tok.encode(text) + [bpe.IM_END] + tok.encode("\n")
    if prompt:
        ids += [bpe.IM_START] + tok.encode("assistant\n")
    return ids


def doc_ids(tok, d, rng=None):
    if isinstance(d, str):
        return [bpe.BOS] + tok.encode(d) + [bpe.EOS]
    if rng is not None and d[0][0] != "system" and rng.random() < 0.15:
        d = [("system", SYSTEM[rng.integers(len(SYSTEM))])] + d
    return chat_ids(tok, d) + [bpe.EOS]


def copies(tok, n, seed, shared):
    """Documents that repeat themselves: half of them rows of random ids two to four times over, half the request to repeat
    a sentence. Small models learn late to look back for what was said; this makes it early."""
    rng, out = np.random.default_rng(seed), []
    lines = [x.strip() for name in ("tiny", "ko-chat") for d in split(documents(name, shared))[0][:1200]
             for x in ([d] if isinstance(d, str) else [d[1][1]]) for x in re.split(r"(?<=[.!?]) |\n", x) if 3 < len(x) < 90]
    for _ in range(n):
        if rng.random() < 0.5:
            row = rng.integers(tok.off, tok.vocab, rng.integers(6, 60)).tolist()
            out.append([bpe.BOS] + row * int(rng.integers(2, 5)) + [bpe.EOS])
        else:
            turns = []
            for _ in range(rng.integers(1, 4)):
                x = lines[rng.integers(len(lines))]
                ask = talk.REPEAT_KO if re.search("[가-힣]", x) else talk.REPEAT
                turns += [("user", ask[rng.integers(len(ask))] + x), ("assistant", x)]
            out.append(chat_ids(tok, turns) + [bpe.EOS])
    return out


class Source:
    """Encoded documents of one source: flat ids and the start of each document."""

    def __init__(self, ids, starts):
        self.ids, self.starts = ids, starts

    def __len__(self):
        return len(self.starts) - 1

    def doc(self, i):
        return self.ids[self.starts[i]:self.starts[i + 1]]


def load(tok, name, shared, cache):
    """-> (train Source, held-back Source); encoded once and kept in the cache folder."""
    stamp = str(os.path.getsize(os.path.join(shared, FILES[name]))) if name in FILES else str(os.path.getsize(talk.__file__))
    if name == "chat-en":
        stamp += SUMS.pattern
    key = hashlib.sha256(json.dumps([name, stamp, tok.merges]).encode()).hexdigest()[:12]
    path = os.path.join(cache, f"{name}-{key}.npz")
    if not os.path.exists(path):
        os.makedirs(cache, exist_ok=True)
        rng, out = np.random.default_rng(7), {}
        if name == "copy":
            parts = [copies(tok, 20000, 1, shared), copies(tok, 200, 2, shared)]
        else:
            parts = [[doc_ids(tok, d, rng if i == 0 else None) for d in docs] for i, docs in enumerate(split(documents(name, shared)))]
        for part, enc in zip(("tr", "va"), parts):
            out[part + "_ids"] = np.concatenate([np.array(e, np.uint16) for e in enc]) if enc else np.zeros(0, np.uint16)
            out[part + "_starts"] = np.cumsum([0] + [len(e) for e in enc]).astype(np.int64)
        tmp = f"{path}.{os.getpid()}.npz"
        np.savez(tmp, **out)
        os.replace(tmp, path)
    z = np.load(path)
    return Source(z["tr_ids"], z["tr_starts"]), Source(z["va_ids"], z["va_starts"])


class Stream:
    """An endless row of tokens of one source: documents in a new random order each time round."""

    def __init__(self, src, rng):
        self.src, self.rng, self.order, self.left, self.rounds = src, rng, [], np.zeros(0, np.uint16), 0.0

    def take(self, n):
        parts, have = [self.left], len(self.left)
        while have < n:
            if not self.order:
                self.order = list(self.rng.permutation(len(self.src)))
            d = self.src.doc(self.order.pop())
            parts.append(d)
            have += len(d)
        row = np.concatenate(parts)
        self.left = row[n - 1:]           # the last id of a row is the first input of the next
        self.rounds += (n - 1) / max(1, len(self.src.ids))
        return row[:n]


class Mixer:
    """Rows drawn from sources by weight."""

    def __init__(self, sources, rng):
        self.rng, self.streams = rng, {k: Stream(s, rng) for k, s in sources.items()}

    def batch(self, weights, rows, T):
        names = list(weights)
        p = np.array([weights[n] for n in names], float)
        picks = self.rng.choice(len(names), rows, p=p / p.sum())
        x = np.stack([self.streams[names[i]].take(T + 1) for i in picks]).astype(np.int64)
        return x[:, :-1], x[:, 1:]
