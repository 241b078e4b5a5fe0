#include "text/grammar_vocab.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "text/grammar_ir.h"

struct piece {
    const char *s;
    uint32_t len;
    int32_t id;
};

static int by_bytes(const void *a, const void *b)
{
    const struct piece *x = a, *y = b;
    uint32_t n = x->len < y->len ? x->len : y->len;
    int c = memcmp(x->s, y->s, n);
    if (c != 0)
        return c;
    if (x->len != y->len)
        return x->len < y->len ? -1 : 1;
    return x->id < y->id ? -1 : x->id > y->id;
}

static uint32_t shared_prefix(const struct piece *a, const struct piece *b)
{
    uint32_t n = 0;
    while (n < a->len && n < b->len && a->s[n] == b->s[n])
        n++;
    return n;
}

static uint32_t count_nodes(const struct piece *p, uint32_t n)
{
    uint32_t nodes = 0;
    for (uint32_t i = 0; i < n; i++)
        nodes += p[i].len - (i > 0 ? shared_prefix(&p[i - 1], &p[i]) : 0);
    return nodes;
}

static int alloc_nodes(struct text_grammar_vocab *v, uint32_t n_nodes, uint32_t n_ids)
{
    v->byte = mem_alloc(n_nodes + 1, sizeof *v->byte);
    v->depth = mem_alloc(n_nodes + 1, sizeof *v->depth);
    v->skip = mem_alloc(n_nodes + 1, sizeof *v->skip);
    v->parent = mem_alloc(n_nodes + 1, sizeof *v->parent);
    v->first = mem_alloc((size_t)n_nodes + 2, sizeof *v->first);
    v->ids = mem_alloc(n_ids + 1, sizeof *v->ids);
    bool all = v->byte && v->depth && v->skip && v->parent && v->first && v->ids;
    return all ? 0 : E_NOMEM;
}

/* path[d]: the open node of depth d + 1. */
static void fill_nodes(struct text_grammar_vocab *v, const struct piece *p, uint32_t n)
{
    uint32_t path[GRAM_FAR], open = 0;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t keep = i > 0 ? shared_prefix(&p[i - 1], &p[i]) : 0;
        while (open > keep)
            v->skip[path[--open]] = v->n_nodes;
        for (; open < p[i].len; open++) {
            uint32_t node = v->n_nodes++;
            v->byte[node] = (uint8_t)p[i].s[open];
            v->depth[node] = (uint16_t)(open + 1);
            v->parent[node] = open > 0 ? path[open - 1] : UINT32_MAX;
            v->first[node] = v->n_ids;
            path[open] = node;
        }
        v->ids[v->n_ids++] = p[i].id;
        v->depth_max = p[i].len > v->depth_max ? p[i].len : v->depth_max;
        v->first[v->n_nodes] = v->n_ids;
    }
    while (open > 0)
        v->skip[path[--open]] = v->n_nodes;
}

static int copy_text(struct text_grammar_vocab *v, const struct text_str *pieces, uint32_t n)
{
    size_t total = 0;
    for (uint32_t i = 0; i < n; i++)
        total += pieces[i].len;
    if (total > INT32_MAX)
        return E_LIMIT;
    v->start = mem_alloc((size_t)n + 1, sizeof *v->start);
    v->text = mem_alloc(total + 1, 1);
    if (v->start == NULL || v->text == NULL)
        return E_NOMEM;
    for (uint32_t i = 0; i < n; i++) {
        if (pieces[i].len > 0)
            memcpy(v->text + v->start[i], pieces[i].data, pieces[i].len);
        v->start[i + 1] = v->start[i] + (uint32_t)pieces[i].len;
    }
    v->n_tokens = n;
    return 0;
}

static int fill(struct text_grammar_vocab *v, const struct text_str *pieces, uint32_t n,
                struct piece *p)
{
    uint32_t used = 0;
    TRY(copy_text(v, pieces, n));
    for (uint32_t i = 0; i < n; i++)
        if (pieces[i].len > 0 && pieces[i].len <= GRAM_FAR)
            p[used++] = (struct piece){ v->text + v->start[i], (uint32_t)pieces[i].len,
                                        (int32_t)i };
    qsort(p, used, sizeof *p, by_bytes);
    TRY(alloc_nodes(v, count_nodes(p, used), used));
    fill_nodes(v, p, used);
    return 0;
}

int text_grammar_vocab_create(struct text_grammar_vocab **out, const struct text_str *pieces,
                              uint32_t n, const int32_t *ends, uint32_t n_ends)
{
    struct text_grammar_vocab *v = mem_alloc(1, sizeof *v);
    struct piece *p = mem_alloc((size_t)n + 1, sizeof *p);
    int rc = v != NULL && p != NULL ? fill(v, pieces, n, p) : E_NOMEM;
    if (rc == 0) {
        v->ends = mem_alloc((size_t)n_ends + 1, sizeof *v->ends);
        rc = v->ends != NULL ? 0 : E_NOMEM;
    }
    mem_free(p);
    if (rc < 0) {
        text_grammar_vocab_destroy(v);
        return rc;
    }
    if (n_ends > 0)
        memcpy(v->ends, ends, n_ends * sizeof *ends);
    v->n_ends = n_ends;
    *out = v;
    return 0;
}

int text_grammar_vocab_of(struct text_grammar_vocab **out, const struct text_tokenizer *tokenizer)
{
    const uint32_t n = text_vocab_size(tokenizer);
    struct text_str *pieces = mem_alloc((size_t)n + 1, sizeof *pieces);
    int32_t *ends = mem_alloc((size_t)n + 1, sizeof *ends);
    uint32_t *start = mem_alloc((size_t)n + 1, sizeof *start);
    uint32_t n_ends = 0;
    struct buf all;
    buf_init(&all, INT32_MAX);
    int rc = pieces != NULL && ends != NULL && start != NULL ? 0 : E_NOMEM;
    for (uint32_t i = 0; rc == 0 && i < n; i++) {
        bool is_end = text_is_end(tokenizer, (int32_t)i);
        start[i] = (uint32_t)all.len;
        if (is_end)
            ends[n_ends++] = (int32_t)i;
        else if (!text_is_control(tokenizer, (int32_t)i))
            text_piece(tokenizer, (int32_t)i, false, &all);
        pieces[i].len = all.len - start[i];
    }
    for (uint32_t i = 0; rc == 0 && i < n; i++)
        pieces[i].data = buf_str(&all) + start[i];
    if (rc == 0)
        rc = buf_status(&all);
    if (rc == 0)
        rc = text_grammar_vocab_create(out, pieces, n, ends, n_ends);
    buf_fini(&all);
    mem_free(pieces);
    mem_free(ends);
    mem_free(start);
    return rc;
}

void text_grammar_vocab_destroy(struct text_grammar_vocab *v)
{
    if (v == NULL)
        return;
    mem_free(v->byte);
    mem_free(v->depth);
    mem_free(v->skip);
    mem_free(v->parent);
    mem_free(v->first);
    mem_free(v->ids);
    mem_free(v->ends);
    mem_free(v->start);
    mem_free(v->text);
    mem_free(v);
}
