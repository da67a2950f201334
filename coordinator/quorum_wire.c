// SPDX-License-Identifier: MPL-2.0
// libraft's format of a configuration is: u8 1, u64 count, then per server u64 id, address with its terminator, u8
// role, padded with zeros to 8 bytes; integers little-endian. Its decoder reads past the end of a short one.
#include "quorum_wire.h"

#include "../lib/base/assert.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { S_ENTRY_HEAD_BYTES = 1 + 9 + 1 + 5 };

static uint64_t s_get_little(const uint8_t *at)
{
    uint64_t value = 0;
    for (int i = 7; i >= 0; i--) value = value << 8 | at[i];
    return value;
}

static uint64_t s_get(const uint8_t *at, int bytes)
{
    uint64_t value = 0;
    for (int i = 0; i < bytes; i++) value = value << 8 | at[i];
    return value;
}

static void s_put(uint8_t *at, uint64_t value, int bytes)
{
    for (int i = 0; i < bytes; i++) at[i] = (uint8_t) (value >> (8 * (bytes - 1 - i)));
}

// ---- voters

void weft_quorum_address(const struct weft_quorum_voter *voter, char address[WEFT_QUORUM_ADDRESS_BYTES_MAX])
{
    snprintf(address, WEFT_QUORUM_ADDRESS_BYTES_MAX, "%d=%s", voter->id, voter->endpoint);
}

bool weft_quorum_voter_of(const struct raft_server *server, struct weft_quorum_voter *out)
{
    char *end = NULL;
    long id = strtol(server->address, &end, 10);
    if (end == server->address || *end != '=' || id < 1 || id > INT32_MAX) return false;
    if (strlen(end + 1) >= sizeof out->endpoint) return false;
    *out = (struct weft_quorum_voter){.id = (int32_t) id, .server = server->id};
    strcpy(out->endpoint, end + 1);
    return true;
}

static bool s_distinct(const struct weft_quorum_voter *voters, size_t count)
{
    for (size_t i = 0; i + 1 < count; i++)
        if (voters[i].id == voters[count - 1].id || voters[i].server == voters[count - 1].server) return false;
    return true;
}

bool weft_quorum_configuration_guard(weft_slice_t bytes)
{
    if (bytes.size < 9 || bytes.size > 65536 || bytes.data[0] != 1) return false;
    uint64_t count = s_get_little(bytes.data + 1);
    if (count == 0 || count > WEFT_QUORUM_VOTERS_MAX) return false;
    struct weft_quorum_voter voters[WEFT_QUORUM_VOTERS_MAX];
    size_t at = 9;
    for (uint64_t i = 0; i < count; i++) {
        if (bytes.size - at < 8) return false;
        struct raft_server server = {.id = s_get_little(bytes.data + at)};
        at += 8;
        const uint8_t *end = memchr(bytes.data + at, 0, bytes.size - at);
        if (!end) return false;
        char address[WEFT_QUORUM_ADDRESS_BYTES_MAX];
        size_t length = (size_t) (end - (bytes.data + at));
        if (length >= sizeof address) return false;
        memcpy(address, bytes.data + at, length + 1);
        server.address = address;
        at += length + 1;
        if (at == bytes.size || bytes.data[at++] > RAFT_SPARE) return false;
        if (server.id == 0 || !weft_quorum_voter_of(&server, &voters[i]) || !s_distinct(voters, (size_t) i + 1))
            return false;
    }
    return bytes.size - at < 8;
}

bool weft_quorum_configuration_decode(weft_slice_t bytes, struct raft_configuration *out)
{
    if (!weft_quorum_configuration_guard(bytes)) return false;
    uint8_t *copy = weft_alloc(bytes.size);
    memcpy(copy, bytes.data, bytes.size);
    const struct raft_buffer buffer = {.base = copy, .len = bytes.size};
    int rv = raft_configuration_decode(&buffer, out);
    free(copy);
    return rv == 0;
}

void weft_quorum_configuration_encode(const struct raft_configuration *configuration, weft_buf_t *out)
{
    struct raft_buffer buffer;
    int rv = raft_configuration_encode(configuration, &buffer);
    weft_assert(rv == 0);
    weft_buf_append(out, buffer.base, buffer.len);
    raft_free(buffer.base);
}

