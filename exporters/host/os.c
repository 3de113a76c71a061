/* SPDX-License-Identifier: Apache-2.0 */
/* os.c: which distribution, from <root>/etc/os-release. */
#include <stdlib.h>
#include <string.h>

#include "exporters/host/collectors.h"
#include "exporters/host/kept.h"
#include "exporters/page.h"

#define VALUE_SIZE 256

enum {
    OS_BUILD_ID,
    OS_ID,
    OS_ID_LIKE,
    OS_IMAGE_ID,
    OS_IMAGE_VERSION,
    OS_NAME,
    OS_PRETTY_NAME,
    OS_VARIANT,
    OS_VARIANT_ID,
    OS_VERSION,
    OS_VERSION_CODENAME,
    OS_VERSION_ID,
    OS_KEYS
};
static const char *const keys[OS_KEYS][2] = {
    {"BUILD_ID", "build_id"},
    {"ID", "id"},
    {"ID_LIKE", "id_like"},
    {"IMAGE_ID", "image_id"},
    {"IMAGE_VERSION", "image_version"},
    {"NAME", "name"},
    {"PRETTY_NAME", "pretty_name"},
    {"VARIANT", "variant"},
    {"VARIANT_ID", "variant_id"},
    {"VERSION", "version"},
    {"VERSION_CODENAME", "version_codename"},
    {"VERSION_ID", "version_id"},
};

/* A shell's value: in quotes of either kind or bare, with backslashes where they mean something. */
static void
unquote(struct scan value, char out[VALUE_SIZE])
{
    size_t size = 0;
    char quote = '\0';
    scan_trim(&value);
    for (size_t i = 0; i < value.size && size + 1 < VALUE_SIZE; i++) {
        char c = value.at[i];
        if (quote == '\0' && (c == '"' || c == '\'')) {
            quote = c;
        } else if (c == quote) {
            quote = '\0';
        } else if (c == '\\' && quote != '\'' && i + 1 < value.size) {
            out[size++] = value.at[++i];
        } else {
            out[size++] = c;
        }
    }
    out[size] = '\0';
}

/* "12.4.1" is 12.4. */
static double
major_minor(const char *version)
{
    size_t digits = strspn(version, "0123456789");
    if (digits == 0 || digits > 9)
        return 0;
    size_t size = digits;
    if (version[size] == '.')
        size += 1 + strspn(version + size + 1, "0123456789");
    double value;
    return scan_is_double((struct scan){version, size}, &value) ? value : 0;
}

bool
os_parse(struct scan text, struct page *page, struct err *err)
{
    char values[OS_KEYS][VALUE_SIZE] = {{0}};
    struct scan line;
    size_t found = 0;
    while (scan_line(&text, &line)) {
        struct scan key;
        scan_trim(&line);
        if (line.size == 0 || line.at[0] == '#' || !scan_until(&line, '=', &key))
            continue;
        for (size_t i = 0; i < OS_KEYS; i++)
            if (scan_equals(key, keys[i][0])) {
                unquote(line, values[i]);
                found++;
            }
    }
    if (found == 0)
        return err_set(err, ERR_RETRY, 0, "os-release names none of its usual keys");
    page_family(page, "node_os_info", PAGE_GAUGE,
                "A metric with a constant '1' value labeled by build_id, id, id_like, image_id, "
                "image_version, name, pretty_name, variant, variant_id, version, version_codename, "
                "version_id.");
    page_begin(page);
    for (size_t i = 0; i < OS_KEYS; i++)
        page_label(page, keys[i][1], values[i]);
    page_uint(page, 1);
    double version = major_minor(values[OS_VERSION_ID]);
    if (version > 0) {
        page_family(page, "node_os_version", PAGE_GAUGE,
                    "Metric containing the major.minor part of the OS version.");
        page_sample(page, version, "id", values[OS_ID], "id_like", values[OS_ID_LIKE], "name",
                    values[OS_NAME], NULL);
    }
    return true;
}

/* An upgrade puts a new file in its place, so it is opened each time. */
static bool
os_collect(void *self, struct page *page, struct err *err)
{
    static const char *const names[] = {"etc/os-release", "usr/lib/os-release"};
    const char *root = self;
    for (size_t i = 0; i < 2; i++) {
        struct kept kept;
        struct scan text;
        if (!kept_init(&kept, root, names[i], err))
            return false;
        bool read = kept_read(&kept, &text, err);
        bool fine = read && os_parse(text, page, err);
        kept_done(&kept);
        if (read)
            return fine;
    }
    return false;
}

static bool
os_open(void **out, const struct host_options *options, struct err *err)
{
    *out = strdup(options->root);
    return *out != NULL || err_set(err, ERR_STOP, 0, "cannot remember the root: out of memory");
}

const struct host_class host_os = {"os", os_open, os_collect, free};
