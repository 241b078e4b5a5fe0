/* The rules of the pre-tokeniser families: facts published with the models (their tokenizer.json),
 * and the names GGUF files use for them (tokenizer.ggml.pre). Matchers: pretok_match.c. */
#include <string.h>

#include "base/attr.h"
#include "text/pretok.h"

#define CONTRACTIONS "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define SPACES "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define UPPER "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define LOWER "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
#define NO_HAN(set) "(?:(?!\\p{sc:Han})" set ")"

/* --- words -------------------------------------------------------------------------------------
 */
static const struct pretok_rule gpt2 = {
    .kind = PRETOK_WORDS,
    .regex = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+",
    .contraction = CONTRACTION_LOWER,
    .prefix = PREFIX_SPACE,
    .digits = 255,
    .tail = "",
};
static const struct pretok_rule llama3 = {
    .kind = PRETOK_WORDS,
    .regex = CONTRACTIONS
    "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|" SPACES,
    .contraction = CONTRACTION_ANY,
    .prefix = PREFIX_ANY,
    .digits = 3,
    .tail = "\r\n",
    .newlines = true,
};
static const struct pretok_rule qwen2 = {
    .kind = PRETOK_WORDS,
    .regex =
        CONTRACTIONS "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|" SPACES,
    .contraction = CONTRACTION_ANY,
    .prefix = PREFIX_ANY,
    .digits = 1,
    .tail = "\r\n",
    .newlines = true,
};
static const struct pretok_rule qwen35 = {
    .kind = PRETOK_WORDS,
    .regex = CONTRACTIONS "|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}|"
                          " ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|" SPACES,
    .contraction = CONTRACTION_ANY,
    .prefix = PREFIX_ANY,
    .letters = LETTERS_LM,
    .digits = 1,
    .tail = "\r\n",
    .newlines = true,
};
static const struct pretok_rule gpt4o = {
    .kind = PRETOK_WORDS,
    .regex = "[^\\r\\n\\p{L}\\p{N}]?" UPPER "*" LOWER "+" CONTRACTIONS "?|"
             "[^\\r\\n\\p{L}\\p{N}]?" UPPER "+" LOWER "*" CONTRACTIONS "?|"
             "\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|" SPACES,
    .contraction = CONTRACTION_SUFFIX,
    .prefix = PREFIX_ANY,
    .letters = LETTERS_CASE,
    .digits = 3,
    .tail = "\r\n/",
    .newlines = true,
};
static const struct pretok_rule tekken = {
    .kind = PRETOK_WORDS,
    .regex =
        "[^\\r\\n\\p{L}\\p{N}]?" UPPER "*" LOWER "+|[^\\r\\n\\p{L}\\p{N}]?" UPPER "+" LOWER "*|"
        "\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|" SPACES,
    .contraction = CONTRACTION_NONE,
    .prefix = PREFIX_ANY,
    .letters = LETTERS_CASE,
    .digits = 1,
    .tail = "\r\n/",
    .newlines = true,
};
static const struct pretok_rule kimi = {
    .kind = PRETOK_WORDS,
    .regex = "[\\p{sc:Han}]+|"
             "[^\\r\\n\\p{L}\\p{N}]?" NO_HAN(UPPER) "*" NO_HAN(
                 LOWER) "+" CONTRACTIONS "?|"
                        "[^\\r\\n\\p{L}\\p{N}]?" NO_HAN(UPPER) "+" NO_HAN(
                            LOWER) "*" CONTRACTIONS "?|"
                                   "\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|" SPACES,
    .contraction = CONTRACTION_SUFFIX,
    .prefix = PREFIX_ANY,
    .letters = LETTERS_CASE_NO_HAN,
    .han_runs = true,
    .digits = 3,
    .tail = "\r\n",
    .newlines = true,
};
static const struct pretok_rule deepseek_v3 = {
    .kind = PRETOK_WORDS,
    .regex = "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|"
             "[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\\r\\n]*|" SPACES,
    .contraction = CONTRACTION_NONE,
    .prefix = PREFIX_NO_PUNCT,
    .letters = LETTERS_LM,
    .ascii_words = true,
    .punct_only = true,
    .tail = "\r\n",
    .newlines = true,
};

/* --- runs --------------------------------------------------------------------------------------
 */
#define RUN(name, class, max_len, lead_in, text)                                         \
    static const struct pretok_rule name = {                                             \
        .kind = PRETOK_RUN, .cls = class, .max = max_len, .lead = lead_in, .regex = text \
    }
RUN(digit, CLASS_N, 1, 0, "\\p{N}");
RUN(digits3, CLASS_N, 3, 0, "\\p{N}{1,3}");
RUN(digits, CLASS_N, 0, 0, "\\p{N}+");
RUN(newline, CLASS_NL, 1, 0, "[\r\n]");
RUN(letters, CLASS_L, 0, 's', "\\s?\\p{L}+");
RUN(puncts, CLASS_P, 0, 's', "\\s?\\p{P}+");
RUN(cjk, CLASS_CJK, 0, 0, "[一-龥ࠀ-一가-퟿]+");
RUN(cjk_kana, CLASS_CJK_KANA, 0, 0, "[一-龥぀-ゟ゠-ヿ]+");
RUN(ds_puncts, CLASS_DS_PUNCT, 0, 's', "\\s?[!-/:-~！-／：-～‘-‟　-。]+");
RUN(ds_letters, CLASS_DS_LETTER, 0, 's',
    "\\s?["
    "A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-"
    "Ᏽ"
    "ᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝὟ-ώᾀ-ᾴᾶ-ᾼιῂ-ῄῆ-ῌῐ-ΐῖ-"
    "Ίῠ-"
    "Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤΩℨK-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-"
    "ꞇꞋ-"
    "ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-"
    "𞥃"
    "]+");
