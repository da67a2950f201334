// SPDX-License-Identifier: MPL-2.0
// The layout in characters: lines are first collected as the directions in which each cell is crossed, so that corners
// and crossings come out right; boxes and text go on top.
#include "layout.h"

#include <stdlib.h>
#include <string.h>

#define S_CELLS_MAX (8u << 20)

enum { S_UP = 1, S_DOWN = 2, S_LEFT = 4, S_RIGHT = 8 };

struct s_canvas {
    int width, height;
    uint32_t *cells; // directions, or a code point from 32 on
};

static uint32_t *s_cell(struct s_canvas *canvas, int x, int y)
{
    static uint32_t nowhere;
    if (x < 0 || y < 0 || x >= canvas->width || y >= canvas->height) return &nowhere;
    return &canvas->cells[(size_t) y * (size_t) canvas->width + (size_t) x];
}

static void s_way(struct s_canvas *canvas, int x, int y, uint32_t directions)
{
    uint32_t *cell = s_cell(canvas, x, y);
    if (*cell < 16) *cell |= directions;
}

static void s_put(struct s_canvas *canvas, int x, int y, uint32_t point)
{
    *s_cell(canvas, x, y) = point;
}

// UTF-8 to code points; what is none was replaced when the file was read.
static void s_write(struct s_canvas *canvas, int x, int y, const char *text)
{
    const unsigned char *at = (const unsigned char *) text;
    while (*at) {
        uint32_t point = *at++;
        int more = point >= 0xf0 ? 3 : point >= 0xe0 ? 2 : point >= 0xc0 ? 1 : 0;
        if (more) point &= 0x3fu >> more;
        while (more-- > 0 && *at) point = point << 6 | (*at++ & 0x3f);
        s_put(canvas, x++, y, point);
    }
}

static void s_vertical(struct s_canvas *canvas, int x, int from, int to)
{
    for (int y = from; y <= to; y++) s_way(canvas, x, y, (y > from ? S_UP : 0) | (y < to ? S_DOWN : 0));
}

static void s_line(struct s_canvas *canvas, const struct weft_layout *layout, const struct weft_layout_line *line)
{
    int top = weft_layout_top_y(layout, line), bottom = weft_layout_bottom_y(layout, line);
    bool passes_up = layout->boxes[line->from].kind == WEFT_LAYOUT_BEND,
         passes_down = layout->boxes[line->to].kind == WEFT_LAYOUT_BEND;
    if (line->track < 0) {
        s_vertical(canvas, line->from_x, top, bottom);
    } else {
        int turn = weft_layout_track_y(layout, line), step = line->to_x > line->from_x ? 1 : -1;
        s_vertical(canvas, line->from_x, top, turn);
        s_vertical(canvas, line->to_x, turn, bottom);
        s_way(canvas, line->from_x, turn, step > 0 ? S_RIGHT : S_LEFT);
        for (int x = line->from_x + step; x != line->to_x; x += step) s_way(canvas, x, turn, S_LEFT | S_RIGHT);
        s_way(canvas, line->to_x, turn, step > 0 ? S_LEFT : S_RIGHT);
    }
    s_way(canvas, line->from_x, top, S_UP);
    s_way(canvas, line->to_x, bottom, S_DOWN);
    if (line->head_up && !passes_up) s_put(canvas, line->from_x, top, 0x25b2);
    if (line->head_down && !passes_down) s_put(canvas, line->to_x, bottom, 0x25bc);
    if (line->label[0]) s_write(canvas, line->to_x + 2, bottom - 1, line->label);
}

