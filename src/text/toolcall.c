/* The parser is a loop over states; each looks at the held bytes and takes some, or wants more.
 * What a state decides depends on the bytes alone, never on where they were cut. */
#include "text/toolcall.h"

#include <string.h>

#include "base/buf.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/num.h"

#define HELD_MAX ((size_t)1 << 20)
#define MARKS_MAX 8

enum state {
    S_TEXT,   /* text for the reader, until a mark */
    S_FIRST,  /* llama: the first byte decides */
    S_THOUGHT,
    S_OPEN,   /* after the mark of a call: JSON or XML */
    S_LIST,   /* mistral: after the mark, a list or a name */
    S_BODY,   /* {"name": ..., "arguments": ...} */
    S_ARGS,   /* a JSON value, given out as it comes */
    S_TAIL,   /* the rest of a body behind its arguments */
    S_XML,    /* <function=...> ... </function>, held whole */
    S_HEAD,   /* deepseek, kimi: until the separator */
    S_FENCE,  /* deepseek V3: name until ```json */
    S_CHANNEL,/* harmony: until <|message|> */
    S_AFTER,  /* between calls: blanks and marks are dropped */
};

/* Follows one JSON value. */
struct scan {
    uint32_t depth;
    bool in_string, escaped, begun;
};

struct text_toolcall {
    enum text_tool_format format;
    text_tool_fn fn;
    void *ctx;
    enum state state;
    struct buf held;
    size_t at;             /* bytes of held that were taken */
    bool over;             /* no more bytes come */
    uint32_t n_calls;
    struct scan scan;
    /* of S_BODY: places count from held[at] on */
    size_t seen;           /* bytes that were scanned */
    size_t word, word_len; /* the last string */
    size_t name, name_len; /* the value of "name"; len 0: not seen */
    enum { KEY_OTHER, KEY_NAME, KEY_ARGS } key;
    bool in_body;          /* S_ARGS: the rest of a body follows */
    size_t n_start;
    char start_of[256];    /* harmony: what stood before the channel */
};

static const char THINK[] = "<think>", UNTHINK[] = "</think>";
/* DeepSeek writes its marks with a wide bar (U+FF5C) and a low block (U+2581). */
#define DS(words) "<\xef\xbd\x9c" words "\xef\xbd\x9c>"
#define LOW "\xe2\x96\x81"
static const char DS_BEGIN[] = DS("tool" LOW "calls" LOW "begin");
static const char DS_END[] = DS("tool" LOW "calls" LOW "end");
static const char DS_CALL[] = DS("tool" LOW "call" LOW "begin");
static const char DS_DONE[] = DS("tool" LOW "call" LOW "end");
static const char DS_SEP[] = DS("tool" LOW "sep");

/* A mark, and the state behind it. */
struct mark {
    const char *text;
    enum state to;
};

/* Marks in text, and between calls. */
static uint32_t marks_of(const struct text_toolcall *p, struct mark out[MARKS_MAX])
{
    static const struct mark json[] = { { "<tool_call>", S_OPEN }, { "</tool_call>", S_AFTER } };
    static const struct mark llama[] = { { "<|python_tag|>", S_FIRST } };
    static const struct mark mistral[] = { { "[TOOL_CALLS]", S_LIST } };
    static const struct mark deepseek[] = { { DS_BEGIN, S_AFTER }, { DS_END, S_AFTER },
                                            { DS_CALL, S_HEAD }, { DS_DONE, S_AFTER } };
    static const struct mark kimi[] = { { "<|tool_calls_section_begin|>", S_AFTER },
                                        { "<|tool_calls_section_end|>", S_AFTER },
                                        { "<|tool_call_begin|>", S_HEAD },
                                        { "<|tool_call_end|>", S_AFTER } };
    static const struct mark harmony[] = { { "<|channel|>", S_CHANNEL }, { "<|end|>", S_AFTER },
                                           { "<|return|>", S_AFTER }, { "<|call|>", S_AFTER } };
    static const struct {
        const struct mark *marks;
        uint32_t n;
    } all[] = { { NULL, 0 }, { json, 2 }, { llama, 1 }, { mistral, 1 }, { deepseek, 4 },
                { kimi, 4 }, { harmony, 4 } };
    uint32_t n = all[p->format].n;
    for (uint32_t i = 0; i < n; i++)
        out[i] = all[p->format].marks[i];
    if (p->format != TEXT_TOOL_HARMONY && p->state != S_AFTER)
        out[n++] = (struct mark){ THINK, S_THOUGHT };
    return n;
}

