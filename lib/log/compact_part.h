// SPDX-License-Identifier: MPL-2.0
/**
 * Compact part: runs the compactions of one node, one after the other, on a thread of its own.
 *
 * Parts that own logs post WEFT_MAIL_COMPACT with a struct weft_compact_request; it comes back to its sender as
 * WEFT_MAIL_COMPACTED once the run has ended, however it did. Between two steps (a megabyte or so) it reads its mail
 * and keeps to its rate, by the port's clock: it never sleeps. It blocks on its disk, as the sync part does.
 */
#ifndef WEFT_LOG_COMPACT_PART_H
#define WEFT_LOG_COMPACT_PART_H

#include "../wire/port.h"
#include "compact.h"

enum { WEFT_MAIL_COMPACT = 0x5303, WEFT_MAIL_COMPACTED = 0x5304 };

/** Body of both mails; allocated by the sender, comes back to it, freed by it. */
struct weft_compact_request {
    weft_compact_t *job;
    void *owner; // the sender's; untouched
};

// bytes_per_s: of reading and writing together; 0: no limit. A stop cancels what is under way and what waits; it has
// stopped once all is answered. Stop it after the parts that post to it.
struct weft_part *weft_compact_part_new(const char *name, int64_t bytes_per_s);
// Frees a request and its job: for mail that can't be delivered.
void weft_compact_request_free(void *body);

#endif
