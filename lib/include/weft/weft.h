// SPDX-License-Identifier: MPL-2.0
/**
 * Weft: a distributed commit log on ZeroMQ. This header brings the whole client: producer, consumer, admin.
 *
 * One thread at a time owns each object; see the header of each. Errors are weft_err_t (WEFT_OK = 0): weft_err_name,
 * weft_err_sentence, weft_err_class (what to do) and weft_err_outcome (whether it may have happened) tell more;
 * docs/ERRORS.md lists them.
 */
#ifndef WEFT_H
#define WEFT_H

#include <weft/admin.h>
#include <weft/consumer.h>
#include <weft/errors.h>
#include <weft/export.h>
#include <weft/producer.h>
#include <weft/record.h>
#include <weft/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/** "0.1.0": of the library that is running. */
WEFT_EXPORT const char *weft_version(void);

#ifdef __cplusplus
}
#endif

#endif
