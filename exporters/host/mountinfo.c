/* SPDX-License-Identifier: Apache-2.0 */
/* mountinfo.c: see mountinfo.h. A line is
 *     36 35 98:0 /root /point rw,noatime master:1 - ext3 /dev/root rw,errors=continue
 * with any number of optional fields in front of the dash. */
#include "exporters/host/mountinfo.h"

#include <string.h>

/* Copies with \ooo made bytes again; what does not fit is cut. */
static void
unescape(struct scan word, char *out, size_t room)
{
    size_t size = 0;
    while (word.size > 0 && size + 1 < room) {
        uint64_t byte;
        struct scan digits = {word.at + 1, 3};
        if (word.at[0] == '\\' && word.size >= 4 && scan_is_number(digits, 8, &byte) && byte > 0 &&
            byte < 256) {
            out[size++] = (char)byte;
            scan_skip(&word, 4);
            continue;
        }
        out[size++] = word.at[0];
        scan_skip(&word, 1);
    }
    out[size] = '\0';
}

/* Whether "rw,ro,noatime" has this word. */
static bool
has_option(struct scan options, const char *word)
{
    struct scan piece;
    while (options.size > 0) {
        if (!scan_until(&options, ',', &piece)) {
            piece = options;
            options.size = 0;
        }
        if (scan_equals(piece, word))
            return true;
    }
    return false;
}

static bool
read_line(struct scan line, struct mount_line *out)
{
    struct scan word;
    struct scan point;
    struct scan options;
    for (int i = 0; i < 4; i++) /* two ids, the device's numbers, the root in its file system */
        if (!scan_word(&line, &word))
            return false;
    if (!scan_word(&line, &point) || !scan_word(&line, &options))
        return false;
    do {
        if (!scan_word(&line, &word))
            return false;
    } while (!scan_equals(word, "-"));
    struct scan type;
    struct scan device;
    struct scan super = {"", 0};
    if (!scan_word(&line, &type) || !scan_word(&line, &device))
        return false;
    (void)scan_word(&line, &super);
    (void)scan_copy(type, out->type, sizeof(out->type));
    unescape(device, out->device, sizeof(out->device));
    unescape(point, out->point, sizeof(out->point));
    out->readonly = has_option(options, "ro") || has_option(super, "ro");
    return true;
}

bool
mountinfo_next(struct scan *text, struct mount_line *out)
{
    struct scan line;
    while (scan_line(text, &line))
        if (read_line(line, out))
            return true;
    return false;
}
