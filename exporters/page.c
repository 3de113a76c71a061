/* SPDX-License-Identifier: Apache-2.0 */
/* page.c: see page.h. */
#include "exporters/page.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "core/assert.h"
#include "core/bounds.h"

#define ABSENCE_MAX 512 /* a name and a sentence */

void
page_init(struct page *page, size_t series_max)
{
    ASSERT(series_max > 0);
    *page = (struct page){.series_max = series_max, .skipping = true};
    buffer_init(&page->samples, HTTP_BODY_MAX);
    buffer_init(&page->words, HTTP_BODY_MAX);
    buffer_init(&page->packed, HTTP_BODY_MAX);
}

void
page_done(struct page *page)
{
    buffer_done(&page->samples);
    buffer_done(&page->words);
    buffer_done(&page->packed);
    if (page->packer != NULL)
        page->packer->free(page->packer);
    free(page->families);
    free(page->pieces);
    *page = (struct page){0};
}

void
page_clear(struct page *page)
{
    buffer_clear(&page->samples);
    buffer_clear(&page->words);
    buffer_clear(&page->packed);
    page->family_count = page->piece_count = 0;
    page->skipping = true;
    page->failed = false;
}

/* Makes a piece of what the family has as text. When memory is short it stays text. */
static void
pack_text(struct page *page, struct page_family *family)
{
    size_t size = page->samples.size - family->start;
    struct page_piece piece;
    if (size == 0 || size > UINT32_MAX || page->samples.failed)
        return;
    if (page->piece_count == page->piece_capacity) {
        size_t capacity = page->piece_capacity * 2 + 16;
        struct page_piece *pieces = realloc(page->pieces, capacity * sizeof(*pieces));
        if (pieces == NULL)
            return;
        page->pieces = pieces;
        page->piece_capacity = capacity;
    }
    if (!page->packer->pack(page->packer, page->samples.bytes + family->start, size, &page->packed,
                            &piece))
        return;
    page->pieces[page->piece_count++] = piece;
    family->last_piece = page->piece_count;
    page->samples.size = family->start;
}

/* Between two samples of the family. */
static void
pack_if_large(struct page *page, struct page_family *family)
{
    if (page->packer != NULL && page->samples.size - family->start >= PAGE_PIECE_SIZE)
        pack_text(page, family);
}

void
page_end(struct page *page)
{
    if (page->family_count > 0) {
        struct page_family *family = &page->families[page->family_count - 1];
        if (family->last_piece > family->first_piece)
            pack_text(page, family);
        family->end = page->samples.size;
    }
    page->failed = page->failed || page->samples.failed || page->words.failed;
}

static size_t
put_word(struct page *page, const char *word)
{
    size_t offset = page->words.size;
    buffer_append(&page->words, word, strlen(word) + 1);
    return offset;
}

void
page_family(struct page *page, const char *name, enum page_type type, const char *help)
{
    page_end(page);
    page->skipping = true;
    if (page->family_count == page->family_capacity) {
        size_t capacity = page->family_capacity * 2 + 16;
        struct page_family *families = realloc(page->families, capacity * sizeof(*families));
        if (families == NULL) {
            page->failed = true;
            return;
        }
        page->families = families;
        page->family_capacity = capacity;
    }
    struct page_family family = {
        .type = type,
        .name = put_word(page, name),
        .help = put_word(page, help),
        .start = page->samples.size,
        .end = page->samples.size,
        .first_piece = page->piece_count,
        .last_piece = page->piece_count,
    };
    if (page->words.failed)
        return;
    page->families[page->family_count++] = family;
    page->skipping = false;
}

const char *
page_word(const struct page *page, size_t offset)
{
    ASSERT(offset < page->words.size);
    return page->words.bytes + offset;
}

void
page_begin(struct page *page)
{
    page->labelled = false;
    if (page->family_count == 0)
        return;
    struct page_family *family = &page->families[page->family_count - 1];
    pack_if_large(page, family);
    if (family->series == page->series_max) {
        family->left_out++;
        page->skipping = true;
    }
    if (page->skipping)
        return;
    family->series++;
    buffer_text(&page->samples, page_word(page, family->name));
}

