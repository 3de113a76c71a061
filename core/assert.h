/* SPDX-License-Identifier: Apache-2.0 */
/* assert.h: for bugs, never for input. Stays on in release: a wrong state must not reach the disk
 * or Kafka. Prints expression, file, line and function, then aborts. */
#ifndef CORE_ASSERT_H
#define CORE_ASSERT_H

#include "core/attributes.h"

void assert_failed(const char *expression, const char *file, int line,
                   const char *function) NORETURN;

#define ASSERT(expression)                                                                         \
    ((expression) ? (void)0 : assert_failed(#expression, __FILE__, __LINE__, __func__))

#endif
