// SPDX-License-Identifier: MPL-2.0
/**
 * Disturb: faults in the network of this process, for tests (weft/testing.h): at the DEALER's end of each link messages
 * are held back, late, or lost with their connection.
 *
 * Off unless weft_disturb_set was called; then the price is one relaxed load where a link is made. Links made before
 * are never disturbed. A cut is what TCP makes of a pulled cable: messages wait; after three seconds the connection is
 * given up with all that waits (ZMTP's heartbeats), and none comes about while the cut lasts.
 */
#ifndef WEFT_NET_DISTURB_H
#define WEFT_NET_DISTURB_H

#include <stdbool.h>
#include <stdint.h>

struct weft_disturbance {
    bool cut_out, cut_in;
    int64_t delay_out_us, delay_in_us;
    uint64_t breaks; // another number than before: the connection is lost now
};

/**
 * What happens to a link: of the part `party` ("broker-1/shard-0", or a client's name) to an endpoint. `serial` grows
 * with every link that is made. Any thread; fills in `out`, which is zeroed.
 */
typedef void weft_disturb_fn(const char *party, const char *endpoint, uint64_t serial, struct weft_disturbance *out);
void weft_disturb_set(weft_disturb_fn *fn); // NULL: off, for links made from now on
uint64_t weft_disturb_serial(void);         // of the link made last

#endif
