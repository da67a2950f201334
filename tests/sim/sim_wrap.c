// SPDX-License-Identifier: MPL-2.0
#include "sim_wrap.h"

#include "../../lib/base/rand.h"

#include <weft_gen/codec.h>
#include <weft_gen/commands.h>

#include <time.h>

static uint64_t s_state;

void sim_wrap_seed(uint64_t seed)
{
    s_state = seed;
}

void __wrap_weft_rand_seed_os(weft_rand_t *self);
time_t __wrap_time(time_t *out);

void __wrap_weft_rand_seed_os(weft_rand_t *self)
{
    weft_rand_init(self, s_state += 0x9e3779b97f4a7c15ULL);
}

time_t __wrap_time(time_t *out)
{
    if (out != NULL) *out = 1700000000;
    return 1700000000;
}

void __real_weft_topic_created_command_encode(const struct weft_topic_created_command *self, weft_buf_t *out);
void __wrap_weft_topic_created_command_encode(const struct weft_topic_created_command *self, weft_buf_t *out);

void __wrap_weft_topic_created_command_encode(const struct weft_topic_created_command *self, weft_buf_t *out)
{
    struct weft_config_entry config[] = {{weft_slice_text("cleanup.policy"), weft_slice_text("compact")},
                                         {weft_slice_text("segment.bytes"), weft_slice_text("65536")},
                                         {weft_slice_text("segment.ms"), weft_slice_text("1s")},
                                         {weft_slice_text("compact.dirty.percent"), weft_slice_text("5")},
                                         {weft_slice_text("delete.retention.ms"), weft_slice_text("500ms")}};
    struct weft_topic_created_command command = *self;
    if (weft_slice_is_text(self->topic, "__offsets")) {
        command.config = config;
        command.config_count = sizeof config / sizeof config[0];
    }
    __real_weft_topic_created_command_encode(&command, out);
}
