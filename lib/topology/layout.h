// SPDX-License-Identifier: MPL-2.0
/**
 * Layout: a topology as boxes, lines and labels with places, in cells as wide as a character and as high as a line; the
 * text picture and the SVG are both drawn from it.
 *
 * Records flow downward, layer by layer. A cluster is one box that lists its nodes; what stands outside the file (the
 * endpoints it names, and who connects to a node that only listens) has a box too. A way back up, to a cluster that a
 * filter both reads and writes, is drawn upward.
 */
#ifndef WEFT_TOPOLOGY_LAYOUT_H
#define WEFT_TOPOLOGY_LAYOUT_H

#include "inner.h"

#define WEFT_LAYOUT_LINES_MAX 20 // of one box
#define WEFT_LAYOUT_TEXT_BYTES 96

enum weft_layout_kind { WEFT_LAYOUT_CLUSTER, WEFT_LAYOUT_NODE, WEFT_LAYOUT_OUTSIDE, WEFT_LAYOUT_BEND };

struct weft_layout_box {
    enum weft_layout_kind kind; // BEND: a line passes here on its way through a layer
    char (*lines)[WEFT_LAYOUT_TEXT_BYTES];
    size_t line_count;
    size_t layer, place; // place: from the left
    int x, y, width, height;
    double wish; // where it would like to be, while x is searched
};

// A line between neighbouring layers; a long way is several of them.
struct weft_layout_line {
    size_t from, to; // boxes: the upper and the lower one
    bool head_up, head_down;
    char label[WEFT_LAYOUT_TEXT_BYTES]; // beside its lower end
    int from_x, to_x;
    int track; // row of its level part below the upper layer; -1: it is straight
};

struct weft_layout {
    struct weft_layout_box *boxes;
    size_t box_count, box_capacity;
    struct weft_layout_line *lines;
    size_t line_count, line_capacity;
    size_t layer_count;
    int *layer_y, *layer_height; // of its boxes
    int *tracks;                 // rows of level parts below it
    bool *labels;                // a row of labels stands above it
    int width, height;
    size_t left_out; // lines that would make the picture too large
};

void weft_layout_init(struct weft_layout *self, const weft_topology_t *topology);
void weft_layout_fini(struct weft_layout *self);

// Row of a line's level part, and those of its ends: just below the upper box, just above the lower one.
int weft_layout_track_y(const struct weft_layout *self, const struct weft_layout_line *line);
int weft_layout_top_y(const struct weft_layout *self, const struct weft_layout_line *line);
int weft_layout_bottom_y(const struct weft_layout *self, const struct weft_layout_line *line);
size_t weft_layout_columns(const char *text); // of UTF-8

// layout_graph.c: boxes and lines, without places
void weft_layout_graph(struct weft_layout *self, const weft_topology_t *topology);
size_t weft_layout_add_box(struct weft_layout *self, enum weft_layout_kind kind);
void weft_layout_add_text(struct weft_layout *self, size_t box, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
struct weft_layout_line *weft_layout_add_line(struct weft_layout *self, size_t from, size_t to);

#endif
