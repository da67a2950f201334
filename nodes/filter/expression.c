// SPDX-License-Identifier: MPL-2.0
// Evaluation. A path is followed by walking the value's msgpack heads (lib/wire/walk.h), which believes no count and
// reads nothing behind the end; what is not on the path is skipped without recursion. So no value can do more harm than
// be walked once for each path. `and` and `or` look at their right side only where it counts.
#include "expression_inner.h"

#include "../../lib/wire/walk.h"

#include <math.h>

static const struct weft_guard_limits s_limits = {
    .bytes_max = 64 * 1024 * 1024, .depth_max = 32, .count_max = UINT32_MAX, .string_bytes_max = UINT32_MAX};

// ---- operands

static struct operand s_of_value(const struct weft_value *value, const uint8_t *head)
{
    switch (value->kind) {
    case WEFT_KIND_NIL: return (struct operand){.kind = OPERAND_NIL};
    case WEFT_KIND_BOOL: return (struct operand){.kind = OPERAND_BOOL, .natural = value->number};
    case WEFT_KIND_UINT: return (struct operand){.kind = OPERAND_UINT, .natural = value->number};
    case WEFT_KIND_NEGATIVE: return (struct operand){.kind = OPERAND_INT, .integer = (int64_t) value->number};
    case WEFT_KIND_FLOAT: {
        struct operand operand = {.kind = OPERAND_FLOAT};
        uint32_t narrow = (uint32_t) value->number;
        float real;
        memcpy(&real, &narrow, sizeof real);
        if (*head == 0xca)
            operand.real = (double) real;
        else
            memcpy(&operand.real, &value->number, sizeof operand.real);
        return operand;
    }
    case WEFT_KIND_STR:
    case WEFT_KIND_BIN: return (struct operand){.kind = OPERAND_TEXT, .text = value->bytes};
    case WEFT_KIND_EXT:
    case WEFT_KIND_ARRAY:
    case WEFT_KIND_MAP: break;
    }
    return (struct operand){.kind = OPERAND_CONTAINER};
}

// Reads the head of the next value; passes it whole with s_skip.
static bool s_read(weft_walk_t *walk, struct weft_value *value)
{
    return weft_walk_next(walk, value) == WEFT_OK;
}

static bool s_skip(weft_walk_t *walk, const struct weft_value *value, uint32_t depth)
{
    return weft_walk_skip_content(walk, value, depth) == WEFT_OK;
}

enum found { FOUND, ABSENT, UNREADABLE };

static enum found s_element(weft_walk_t *walk, struct weft_value *value, uint64_t index, uint32_t depth)
{
    if (value->kind != WEFT_KIND_ARRAY || index >= value->number) return ABSENT;
    for (uint64_t i = 0; i < index; i++) {
        struct weft_value passed;
        if (!s_read(walk, &passed) || !s_skip(walk, &passed, depth)) return UNREADABLE;
    }
    return FOUND;
}

static enum found s_field(weft_walk_t *walk, struct weft_value *value, weft_slice_t name, uint32_t depth)
{
    if (value->kind != WEFT_KIND_MAP) return ABSENT;
    for (uint64_t i = 0; i < value->number; i++) {
        struct weft_value key, passed;
        if (!s_read(walk, &key) || !s_skip(walk, &key, depth)) return UNREADABLE;
        bool is_text = key.kind == WEFT_KIND_STR || key.kind == WEFT_KIND_BIN;
        if (is_text && key.bytes.size == name.size && memcmp(key.bytes.data, name.data, name.size) == 0) return FOUND;
        if (!s_read(walk, &passed) || !s_skip(walk, &passed, depth)) return UNREADABLE;
    }
    return ABSENT;
}

