// SPDX-License-Identifier: MPL-2.0
// The layout in SVG: plain elements and attributes, no script and no font that has to be there.
#include "layout.h"

#include <string.h>

#define S_CELL_WIDTH 8
#define S_CELL_HEIGHT 18
#define S_MARGIN 24

static int s_x(int cell)
{
    return S_MARGIN + cell * S_CELL_WIDTH;
}

static int s_y(int cell)
{
    return S_MARGIN + cell * S_CELL_HEIGHT;
}

static void s_text(weft_buf_t *out, const char *text)
{
    for (; *text; text++) {
        if (*text == '<')
            weft_buf_printf(out, "&lt;");
        else if (*text == '>')
            weft_buf_printf(out, "&gt;");
        else if (*text == '&')
            weft_buf_printf(out, "&amp;");
        else
            weft_buf_append(out, text, 1);
    }
}

static void s_line(weft_buf_t *out, const struct weft_layout *layout, const struct weft_layout_line *line)
{
    const struct weft_layout_box *from = &layout->boxes[line->from], *to = &layout->boxes[line->to];
    int half = S_CELL_WIDTH / 2, x = s_x(line->from_x) + half, x2 = s_x(line->to_x) + half;
    int y = s_y(from->kind == WEFT_LAYOUT_BEND ? from->y : from->y + from->height);
    int y2 = s_y(to->kind == WEFT_LAYOUT_BEND ? to->y : to->y);
    weft_buf_printf(out, "    <path d=\"M%d %d", x, y);
    if (line->track >= 0) {
        int turn = s_y(weft_layout_track_y(layout, line)) + S_CELL_HEIGHT / 2, way = x2 > x ? 6 : -6;
        if (x2 - x < 12 && x - x2 < 12) way = (x2 - x) / 2;
        weft_buf_printf(out, " V%d Q%d %d %d %d H%d Q%d %d %d %d", turn - 6, x, turn, x + way, turn, x2 - way, x2, turn,
                        x2, turn + 6);
    }
    weft_buf_printf(out, " V%d\"%s%s/>\n", y2,
                    line->head_down && to->kind != WEFT_LAYOUT_BEND ? " marker-end=\"url(#tip)\"" : "",
                    line->head_up && from->kind != WEFT_LAYOUT_BEND ? " marker-start=\"url(#tip)\"" : "");
}

static void s_label(weft_buf_t *out, const struct weft_layout *layout, const struct weft_layout_line *line)
{
    if (!line->label[0]) return;
    weft_buf_printf(out, "    <text x=\"%d\" y=\"%d\">", s_x(line->to_x) + S_CELL_WIDTH + 2,
                    s_y(weft_layout_bottom_y(layout, line)) + 2);
    s_text(out, line->label);
    weft_buf_printf(out, "</text>\n");
}

static void s_box(weft_buf_t *out, const struct weft_layout_box *box)
{
    static const char *const styles[] = {"fill=\"#e0f2fe\" stroke=\"#0284c7\"", "fill=\"#fef3c7\" stroke=\"#d97706\"",
                                         "fill=\"#ffffff\" stroke=\"#94a3b8\" stroke-dasharray=\"5 4\""};
    if (box->kind == WEFT_LAYOUT_BEND) return;
    weft_buf_printf(out, "  <rect x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" rx=\"7\" %s/>\n", s_x(box->x),
                    s_y(box->y), box->width * S_CELL_WIDTH, box->height * S_CELL_HEIGHT, styles[box->kind]);
    for (size_t i = 0; i < box->line_count; i++) {
        weft_buf_printf(out, "  <text x=\"%d\" y=\"%d\"%s xml:space=\"preserve\">", s_x(box->x + 2),
                        s_y(box->y + (int) i + 1) + 13,
                        i == 0 && box->kind != WEFT_LAYOUT_OUTSIDE ? " font-weight=\"bold\"" : "");
        s_text(out, box->lines[i]);
        weft_buf_printf(out, "</text>\n");
    }
}

void weft_topology_draw_svg(const weft_topology_t *self, weft_buf_t *out)
{
    struct weft_layout layout;
    weft_layout_init(&layout, self);
    int width = 2 * S_MARGIN + layout.width * S_CELL_WIDTH, height = 2 * S_MARGIN + layout.height * S_CELL_HEIGHT;
    weft_buf_printf(out,
                    "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" width=\"%d\" height=\"%d\" "
                    "font-family=\"ui-monospace, Menlo, Consolas, 'DejaVu Sans Mono', monospace\" font-size=\"13\" "
                    "fill=\"#0f172a\">\n  <!-- SPDX-License-Identifier: MPL-2.0 -->\n  <title>",
                    width, height, width, height);
    s_text(out, self->name);
    weft_buf_printf(out,
                    "</title>\n  <defs>\n    <marker id=\"tip\" viewBox=\"0 0 10 10\" refX=\"9\" refY=\"5\" "
                    "markerWidth=\"7\" markerHeight=\"7\" orient=\"auto-start-reverse\">\n      <path d=\"M0 0 L10 5 "
                    "L0 10 z\" fill=\"#475569\"/>\n    </marker>\n  </defs>\n");
    weft_buf_printf(out, "  <rect width=\"%d\" height=\"%d\" fill=\"#ffffff\"/>\n", width, height);
    weft_buf_printf(out, "  <g fill=\"none\" stroke=\"#475569\" stroke-width=\"1.5\">\n");
    for (size_t i = 0; i < layout.line_count; i++) s_line(out, &layout, &layout.lines[i]);
    weft_buf_printf(out, "  </g>\n  <g fill=\"#475569\" font-style=\"italic\">\n");
    for (size_t i = 0; i < layout.line_count; i++) s_label(out, &layout, &layout.lines[i]);
    weft_buf_printf(out, "  </g>\n");
    for (size_t i = 0; i < layout.box_count; i++) s_box(out, &layout.boxes[i]);
    weft_buf_printf(out, "</svg>\n");
    weft_layout_fini(&layout);
}
