// SPDX-License-Identifier: MPL-2.0
/**
 * Awake: a thread that expects work at once looks out for it for a moment before it sleeps. Being woken costs some 20 us
 * where the processor has gone idle meanwhile, so a node that only passes messages on saves more than half of what it
 * adds to their way (docs/EDGE.md).
 *
 * It costs others nothing but idle processor time: whoever else wants the processor gets it at each look, and was one
 * seen to use it, the thread sleeps as usual for a while. Looking out in vain is held to a 20th of the time.
 * Seastar's idle polling is the example (its default is 200 us); the two limits are ours.
 */
#ifndef WEFT_NET_AWAKE_H
#define WEFT_NET_AWAKE_H

#include <poll.h>
#include <stddef.h>
#include <stdint.h>

struct weft_awake {
    int64_t most_us;       // how long to look out; 0: never, and a struct of zeros is ready for use
    int64_t credit_us;     // what may be spent in vain
    int64_t credited_us;   // when the credit was looked at last
    int64_t rest_until_us; // others use the processor
};

// Looks at the descriptors until one is readable, for at most most_us. How many are, as poll(2) tells; 0: sleep.
int weft_awake_look(struct weft_awake *self, struct pollfd *polls, size_t count);

#endif