static struct operand s_follow(const struct step *steps, int count, weft_slice_t bytes, bool *unreadable)
{
    static const struct operand missing = {.kind = OPERAND_MISSING};
    weft_walk_t walk;
    struct weft_value value;
    enum found found = FOUND;
    if (!bytes.data) return missing;
    if (weft_walk_init(&walk, bytes, &s_limits, NULL) != WEFT_OK || !s_read(&walk, &value)) found = UNREADABLE;
    const uint8_t *head = bytes.data;
    for (int i = 0; found == FOUND && i < count; i++) {
        uint32_t depth = (uint32_t) i + 2;
        found = steps[i].is_index ? s_element(&walk, &value, steps[i].index, depth)
                                  : s_field(&walk, &value, steps[i].name, depth);
        head = walk.at;
        if (found == FOUND && !s_read(&walk, &value)) found = UNREADABLE;
    }
    if (found == UNREADABLE) *unreadable = true;
    return found == FOUND ? s_of_value(&value, head) : missing;
}

static struct operand s_of_slice(weft_slice_t slice)
{
    if (!slice.data) return (struct operand){.kind = OPERAND_NIL};
    return (struct operand){.kind = OPERAND_TEXT, .text = slice};
}

static struct operand s_of_int(int64_t number)
{
    if (number < 0) return (struct operand){.kind = OPERAND_INT, .integer = number};
    return (struct operand){.kind = OPERAND_UINT, .natural = (uint64_t) number};
}

static struct operand s_header(weft_slice_t headers, weft_slice_t wanted)
{
    weft_slice_t name, value;
    while (weft_headers_next(&headers, &name, &value))
        if (weft_slice_equal(name, wanted)) return s_of_slice(value);
    return (struct operand){.kind = OPERAND_MISSING};
}

struct operand weft_expression_operand(const weft_expression_t *self, const struct node *node,
                                       const struct weft_record_view *record, bool *unreadable)
{
    if (node->kind == NODE_LITERAL) return node->literal;
    const struct step *steps = &self->steps[node->first_step];
    switch (node->root) {
    case ROOT_VALUE: return s_follow(steps, node->step_count, record->value, unreadable);
    case ROOT_WHOLE: return s_of_slice(record->value);
    case ROOT_KEY: return s_of_slice(record->key);
    case ROOT_HEADER: return s_header(record->headers, steps[0].name);
    case ROOT_TIME: return s_of_int(record->timestamp_ms);
    case ROOT_OFFSET: return s_of_int(record->offset);
    case ROOT_PARTITION: return s_of_int(record->partition);
    }
    return (struct operand){.kind = OPERAND_MISSING};
}

// ---- comparing

#define NO_ORDER 2 // neither less, equal nor greater

static int s_sign(int number)
{
    return (number > 0) - (number < 0);
}

// A whole number and a real one, exactly: no rounding of large numbers to doubles.
static int s_compare_real(const struct operand *whole, double real)
{
    if (isnan(real)) return NO_ORDER;
    if (whole->kind == OPERAND_INT) {
        if (real < -0x1p63) return 1;
        if (real >= 0) return -1;
        int64_t near = (int64_t) real; // towards 0: not below it
        if (whole->integer != near) return whole->integer < near ? -1 : 1;
        return (double) near > real;
    }
    if (real < 0) return 1;
    if (real >= 0x1p64) return -1;
    uint64_t near = (uint64_t) real; // towards 0: not above it
    if (whole->natural != near) return whole->natural < near ? -1 : 1;
    return (double) near < real ? -1 : 0;
}

static bool s_is_number(const struct operand *operand)
{
    return operand->kind == OPERAND_INT || operand->kind == OPERAND_UINT || operand->kind == OPERAND_FLOAT;
}

static int s_compare_numbers(const struct operand *a, const struct operand *b)
{
    if (a->kind == OPERAND_FLOAT && b->kind == OPERAND_FLOAT) {
        if (isnan(a->real) || isnan(b->real)) return NO_ORDER;
        return (a->real > b->real) - (a->real < b->real);
    }
    if (b->kind == OPERAND_FLOAT) return s_compare_real(a, b->real);
    if (a->kind == OPERAND_FLOAT) {
        int order = s_compare_real(b, a->real);
        return order == NO_ORDER ? NO_ORDER : -order;
    }
    if (a->kind != b->kind) return a->kind == OPERAND_INT ? -1 : 1; // negative ones are below all others
    if (a->kind == OPERAND_INT) return (a->integer > b->integer) - (a->integer < b->integer);
    return (a->natural > b->natural) - (a->natural < b->natural);
}

