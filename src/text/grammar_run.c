/* Why not an Earley parser: its sets speak of positions in the text, so that nothing is ever the
 * same twice. Stacks shared as lists make states of different answers equal, and a table of them
 * pays. Grammars are free of left recursion, so that making a state ends. */
#include "text/grammar_run.h"

#include <stdlib.h>
#include <string.h>

#define PLACES_MAX 65536u            /* of one state; more ambiguous texts lose the later ones */
#define LOCAL_FRAMES_MAX 64u
#define FLUSH_BYTES ((size_t)24 << 20)
#define CACHE_BYTES ((size_t)32 << 20) /* L7 */

#define ITEM(node, frame) ((uint64_t)(node) << 32 | (frame))
#define NODE_OF(item) ((uint32_t)((item) >> 32))
#define FRAME_OF(item) ((uint32_t)(item))
#define ACCEPTS ITEM(UINT32_MAX, 0) /* the flags of a state are part of what it is found by */
#define ESCAPES ITEM(UINT32_MAX, 1)

/* --- frames ----------------------------------------------------------------------------------- */

static int grow(void *list, uint32_t *cap, uint32_t need, size_t size)
{
    void **p = list;
    if (need <= *cap)
        return 0;
    uint32_t wanted = *cap < 64 ? 64 : *cap * 2;
    while (wanted < need)
        wanted *= 2;
    void *more = mem_realloc(*p, wanted, size);
    if (more == NULL)
        return E_NOMEM;
    *p = more;
    *cap = wanted;
    return 0;
}

/* The frame, made if it is new; GRAM_NONE when memory is out. */
static uint32_t frame_of(struct gcache *c, uint32_t ret, uint32_t parent, bool is_cut)
{
    struct gframe key = { ret, parent, is_cut };
    uint32_t id = 0;
    if (map_get(&c->by_frame, &key, sizeof key, &id))
        return id;
    struct gframe *f = arena_bytes(&c->arena, sizeof *f);
    if (f == NULL || grow(&c->frames, &c->cap_frames, c->n_frames + 1, sizeof *c->frames) < 0)
        return GRAM_NONE;
    *f = key;
    if (map_put(&c->by_frame, f, sizeof *f, c->n_frames, NULL) < 0)
        return GRAM_NONE;
    c->frames[c->n_frames] = f;
    return c->n_frames++;
}

/* A caller not known, the k-th of a state. */
static uint32_t bottom_of(struct gcache *c, uint32_t k) { return frame_of(c, GRAM_NONE, k, true); }

static bool is_bottom(const struct gcache *c, uint32_t frame)
{
    return c->frames[frame]->ret == GRAM_NONE;
}

/* --- making a state --------------------------------------------------------------------------- */

static uint64_t hash_item(uint64_t item)
{
    item *= 0x9e3779b97f4a7c15u;
    return item ^ item >> 29;
}

static void seen_insert(struct gseen *s, uint64_t item)
{
    uint64_t at = hash_item(item) & (s->n_slots - 1);
    while (s->slots[at] != 0)
        at = (at + 1) & (s->n_slots - 1);
    s->slots[at] = item + 1;
}

static bool seen_grow(struct gseen *s)
{
    uint32_t n_slots = s->n_slots == 0 ? 256 : 2 * s->n_slots;
    uint64_t *slots = mem_alloc(n_slots, sizeof *slots);
    if (slots == NULL || grow(&s->items, &s->cap, n_slots, sizeof *s->items) < 0) {
        mem_free(slots);
        return false;
    }
    mem_free(s->slots);
    s->slots = slots;
    s->n_slots = n_slots;
    for (uint32_t i = 0; i < s->n; i++)
        seen_insert(s, s->items[i]);
    return true;
}

/* Adds a place to the work unless it was there before. */
static void meet(struct gseen *s, uint64_t item)
{
    if (s->n >= PLACES_MAX || (s->n >= s->n_slots / 2 && !seen_grow(s)))
        return;
    uint64_t at = hash_item(item) & (s->n_slots - 1);
    for (; s->slots[at] != 0; at = (at + 1) & (s->n_slots - 1))
        if (s->slots[at] == item + 1)
            return;
    s->slots[at] = item + 1;
    s->items[s->n++] = item;
}

/* Empties each run of slots from where an item wanted to be to its end; what lies before that was
 * or will be emptied for another item. */
static void seen_clear(struct gseen *s)
{
    for (uint32_t i = 0; i < s->n; i++) {
        uint64_t at = hash_item(s->items[i]) & (s->n_slots - 1);
        for (; s->slots[at] != 0; at = (at + 1) & (s->n_slots - 1))
            s->slots[at] = 0;
    }
    s->n = 0;
}

static void made_put(struct text_grammar *g, uint64_t item)
{
    if (grow(&g->made, &g->cap_made, g->n_made + 1, sizeof *g->made) == 0)
        g->made[g->n_made++] = item;
}

