/* SPDX-License-Identifier: Apache-2.0 */
/* compressed.h: lives whose file was compressed by rotation before it was finished. A life that
 * no file carries is looked for in the .gz files beside the path it had; where one carries it,
 * its unread rest is unpacked into the spool. Unpacking is the spool's helper's work: a search
 * takes as long as it takes, and is asked again until it has an answer. */
#ifndef AGENT_INPUTS_COMPRESSED_H
#define AGENT_INPUTS_COMPRESSED_H

#include "agent/agent.h"
#include "agent/spool.h"

struct compressed;

enum compressed_found {
    COMPRESSED_NOTHING,   /* none carries it, or none that can be unpacked */
    COMPRESSED_SEARCHING, /* not known yet: nothing is to be concluded */
    COMPRESSED_FOUND,     /* it is in the spool */
};

struct compressed *compressed_new(void); /* NULL: no memory */
void compressed_free(struct compressed *compressed, struct spool *spool);

/* `room`: bytes that may be written; `alone`: nothing else takes of it, so there will never be
 * more. Says, counts and leaves in `generation->gone` why a file that was found cannot be used. */
struct compressed_place {
    struct spool *spool;
    uint64_t room;
    bool alone;
};
enum compressed_found compressed_look(struct agent *agent, struct compressed *compressed,
                                      struct generation *generation, struct input *input,
                                      const struct compressed_place *place);

/* About once a second: results, and files that could not be unpacked and have changed. */
void compressed_tick(struct agent *agent, struct compressed *compressed, struct spool *spool);
/* Lives that are looked for, or are in a file that cannot be unpacked: a JSON array. */
void compressed_json(const struct agent *agent, const struct compressed *compressed,
                     struct buffer *out);
bool compressed_is_running(const struct compressed *compressed);

#endif
