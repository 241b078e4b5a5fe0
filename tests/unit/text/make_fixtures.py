#!/usr/bin/env python3
"""Writes tests/unit/text/fixtures: small tokenizers trained by the Python packages `tokenizers` and
`sentencepiece`, a text, and the ids those packages give. Needs a folder of corpora (*.txt.xz).

usage: make_fixtures.py CORPORA   (run from the repository root; the ids depend on the packages'
versions: tokenizers 0.22, sentencepiece 0.2)"""
import json
import lzma
import pathlib
import random
import sys
import tempfile
import unicodedata

import sentencepiece
from tokenizers import (AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers,
                        processors, trainers)

OUT = pathlib.Path("tests/unit/text/fixtures")
CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
SPACES = r"\s*[\r\n]+|\s+(?!\S)|\s+"
LLAMA3 = CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|" + SPACES
QWEN2 = CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|" + SPACES
U, L = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
O200K = (r"[^\r\n\p{L}\p{N}]?" + U + "*" + L + "+" + CONTRACTIONS + r"?|[^\r\n\p{L}\p{N}]?" + U + "+" + L
         + "*" + CONTRACTIONS + r"?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|" + SPACES)
DS_V3 = (r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+|"
         r" ?[\p{P}\p{S}]+[\r\n]*|" + SPACES)
OWN = r"[A-Za-z\u00c0-\u024f]+|[0-9]{2}|[^A-Za-z0-9\s]|\s+"  # no family has this one: it goes through PCRE2


def corpus(folder):
    """Training text, and a test text that holds the awkward."""
    rng, train, test = random.Random(5), [], []
    for path in sorted(pathlib.Path(folder).glob("*.txt.xz")):
        text = lzma.open(path, "rt", encoding="utf-8").read()
        at = rng.randrange(max(1, len(text) - 60000))
        train += text[at:at + 40000].split("\n")
        test.append(text[at + 45000:at + 45250])
    test += ["", " ", "  ", "\t \r\n\r\n  x", "I'M sure they'LL don't 'S 've", "12345 67.89 1,000,000 ½ ²³",
             "naïve Café ÀÉÎ Ärger ßtraße İstanbul ǅ ﬁ ㎏ Ａｂｃ", "한국어 문장입니다. 각 (NFD)", "e\u0301a\u0300o\u0323\u0302",
             "中文，测试。日本語のテスト、カタカナ", "🦙🇰🇷👩‍👩‍👧 emoji👍🏽!!", "foo_bar(baz)[i]=0x1F;//comment\n\n\tif(x){y}",
             "HTMLParser CamelCaseWords iPhone15Pro USA's", "a" * 130, "한" * 60, "  leading and trailing  ",
             "<|im_start|>user<|im_end|> <s> </s> <mask> x", "ʼn ǰ Ω Å \u200b\u00ad\ufeff zero", "x\u3000y\u00a0z\u2003w",
             "".join(chr(rng.choice([rng.randrange(32, 0x250), rng.randrange(0x370, 0x600), rng.randrange(0x3040, 0x30ff),
                                     rng.randrange(0x1f300, 0x1f650), rng.randrange(0x4e00, 0x9fa5)])) for _ in range(250))]
    return train, test


def byte_bpe(train, pre, norm=None, size=1500, prefix=False, ignore=False, regex=False, specials=("<|im_start|>", "<|im_end|>")):
    t = Tokenizer(models.BPE(ignore_merges=ignore))
    level = pre_tokenizers.ByteLevel(add_prefix_space=prefix, use_regex=regex or not pre)
    t.pre_tokenizer = pre_tokenizers.Sequence([*pre, level]) if pre else level
    if norm:
        t.normalizer = norm
    t.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=list(specials), show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    t.train_from_iterator(train, trainer)
    t.add_tokens([AddedToken("emoji👍", normalized=False)])
    return t


def split(regex):
    return pre_tokenizers.Split(Regex(regex), "isolated")


def wordpiece(train):
    t = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    t.normalizer = normalizers.BertNormalizer(lowercase=True)
    t.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    t.decoder = decoders.WordPiece(cleanup=False)
    t.train_from_iterator(train, trainers.WordPieceTrainer(
        vocab_size=2000, special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]"], show_progress=False, limit_alphabet=600))
    t.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    return t


def sentencepiece_model(train, kind, **options):
    with tempfile.TemporaryDirectory() as folder:
        prefix = folder + "/m"
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter([x for x in train if x.strip() and max(map(ord, x)) < 0x600]), model_prefix=prefix, model_type=kind, minloglevel=2,
            num_threads=1, hard_vocab_limit=False, character_coverage=0.999, max_sentence_length=100000, **options)
        sp = sentencepiece.SentencePieceProcessor(model_file=prefix + ".model")
        proto = pathlib.Path(prefix + ".model").read_bytes()
    return sp, proto