/* --- bytes ------------------------------------------------------------------------------------ */

static const char *rest(const struct text_toolcall *p) { return buf_str(&p->held) + p->at; }
static size_t n_rest(const struct text_toolcall *p) { return p->held.len - p->at; }

static void tell(struct text_toolcall *p, enum text_tool_kind kind, const char *text, size_t len)
{
    if (len == 0 && (kind == TEXT_TOOL_TEXT || kind == TEXT_TOOL_THOUGHT ||
                     kind == TEXT_TOOL_ARGS))
        return;
    struct text_tool_event ev = { .kind = kind, .text = text, .len = len,
                                  .call = p->n_calls > 0 ? p->n_calls - 1 : 0 };
    p->fn(p->ctx, &ev);
}

static void begin_call(struct text_toolcall *p, const char *name, size_t len)
{
    p->n_calls++;
    tell(p, TEXT_TOOL_BEGIN, name, len);
}

static const char *find(const char *s, size_t n, const char *what)
{
    size_t len = strlen(what);
    for (size_t i = 0; i + len <= n; i++)
        if (s[i] == what[0] && memcmp(s + i, what, len) == 0)
            return s + i;
    return NULL;
}

/* Bytes at the end of s that may be the beginning of `what`. */
static size_t partial(const char *s, size_t n, const char *what)
{
    size_t len = strlen(what);
    for (size_t k = len - 1 < n ? len - 1 : n; k > 0; k--)
        if (memcmp(s + n - k, what, k) == 0)
            return k;
    return 0;
}

static bool is_blank(char c) { return c == ' ' || c == '\n' || c == '\t' || c == '\r'; }

static void skip_blanks(struct text_toolcall *p)
{
    while (n_rest(p) > 0 && is_blank(*rest(p)))
        p->at++;
}

/* --- text, thoughts --------------------------------------------------------------------------- */

/* Gives out what lies before the first mark. True: a mark was met and taken. */
static bool until_mark(struct text_toolcall *p, const struct mark *marks, uint32_t n,
                       enum text_tool_kind kind, bool drop)
{
    const char *s = rest(p), *first = NULL;
    size_t keep = 0, len = n_rest(p);
    uint32_t which = 0;
    for (uint32_t i = 0; i < n; i++) {
        const char *at = find(s, len, marks[i].text);
        size_t k = p->over ? 0 : partial(s, len, marks[i].text);
        if (at != NULL && (first == NULL || at < first)) {
            first = at;
            which = i;
        }
        keep = k > keep ? k : keep;
    }
    size_t out = first != NULL ? (size_t)(first - s) : len - keep;
    if (!drop)
        tell(p, kind, s, out);
    p->at += out;
    if (first == NULL)
        return false;
    p->at += strlen(marks[which].text);
    p->state = marks[which].to;
    return true;
}

static bool step_text(struct text_toolcall *p)
{
    struct mark marks[MARKS_MAX];
    return until_mark(p, marks, marks_of(p, marks), TEXT_TOOL_TEXT, false);
}

static bool step_thought(struct text_toolcall *p)
{
    bool harmony = p->format == TEXT_TOOL_HARMONY;
    struct mark mark = { harmony ? "<|end|>" : UNTHINK,
                         harmony ? S_AFTER : p->format == TEXT_TOOL_LLAMA ? S_FIRST : S_TEXT };
    return until_mark(p, &mark, 1, TEXT_TOOL_THOUGHT, false);
}

