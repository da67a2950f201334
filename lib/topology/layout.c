// SPDX-License-Identifier: MPL-2.0
/*
 * Layers, order, places, ports, tracks, in this order (after Sugiyama): each line goes down one layer at least (those
 * that close a circle are turned round, and keep their head); long ways get a bend in each layer between; boxes of a
 * layer are sorted by where their neighbours are, then moved towards them as far as their own neighbours allow
 * (isotonic regression: pool adjacent violators). Lines leave and enter at ports of their own, so that no two of them
 * join, and turn on tracks.
 */
#include "layout.h"

#include "../base/assert.h"

#include <stdlib.h>
#include <string.h>

#define S_GAP 4          // cells between boxes
#define S_PORT_GAP 4     // between ports of a box
#define S_BENDS_MAX 2048 // beyond, lines are left out
#define S_SWEEPS 6

size_t weft_layout_columns(const char *text)
{
    size_t columns = 0;
    for (; *text; text++) columns += ((unsigned char) *text & 0xc0) != 0x80;
    return columns;
}

// ---- layers

struct s_visit {
    struct weft_layout *self;
    char *state;
};

// Turns round the lines that lead back to a box on the way.
static void s_turn(struct s_visit *visit, size_t box)
{
    struct weft_layout *self = visit->self;
    visit->state[box] = 1;
    for (size_t i = 0; i < self->line_count; i++) {
        struct weft_layout_line *line = &self->lines[i];
        if (line->from != box || line->head_up) continue;
        if (visit->state[line->to] == 1) {
            size_t to = line->to;
            line->to = line->from;
            line->from = to;
            line->head_up = true;
            line->head_down = false;
        } else if (visit->state[line->to] == 0) {
            s_turn(visit, line->to); // as deep as there are boxes: some hundreds
        }
    }
    visit->state[box] = 2;
}

static void s_find_layers(struct weft_layout *self)
{
    struct s_visit visit = {self, weft_calloc(self->box_count + 1, 1)};
    for (size_t i = 0; i < self->box_count; i++)
        if (!visit.state[i]) s_turn(&visit, i);
    free(visit.state);
    for (bool moved = true; moved;) { // no circles are left: it comes to an end
        moved = false;
        for (size_t i = 0; i < self->line_count; i++) {
            size_t above = self->boxes[self->lines[i].from].layer;
            if (self->boxes[self->lines[i].to].layer > above) continue;
            self->boxes[self->lines[i].to].layer = above + 1;
            moved = true;
        }
    }
    // A box at the top that has only lines down stands right above the nearest box below it.
    for (size_t i = 0; i < self->box_count; i++) {
        size_t nearest = SIZE_MAX;
        bool top = true;
        for (size_t k = 0; k < self->line_count; k++) {
            if (self->lines[k].to == i) top = false;
            if (self->lines[k].from == i && self->boxes[self->lines[k].to].layer < nearest)
                nearest = self->boxes[self->lines[k].to].layer;
        }
        if (top && nearest != SIZE_MAX && nearest > 0) self->boxes[i].layer = nearest - 1;
    }
    for (size_t i = 0; i < self->box_count; i++)
        if (self->boxes[i].layer >= self->layer_count) self->layer_count = self->boxes[i].layer + 1;
}

// A line over several layers becomes one from bend to bend.
static void s_bend(struct weft_layout *self)
{
    size_t count = self->line_count, bends = 0, kept = 0;
    for (size_t i = 0; i < count; i++) {
        size_t more = self->boxes[self->lines[i].to].layer - self->boxes[self->lines[i].from].layer - 1;
        if (bends + more > S_BENDS_MAX) {
            self->left_out++;
            continue;
        }
        bends += more;
        self->lines[kept++] = self->lines[i];
    }
    self->line_count = count = kept;
    for (size_t i = 0; i < count; i++) {
        struct weft_layout_line whole = self->lines[i];
        size_t upper = whole.from, target = whole.to;
        while (self->boxes[upper].layer + 1 < self->boxes[target].layer) {
            size_t bend = weft_layout_add_box(self, WEFT_LAYOUT_BEND);
            self->boxes[bend].layer = self->boxes[upper].layer + 1;
            self->boxes[bend].width = 1;
            if (upper == whole.from) {
                self->lines[i].to = bend;
                self->lines[i].head_down = false;
                self->lines[i].label[0] = '\0';
            } else {
                weft_layout_add_line(self, upper, bend);
            }
            upper = bend;
        }
        if (upper == whole.from) continue;
        struct weft_layout_line *last = weft_layout_add_line(self, upper, target);
        last->head_down = whole.head_down;
        memcpy(last->label, whole.label, sizeof last->label);
    }
}

