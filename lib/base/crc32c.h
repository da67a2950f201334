// SPDX-License-Identifier: MPL-2.0
/**
 * CRC-32C (Castagnoli, RFC 3720 appendix B.4), extendable.
 *
 * weft_crc32c(weft_crc32c(0, a), b) is the CRC of a followed by b. Uses SSE4.2 with three interleaved streams where the
 * processor has it (chosen once at run time), a table of eight slices otherwise; both give the same value.
 */
#ifndef WEFT_BASE_CRC32C_H
#define WEFT_BASE_CRC32C_H

#include <stddef.h>
#include <stdint.h>

uint32_t weft_crc32c(uint32_t crc, const void *data, size_t size);

// The portable implementation, for the test that holds the two together.
uint32_t weft_crc32c_portable(uint32_t crc, const void *data, size_t size);

#endif
