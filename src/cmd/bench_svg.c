/* The roofline (Williams, Waterman, Patterson 2009): operations a second over operations per byte,
 * both logarithmic. Slanted roofs are bandwidths, flat ones peaks; a dot can lie at most on its
 * roof. Self-contained: no script, no font, no style from elsewhere. */
#include <math.h>
#include <string.h>

#include "base/buf.h"
#include "base/num.h"
#include "cmd/bench.h"

enum { WIDTH = 900, HEIGHT = 560, LEFT = 80, RIGHT = 250, TOP = 50, BOTTOM = 60 };

struct axes {
    double x0, x1, y0, y1; /* log10 */
};

static double px(const struct axes *a, double x)
{
    return LEFT + (log10(x) - a->x0) / (a->x1 - a->x0) * (WIDTH - LEFT - RIGHT);
}

static double py(const struct axes *a, double y)
{
    return HEIGHT - BOTTOM - (log10(y) - a->y0) / (a->y1 - a->y0) * (HEIGHT - TOP - BOTTOM);
}

/* Text with what XML forbids replaced. */
static void put_text(struct buf *out, const char *s)
{
    for (; *s != '\0'; s++) {
        if (*s == '<')
            buf_puts(out, "&lt;");
        else if (*s == '&')
            buf_puts(out, "&amp;");
        else
            buf_putc(out, (unsigned char)*s < ' ' ? '?' : *s);
    }
}

static double intensity(const struct bench_result *r) { return r->ops / r->bytes; }

static double ops_per_s(const struct bench_result *r)
{
    return r->ops / ((double)r->n_tokens * r->batch / r->median);
}

static struct axes choose(const struct bench *b, const struct cost_ceilings *c)
{
    struct axes a = { .x0 = -1, .x1 = 3, .y0 = 9, .y1 = ceil(log10(c->int8) + 0.1) };
    for (uint32_t i = 0; i < b->n_results; i++) {
        const struct bench_result *r = &b->results[i];
        a.x0 = fmin(a.x0, floor(log10(intensity(r))));
        a.x1 = fmax(a.x1, ceil(log10(intensity(r)) + 0.05));
        a.y0 = fmin(a.y0, floor(log10(ops_per_s(r))));
    }
    return a;
}

static void grid(struct buf *out, const struct axes *a)
{
    for (double x = a->x0; x <= a->x1 + 0.5; x++)
        buf_printf(out,
                   "<line x1='%.1f' y1='%d' x2='%.1f' y2='%d' stroke='#ddd'/>"
                   "<text x='%.1f' y='%d' text-anchor='middle'>%g</text>\n",
                   px(a, pow(10, x)), TOP, px(a, pow(10, x)), HEIGHT - BOTTOM, px(a, pow(10, x)),
                   HEIGHT - BOTTOM + 18, pow(10, x));
    for (double y = a->y0; y <= a->y1 + 0.5; y++)
        buf_printf(out,
                   "<line x1='%d' y1='%.1f' x2='%d' y2='%.1f' stroke='#ddd'/>"
                   "<text x='%d' y='%.1f' text-anchor='end'>%g</text>\n",
                   LEFT, py(a, pow(10, y)), WIDTH - RIGHT, py(a, pow(10, y)), LEFT - 6,
                   py(a, pow(10, y)) + 4, pow(10, y - 9));
    buf_printf(out,
               "<text x='%d' y='%d' text-anchor='middle'>operations per byte</text>"
               "<text x='18' y='%d' text-anchor='middle' transform='rotate(-90 18 %d)'>"
               "giga-operations a second</text>\n",
               (LEFT + WIDTH - RIGHT) / 2, HEIGHT - 18, (TOP + HEIGHT - BOTTOM) / 2,
               (TOP + HEIGHT - BOTTOM) / 2);
}