/* Harmony names who speaks, and to whom, between a message and the next channel. */
static bool step_between(struct text_toolcall *p, const struct mark *marks, uint32_t n)
{
    size_t before = p->at, room = sizeof p->start_of - p->n_start;
    bool met = until_mark(p, marks, n, TEXT_TOOL_TEXT, true);
    size_t len = num_min(p->at - before, room);
    memcpy(p->start_of + p->n_start, buf_str(&p->held) + before, len);
    p->n_start += len;
    return met;
}

enum found { NO_MARK, PART_OF_MARK, WHOLE_MARK };

/* Takes a mark that the held bytes begin with. */
static enum found take_mark(struct text_toolcall *p, const struct mark *marks, uint32_t n)
{
    enum found found = NO_MARK;
    for (uint32_t i = 0; i < n; i++) {
        size_t len = strlen(marks[i].text), have = num_min(len, n_rest(p));
        if (memcmp(rest(p), marks[i].text, have) != 0)
            continue;
        if (have == len) {
            p->at += len;
            p->state = marks[i].to;
            return WHOLE_MARK;
        }
        found = p->over ? found : PART_OF_MARK;
    }
    return found;
}

/* Between calls only marks count, and what joins calls; anything else that is no blank is text. */
static bool step_after(struct text_toolcall *p)
{
    struct mark marks[MARKS_MAX];
    uint32_t n = marks_of(p, marks);
    if (p->format == TEXT_TOOL_HARMONY)
        return step_between(p, marks, n);
    if (p->format == TEXT_TOOL_DEEPSEEK) /* the end of V3's fence */
        marks[n++] = (struct mark){ "```", S_AFTER };
    if (p->format == TEXT_TOOL_MISTRAL) {
        marks[n++] = (struct mark){ ",", S_OPEN };
        marks[n++] = (struct mark){ "]", S_AFTER };
    }
    if (p->format == TEXT_TOOL_LLAMA)
        marks[n++] = (struct mark){ ";", S_FIRST };
    skip_blanks(p);
    if (n_rest(p) == 0)
        return false;
    enum found found = take_mark(p, marks, n);
    if (found == NO_MARK)
        p->state = S_TEXT;
    return found != PART_OF_MARK;
}

/* --- JSON ------------------------------------------------------------------------------------- */

/* Steps over one byte; true when the value (an object or array) is complete with it. */
static bool scan_byte(struct scan *s, char c)
{
    if (s->in_string) {
        if (s->escaped)
            s->escaped = false;
        else if (c == '\\')
            s->escaped = true;
        else if (c == '"')
            s->in_string = false;
        return false;
    }
    s->in_string = c == '"';
    if (c == '{' || c == '[') {
        s->depth++;
        s->begun = true;
    }
    if ((c == '}' || c == ']') && s->depth > 0)
        s->depth--;
    return s->begun && s->depth == 0;
}

static void enter_args(struct text_toolcall *p, bool in_body)
{
    p->scan = (struct scan){ 0 };
    p->in_body = in_body;
    p->state = S_ARGS;
}

static void end_args(struct text_toolcall *p)
{
    tell(p, TEXT_TOOL_END, "", 0);
    p->state = p->in_body ? S_TAIL : S_AFTER;
    p->scan = (struct scan){ .depth = 1, .begun = true };
}

/* Arguments go out up to the end of the value; in a body its closing brace follows. What is no
 * object or array is not arguments: the call has none. */
static bool step_args(struct text_toolcall *p)
{
    size_t n = 0;
    bool done = false;
    if (!p->scan.begun) {
        skip_blanks(p);
        if (n_rest(p) > 0 && *rest(p) != '{' && *rest(p) != '[') {
            end_args(p);
            return true;
        }
    }
    for (; n < n_rest(p) && !done; n++)
        done = scan_byte(&p->scan, rest(p)[n]);
    tell(p, TEXT_TOOL_ARGS, rest(p), n);
    p->at += n;
    if (done)
        end_args(p);
    return done;
}

