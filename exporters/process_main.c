/* SPDX-License-Identifier: Apache-2.0 */
/* process_main.c: a collector's process (process.h) from the inside. One thread, one target. What
 * it has to say goes to stderr, which the program reads. */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "core/buffer.h"
#include "core/cli.h"
#include "core/clock.h"
#include "core/options.h"
#include "exporters/options.h"
#include "exporters/pack.h"
#include "exporters/page.h"
#include "exporters/process.h"
#include "exporters/process_talk.h"
#include "exporters/remote.h"

static const struct talk_wait for_ever = {.until_ms = UINT64_MAX};

static bool
read_config(struct options **out, const struct talk_greeting *greeting, struct err *err)
{
    struct buffer text;
    buffer_init(&text, CONFIG_FILE_MAX);
    char *room = buffer_reserve(&text, (size_t)greeting->config_size + 1);
    if (room == NULL)
        return err_set(err, ERR_STOP, 0, "out of memory");
    bool fine =
        talk_receive(STDIN_FILENO, room, (size_t)greeting->config_size, &for_ever) == TALK_DONE ||
        err_set(err, ERR_STOP, 0, "the configuration did not come");
    fine = fine && options_parse(out, &exporter_options_schema, "(from tailrace-exporter)", room,
                                 (size_t)greeting->config_size, err);
    buffer_done(&text);
    return fine;
}

/* False: the other end is gone, which is the usual end of this process. */
static bool
serve_round(const struct remote_class *class, void *self, struct page *page)
{
    struct talk_order order;
    if (talk_receive(STDIN_FILENO, &order, sizeof(order), &for_ever) != TALK_DONE)
        return false;
    const atomic_bool stop = false; /* it is killed, not asked */
    struct remote_call call = {
        .stop = &stop,
        .deadline_ms = clock_monotonic_ms() + order.timeout_ms,
    };
    struct talk_answer answer = {.magic = TALK_MAGIC};
    struct page_wire_part parts[PAGE_WIRE_PARTS];
    struct err err = {0};
    page_clear(page);
    answer.fine = class->collect(self, &call, page, &err);
    page_end(page);
    memcpy(answer.error, err.text, sizeof(answer.error));
    page_wire_of(page, &answer.page, parts);
    bool fine = talk_send(STDIN_FILENO, &answer, sizeof(answer), &for_ever) == TALK_DONE;
    for (size_t i = 0; i < PAGE_WIRE_PARTS && fine; i++)
        fine = talk_send(STDIN_FILENO, parts[i].bytes, parts[i].size, &for_ever) == TALK_DONE;
    return fine;
}

static bool
serve(const struct remote_class *class, const struct talk_greeting *greeting, struct err *err)
{
    struct options *loaded = NULL;
    struct remote_about about = {0};
    struct page page;
    void *self = NULL;
    page_init(&page, (size_t)greeting->series_max);
    pack_page(&page);
    bool fine = read_config(&loaded, greeting, err) &&
                class->open(&self, options_root(loaded), (size_t)greeting->index, &about, err);
    while (fine && serve_round(class, self, &page))
        continue;
    class->close(self);
    page_done(&page);
    options_free(loaded);
    return fine;
}

int
process_main(const struct remote_class *const *classes, size_t class_count)
{
    /* Also in the middle of a round; between rounds the closed socket is enough. */
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    (void)prctl(PR_SET_NAME, "tailrace-collec"); /* else "exe"; 15 characters at most */
    (void)signal(SIGPIPE, SIG_IGN);
    struct talk_greeting greeting;
    struct err err = {0};
    if (talk_receive(STDIN_FILENO, &greeting, sizeof(greeting), &for_ever) != TALK_DONE ||
        greeting.magic != TALK_MAGIC) {
        (void)dprintf(STDERR_FILENO, "this is a part of tailrace-exporter, which starts it\n");
        return CLI_EXIT_USAGE;
    }
    const struct remote_class *class = NULL;
    for (size_t i = 0; i < class_count; i++)
        if (strcmp(classes[i]->name, greeting.collector) == 0)
            class = classes[i];
    if (class == NULL || !serve(class, &greeting, &err)) {
        (void)dprintf(STDERR_FILENO, "%s\n", err.text);
        return CLI_EXIT_RUNTIME;
    }
    return CLI_EXIT_OK;
}
