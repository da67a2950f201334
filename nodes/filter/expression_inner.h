// SPDX-License-Identifier: MPL-2.0
/**
 * An expression as a table of nodes: what the parser makes and the evaluator reads.
 */
#ifndef WEFT_NODES_FILTER_EXPRESSION_INNER_H
#define WEFT_NODES_FILTER_EXPRESSION_INNER_H

#include "expression.h"

enum node_kind {
    NODE_OR,    // left, right
    NODE_AND,   // left, right
    NODE_NOT,   // left
    NODE_EQUAL, // left and right are operands, as in all that follow
    NODE_UNEQUAL,
    NODE_LESS,
    NODE_LESS_EQUAL,
    NODE_GREATER,
    NODE_GREATER_EQUAL,
    NODE_PREFIX,
    NODE_IN,     // left operand; right: first item, each names the next
    NODE_ITEM,   // left: operand; right: next item, -1: the last
    NODE_EXISTS, // left: path
    NODE_TRUE,   // left: operand, true if it is the bool true
    NODE_LITERAL,
    NODE_PATH
};

enum root {
    ROOT_VALUE, // a path of fields in it
    ROOT_WHOLE, // $value: the bytes themselves
    ROOT_KEY,
    ROOT_HEADER, // one step: its name
    ROOT_TIME,
    ROOT_OFFSET,
    ROOT_PARTITION
};

enum operand_kind {
    OPERAND_MISSING,
    OPERAND_NIL,
    OPERAND_BOOL,
    OPERAND_INT,  // negative
    OPERAND_UINT, // not negative
    OPERAND_FLOAT,
    OPERAND_TEXT,     // str, bin
    OPERAND_CONTAINER // array, map, ext: equals nothing
};

struct operand {
    enum operand_kind kind;
    union {
        int64_t integer;
        uint64_t natural; // also of bools
        double real;
    };
    weft_slice_t text;
};

struct step {
    bool is_index;
    uint64_t index;
    weft_slice_t name;
};

struct node {
    enum node_kind kind;
    int left, right;
    struct operand literal;
    enum root root;
    int first_step, step_count;
};

struct weft_expression {
    struct node nodes[EXPRESSION_NODES_MAX];
    int count, root;
    struct step steps[EXPRESSION_NODES_MAX];
    int step_count;
    weft_arena_t arena; // of strings
};

// The value of an operand for a record.
struct operand weft_expression_operand(const weft_expression_t *self, const struct node *node,
                                       const struct weft_record_view *record, bool *unreadable);

#endif
