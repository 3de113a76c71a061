/* SPDX-License-Identifier: Apache-2.0 */
/* attributes.h: what the compiler should check for us. */
#ifndef CORE_ATTRIBUTES_H
#define CORE_ATTRIBUTES_H

#define MUST_CHECK __attribute__((warn_unused_result))
#define PRINTF_LIKE(text, first) __attribute__((format(printf, text, first)))
#define NORETURN __attribute__((noreturn))

#endif