def unigram(train):
    """As T5 and XLM-R are converted: SentencePiece's table, then Metaspace."""
    from sentencepiece import sentencepiece_model_pb2 as pb
    with tempfile.NamedTemporaryFile("w", suffix=".tsv") as rules:  # NFKC of some blocks: the whole is 0.3 MB
        for first, last in [(0xa0, 0x24f), (0x2000, 0x20cf), (0x2150, 0x218f), (0x3300, 0x3357), (0xfb00, 0xfb06),
                            (0xff01, 0xff5e)]:
            for c in map(chr, range(first, last + 1)):
                to = unicodedata.normalize("NFKC", c)
                if to != c:
                    print(f"{ord(c):X}", " ".join(f"{ord(x):X}" for x in to), sep="\t", file=rules)
        print("65 301", "E9", sep="\t", file=rules)  # e and an acute accent: more than one character
        rules.flush()
        sp, proto = sentencepiece_model(train, "unigram", vocab_size=1800, normalization_rule_tsv=rules.name)
    m = pb.ModelProto.FromString(proto)
    t = Tokenizer(models.Unigram([(p.piece, p.score) for p in m.pieces], unk_id=0, byte_fallback=False))
    t.normalizer = normalizers.Sequence([normalizers.Precompiled(m.normalizer_spec.precompiled_charsmap),
                                         normalizers.Replace(Regex(" {2,}"), " ")])
    t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(),
                                               pre_tokenizers.Metaspace(prepend_scheme="always")])
    t.decoder = decoders.Metaspace(prepend_scheme="always")
    t.add_special_tokens([AddedToken("<s>", special=True), AddedToken("</s>", special=True)])
    return t


def spm_bpe(train, modern):
    """As Llama 2 (modern=False) and Gemma or Mistral (True) are converted: BPE with byte fallback."""
    sp, _ = sentencepiece_model(train, "bpe", vocab_size=1800, byte_fallback=True, normalization_rule_name="identity",
                                remove_extra_whitespaces=False)
    pieces = {sp.id_to_piece(i): i for i in range(sp.get_piece_size())}
    merges = sorted((pieces[a + b], a, b) for piece in pieces for k in range(1, len(piece))
                    for a, b in [(piece[:k], piece[k:])] if a in pieces and b in pieces and len(piece) > 1
                    and not sp.is_byte(pieces[piece]) and not sp.is_control(pieces[piece]))
    t = Tokenizer(models.BPE(pieces, [(a, b) for _, a, b in merges], unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    if modern:
        t.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    else:
        t.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    t.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(),
                                   decoders.Strip(" ", 1, 0)])
    t.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    t.add_special_tokens([AddedToken("<s>", special=True), AddedToken("</s>", special=True)])
    return t, sp


def main():
    train, test = corpus(sys.argv[1])
    OUT.mkdir(parents=True, exist_ok=True)
    spm, sp = spm_bpe(train, False)
    made = {
        "gpt2": byte_bpe(train, []),
        "gpt2-prefix": byte_bpe(train, [], prefix=True, size=600),
        "llama3": byte_bpe(train, [split(LLAMA3)], ignore=True, size=1000),
        "qwen2": byte_bpe(train, [split(QWEN2)], norm=normalizers.NFC(), size=1000),
        "o200k": byte_bpe(train, [split(O200K)], size=1000),
        "deepseek-v3": byte_bpe(train, [split(r"\p{N}{1,3}"), split("[一-龥\u3040-ゟ゠-ヿ]+"), split(DS_V3)], size=1000),
        "starcoder": byte_bpe(train, [pre_tokenizers.Digits(individual_digits=True)], size=800, regex=True),
        "foreign-regex": byte_bpe(train, [split(OWN)], norm=normalizers.NFKC(), size=600),
        "wordpiece": wordpiece(train),
        "unigram": unigram(train),
        "spm-llama2": spm,
        "spm-metaspace": spm_bpe(train, True)[0],
    }
    cases = {"texts": test, "ids": {}, "special": {}}
    for name, t in made.items():
        (OUT / f"{name}.json").write_text(json.dumps(json.loads(t.to_str()), ensure_ascii=False, separators=(",", ":")))
        cases["ids"][name] = [t.encode(x, add_special_tokens=False).ids for x in test]
        cases["special"][name] = t.encode("hello", add_special_tokens=True).ids
    # The same vocabulary by sentencepiece itself: the two must agree, or the conversion is wrong.
    differ = [x for x, ids in zip(test, cases["ids"]["spm-llama2"]) if "<s>" not in x and x and sp.encode(x) != ids]
    print("sentencepiece differs from its conversion on", len(differ), "texts")
    (OUT / "cases.json").write_text(json.dumps(cases, ensure_ascii=False, separators=(",", ":")))
    print(sum(p.stat().st_size for p in OUT.iterdir()), "bytes")


main()
