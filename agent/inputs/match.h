/* SPDX-License-Identifier: Apache-2.0 */
/* match.h: which life of content does a file that was found carry? Content decides; where a file
 * lies and which inode it has only say where to look first. The rules are those of
 * docs/guarantees.md. */
#ifndef AGENT_INPUTS_MATCH_H
#define AGENT_INPUTS_MATCH_H

#include "agent/inputs/finds.h"

/* Decides them: files of known lives are attached, the rest begins new ones. Some at a time: there
 * may be 100,000, and the first need not wait for the last. True when all are decided. */
bool match_finds(struct agent *agent, struct finds *finds);
void match_done(struct agent *agent); /* forgets finds that are not decided, and notes */

/* How a life came to its file, for people; from `origin` of its generation. */
const char *match_story(const char *origin);

#endif