/* Whether every byte may stand in a label as it is: nearly always so. */
static bool
is_plain(const char *value, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        unsigned char c = (unsigned char)value[i];
        if (c < 0x20 || c >= 0x7F || c == '"' || c == '\\')
            return false;
    }
    return true;
}

size_t
page_utf8_size(const char *text, size_t size)
{
    const unsigned char *at = (const unsigned char *)text;
    if (at[0] < 0x80)
        return 1;
    size_t needed = at[0] >= 0xF0 ? 4 : at[0] >= 0xE0 ? 3 : 2;
    if (at[0] < 0xC2 || at[0] > 0xF4 || needed > size)
        return 0;
    for (size_t i = 1; i < needed; i++)
        if ((at[i] & 0xC0) != 0x80)
            return 0;
    bool bad = (at[0] == 0xE0 && at[1] < 0xA0) || (at[0] == 0xED && at[1] > 0x9F) ||
               (at[0] == 0xF0 && at[1] < 0x90) || (at[0] == 0xF4 && at[1] > 0x8F);
    return bad ? 0 : needed;
}

static void
put_escaped(struct buffer *out, const char *value, size_t size)
{
    size_t at = 0;
    while (at < size) {
        unsigned char c = (unsigned char)value[at];
        size_t taken = page_utf8_size(value + at, size - at);
        if (c == '\n')
            buffer_text(out, "\\n");
        else if (c == '"' || c == '\\')
            buffer_format(out, "\\%c", c);
        else if (taken == 0 || c < 0x20 || c == 0x7F)
            buffer_text(out, "?");
        else
            buffer_append(out, value + at, taken);
        at += taken > 0 ? taken : 1;
    }
}

void
page_label_size(struct page *page, const char *name, const char *value, size_t size)
{
    if (page->skipping)
        return;
    struct buffer *out = &page->samples;
    buffer_append(out, page->labelled ? "," : "{", 1);
    page->labelled = true;
    buffer_text(out, name);
    buffer_append(out, "=\"", 2);
    if (is_plain(value, size))
        buffer_append(out, value, size);
    else
        put_escaped(out, value, size);
    buffer_append(out, "\"", 1);
}

void
page_label(struct page *page, const char *name, const char *value)
{
    page_label_size(page, name, value, strlen(value));
}

/* "} 12.5\n" behind the labels. */
static void
put_value(struct page *page, const char *text, size_t size)
{
    if (page->skipping) {
        /* A family that is full skips its sample and goes on counting the others. */
        page->skipping = page->family_count == 0 || page->failed;
        return;
    }
    struct buffer *out = &page->samples;
    if (page->labelled)
        buffer_append(out, "} ", 2);
    else
        buffer_append(out, " ", 1);
    buffer_append(out, text, size);
    buffer_append(out, "\n", 1);
}

/* Digits of `value` in front of `end`; where they begin. */
static char *
put_digits(char *end, uint64_t value)
{
    do {
        *--end = (char)('0' + value % 10);
        value /= 10;
    } while (value > 0);
    return end;
}

void
page_uint(struct page *page, uint64_t value)
{
    char text[24];
    char *end = text + sizeof(text);
    const char *start = put_digits(end, value);
    put_value(page, start, (size_t)(end - start));
}

void
page_int(struct page *page, int64_t value)
{
    char text[24];
    char *end = text + sizeof(text);
    uint64_t size = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    char *start = put_digits(end, size);
    if (value < 0)
        *--start = '-';
    put_value(page, start, (size_t)(end - start));
}

void
page_fixed(struct page *page, uint64_t value, unsigned decimals)
{
    ASSERT(decimals <= 9);
    char text[40];
    char *end = text + sizeof(text);
    char *start = end;
    bool any = false;
    for (unsigned i = 0; i < decimals; i++) {
        unsigned digit = (unsigned)(value % 10);
        value /= 10;
        any = any || digit > 0; /* 1.50 is 1.5, and 2.00 is 2 */
        if (any)
            *--start = (char)('0' + digit);
    }
    if (any)
        *--start = '.';
    start = put_digits(start, value);
    put_value(page, start, (size_t)(end - start));
}