// ---- sizes

static int s_label_room(const struct weft_layout_line *line)
{
    int columns = (int) weft_layout_columns(line->label);
    return columns > 0 ? columns + 3 : S_PORT_GAP;
}

static void s_size(struct weft_layout *self)
{
    for (size_t i = 0; i < self->box_count; i++) {
        struct weft_layout_box *box = &self->boxes[i];
        if (box->kind == WEFT_LAYOUT_BEND) continue;
        int widest = 4, in = 0, out = 0;
        for (size_t k = 0; k < box->line_count; k++)
            if ((int) weft_layout_columns(box->lines[k]) > widest) widest = (int) weft_layout_columns(box->lines[k]);
        for (size_t k = 0; k < self->line_count; k++) {
            if (self->lines[k].to == i) in += s_label_room(&self->lines[k]);
            if (self->lines[k].from == i) out += S_PORT_GAP;
        }
        box->width = widest + 4;
        if (in + 3 > box->width) box->width = in + 3;
        if (out + 3 > box->width) box->width = out + 3;
        box->height = (int) box->line_count + 2;
    }
}

// ---- order and places

static size_t *s_layer(const struct weft_layout *self, size_t layer, size_t *count)
{
    size_t *boxes = weft_alloc((self->box_count + 1) * sizeof *boxes);
    *count = 0;
    for (size_t i = 0; i < self->box_count; i++) {
        if (self->boxes[i].layer != layer) continue;
        size_t at = (*count)++; // by place
        for (; at > 0 && self->boxes[boxes[at - 1]].place > self->boxes[i].place; at--) boxes[at] = boxes[at - 1];
        boxes[at] = i;
    }
    return boxes;
}

static double s_middle(const struct weft_layout_box *box)
{
    return box->x + (box->width - 1) / 2.0;
}

// Where a box would like its middle to be: the mean of its neighbours, above or below.
static double s_wish(const struct weft_layout *self, size_t box, bool above)
{
    double sum = 0;
    size_t count = 0;
    for (size_t i = 0; i < self->line_count; i++) {
        const struct weft_layout_line *line = &self->lines[i];
        size_t other = above ? (line->to == box ? line->from : SIZE_MAX) : (line->from == box ? line->to : SIZE_MAX);
        if (other == SIZE_MAX) continue;
        sum += s_middle(&self->boxes[other]);
        count++;
    }
    return count ? sum / (double) count : s_middle(&self->boxes[box]);
}

static void s_sort(struct weft_layout *self, size_t layer, bool above)
{
    size_t count;
    size_t *boxes = s_layer(self, layer, &count);
    for (size_t i = 0; i < count; i++) self->boxes[boxes[i]].wish = s_wish(self, boxes[i], above);
    for (size_t i = 1; i < count; i++) { // stable: what is equal stays in the order of the file
        size_t box = boxes[i], at = i;
        for (; at > 0 && self->boxes[boxes[at - 1]].wish > self->boxes[box].wish; at--) boxes[at] = boxes[at - 1];
        boxes[at] = box;
    }
    for (size_t i = 0; i < count; i++) self->boxes[boxes[i]].place = i;
    free(boxes);
}

// Places as near to the wishes as the widths allow: in coordinates without the widths the places must not fall, so
// neighbours that want to be the other way round share their mean.
static void s_move(struct weft_layout *self, size_t layer, bool above)
{
    size_t count, blocks = 0;
    size_t *boxes = s_layer(self, layer, &count), *sizes = weft_alloc((count + 1) * sizeof *sizes);
    double *means = weft_alloc((count + 1) * sizeof *means), offset = 0;
    for (size_t i = 0; i < count; i++) {
        const struct weft_layout_box *box = &self->boxes[boxes[i]];
        means[blocks] = s_wish(self, boxes[i], above) - (box->width - 1) / 2.0 - offset;
        sizes[blocks++] = 1;
        offset += box->width + S_GAP;
        while (blocks > 1 && means[blocks - 2] > means[blocks - 1]) {
            size_t a = sizes[blocks - 2], b = sizes[blocks - 1];
            means[blocks - 2] = (means[blocks - 2] * (double) a + means[blocks - 1] * (double) b) / (double) (a + b);
            sizes[blocks-- - 2] = a + b;
        }
    }
    offset = 0;
    for (size_t block = 0, i = 0; block < blocks; block++) {
        for (size_t k = 0; k < sizes[block]; k++, i++) {
            double x = means[block] + offset;
            self->boxes[boxes[i]].x = (int) (x >= 0 ? x + 0.5 : x - 0.5);
            offset += self->boxes[boxes[i]].width + S_GAP;
        }
    }
    free(boxes);
    free(sizes);
    free(means);
}

