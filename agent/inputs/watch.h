/* SPDX-License-Identifier: Apache-2.0 */
/* watch.h: inotify on folders. Only a hint: everything works without it, later. */
#ifndef AGENT_INPUTS_WATCH_H
#define AGENT_INPUTS_WATCH_H

#include <stdbool.h>
#include <stddef.h>

#include "core/err.h"

struct watch;

struct watch_events {
    void (*written)(void *context, const char *path); /* an entry grew */
    void (*changed)(void *context);                   /* entries came, went or were renamed */
    void (*overflow)(void *context);                  /* hints were lost: sweep now */
    void *context;
};

bool watch_new(struct watch **out, struct err *err) MUST_CHECK;
void watch_free(struct watch *watch); /* NULL is fine */
int watch_fd(const struct watch *watch);

/* Once more for a folder that is watched is fine. False with the reason when it cannot be. */
bool watch_folder(struct watch *watch, const char *folder, struct err *err) MUST_CHECK;
/* Is there a hint to be expected when this file is written through this path? */
bool watch_covers(const struct watch *watch, const char *path);
/* False when nothing had come. */
bool watch_serve(struct watch *watch, const struct watch_events *events);

#endif