/* What a body still has behind its arguments. */
static bool step_tail(struct text_toolcall *p)
{
    bool done = false;
    for (; n_rest(p) > 0 && !done; p->at++)
        done = scan_byte(&p->scan, *rest(p));
    if (done)
        p->state = S_AFTER;
    return done;
}

/* --- {"name": ..., "arguments": ...} ---------------------------------------------------------- */

static void enter_body(struct text_toolcall *p)
{
    p->state = S_BODY;
    p->scan = (struct scan){ 0 };
    p->seen = p->word_len = p->name_len = 0;
    p->key = KEY_OTHER;
}

static bool is_word(const struct text_toolcall *p, const char *word)
{
    return p->word_len == strlen(word) && memcmp(rest(p) + p->word, word, p->word_len) == 0;
}

/* The last string of a body has ended. */
static void end_word(struct text_toolcall *p)
{
    p->word_len = p->seen - p->word;
    if (p->key != KEY_NAME || memchr(rest(p) + p->word, '\\', p->word_len) != NULL)
        return;
    p->name = p->word;
    p->name_len = p->word_len;
}

static void end_key(struct text_toolcall *p)
{
    bool args = is_word(p, "arguments") || is_word(p, "parameters");
    p->key = is_word(p, "name") ? KEY_NAME : args ? KEY_ARGS : KEY_OTHER;
}

/* Keeps track of the members of a body. True: the arguments begin with this byte, and the name is
 * known. */
static bool track(struct text_toolcall *p, char c, bool was_in_string)
{
    const bool in_string = p->scan.in_string;
    if (p->scan.depth == 2)
        return c == '{' && !in_string && !was_in_string && p->key == KEY_ARGS && p->name_len > 0;
    if (p->scan.depth != 1)
        return false;
    if (!was_in_string && in_string)
        p->word = p->seen + 1;
    else if (was_in_string && !in_string)
        end_word(p);
    else if (!in_string && c == ':')
        end_key(p);
    else if (!in_string && c == ',')
        p->key = KEY_OTHER;
    return false;
}

/* A body that is complete: a call if it has a name; else it was text. */
static void finish_body(struct text_toolcall *p)
{
    json_value *v = NULL;
    struct err err;
    size_t len = 0;
    int rc = json_parse(&v, rest(p), p->seen, &JSON_LIMITS_REQUEST, &err);
    const char *name = rc == 0 ? json_text(json_get(v, "name"), &len) : NULL;
    const json_value *args = rc == 0 ? json_get(v, "arguments") : NULL;
    if (rc == 0 && args == NULL)
        args = json_get(v, "parameters");
    if (name != NULL) {
        struct json_writer w;
        struct buf out;
        buf_init(&out, HELD_MAX);
        json_writer_init(&w, &out);
        begin_call(p, name, len);
        if (json_kind_of(args) == JSON_STRING) /* arguments as text */
            buf_puts(&out, json_text(args, &len));
        else if (args != NULL)
            json_write_value(&w, args);
        else
            buf_puts(&out, "{}");
        tell(p, TEXT_TOOL_ARGS, buf_str(&out), out.len);
        tell(p, TEXT_TOOL_END, "", 0);
        buf_fini(&out);
    } else {
        tell(p, TEXT_TOOL_TEXT, rest(p), p->seen);
    }
    json_free(v);
    p->at += p->seen;
    p->state = name != NULL ? S_AFTER : S_TEXT;
}

static bool step_body(struct text_toolcall *p)
{
    while (p->seen < n_rest(p)) {
        const bool was_in_string = p->scan.in_string;
        const char c = rest(p)[p->seen];
        bool done = scan_byte(&p->scan, c);
        if (track(p, c, was_in_string)) {
            begin_call(p, rest(p) + p->name, p->name_len);
            p->at += p->seen;
            enter_args(p, true);
            return true;
        }
        p->seen++;
        if (done) {
            finish_body(p);
            return true;
        }
    }
    return false;
}

