/* base/attr.h - the only place for compiler extensions.
 *
 * Idea: the rest of the code is C17; what gcc and clang offer beyond it is named here once. */
#ifndef BASE_ATTR_H
#define BASE_ATTR_H

#define NODISCARD __attribute__((warn_unused_result))
#define NORETURN __attribute__((noreturn))
#define PRINTF_LIKE(fmt_at, args_at) __attribute__((format(printf, fmt_at, args_at)))
#define UNUSED __attribute__((unused))
#define ALWAYS_INLINE inline __attribute__((always_inline))
#define LIKELY(x) __builtin_expect(!!(x), 1)
#define UNLIKELY(x) __builtin_expect(!!(x), 0)
/* Keeps the vector v in a register here and its sums in the written order: without it gcc regroups
 * long chains of integer additions into trees and spills what does not fit. */
#if defined(__x86_64__)
#define PIN_VECTOR(v) __asm__("" : "+x"(v))
#elif defined(__aarch64__)
#define PIN_VECTOR(v) __asm__("" : "+w"(v))
#endif
/* Keeps the value of a pointer here: gcc would otherwise hold one for every round of an unrolled
 * loop, and spill them. */
#define PIN_POINTER(p) __asm__("" : "+r"(p))
/* Before a loop of a constant number of rounds, 16 at most: its arrays then live in registers. */
#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif
/* A function that may use instructions the rest of the program does not: called after asking. */
#define TARGET_ISA(isa) __attribute__((target(isa)))
#define CACHE_LINE 64
#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

#endif
