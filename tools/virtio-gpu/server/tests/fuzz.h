/* SPDX-License-Identifier: MIT */
/*
 * What a fuzz target has: libFuzzer calls it (make fuzz), or replay.c with the
 * files of a corpus (make check)
 */
#ifndef TESTS_FUZZ_H
#define TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>

/* Returns 0; ends the process if something does not hold. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif /* TESTS_FUZZ_H */
