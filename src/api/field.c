#include "api/field.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

int api_field_wrong(struct err *err, int code, const char *path, const char *must)
{
    return err_set_field(err, code, path, "%s %s", path, must);
}

static int wrong_number(struct err *err, int code, const struct api_field *f, const char *path)
{
    const char *what = f->kind == API_NUMBER ? "a number" : "an integer";
    if (f->min == 0 && f->max == 0)
        return err_set_field(err, code, path, "%s must be %s", path, what);
    return err_set_field(err, code, path, "%s must be %s from %.12g to %.12g", path, what, f->min,
                         f->max);
}

/* A number within the row's range. An integer may be written as 3.0. */
static int read_number(const struct api_field *f, const json_value *v, const char *path,
                       double *out, struct err *err)
{
    enum json_kind kind = json_kind_of(v);
    if (kind != JSON_INT && kind != JSON_DOUBLE)
        return wrong_number(err, E_FORMAT, f, path);
    double x = json_as_double(v);
    if (f->kind != API_NUMBER && kind == JSON_DOUBLE && x != floor(x))
        return wrong_number(err, E_FORMAT, f, path);
    bool any = f->min == 0 && f->max == 0;
    if (!isfinite(x) || (!any && !(x >= f->min && x <= f->max)))
        return wrong_number(err, E_RANGE, f, path);
    *out = x;
    return 0;
}

static int read_integer(const struct api_field *f, const json_value *v, const char *path,
                        void *to, struct err *err)
{
    double x = 0;
    TRY(read_number(f, v, path, &x, err));
    if (f->kind == API_I64) {
        if (x < -9.2233720368547758e18 || x >= 9.2233720368547758e18)
            return wrong_number(err, E_RANGE, f, path);
        *(int64_t *)to = json_as_int(v);
        return 0;
    }
    if (x < 0 || x > UINT32_MAX)
        return wrong_number(err, E_RANGE, f, path);
    *(uint32_t *)to = (uint32_t)x;
    return 0;
}

static int read_text(const struct api_field *f, const json_value *v, const char *path,
                     struct engine_str *to, struct err *err)
{
    size_t len = 0;
    const char *s = json_text(v, &len);
    if (s == NULL)
        return api_field_wrong(err, E_FORMAT, path, "must be a string");
    bool any = f->min == 0 && f->max == 0;
    if (!any && ((double)len < f->min || (double)len > f->max))
        return err_set_field(err, E_RANGE, path, "%s must be a string of %.0f to %.0f bytes", path,
                             f->min, f->max);
    *to = (struct engine_str){ s, len };
    return 0;
}

static bool asks_nothing(const json_value *v)
{
    switch (json_kind_of(v)) {
    case JSON_NULL: return true;
    case JSON_BOOL: return !json_as_bool(v);
    case JSON_INT:
    case JSON_DOUBLE: return json_as_double(v) == 0;
    case JSON_STRING: {
        size_t len = 0;
        json_text(v, &len);
        return len == 0;
    }
    default: return json_len(v) == 0;
    }
}

static int read_field(const struct api_field *f, const json_value *v, const char *path,
                      void *target, struct err *err)
{
    void *to = (char *)target + f->offset;
    switch (f->kind) {
    case API_BOOL:
        if (json_kind_of(v) != JSON_BOOL)
            return api_field_wrong(err, E_FORMAT, path, "must be true or false");
        *(bool *)to = json_as_bool(v);
        return 0;
    case API_U32:
    case API_I64: return read_integer(f, v, path, to, err);
    case API_NUMBER: return read_number(f, v, path, to, err);
    case API_TEXT: return read_text(f, v, path, to, err);
    case API_VALUE: *(const json_value **)to = v; return 0;
    case API_CUSTOM: return f->parse(target, v, path, err);
    case API_NO_EFFECT: return 0;
    case API_REFUSED:
        return asks_nothing(v) ? 0 : api_field_wrong(err, E_UNSUPPORTED, path, f->note);
    }
    return 0;
}

int api_fields_read(const struct api_fields *fields, const json_value *object, const char *prefix,
                    void *target, struct err *err)
{
    for (size_t i = 0; i < fields->n; i++) {
        const struct api_field *f = &fields->rows[i];
        const json_value *v = json_get(object, f->name);
        if (v == NULL)
            continue;
        char path[API_PATH_MAX];
        snprintf(path, sizeof path, "%s%s", prefix, f->name);
        TRY(read_field(f, v, path, target, err));
    }
    return 0;
}