static void do_call(struct text_grammar *g, const struct gram_node *n, uint32_t frame)
{
    const struct gram_rule *rule = &g->ir.rules[n->arg];
    if (n->next != GRAM_END) /* a call at the end of a rule returns to the rule's own caller */
        frame = frame_of(&g->cache, n->next, frame, rule->is_cut);
    if (frame != GRAM_NONE)
        meet(&g->seen, ITEM(rule->start, frame));
}

static void do_return(struct text_grammar *g, uint32_t frame, bool *accepts, bool *escapes)
{
    const struct gframe *f = g->cache.frames[frame];
    if (frame == GFRAME_END)
        *accepts = true;
    else if (f->ret == GRAM_NONE)
        *escapes = true;
    else
        meet(&g->seen, ITEM(f->ret, f->parent));
}

/* Follows splits, calls and returns from the places met until all that is left reads a byte. */
static void close_places(struct text_grammar *g)
{
    bool accepts = false, escapes = false;
    struct gseen *s = &g->seen;
    g->n_made = 0;
    for (uint32_t i = 0; i < s->n; i++) {
        const uint64_t item = s->items[i];
        const struct gram_node *n = &g->ir.nodes[NODE_OF(item)];
        if (n->kind == GRAM_RANGE)
            made_put(g, item);
        else if (n->kind == GRAM_CALL)
            do_call(g, n, FRAME_OF(item));
        else if (n->kind == GRAM_RETURN)
            do_return(g, FRAME_OF(item), &accepts, &escapes);
        if (n->kind == GRAM_SPLIT) {
            meet(s, ITEM(n->next, FRAME_OF(item)));
            meet(s, ITEM(n->arg, FRAME_OF(item)));
        }
    }
    seen_clear(s);
    if (accepts)
        made_put(g, ACCEPTS);
    if (escapes)
        made_put(g, ESCAPES);
}

static int by_value(const void *a, const void *b)
{
    const uint64_t *x = a, *y = b;
    return *x < *y ? -1 : *x > *y;
}

static struct gstate *new_state(struct text_grammar *g)
{
    struct gcache *c = &g->cache;
    struct gstate *s = arena_alloc(&c->arena, 1, sizeof *s);
    if (s == NULL)
        return NULL;
    s->items = arena_bytes(&c->arena, (g->n_made + 1) * sizeof *s->items);
    s->next = arena_alloc(&c->arena, g->ir.n_classes, sizeof *s->next);
    if (s->items == NULL || s->next == NULL ||
        grow(&c->states, &c->cap_states, c->n_states + 1, sizeof *c->states) < 0)
        return NULL;
    return s;
}

/* The state of the places made. */
static uint32_t intern(struct text_grammar *g)
{
    struct gcache *c = &g->cache;
    uint32_t id = 0;
    if (g->n_made == 0)
        return GSTATE_DEAD;
    qsort(g->made, g->n_made, sizeof *g->made, by_value);
    if (map_get(&c->by_items, g->made, g->n_made * sizeof *g->made, &id))
        return id;
    struct gstate *s = new_state(g);
    if (s == NULL)
        return GSTATE_DEAD;
    memcpy(s->items, g->made, g->n_made * sizeof *g->made);
    if (map_put(&c->by_items, s->items, g->n_made * sizeof *g->made, c->n_states, NULL) < 0)
        return GSTATE_DEAD;
    for (s->n = g->n_made; s->n > 0 && NODE_OF(s->items[s->n - 1]) == UINT32_MAX; s->n--) {
        s->accepts |= s->items[s->n - 1] == ACCEPTS;
        s->escapes |= s->items[s->n - 1] == ESCAPES;
    }
    c->states[c->n_states] = s;
    return c->n_states++;
}

uint32_t gstate_make(struct text_grammar *g, uint32_t state, uint8_t byte)
{
    const struct gstate *s = g->cache.states[state];
    for (uint32_t i = 0; i < s->n; i++) {
        const struct gram_node *n = &g->ir.nodes[NODE_OF(s->items[i])];
        if (n->lo <= byte && byte <= n->hi)
            meet(&g->seen, ITEM(n->next, FRAME_OF(s->items[i])));
    }
    close_places(g);
    uint32_t to = intern(g);
    s->next[g->ir.class_of[byte]] = to;
    return to;
}

/* --- states without their callers ------------------------------------------------------------- */