void
page_double(struct page *page, double value)
{
    /* Whole numbers below 2^53, which are nearly all. */
    if (value >= -9e15 && value <= 9e15 && value == (double)(int64_t)value) {
        page_int(page, (int64_t)value);
        return;
    }
    char text[40] = "NaN";
    if (isinf(value))
        (void)snprintf(text, sizeof(text), "%cInf", value > 0 ? '+' : '-');
    for (int digits = 15; digits <= 17 && isfinite(value); digits++) {
        (void)snprintf(text, sizeof(text), "%.*g", digits, value);
        if (strtod(text, NULL) == value)
            break;
    }
    put_value(page, text, strlen(text));
}

void
page_sample(struct page *page, double value, ...)
{
    va_list labels;
    va_start(labels, value);
    page_begin(page);
    for (const char *name; (name = va_arg(labels, const char *)) != NULL;) {
        const char *text = va_arg(labels, const char *);
        ASSERT(text != NULL);
        page_label(page, name, text);
    }
    va_end(labels);
    page_double(page, value);
}

void
page_line(struct page *page, const char *line, size_t size)
{
    if (page->family_count == 0)
        return;
    struct page_family *family = &page->families[page->family_count - 1];
    if (family->series == page->series_max) {
        family->left_out++;
        return;
    }
    family->series++;
    pack_if_large(page, family);
    buffer_append(&page->samples, line, size);
    buffer_append(&page->samples, "\n", 1);
}

void
page_gauge(struct page *page, const char *name, const char *help, double value)
{
    page_family(page, name, PAGE_GAUGE, help);
    page_begin(page);
    page_double(page, value);
}

void
page_counter(struct page *page, const char *name, const char *help, uint64_t value)
{
    page_family(page, name, PAGE_COUNTER, help);
    page_begin(page);
    page_uint(page, value);
}

void
page_absent(struct page *page, const char *family, const char *fmt, ...)
{
    if (page->absences == NULL)
        return;
    char reason[ABSENCE_MAX];
    va_list args;
    va_start(args, fmt);
    int size = vsnprintf(reason, sizeof(reason), fmt, args);
    va_end(args);
    ASSERT(size >= 0);
    buffer_format(page->absences, "%s\t%s\n", family, reason);
}

/* ---- rendering ---- */

/* A family of one of the pages; those of one name are a list. */
struct entry {
    const struct page *page;
    const struct page_family *family;
    size_t next; /* of the same name, SIZE_MAX: none */
    size_t last; /* of the list, in its first entry */
    bool first;
};

static void
put_help(struct buffer *out, const char *help, bool open)
{
    size_t plain = strcspn(help, open ? "\\\n\"" : "\\\n");
    buffer_append(out, help, plain);
    for (const char *at = help + plain; *at != '\0'; at++) {
        if (*at == '\\')
            buffer_text(out, "\\\\");
        else if (*at == '\n')
            buffer_text(out, "\\n");
        else if (*at == '"' && open)
            buffer_text(out, "\\\"");
        else
            buffer_append(out, at, 1);
    }
}

static void
put_head(struct buffer *out, const char *name, const char *help, enum page_type type,
         enum metric_page form)
{
    static const char *const names[] = {"counter", "gauge", "untyped", "histogram", "summary"};
    bool open = form == METRIC_PAGE_OPENMETRICS;
    const char *type_name = names[type];
    size_t size = strlen(name);
    bool total = size > 6 && strcmp(name + size - 6, "_total") == 0;
    /* OpenMetrics names the family of a counter without its _total and has none without one;
     * "untyped" is "unknown" there. */
    if (open && type == PAGE_COUNTER && total)
        size -= 6;
    else if (open && (type == PAGE_COUNTER || type == PAGE_UNTYPED))
        type_name = "unknown";
    buffer_append(out, "# HELP ", 7);
    buffer_append(out, name, size);
    buffer_append(out, " ", 1);
    put_help(out, help, open);
    buffer_append(out, "\n# TYPE ", 8);
    buffer_append(out, name, size);
    buffer_append(out, " ", 1);
    buffer_text(out, type_name);
    buffer_append(out, "\n", 1);
}

