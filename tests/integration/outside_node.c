// SPDX-License-Identifier: MPL-2.0
// Shared objects as strangers bring them, one for each value of OUTSIDE_*: a good one, one of another contract, one
// that is no node, one that needs what nobody has.
#include "echo_node.h"

#if defined(OUTSIDE_GOOD)
const struct weft_node_type weft_node_type_main = {.abi = WEFT_NODE_ABI,
                                                   .name = "echo-outside",
                                                   .doc = "Sends back what it gets.",
                                                   .options = echo_options,
                                                   .option_count = sizeof echo_options / sizeof *echo_options,
                                                   .counters = echo_counters,
                                                   .counter_count = 1,
                                                   .create = echo_create,
                                                   .run = echo_run,
                                                   .destroy = echo_destroy};
#elif defined(OUTSIDE_ABI)
const int weft_node_type_main = WEFT_NODE_ABI + 6; // behind the number nothing is as it was
#elif defined(OUTSIDE_EMPTY)
const struct weft_node_type *const weft_node_type_mine = &echo_type;
#else
weft_err_t weft_no_such_function(void);
weft_err_t weft_outside_call(void);
weft_err_t weft_outside_call(void)
{
    return weft_no_such_function();
}
const struct weft_node_type weft_node_type_main = {.abi = WEFT_NODE_ABI};
#endif
