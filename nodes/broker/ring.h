// SPDX-License-Identifier: MPL-2.0
/**
 * Ring: a list whose members carry their own places, so that taking one out costs nothing and allocates nothing. A
 * node stands in at most one ring; `owner` is what it belongs to.
 */
#ifndef WEFT_BROKER_RING_H
#define WEFT_BROKER_RING_H

#include <stdbool.h>
#include <stddef.h>

struct weft_ring_node {
    struct weft_ring_node *next, *previous; // NULL: in no ring
    void *owner;
};

/** The ring itself: a node that belongs to nobody. Must not be moved once it was initialised. */
typedef struct weft_ring {
    struct weft_ring_node head;
} weft_ring_t;

static inline void weft_ring_init(weft_ring_t *self)
{
    self->head.next = self->head.previous = &self->head;
    self->head.owner = NULL;
}

static inline bool weft_ring_empty(const weft_ring_t *self)
{
    return self->head.next == &self->head;
}

static inline bool weft_ring_in(const struct weft_ring_node *node)
{
    return node->next != NULL;
}

static inline void weft_ring_take(struct weft_ring_node *node)
{
    if (node->next == NULL) return;
    node->next->previous = node->previous;
    node->previous->next = node->next;
    node->next = node->previous = NULL;
}

// At the end; taken out of the ring in which it stood.
static inline void weft_ring_push(weft_ring_t *self, struct weft_ring_node *node)
{
    weft_ring_take(node);
    node->next = &self->head;
    node->previous = self->head.previous;
    node->previous->next = node;
    self->head.previous = node;
}

// What the oldest node belongs to; NULL: empty.
static inline void *weft_ring_first(const weft_ring_t *self)
{
    return self->head.next->owner;
}

#endif