// -1, 0, 1, or NO_ORDER for what can't be compared.
static int s_compare(const struct operand *a, const struct operand *b)
{
    if (s_is_number(a) && s_is_number(b)) return s_compare_numbers(a, b);
    if (a->kind == OPERAND_TEXT && b->kind == OPERAND_TEXT) return s_sign(weft_slice_compare(a->text, b->text));
    return NO_ORDER;
}

static bool s_equal(const struct operand *a, const struct operand *b)
{
    bool a_nil = a->kind == OPERAND_NIL || a->kind == OPERAND_MISSING;
    bool b_nil = b->kind == OPERAND_NIL || b->kind == OPERAND_MISSING;
    if (a_nil || b_nil) return a_nil && b_nil;
    if (a->kind == OPERAND_BOOL && b->kind == OPERAND_BOOL) return a->natural == b->natural;
    return s_compare(a, b) == 0;
}

static bool s_starts_with(const struct operand *a, const struct operand *b)
{
    return a->kind == OPERAND_TEXT && b->kind == OPERAND_TEXT && a->text.size >= b->text.size &&
           memcmp(a->text.data, b->text.data, b->text.size) == 0;
}

// ---- nodes

struct evaluation {
    const weft_expression_t *expression;
    const struct weft_record_view *record;
    bool *unreadable;
};

static struct operand s_operand(const struct evaluation *self, int node)
{
    return weft_expression_operand(self->expression, &self->expression->nodes[node], self->record, self->unreadable);
}

static bool s_in_list(const struct evaluation *self, const struct node *node)
{
    struct operand left = s_operand(self, node->left);
    for (int item = node->right; item >= 0; item = self->expression->nodes[item].right) {
        struct operand one = s_operand(self, self->expression->nodes[item].left);
        if (s_equal(&left, &one)) return true;
    }
    return false;
}

static bool s_compares(enum node_kind kind, const struct operand *left, const struct operand *right)
{
    if (kind == NODE_EQUAL) return s_equal(left, right);
    if (kind == NODE_UNEQUAL) return !s_equal(left, right);
    if (kind == NODE_PREFIX) return s_starts_with(left, right);
    int order = s_compare(left, right);
    if (order == NO_ORDER) return false;
    if (kind == NODE_LESS) return order < 0;
    if (kind == NODE_LESS_EQUAL) return order <= 0;
    return kind == NODE_GREATER ? order > 0 : order >= 0;
}

// Recursion follows parentheses and `not`, which are bounded, and chains of `and` and `or`, whose left sides are as deep
// as the nodes are many: those are followed by a loop.
static bool s_evaluate(const struct evaluation *self, int at)
{
    const struct node *nodes = self->expression->nodes;
    int chain[EXPRESSION_NODES_MAX], depth = 0;
    while (nodes[at].kind == NODE_AND || nodes[at].kind == NODE_OR) {
        chain[depth++] = at;
        at = nodes[at].left;
    }
    const struct node *node = &nodes[at];
    bool result;
    if (node->kind == NODE_NOT) {
        result = !s_evaluate(self, node->left);
    } else if (node->kind == NODE_IN) {
        result = s_in_list(self, node);
    } else if (node->kind == NODE_EXISTS) {
        result = s_operand(self, node->left).kind != OPERAND_MISSING;
    } else if (node->kind == NODE_TRUE) {
        struct operand operand = s_operand(self, node->left);
        result = operand.kind == OPERAND_BOOL && operand.natural != 0;
    } else {
        struct operand left = s_operand(self, node->left), right = s_operand(self, node->right);
        result = s_compares(node->kind, &left, &right);
    }
    while (depth > 0) {
        const struct node *link = &nodes[chain[--depth]];
        if (result == (link->kind == NODE_AND)) result = s_evaluate(self, link->right);
    }
    return result;
}

bool weft_expression_matches(const weft_expression_t *self, const struct weft_record_view *record, bool *unreadable)
{
    struct evaluation evaluation = {self, record, unreadable};
    return s_evaluate(&evaluation, self->root);
}
