/* tests/unit/test.h - what every unit test includes: cmocka and its forerunners, in the right order. */
#ifndef TESTS_UNIT_TEST_H
#define TESTS_UNIT_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* The folder of reference data that developers and CI have and users do not; NULL where absent. */
static inline const char *test_shared_dir(void) { return getenv("NARU_SHARED"); }

#endif
