/* SPDX-License-Identifier: Apache-2.0 */
/* disk.h: writing to a file without the cases that every caller would have to know. */
#ifndef CORE_DISK_H
#define CORE_DISK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/attributes.h"

/* All bytes at this place, however often the kernel takes only some. False with errno; what was
 * written before the error stays. */
bool disk_write_at(int fd, const void *bytes, size_t size, uint64_t offset) MUST_CHECK;

#endif