static void flat_roof(struct buf *out, const struct axes *a, double peak, const char *name)
{
    buf_printf(out,
               "<line x1='%d' y1='%.1f' x2='%d' y2='%.1f' stroke='#b33' stroke-width='1.5'/>"
               "<text x='%d' y='%.1f' fill='#b33'>%s %.0f</text>\n",
               LEFT, py(a, peak), WIDTH - RIGHT, py(a, peak), WIDTH - RIGHT + 6, py(a, peak) + 4,
               name, peak * 1e-9);
}

/* From the left edge up to the highest peak. */
static void slanted_roof(struct buf *out, const struct axes *a, double rate, double top,
                         const char *name)
{
    double from = fmax(pow(10, a->x0), pow(10, a->y0) / rate);
    double to = fmin(pow(10, a->x1), top / rate);
    if (to <= from)
        return;
    double x = px(a, from), y = py(a, from * rate);
    double angle = atan2(py(a, to * rate) - y, px(a, to) - x) * 180 / 3.14159265358979;
    buf_printf(out,
               "<line x1='%.1f' y1='%.1f' x2='%.1f' y2='%.1f' stroke='#36b' stroke-width='1.5'/>"
               "<text x='%.1f' y='%.1f' dy='-4' fill='#36b' transform='rotate(%.1f %.1f %.1f)'>"
               "%s %.0f GB/s</text>\n",
               x, y, px(a, to), py(a, to * rate), x + 4, y, angle, x + 4, y, name, rate * 1e-9);
}

static void dots(struct buf *out, const struct axes *a, const struct bench *b)
{
    for (uint32_t i = 0; i < b->n_results; i++) { /* the list ends where the paper does */
        const struct bench_result *r = &b->results[i];
        const char *colour = strcmp(r->name, "prefill") == 0 ? "#e80" : "#184";
        double x = px(a, intensity(r)), y = py(a, ops_per_s(r));
        buf_printf(out,
                   "<circle cx='%.1f' cy='%.1f' r='4.5' fill='%s'><title>%s %u, depth %u, batch "
                   "%u, %s: %.1f tokens/s, %.1f %% of the floor</title></circle>"
                   "<text x='%.1f' y='%.1f' font-size='10'>%u</text>\n",
                   x, y, colour, r->name, r->n_tokens, r->depth, r->batch, r->kv, r->median,
                   100 * r->median / r->floor, x + 6, y - 4, i + 1);
        if (i < 24)
            buf_printf(out,
                       "<text x='%d' y='%d' font-size='10' fill='%s'>%u %s %u at %u x%u %s %.0f/s "
                       "%.0f %%</text>\n",
                       WIDTH - RIGHT + 70, TOP + 150 + 14 * (int)i, colour, i + 1, r->name,
                       r->n_tokens, r->depth, r->batch, r->kv, r->median,
                       100 * r->median / r->floor);
    }
}

void bench_svg_write(const struct bench *b, struct buf *out)
{
    struct cost_ceilings c = cost_profile_at(&b->profile, b->n_threads);
    struct axes a = choose(b, &c);
    buf_printf(out,
               "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 %d %d' "
               "font-family='sans-serif' font-size='12'>\n"
               "<rect width='100%%' height='100%%' fill='#fff'/>\n"
               "<text x='%d' y='24' font-size='15'>",
               WIDTH, HEIGHT, LEFT);
    if (b->model.path != NULL) {
        const char *slash = strrchr(b->model.path, '/');
        put_text(out, slash != NULL ? slash + 1 : b->model.path);
        buf_puts(out, " on ");
    }
    put_text(out, b->profile.cpu);
    buf_printf(out, ", %u threads</text>\n", b->n_threads);
    grid(out, &a);
    slanted_roof(out, &a, c.l2, c.int8, "L2");
    slanted_roof(out, &a, c.l3, c.int8, "L3");
    slanted_roof(out, &a, c.dram, c.int8, "memory");
    flat_roof(out, &a, c.int8, "int8");
    flat_roof(out, &a, c.bf16, "bf16");
    if (c.fp32 < 0.97 * c.bf16)
        flat_roof(out, &a, c.fp32, "fp32");
    dots(out, &a, b);
    buf_puts(out, "</svg>\n");
}