void weft_quorum_configuration_copy(const struct raft_configuration *from, struct raft_configuration *to)
{
    raft_configuration_init(to);
    for (unsigned i = 0; i < from->n; i++) {
        int rv = raft_configuration_add(to, from->servers[i].id, from->servers[i].address, from->servers[i].role);
        weft_assert(rv == 0);
    }
}

const struct raft_server *weft_quorum_server(const struct raft_configuration *configuration, uint64_t server)
{
    for (unsigned i = 0; i < configuration->n; i++)
        if (configuration->servers[i].id == server) return &configuration->servers[i];
    return NULL;
}

const struct raft_server *weft_quorum_server_of_id(const struct raft_configuration *configuration, int32_t id)
{
    struct weft_quorum_voter voter;
    for (unsigned i = 0; i < configuration->n; i++)
        if (weft_quorum_voter_of(&configuration->servers[i], &voter) && voter.id == id)
            return &configuration->servers[i];
    return NULL;
}

size_t weft_quorum_count_voters(const struct raft_configuration *configuration)
{
    size_t count = 0;
    for (unsigned i = 0; i < configuration->n; i++) count += configuration->servers[i].role == RAFT_VOTER;
    return count;
}

// ---- entries

void weft_quorum_entry_append(uint64_t term, uint8_t kind, weft_slice_t data, weft_buf_t *out)
{
    uint8_t head[S_ENTRY_HEAD_BYTES] = {0x93, 0xcf};
    s_put(head + 2, term, 8);
    head[10] = kind;
    head[11] = 0xc6;
    s_put(head + 12, data.size, 4);
    weft_buf_append(out, head, sizeof head);
    if (data.size) weft_buf_append(out, data.data, data.size);
}

struct s_entry {
    uint64_t term;
    uint8_t kind;
    weft_slice_t data;
};

static bool s_next(weft_slice_t *rest, struct s_entry *out)
{
    if (rest->size < S_ENTRY_HEAD_BYTES) return false;
    const uint8_t *at = rest->data;
    if (at[0] != 0x93 || at[1] != 0xcf || at[11] != 0xc6) return false;
    size_t size = (size_t) s_get(at + 12, 4);
    if (size > rest->size - S_ENTRY_HEAD_BYTES) return false;
    *out = (struct s_entry){s_get(at + 2, 8), at[10], weft_slice(at + S_ENTRY_HEAD_BYTES, size)};
    *rest = weft_slice(at + S_ENTRY_HEAD_BYTES + size, rest->size - S_ENTRY_HEAD_BYTES - size);
    return true;
}

static bool s_sound(const struct s_entry *entry, uint64_t term_before, uint64_t term_max)
{
    if (entry->term == 0 || entry->term < term_before || entry->term > term_max) return false;
    if (entry->kind == RAFT_COMMAND) return entry->data.size > 0;
    if (entry->kind == RAFT_CHANGE) return weft_quorum_configuration_guard(entry->data);
    return entry->kind == RAFT_BARRIER;
}

bool weft_quorum_entries_decode(weft_slice_t bytes, uint64_t term_max, unsigned max, struct raft_entry **out,
                                unsigned *count)
{
    struct s_entry entry = {.term = 0};
    unsigned found = 0;
    uint64_t term = 0;
    for (weft_slice_t rest = bytes; rest.size; found++) {
        if (found == max || !s_next(&rest, &entry) || !s_sound(&entry, term, term_max)) return false;
        term = entry.term;
    }
    *out = NULL;
    *count = found;
    if (found == 0) return true;
    uint8_t *batch = raft_malloc(bytes.size);
    *out = raft_malloc(found * sizeof **out);
    weft_assert(batch && *out);
    memcpy(batch, bytes.data, bytes.size);
    weft_slice_t rest = weft_slice(batch, bytes.size);
    for (unsigned i = 0; i < found && s_next(&rest, &entry); i++) {
        uint8_t *data = batch + (entry.data.data - batch);
        (*out)[i] = (struct raft_entry){.term = entry.term,
                                        .type = (enum raft_entry_type) entry.kind,
                                        .buf = {.base = data, .len = entry.data.size},
                                        .batch = batch};
    }
    return true;
}
