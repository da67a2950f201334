// SPDX-License-Identifier: MPL-2.0
#include "inner.h"
void weft_topology_draw_text(const weft_topology_t *self, weft_buf_t *out)
{
    (void) self;
    (void) out;
}
void weft_topology_draw_svg(const weft_topology_t *self, weft_buf_t *out)
{
    (void) self;
    (void) out;
}