RUN(falcon_puncts, CLASS_FALCON, 0, 0, "[\\p{P}\\$\\+<=>\\^~\\|`]+");
RUN(default_puncts, CLASS_DEFAULT, 0, 0, "[\\p{P}\\$\\+<=>\\^~\\|]+");
RUN(not_poro, CLASS_NOT_PORO, 0, ' ', " ?[^(\\s|.,!?…。，、।۔،)]+");
static const struct pretok_rule trailing = { .kind = PRETOK_TRAILING, .regex = "\\s+$" };
static const struct pretok_rule ascii3 = { .kind = PRETOK_ASCII3, .regex = "[0-9][0-9][0-9]" };

/* --- families ----------------------------------------------------------------------------------
 */
const struct pretok_family PRETOK_FAMILIES[] = {
    { "gpt-2 phi-2 mpt olmo jais trillion exaone4 gigachat roberta-bpe modern-bert mellum a.x-4.0 "
      "jina-es jina-de jina-v1-en jina-v2-es jina-v2-de jina-v2-code",
      { &gpt2 },
      false },
    { "starcoder refact command-r smollm codeshell exaone minerva-7b mellum2",
      { &digit, &gpt2 },
      false },
    { "llama-bpe llama3 llama-v3 falcon3 falcon-h1 pixtral midm-2.0 lfm2 jina-v5-nano",
      { &llama3 },
      true },
    { "dbrx smaug-bpe chatglm-bpe glm4", { &llama3 }, false },
    { "qwen2 stablelm2 deepseek-r1-qwen hunyuan megrez solar-open kormo f2llmv2 bailingmoe "
      "bailingmoe2 llada-moe grok-2",
      { &qwen2 },
      false },
    { "qwen35", { &qwen35 }, false },
    { "gpt-4o llama4 kanana2 talkie minimax-m2", { &gpt4o }, false },
    { "tekken", { &tekken }, true },
    { "kimi-k2", { &kimi }, false },
    { "deepseek-llm", { &newline, &ds_letters, &ds_puncts, &trailing, &cjk, &digits }, false },
    { "deepseek-coder", { &newline, &letters, &puncts, &cjk, &digit }, false },
    { "deepseek-v3 hunyuan-dense joyai-llm", { &digits3, &cjk_kana, &deepseek_v3 }, false },
    { "falcon", { &falcon_puncts, &gpt2, &ascii3 }, false },
    { "minicpm5", { &digits3, &llama3 }, false },
    { "bloom poro-chat gpt3-finnish", { &not_poro }, false },
    { "viking", { &not_poro, &digit }, false },
    { "default", { &default_puncts, &gpt2, &digits, &ascii3 }, false },
};
const size_t PRETOK_N_FAMILIES = COUNT_OF(PRETOK_FAMILIES);

static bool has_name(const char *names, const char *name)
{
    size_t len = strlen(name);
    for (const char *at = names; *at != '\0';) {
        size_t word = strcspn(at, " ");
        if (word == len && memcmp(at, name, len) == 0)
            return true;
        at += word + (at[word] == ' ');
    }
    return false;
}

const struct pretok_family *pretok_family_find(const char *name, bool *ignore_merges)
{
    if (name == NULL || name[0] == '\0')
        name = "default";
    for (size_t i = 0; i < PRETOK_N_FAMILIES; i++) {
        if (!has_name(PRETOK_FAMILIES[i].names, name))
            continue;
        *ignore_merges = PRETOK_FAMILIES[i].ignore_merges;
        return &PRETOK_FAMILIES[i];
    }
    return NULL;
}

/* Other spellings of a rule that mean the same. */
static const struct {
    const char *regex;
    const struct pretok_rule *rule;
} ALIASES[] = {
    { "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)", &gpt2 },
    { "'(?:[sdmt]|ll|ve|re)| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+", &gpt2 },
    { "'(?i:[sdmt]|ll|ve|re)|[^\\r\\n\\p{L}\\p{N}]?+\\p{L}+|\\p{N}{1,3}| "
      "?[^\\s\\p{L}\\p{N}]++[\\r\\n]*|"
      "\\s*[\\r\\n]|\\s+(?!\\S)|\\s+",
      &llama3 },
    { "'(?i:[sdmt]|ll|ve|re)|[^\\r\\n\\p{L}\\p{N}]?+\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]++[\\r\\n]*|"
      "\\s*[\\r\\n]|\\s+(?!\\S)|\\s+",
      &qwen2 },
    { "[\\r\\n]", &newline },
    { "[0-9]{3}", &ascii3 },
};

const struct pretok_rule *pretok_rule_find(const char *regex, size_t len)
{
    for (size_t i = 0; i < PRETOK_N_FAMILIES; i++)
        for (size_t k = 0; k < PRETOK_PASSES_MAX && PRETOK_FAMILIES[i].passes[k] != NULL; k++) {
            const struct pretok_rule *rule = PRETOK_FAMILIES[i].passes[k];
            if (strlen(rule->regex) == len && memcmp(rule->regex, regex, len) == 0)
                return rule;
        }
    for (size_t i = 0; i < COUNT_OF(ALIASES); i++)
        if (strlen(ALIASES[i].regex) == len && memcmp(ALIASES[i].regex, regex, len) == 0)
            return ALIASES[i].rule;
    return NULL;
}
