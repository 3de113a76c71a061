/* SPDX-License-Identifier: Apache-2.0 */
/* hash.h: uthash with XXH3 for its hash function: faster than its own, and free of the fall-through
 * between cases that clang warns of. Tables own nothing. When memory is short HASH_ADD leaves the
 * table as it was, and HASH_ADDED says so; without NONFATAL_OOM uthash would exit(). */
#ifndef CORE_HASH_H
#define CORE_HASH_H

#include <xxhash.h>

#define HASH_FUNCTION(key, size, hash) ((hash) = (unsigned)XXH3_64bits(key, size))
#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#define HASH_ADDED(hh, element) ((element)->hh.tbl != NULL)

#endif
