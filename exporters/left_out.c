/* SPDX-License-Identifier: Apache-2.0 */
/* left_out.c: see left_out.h. */
#include "exporters/left_out.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "exporters/page.h"

#define FAMILIES_MAX 64 /* with trouble at once; what is above is added up as "other" */
#define NAME_SIZE 128

struct left_out {
    pthread_mutex_t lock;
    size_t count;
    struct {
        char name[NAME_SIZE];
        uint64_t total;
    } families[FAMILIES_MAX];
};

bool
left_out_new(struct left_out **out, struct err *err)
{
    *out = calloc(1, sizeof(**out));
    if (*out == NULL)
        return err_set(err, ERR_STOP, 0, "cannot count series: out of memory");
    (void)pthread_mutex_init(&(*out)->lock, NULL);
    return true;
}

void
left_out_free(struct left_out *left_out)
{
    if (left_out == NULL)
        return;
    (void)pthread_mutex_destroy(&left_out->lock);
    free(left_out);
}

/* The lock is held. */
static void
add(struct left_out *left_out, const char *name, uint64_t count)
{
    if (left_out->count == FAMILIES_MAX - 1)
        name = "other";
    size_t i = 0;
    while (i < left_out->count && strncmp(left_out->families[i].name, name, NAME_SIZE - 1) != 0)
        i++;
    if (i == left_out->count) {
        left_out->count++;
        size_t size = strnlen(name, NAME_SIZE - 1);
        memcpy(left_out->families[i].name, name, size);
    }
    left_out->families[i].total += count;
}

void
left_out_note(struct left_out *left_out, const struct page *page)
{
    for (size_t i = 0; i < page->family_count; i++) {
        const struct page_family *family = &page->families[i];
        if (family->left_out == 0)
            continue;
        (void)pthread_mutex_lock(&left_out->lock);
        add(left_out, page_word(page, family->name), family->left_out);
        (void)pthread_mutex_unlock(&left_out->lock);
    }
}

void
left_out_put(struct left_out *left_out, struct page *page)
{
    page_family(page, "tailrace_exporter_series_left_out_total", PAGE_COUNTER,
                "Series that were left out because their family had its budget of "
                "page.series_per_family already.");
    (void)pthread_mutex_lock(&left_out->lock);
    for (size_t i = 0; i < left_out->count; i++) {
        page_begin(page);
        page_label(page, "family", left_out->families[i].name);
        page_uint(page, left_out->families[i].total);
    }
    (void)pthread_mutex_unlock(&left_out->lock);
}
