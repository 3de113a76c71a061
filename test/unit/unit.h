/* SPDX-License-Identifier: Apache-2.0 */
/* unit.h: what every unit test includes before cmocka, in the order cmocka wants. */
#ifndef TEST_UNIT_H
#define TEST_UNIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#endif