/* --- the other forms -------------------------------------------------------------------------- */

/* The first byte behind a mark decides; a call that is none is text. */
static bool step_open(struct text_toolcall *p)
{
    skip_blanks(p);
    if (n_rest(p) == 0)
        return false;
    if (*rest(p) == '{')
        enter_body(p);
    else
        p->state = *rest(p) == '<' && p->format == TEXT_TOOL_JSON ? S_XML : S_TEXT;
    return true;
}

static bool step_first(struct text_toolcall *p)
{
    size_t blanks = 0;
    while (blanks < n_rest(p) && is_blank(rest(p)[blanks]))
        blanks++;
    if (blanks == n_rest(p))
        return false;
    if (rest(p)[blanks] == '{') {
        p->at += blanks;
        enter_body(p);
    } else {
        p->state = S_TEXT;
    }
    return true;
}

static bool step_list(struct text_toolcall *p)
{
    static const char args_mark[] = "[ARGS]", id[] = "[CALL_ID]";
    skip_blanks(p);
    if (n_rest(p) == 0)
        return false;
    if (*rest(p) == '[') {
        p->at++;
        p->state = S_OPEN;
        return true;
    }
    const char *s = rest(p), *end = find(s, n_rest(p), args_mark);
    const char *brace = memchr(s, '{', n_rest(p));
    const char *tail = end != NULL ? end + sizeof args_mark - 1 : brace;
    if (end == NULL || (brace != NULL && brace < end)) {
        end = brace;
        tail = brace;
    }
    if (end == NULL)
        return false;
    const char *call_id = find(s, (size_t)(end - s), id);
    size_t len = (size_t)((call_id != NULL ? call_id : end) - s);
    while (len > 0 && is_blank(s[len - 1]))
        len--;
    begin_call(p, s, len);
    p->at += (size_t)(tail - s);
    enter_args(p, false);
    return true;
}

/* functions.name:0 is name. */
static void begin_kimi(struct text_toolcall *p, const char *s, size_t len)
{
    static const char prefix[] = "functions.";
    size_t end = len;
    while (end > 0 && s[end - 1] != ':')
        end--;
    len = end > 0 ? end - 1 : len;
    if (len > sizeof prefix - 1 && memcmp(s, prefix, sizeof prefix - 1) == 0) {
        s += sizeof prefix - 1;
        len -= sizeof prefix - 1;
    }
    begin_call(p, s, len);
}

static bool step_head(struct text_toolcall *p)
{
    const bool kimi = p->format == TEXT_TOOL_KIMI;
    const char *sep = kimi ? "<|tool_call_argument_begin|>" : DS_SEP;
    const char *s = rest(p), *end = find(s, n_rest(p), sep);
    if (end == NULL)
        return false;
    size_t len = (size_t)(end - s);
    while (len > 0 && is_blank(s[len - 1]))
        len--;
    while (len > 0 && is_blank(*s)) {
        s++;
        len--;
    }
    p->at = (size_t)(end - buf_str(&p->held)) + strlen(sep);
    if (!kimi && len == 8 && memcmp(s, "function", 8) == 0) {
        p->state = S_FENCE;
        return true;
    }
    if (kimi)
        begin_kimi(p, s, len);
    else
        begin_call(p, s, len);
    enter_args(p, false);
    return true;
}

static bool step_fence(struct text_toolcall *p)
{
    static const char fence[] = "```json";
    const char *s = rest(p), *end = find(s, n_rest(p), fence);
    if (end == NULL)
        return false;
    size_t len = (size_t)(end - s);
    while (len > 0 && is_blank(s[len - 1]))
        len--;
    begin_call(p, s, len);
    p->at += (size_t)(end - s) + sizeof fence - 1;
    enter_args(p, false);
    return true;
}