/* The place with frames beyond the innermost cut one replaced; cuts lists the replaced ones. */
static uint64_t localise(struct text_grammar *g, uint64_t item, uint32_t *cuts, uint32_t *n_cuts)
{
    struct gcache *c = &g->cache;
    uint32_t chain[LOCAL_FRAMES_MAX], n = 0, k = 0, frame = FRAME_OF(item);
    while (frame != GFRAME_END && !c->frames[frame]->is_cut && n < LOCAL_FRAMES_MAX) {
        chain[n++] = frame;
        frame = c->frames[frame]->parent;
    }
    if (frame != GFRAME_END && !is_bottom(c, frame)) {
        while (k < *n_cuts && cuts[k] != frame)
            k++;
        if (k == *n_cuts && k < LOCAL_FRAMES_MAX)
            cuts[(*n_cuts)++] = frame;
        if (k < LOCAL_FRAMES_MAX)
            frame = bottom_of(c, k);
    }
    while (n > 0 && frame != GRAM_NONE) {
        const struct gframe *f = c->frames[chain[--n]];
        frame = frame_of(c, g->ir.nodes[f->ret].alias, frame, false);
    }
    return frame == GRAM_NONE ? item : ITEM(NODE_OF(item), frame);
}

uint32_t gstate_local(struct text_grammar *g, uint32_t state)
{
    const struct gstate *s = g->cache.states[state];
    uint32_t cuts[LOCAL_FRAMES_MAX], n_cuts = 0;
    g->n_made = 0;
    for (uint32_t i = 0; i < s->n; i++)
        made_put(g, localise(g, s->items[i], cuts, &n_cuts));
    if (g->n_made > 1) {
        uint32_t kept = 1;
        qsort(g->made, g->n_made, sizeof *g->made, by_value);
        for (uint32_t i = 1; i < g->n_made; i++)
            if (g->made[i] != g->made[kept - 1])
                g->made[kept++] = g->made[i];
        g->n_made = kept;
    }
    uint32_t local = intern(g);
    return local == GSTATE_DEAD ? state : local;
}

/* --- the cache -------------------------------------------------------------------------------- */

int gcache_init(struct text_grammar *g)
{
    struct gcache *c = &g->cache;
    *c = (struct gcache){ 0 };
    arena_init(&c->arena, CACHE_BYTES);
    TRY(map_init(&c->by_frame, 64));
    TRY(map_init(&c->by_items, 64));
    if (frame_of(c, GRAM_NONE, GRAM_NONE, false) != GFRAME_END)
        return E_NOMEM;
    g->n_made = 0;
    for (uint32_t i = 0; i <= GSTATE_DEAD; i++) { /* no state, and the dead one */
        struct gstate *s = new_state(g);
        if (s == NULL)
            return E_NOMEM;
        for (uint32_t k = 0; k < g->ir.n_classes; k++)
            s->next[k] = GSTATE_DEAD;
        c->states[c->n_states++] = s;
    }
    meet(&g->seen, ITEM(g->ir.rules[0].start, GFRAME_END));
    close_places(g);
    c->start = intern(g);
    return c->start != GSTATE_DEAD ? 0 : E_NOMEM;
}

void gcache_fini(struct gcache *c)
{
    map_fini(&c->by_frame);
    map_fini(&c->by_items);
    arena_fini(&c->arena);
    mem_free(c->frames);
    mem_free(c->states);
    *c = (struct gcache){ 0 };
}

/* The same frame in another cache: rebuilt from its outer end. */
static uint32_t move_frame(const struct gcache *from, struct gcache *to, uint32_t frame)
{
    uint32_t n = 0, moved = GFRAME_END;
    for (uint32_t f = frame; f != GFRAME_END; f = from->frames[f]->parent)
        n++;
    uint32_t *chain = mem_alloc((size_t)n + 1, sizeof *chain);
    if (chain == NULL)
        return GRAM_NONE;
    for (uint32_t f = frame, i = 0; f != GFRAME_END; f = from->frames[f]->parent)
        chain[i++] = f;
    while (n > 0 && moved != GRAM_NONE) {
        const struct gframe *f = from->frames[chain[--n]];
        moved = frame_of(to, f->ret, moved, f->is_cut);
    }
    mem_free(chain);
    return moved;
}

static uint32_t move_state(struct text_grammar *g, const struct gcache *from, uint32_t state)
{
    const struct gstate *s = from->states[state];
    g->n_made = 0;
    for (uint32_t i = 0; i < s->n; i++) {
        uint32_t frame = move_frame(from, &g->cache, FRAME_OF(s->items[i]));
        if (frame != GRAM_NONE)
            made_put(g, ITEM(NODE_OF(s->items[i]), frame));
    }
    if (s->accepts)
        made_put(g, ACCEPTS);
    return intern(g);
}

void gstate_flush(struct text_grammar *g, bool force)
{
    struct gcache old = g->cache;
    if (!force && old.arena.used_bytes < FLUSH_BYTES)
        return;
    int rc = gcache_init(g);
    for (struct text_matcher *m = g->matchers; m != NULL && rc == 0; m = m->next)
        m->state = move_state(g, &old, m->state);
    if (rc < 0) { /* keep what there is */
        gcache_fini(&g->cache);
        g->cache = old;
        return;
    }
    gcache_fini(&old);
    g->n_flushes++;
}