static void s_box(struct s_canvas *canvas, const struct weft_layout_box *box)
{
    if (box->kind == WEFT_LAYOUT_BEND) {
        for (int y = box->y; y < box->y + box->height; y++) s_way(canvas, box->x, y, S_UP | S_DOWN);
        return;
    }
    bool cluster = box->kind == WEFT_LAYOUT_CLUSTER, outside = box->kind == WEFT_LAYOUT_OUTSIDE;
    int right = box->x + box->width - 1, bottom = box->y + box->height - 1;
    uint32_t level = cluster   ? 0x2550
                     : outside ? 0x2504
                               : 0x2500,
             upright = cluster   ? 0x2551
                       : outside ? 0x250a
                                 : 0x2502;
    for (int x = box->x + 1; x < right; x++) {
        s_put(canvas, x, box->y, level);
        s_put(canvas, x, bottom, level);
    }
    for (int y = box->y + 1; y < bottom; y++) {
        for (int x = box->x + 1; x < right; x++) s_put(canvas, x, y, ' ');
        s_put(canvas, box->x, y, upright);
        s_put(canvas, right, y, upright);
    }
    s_put(canvas, box->x, box->y, cluster ? 0x2554 : 0x250c);
    s_put(canvas, right, box->y, cluster ? 0x2557 : 0x2510);
    s_put(canvas, box->x, bottom, cluster ? 0x255a : 0x2514);
    s_put(canvas, right, bottom, cluster ? 0x255d : 0x2518);
    for (size_t i = 0; i < box->line_count; i++) s_write(canvas, box->x + 2, box->y + 1 + (int) i, box->lines[i]);
}

static void s_append(weft_buf_t *out, uint32_t point)
{
    uint8_t bytes[4];
    size_t size = 0;
    if (point < 0x80) {
        bytes[size++] = (uint8_t) point;
    } else if (point < 0x800) {
        bytes[size++] = (uint8_t) (0xc0 | point >> 6);
        bytes[size++] = (uint8_t) (0x80 | (point & 0x3f));
    } else {
        bytes[size++] = (uint8_t) (0xe0 | (point >> 12 & 0x0f));
        bytes[size++] = (uint8_t) (0x80 | (point >> 6 & 0x3f));
        bytes[size++] = (uint8_t) (0x80 | (point & 0x3f));
    }
    weft_buf_append(out, bytes, size);
}

static void s_print(const struct s_canvas *canvas, weft_buf_t *out)
{
    // by directions: up 1, down 2, left 4, right 8
    static const uint32_t points[16] = {' ',    0x2502, 0x2502, 0x2502, 0x2500, 0x2518, 0x2510, 0x2524,
                                        0x2500, 0x2514, 0x250c, 0x251c, 0x2500, 0x2534, 0x252c, 0x253c};
    for (int y = 0; y < canvas->height; y++) {
        const uint32_t *row = &canvas->cells[(size_t) y * (size_t) canvas->width];
        int end = canvas->width;
        while (end > 0 && (row[end - 1] == 0 || row[end - 1] == ' ')) end--;
        for (int x = 0; x < end; x++) s_append(out, row[x] < 16 ? points[row[x]] : row[x]);
        weft_buf_append(out, "\n", 1);
    }
}

void weft_topology_draw_text(const weft_topology_t *self, weft_buf_t *out)
{
    struct weft_layout layout;
    weft_layout_init(&layout, self);
    struct s_canvas canvas = {layout.width + 40, layout.height, NULL}; // labels may stand out at the right
    if ((size_t) canvas.width * (size_t) canvas.height > S_CELLS_MAX) {
        weft_buf_printf(out, "%s is too large to be drawn as text (%d by %d); --svg draws it.\n", self->name,
                        canvas.width, canvas.height);
    } else {
        canvas.cells = weft_calloc((size_t) canvas.width * (size_t) canvas.height + 1, sizeof *canvas.cells);
        for (size_t i = 0; i < layout.line_count; i++) s_line(&canvas, &layout, &layout.lines[i]);
        for (size_t i = 0; i < layout.box_count; i++) s_box(&canvas, &layout.boxes[i]);
        s_print(&canvas, out);
        free(canvas.cells);
    }
    if (layout.left_out) weft_buf_printf(out, "(%zu ways more)\n", layout.left_out);
    weft_layout_fini(&layout);
}