/* "commentary to=functions.name <|constrain|>json"; who is spoken to may stand before the channel
 * too. */
static bool step_channel(struct text_toolcall *p)
{
    static const char message[] = "<|message|>", to[] = "to=functions.";
    const char *s = rest(p), *end = find(s, n_rest(p), message);
    if (end == NULL)
        return false;
    size_t len = (size_t)(end - s);
    const char *name = find(s, len, to), *stop = end;
    if (name == NULL) {
        name = find(p->start_of, p->n_start, to);
        stop = p->start_of + p->n_start;
    }
    bool thought = len >= 8 && memcmp(s, "analysis", 8) == 0;
    p->at += len + sizeof message - 1;
    if (name != NULL) {
        size_t n = 0;
        name += sizeof to - 1;
        while (name + n < stop && !is_blank(name[n]) && name[n] != '<')
            n++;
        begin_call(p, name, n);
        p->n_start = 0;
        enter_args(p, false);
        return true;
    }
    p->n_start = 0;
    p->state = thought ? S_THOUGHT : S_TEXT;
    return true;
}

/* --- <function=name><parameter=key>value</parameter></function> ------------------------------- */

/* A value that is JSON stays what it is; anything else is a string. */
static void put_xml_value(struct json_writer *w, const char *s, size_t len)
{
    json_value *v = NULL;
    struct err err;
    if (len > 0 && s[0] == '\n') {
        s++;
        len--;
    }
    if (len > 0 && s[len - 1] == '\n')
        len--;
    if (json_parse(&v, s, len, &JSON_LIMITS_REQUEST, &err) == 0)
        json_write_value(w, v);
    else
        json_write_text(w, s, len);
    json_free(v);
}

static void put_xml_params(struct json_writer *w, const char *s, size_t len)
{
    static const char open[] = "<parameter=", close[] = "</parameter>";
    json_begin_object(w);
    for (const char *end = s + len;;) {
        const char *at = find(s, (size_t)(end - s), open);
        const char *name = at != NULL ? at + sizeof open - 1 : NULL;
        const char *stop = name != NULL ? memchr(name, '>', (size_t)(end - name)) : NULL;
        const char *done = stop != NULL ? find(stop, (size_t)(end - stop), close) : NULL;
        char key[256];
        size_t n = done != NULL ? (size_t)(stop - name) : 0;
        if (done == NULL || n >= sizeof key)
            break;
        memcpy(key, name, n);
        key[n] = '\0';
        json_key(w, key);
        put_xml_value(w, stop + 1, (size_t)(done - stop - 1));
        s = done + sizeof close - 1;
    }
    json_end_object(w);
}

static bool step_xml(struct text_toolcall *p)
{
    static const char open[] = "<function=", close[] = "</function>";
    const char *s = rest(p), *end = find(s, n_rest(p), close);
    size_t probe = n_rest(p) < sizeof open - 1 ? n_rest(p) : sizeof open - 1;
    if (memcmp(s, open, probe) != 0) {
        p->state = S_TEXT;
        return true;
    }
    if (end == NULL)
        return false;
    const char *name = s + sizeof open - 1;
    const char *stop = memchr(name, '>', (size_t)(end - name));
    if (stop == NULL) {
        p->state = S_TEXT;
        return true;
    }
    struct json_writer w;
    struct buf out;
    buf_init(&out, 2 * HELD_MAX);
    json_writer_init(&w, &out);
    put_xml_params(&w, stop + 1, (size_t)(end - stop - 1));
    begin_call(p, name, (size_t)(stop - name));
    tell(p, TEXT_TOOL_ARGS, buf_str(&out), out.len);
    tell(p, TEXT_TOOL_END, "", 0);
    buf_fini(&out);
    p->at += (size_t)(end - s) + sizeof close - 1;
    p->state = S_AFTER;
    return true;
}