static void s_pack(struct weft_layout *self, size_t layer)
{
    size_t count;
    size_t *boxes = s_layer(self, layer, &count);
    int x = 0;
    for (size_t i = 0; i < count; i++) {
        self->boxes[boxes[i]].place = i;
        self->boxes[boxes[i]].x = x;
        x += self->boxes[boxes[i]].width + S_GAP;
    }
    for (size_t i = 0; i < count; i++) self->boxes[boxes[i]].x -= x / 2;
    free(boxes);
}

static void s_find_places(struct weft_layout *self)
{
    for (size_t i = 0; i < self->box_count; i++) self->boxes[i].place = i;
    for (size_t layer = 0; layer < self->layer_count; layer++) s_pack(self, layer);
    for (int sweep = 0; sweep < S_SWEEPS; sweep++) {
        for (size_t k = 1; k < self->layer_count; k++) {
            bool above = sweep % 2 == 0;
            size_t layer = above ? k : self->layer_count - 1 - k;
            if (sweep < S_SWEEPS / 2) s_sort(self, layer, above);
            s_move(self, layer, above);
        }
    }
    int left = 0;
    for (size_t i = 0; i < self->box_count; i++)
        if (i == 0 || self->boxes[i].x < left) left = self->boxes[i].x;
    for (size_t i = 0; i < self->box_count; i++) {
        self->boxes[i].x -= left;
        if (self->boxes[i].x + self->boxes[i].width > self->width)
            self->width = self->boxes[i].x + self->boxes[i].width;
    }
}

// ---- ports

// Ports of one side of a box, as near to the other ends as the room of the labels allows.
static void s_find_ports(struct weft_layout *self, size_t box, bool top)
{
    const struct weft_layout_box *it = &self->boxes[box];
    size_t count = 0;
    struct weft_layout_line **lines = weft_alloc((self->line_count + 1) * sizeof *lines);
    for (size_t i = 0; i < self->line_count; i++) {
        struct weft_layout_line *line = &self->lines[i];
        if ((top ? line->to : line->from) != box) continue;
        double middle = s_middle(&self->boxes[top ? line->from : line->to]);
        size_t at = count++;
        for (; at > 0 && s_middle(&self->boxes[top ? lines[at - 1]->from : lines[at - 1]->to]) > middle; at--)
            lines[at] = lines[at - 1];
        lines[at] = line;
    }
    int right = it->x + it->width - 2;
    for (size_t i = count; i-- > 0;) { // from the right: each as far left as it wants, room behind it for its label
        struct weft_layout_line *line = lines[i];
        const struct weft_layout_box *other = &self->boxes[top ? line->from : line->to];
        int room = top ? s_label_room(line) : S_PORT_GAP, wish = top ? (int) s_middle(other) : line->to_x;
        int before = 0;
        for (size_t k = 0; k < i; k++) before += top ? s_label_room(lines[k]) : S_PORT_GAP;
        if (count == 1 && top && (wish < it->x + 2 || wish > right - 1)) wish = (int) s_middle(it);
        int x = wish, last = right - (line->label[0] && top ? room - 2 : 0);
        if (x > last) x = last;
        if (x < it->x + 2 + before) x = it->x + 2 + before;
        if (it->kind == WEFT_LAYOUT_BEND) x = it->x;
        *(top ? &line->to_x : &line->from_x) = x;
        right = x - S_PORT_GAP;
    }
    free(lines);
}

// Where one line goes down and another one turns in the same column they would seem to join.
static void s_part_ports(struct weft_layout *self)
{
    for (size_t i = 0; i < self->line_count; i++) {
        for (size_t k = 0; k < self->line_count; k++) {
            struct weft_layout_line *a = &self->lines[i], *b = &self->lines[k];
            if (i == k || self->boxes[a->from].layer != self->boxes[b->from].layer || a->from_x != b->to_x) continue;
            if (a->from_x == a->to_x && b->from_x == b->to_x) continue;
            const struct weft_layout_box *box = &self->boxes[b->to];
            if (box->kind != WEFT_LAYOUT_BEND && b->to_x + 1 < box->x + box->width - 1) b->to_x++;
        }
    }
}

// ---- tracks

static int s_low(const struct weft_layout_line *line)
{
    return line->from_x < line->to_x ? line->from_x : line->to_x;
}

