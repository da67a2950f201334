// SPDX-License-Identifier: MPL-2.0
// Older spans are forgotten: who has to go back so far is not told, as if nothing had been noted.
#include "epochs.h"

static const struct weft_bridge_epoch s_none = {INT64_MAX, -1};

void weft_bridge_epochs_init(struct weft_bridge_epochs *self)
{
    *self = (struct weft_bridge_epochs){s_none, s_none, -1};
}

int32_t weft_bridge_epochs_of(const struct weft_bridge_epochs *self, int64_t offset)
{
    if (offset >= self->now.from) return self->now.epoch;
    return offset >= self->before.from ? self->before.epoch : -1;
}

void weft_bridge_epochs_cut(struct weft_bridge_epochs *self, int64_t end)
{
    if (self->now.from >= end) {
        self->now = self->before;
        self->before = s_none;
    }
    if (self->now.from >= end) self->now = s_none;
}

bool weft_bridge_epochs_begin(struct weft_bridge_epochs *self, int64_t from, int32_t epoch)
{
    if (weft_bridge_epochs_of(self, from) == epoch) return false;
    weft_bridge_epochs_cut(self, from);
    self->before = self->now;
    self->now = (struct weft_bridge_epoch){from, epoch};
    return true;
}