/* --- the loop --------------------------------------------------------------------------------- */

static bool step(struct text_toolcall *p)
{
    switch (p->state) {
    case S_TEXT: return step_text(p);
    case S_FIRST: return step_first(p);
    case S_THOUGHT: return step_thought(p);
    case S_OPEN: return step_open(p);
    case S_LIST: return step_list(p);
    case S_BODY: return step_body(p);
    case S_ARGS: return step_args(p);
    case S_TAIL: return step_tail(p);
    case S_XML: return step_xml(p);
    case S_HEAD: return step_head(p);
    case S_FENCE: return step_fence(p);
    case S_CHANNEL: return step_channel(p);
    case S_AFTER: return step_after(p);
    }
    return false;
}

static int run(struct text_toolcall *p)
{
    while (step(p)) {
    }
    size_t left = n_rest(p);
    if (left > 0 && p->at > 0)
        memmove(p->held.data, p->held.data + p->at, left);
    p->held.len = left;
    p->at = 0;
    return buf_status(&p->held);
}

int text_toolcall_create(struct text_toolcall **out, enum text_tool_format format, bool thinks,
                         text_tool_fn fn, void *ctx)
{
    struct text_toolcall *p = mem_alloc(1, sizeof *p);
    if (p == NULL)
        return E_NOMEM;
    p->format = format;
    p->fn = fn;
    p->ctx = ctx;
    p->state = thinks ? S_THOUGHT : format == TEXT_TOOL_LLAMA ? S_FIRST : S_TEXT;
    buf_init(&p->held, HELD_MAX);
    *out = p;
    return 0;
}

void text_toolcall_destroy(struct text_toolcall *p)
{
    if (p == NULL)
        return;
    buf_fini(&p->held);
    mem_free(p);
}

int text_toolcall_put(struct text_toolcall *p, const char *bytes, size_t len)
{
    ASSERT(!p->over);
    buf_put(&p->held, bytes, len);
    TRY(buf_status(&p->held));
    return run(p);
}

int text_toolcall_end(struct text_toolcall *p)
{
    p->over = true;
    int rc = run(p);
    if (p->state == S_ARGS)
        tell(p, TEXT_TOOL_END, "", 0);
    else if (p->state != S_AFTER && p->state != S_TAIL) /* a call that never came to be one */
        tell(p, p->state == S_THOUGHT ? TEXT_TOOL_THOUGHT : TEXT_TOOL_TEXT, rest(p), n_rest(p));
    buf_clear(&p->held);
    return rc;
}

/* --- which format ----------------------------------------------------------------------------- */

static const char *const names[] = { "none", "json", "llama", "mistral", "deepseek", "kimi",
                                     "harmony" };

int text_tool_format_named(const char *name, enum text_tool_format *out)
{
    for (size_t i = 0; i < COUNT_OF(names); i++)
        if (strcmp(names[i], name) == 0) {
            *out = (enum text_tool_format)i;
            return 0;
        }
    return E_NOT_FOUND;
}

const char *text_tool_format_name(enum text_tool_format format) { return names[format]; }

enum text_tool_format text_tool_format_of(const char *source, size_t len)
{
    static const struct {
        const char *mark;
        enum text_tool_format format;
    } rows[] = {
        { "<|channel|>", TEXT_TOOL_HARMONY },
        { "<|tool_calls_section_begin|>", TEXT_TOOL_KIMI },
        { DS("tool" LOW "calls" LOW "begin"), TEXT_TOOL_DEEPSEEK },
        { "[TOOL_CALLS]", TEXT_TOOL_MISTRAL },
        { "<tool_call>", TEXT_TOOL_JSON },
        { "<|python_tag|>", TEXT_TOOL_LLAMA },
        { "\"parameters\": ", TEXT_TOOL_LLAMA },
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++)
        if (find(source, len, rows[i].mark) != NULL)
            return rows[i].format;
    return TEXT_TOOL_NONE;
}
