/* SPDX-License-Identifier: Apache-2.0 */
/* hash.h: uthash with XXH3 for its hash function: faster than its own, and free of the fall-through
 * between cases that clang warns of. Tables own nothing; memory short in HASH_ADD ends the process.
 * */
#ifndef CORE_HASH_H
#define CORE_HASH_H

#include <xxhash.h>

#define HASH_FUNCTION(key, size, hash) ((hash) = (unsigned)XXH3_64bits(key, size))
#include <uthash.h>

#endif