/* Finds the first family of each name, and links the others to it. */
static void
link_entries(struct entry *entries, size_t count, size_t *slots, size_t slot_count)
{
    for (size_t i = 0; i < slot_count; i++)
        slots[i] = SIZE_MAX;
    for (size_t i = 0; i < count; i++) {
        const char *name = page_word(entries[i].page, entries[i].family->name);
        size_t slot = (size_t)XXH3_64bits(name, strlen(name)) & (slot_count - 1);
        while (slots[slot] != SIZE_MAX &&
               strcmp(page_word(entries[slots[slot]].page, entries[slots[slot]].family->name),
                      name) != 0)
            slot = (slot + 1) & (slot_count - 1);
        entries[i].next = SIZE_MAX;
        entries[i].last = i;
        entries[i].first = slots[slot] == SIZE_MAX;
        if (entries[i].first) {
            slots[slot] = i;
            continue;
        }
        struct entry *head = &entries[slots[slot]];
        entries[head->last].next = i;
        head->last = i;
    }
}

/* A family that is text only. */
static void
put_entry(const struct entry *entries, size_t index, enum metric_page form, struct buffer *out)
{
    bool any = false;
    for (size_t i = index; i != SIZE_MAX && !any; i = entries[i].next)
        any = entries[i].family->end > entries[i].family->start;
    if (!any)
        return;
    const struct page_family *head = entries[index].family;
    put_head(out, page_word(entries[index].page, head->name),
             page_word(entries[index].page, head->help), head->type, form);
    for (size_t i = index; i != SIZE_MAX; i = entries[i].next) {
        const struct page_family *family = entries[i].family;
        if (family->end > family->start)
            buffer_append(out, entries[i].page->samples.bytes + family->start,
                          family->end - family->start);
    }
}

static bool
has_pieces(const struct entry *entries, size_t index)
{
    for (size_t i = index; i != SIZE_MAX; i = entries[i].next)
        if (entries[i].family->last_piece > entries[i].family->first_piece)
            return true;
    return false;
}

/* One with pieces. */
static void
give_entry(const struct entry *entries, size_t index, enum metric_page form,
           struct page_taker *taker, struct buffer *out)
{
    const struct page_family *first = entries[index].family;
    struct buffer head;
    ASSERT(taker != NULL);
    buffer_init(&head, HTTP_BODY_MAX);
    put_head(&head, page_word(entries[index].page, first->name),
             page_word(entries[index].page, first->help), first->type, form);
    out->failed = out->failed || head.failed;
    taker->text(taker, head.bytes, head.size);
    buffer_done(&head);
    for (size_t i = index; i != SIZE_MAX; i = entries[i].next) {
        const struct page *page = entries[i].page;
        const struct page_family *family = entries[i].family;
        for (size_t piece = family->first_piece; piece < family->last_piece; piece++)
            taker->piece(taker, page, &page->pieces[piece]);
        if (family->end > family->start)
            taker->text(taker, page->samples.bytes + family->start, family->end - family->start);
    }
}

void
page_render(const struct page *const *pages, size_t count, enum metric_page form,
            struct page_taker *taker, struct buffer *out)
{
    size_t entry_count = 0;
    size_t bytes = 0;
    for (size_t i = 0; i < count; i++) {
        entry_count += pages[i]->family_count;
        bytes += pages[i]->samples.size + 2 * pages[i]->words.size;
    }
    if (entry_count == 0)
        return;
    size_t slot_count = 64;
    while (slot_count < entry_count * 2)
        slot_count *= 2;
    struct entry *entries = malloc(entry_count * sizeof(*entries));
    size_t *slots = malloc(slot_count * sizeof(*slots));
    if (entries == NULL || slots == NULL || buffer_reserve(out, bytes) == NULL) {
        out->failed = true;
        free(entries);
        free(slots);
        return;
    }
    entry_count = 0;
    for (size_t i = 0; i < count; i++)
        for (size_t family = 0; family < pages[i]->family_count; family++)
            entries[entry_count++] =
                (struct entry){.page = pages[i], .family = &pages[i]->families[family]};
    link_entries(entries, entry_count, slots, slot_count);
    for (size_t i = 0; i < entry_count; i++)
        if (entries[i].first && has_pieces(entries, i))
            give_entry(entries, i, form, taker, out);
    for (size_t i = 0; i < entry_count; i++)
        if (entries[i].first && !has_pieces(entries, i))
            put_entry(entries, i, form, out);
    free(entries);
    free(slots);
}