static int s_high(const struct weft_layout_line *line)
{
    return line->from_x < line->to_x ? line->to_x : line->from_x;
}

// Those that go right: the rightmost first; those that go left: the leftmost first. So they do not cross each other.
static int s_by_turn(const void *a, const void *b)
{
    const struct weft_layout_line *one = *(struct weft_layout_line *const *) a,
                                  *two = *(struct weft_layout_line *const *) b;
    bool right_one = one->to_x > one->from_x, right_two = two->to_x > two->from_x;
    if (right_one != right_two) return right_one ? -1 : 1;
    int order = one->from_x != two->from_x ? one->from_x - two->from_x : one->to_x - two->to_x;
    return right_one ? -order : order;
}

static void s_find_tracks(struct weft_layout *self, size_t layer)
{
    size_t count = 0;
    struct weft_layout_line **lines = weft_alloc((self->line_count + 1) * sizeof *lines);
    for (size_t i = 0; i < self->line_count; i++) {
        struct weft_layout_line *line = &self->lines[i];
        if (self->boxes[line->from].layer != layer) continue;
        if (line->label[0]) self->labels[layer + 1] = true;
        if (line->from_x != line->to_x) lines[count++] = line;
    }
    qsort(lines, count, sizeof *lines, s_by_turn);
    for (size_t i = 0; i < count; i++) {
        lines[i]->track = 0;
        for (size_t k = 0; k < i; k++)
            if (s_low(lines[k]) <= s_high(lines[i]) + 1 && s_low(lines[i]) <= s_high(lines[k]) + 1 &&
                lines[k]->track >= lines[i]->track)
                lines[i]->track = lines[k]->track + 1;
        if (lines[i]->track >= self->tracks[layer]) self->tracks[layer] = lines[i]->track + 1;
    }
    free(lines);
}

// ---- all

static void s_find_rows(struct weft_layout *self)
{
    int y = 0;
    for (size_t layer = 0; layer < self->layer_count; layer++) {
        self->layer_y[layer] = y;
        for (size_t i = 0; i < self->box_count; i++)
            if (self->boxes[i].layer == layer && self->boxes[i].height > self->layer_height[layer])
                self->layer_height[layer] = self->boxes[i].height;
        for (size_t i = 0; i < self->box_count; i++) {
            struct weft_layout_box *box = &self->boxes[i];
            if (box->layer != layer) continue;
            box->y = y;
            if (box->kind == WEFT_LAYOUT_BEND) box->height = self->layer_height[layer];
        }
        y += self->layer_height[layer];
        self->height = y;
        if (layer + 1 < self->layer_count) y += 1 + self->tracks[layer] + (self->labels[layer + 1] ? 1 : 0) + 1;
    }
}

int weft_layout_top_y(const struct weft_layout *self, const struct weft_layout_line *line)
{
    return self->boxes[line->from].y + self->boxes[line->from].height;
}

int weft_layout_bottom_y(const struct weft_layout *self, const struct weft_layout_line *line)
{
    return self->boxes[line->to].y - 1;
}

int weft_layout_track_y(const struct weft_layout *self, const struct weft_layout_line *line)
{
    size_t layer = self->boxes[line->from].layer;
    return self->layer_y[layer] + self->layer_height[layer] + 1 + line->track;
}

void weft_layout_init(struct weft_layout *self, const weft_topology_t *topology)
{
    *self = (struct weft_layout){.layer_count = 0};
    weft_layout_graph(self, topology);
    s_find_layers(self);
    s_bend(self);
    s_size(self);
    self->layer_y = weft_calloc(self->layer_count + 1, sizeof(int));
    self->layer_height = weft_calloc(self->layer_count + 1, sizeof(int));
    self->tracks = weft_calloc(self->layer_count + 1, sizeof(int));
    self->labels = weft_calloc(self->layer_count + 1, sizeof(bool));
    s_find_places(self);
    for (size_t i = 0; i < self->box_count; i++) s_find_ports(self, i, true);
    for (size_t i = 0; i < self->box_count; i++) s_find_ports(self, i, false);
    s_part_ports(self);
    for (size_t layer = 0; layer < self->layer_count; layer++) s_find_tracks(self, layer);
    s_find_rows(self);
}

void weft_layout_fini(struct weft_layout *self)
{
    for (size_t i = 0; i < self->box_count; i++) free(self->boxes[i].lines);
    free(self->boxes);
    free(self->lines);
    free(self->layer_y);
    free(self->layer_height);
    free(self->tracks);
    free(self->labels);
}
