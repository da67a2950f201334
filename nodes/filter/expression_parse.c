// SPDX-License-Identifier: MPL-2.0
// Recursive descent, one function a rule, with a bound on the depth. Tokens are read as they are needed; the first
// mistake is kept with its column and ends the parse.
//
//     or         = and { "or" and }
//     and        = not { "and" not }
//     not        = "not" not | "(" or ")" | "exists" path | comparison
//     comparison = operand [ ( "==" | "!=" | "<" | "<=" | ">" | ">=" ) operand | "in" "[" literal { "," literal } "]" |
//                  "startswith" operand ]
//     operand    = literal | path
//     literal    = number | string | "true" | "false" | "nil"
//     path       = ( name | "$" name ) { "." name | "[" integer "]" | "[" string "]" }
#include "expression_inner.h"

#include "../../lib/base/error.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum token {
    TOKEN_END,
    TOKEN_NAME, // also words of the language
    TOKEN_ROOT, // $name
    TOKEN_NUMBER,
    TOKEN_STRING,
    TOKEN_OPERATOR, // and brackets
    TOKEN_BAD
};

struct parser {
    weft_expression_t *out;
    const char *text, *at; // at: behind the token
    enum token token;
    const char *start; // of the token
    weft_slice_t word; // its text; of a string what it stands for
    struct operand number;
    int depth;
    bool failed;
    struct weft_error *error;
};

static int s_fail(struct parser *self, const char *at, const char *what)
{
    if (self->failed) return 0;
    self->failed = true;
    char found[48];
    if (*at)
        snprintf(found, sizeof found, "'%.20s'", at);
    else
        snprintf(found, sizeof found, "its end");
    weft_err_t err = weft_error_set(self->error, WEFT_ERR_INVALID_OPTION, "where: column %zu, at %s: %s.",
                                    (size_t) (at - self->text) + 1, found, what);
    (void) err; // told by `failed`
    return 0;
}

// ---- tokens

static bool s_is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || (c & 0x80) != 0;
}

static bool s_is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static int s_hex(char c)
{
    if (s_is_digit(c)) return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

// What stands behind a backslash; *at is behind it then. -1: nothing legal.
static int s_escape(const char **at)
{
    char c = *(*at)++;
    if (c == 'n') return '\n';
    if (c == 't') return '\t';
    if (c == '\\' || c == '"' || c == '\'') return c;
    if (c != 'x' || s_hex((*at)[0]) < 0 || s_hex((*at)[1]) < 0) return -1;
    int value = 16 * s_hex((*at)[0]) + s_hex((*at)[1]);
    *at += 2;
    return value;
}

static enum token s_string(struct parser *self)
{
    const char quote = *self->start;
    char *bytes = weft_arena_alloc(&self->out->arena, strlen(self->start));
    size_t size = 0;
    for (self->at = self->start + 1; *self->at != quote;) {
        if (!*self->at) return s_fail(self, self->start, "this string has no end"), TOKEN_BAD;
        int c = (unsigned char) *self->at++;
        const char *from = self->at - 1;
        if (c == '\\' && *self->at) c = s_escape(&self->at);
        if (c < 0)
            return s_fail(self, from, "escapes are \\n, \\t, \\\\, \\\", \\' and \\x with two hex digits"), TOKEN_BAD;
        bytes[size++] = (char) c;
    }
    self->at++;
    self->word = weft_slice(bytes, size);
    return TOKEN_STRING;
}

static enum token s_number(struct parser *self)
{
    const char *digits = self->start + (*self->start == '-');
    size_t size = strspn(digits, "0123456789");
    char *end;
    errno = 0;
    if (digits[size] == '.' || digits[size] == 'e' || digits[size] == 'E') {
        self->number = (struct operand){.kind = OPERAND_FLOAT, .real = strtod(self->start, &end)};
    } else if (digits > self->start) {
        self->number = (struct operand){.kind = OPERAND_INT, .integer = strtoll(self->start, &end, 10)};
        if (self->number.integer == 0) self->number.kind = OPERAND_UINT;
    } else {
        self->number = (struct operand){.kind = OPERAND_UINT, .natural = strtoull(self->start, &end, 10)};
    }
    self->at = end;
    if (errno == ERANGE) return s_fail(self, self->start, "this number is too large"), TOKEN_BAD;
    if (s_is_letter(*end)) return s_fail(self, end, "a number ends before this"), TOKEN_BAD;
    return TOKEN_NUMBER;
}

static enum token s_operator(struct parser *self)
{
    static const char *const operators[] = {"==", "!=", "<=", ">=", "<", ">", "(", ")", "[", "]", ",", "."};
    for (size_t i = 0; i < sizeof operators / sizeof *operators; i++) {
        size_t size = strlen(operators[i]);
        if (strncmp(self->start, operators[i], size) != 0) continue;
        self->at = self->start + size;
        self->word = weft_slice(self->start, size);
        return TOKEN_OPERATOR;
    }
    const char *why = *self->start == '=' ? "compare with ==" : "nothing of the language begins so";
    return s_fail(self, self->start, why), TOKEN_BAD;
}

static void s_next(struct parser *self)
{
    self->start = self->at + strspn(self->at, " \t\r\n");
    self->word = WEFT_SLICE_NIL;
    char c = *self->start;
    if (self->failed || !c) {
        self->token = self->failed ? TOKEN_BAD : TOKEN_END;
        return;
    }
    if (c == '"' || c == '\'') {
        self->token = s_string(self);
    } else if (s_is_digit(c) || (c == '-' && s_is_digit(self->start[1]))) {
        self->token = s_number(self);
    } else if (s_is_letter(c) || c == '$') {
        self->token = c == '$' ? TOKEN_ROOT : TOKEN_NAME;
        for (self->at = self->start + 1; s_is_letter(*self->at) || s_is_digit(*self->at);) self->at++;
        self->word = weft_slice(self->start, (size_t) (self->at - self->start));
    } else {
        self->token = s_operator(self);
    }
}

static bool s_is(const struct parser *self, enum token token, const char *word)
{
    return self->token == token && weft_slice_is_text(self->word, word);
}

static bool s_take(struct parser *self, enum token token, const char *word)
{
    if (!s_is(self, token, word)) return false;
    s_next(self);
    return true;
}

// ---- nodes

static int s_node(struct parser *self, enum node_kind kind, int left, int right)
{
    if (self->failed) return 0;
    if (self->out->count == EXPRESSION_NODES_MAX) return s_fail(self, self->start, "the expression has too many parts");
    self->out->nodes[self->out->count] = (struct node){.kind = kind, .left = left, .right = right};
    return self->out->count++;
}

static void s_step(struct parser *self, int path, struct step step)
{
    if (self->failed) return;
    struct node *node = &self->out->nodes[path];
    if (node->step_count == EXPRESSION_STEPS_MAX || self->out->step_count == EXPRESSION_NODES_MAX) {
        s_fail(self, self->start, "this path is too long");
        return;
    }
    if (step.name.data) step.name.data = (const uint8_t *) weft_arena_text(&self->out->arena, step.name);
    self->out->steps[self->out->step_count++] = step;
    node->step_count++;
}

static void s_bracket(struct parser *self, int path)
{
    if (self->token == TOKEN_NUMBER && self->number.kind == OPERAND_UINT)
        s_step(self, path, (struct step){.is_index = true, .index = self->number.natural});
    else if (self->token == TOKEN_STRING)
        s_step(self, path, (struct step){.name = self->word});
    else
        s_fail(self, self->start, "in brackets stands the index of an element, from 0, or a field's name in quotes");
    s_next(self);
    if (!self->failed && !s_take(self, TOKEN_OPERATOR, "]")) s_fail(self, self->start, "here ']' is missing");
}

static void s_steps(struct parser *self, int path)
{
    while (!self->failed) {
        if (s_take(self, TOKEN_OPERATOR, "[")) {
            s_bracket(self, path);
        } else if (s_take(self, TOKEN_OPERATOR, ".")) {
            if (self->token != TOKEN_NAME) {
                s_fail(self, self->start, "behind '.' stands a field's name (an odd one as [\"odd name\"])");
                return;
            }
            s_step(self, path, (struct step){.name = self->word});
            s_next(self);
        } else {
            return;
        }
    }
}

static bool s_is_word(const struct parser *self)
{
    static const char *const words[] = {"and", "or", "not", "in", "exists", "startswith", "true", "false", "nil"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (s_is(self, TOKEN_NAME, words[i])) return true;
    return false;
}

static int s_root(struct parser *self)
{
    static const struct {
        const char *name;
        enum root root;
    } roots[] = {{"$value", ROOT_WHOLE}, {"$key", ROOT_KEY},       {"$header", ROOT_HEADER},
                 {"$time", ROOT_TIME},   {"$offset", ROOT_OFFSET}, {"$partition", ROOT_PARTITION}};
    for (size_t i = 0; i < sizeof roots / sizeof *roots; i++) {
        if (!s_is(self, TOKEN_ROOT, roots[i].name)) continue;
        const char *start = self->start;
        int path = s_node(self, NODE_PATH, 0, 0);
        self->out->nodes[path].root = roots[i].root;
        self->out->nodes[path].first_step = self->out->step_count;
        s_next(self);
        s_steps(self, path);
        bool is_header = roots[i].root == ROOT_HEADER;
        int steps = self->out->nodes[path].step_count;
        if (is_header && (steps != 1 || self->out->steps[self->out->nodes[path].first_step].is_index))
            s_fail(self, start, "a header is named like $header.source or $header[\"content type\"]");
        else if (!is_header && steps > 0)
            s_fail(self, start, "this has no fields; fields of the value stand without $value before them");
        return path;
    }
    return s_fail(self, self->start, "there are $key, $value, $header.NAME, $time, $offset and $partition");
}

static int s_path(struct parser *self)
{
    if (self->token == TOKEN_ROOT) return s_root(self);
    if (self->token != TOKEN_NAME && !s_is(self, TOKEN_OPERATOR, "["))
        return s_fail(self, self->start, "here a field, a number, a string, true, false or nil is missing");
    if (s_is_word(self))
        return s_fail(self, self->start, "this is a word of the language; a field of that name is [\"...\"]");
    int path = s_node(self, NODE_PATH, 0, 0);
    self->out->nodes[path].root = ROOT_VALUE;
    self->out->nodes[path].first_step = self->out->step_count;
    if (self->token == TOKEN_NAME) {
        s_step(self, path, (struct step){.name = self->word});
        s_next(self);
    }
    s_steps(self, path);
    return path;
}

// A literal, or -1 without reading anything.
static int s_literal(struct parser *self)
{
    struct operand value = {.kind = OPERAND_NIL};
    if (self->token == TOKEN_NUMBER)
        value = self->number;
    else if (self->token == TOKEN_STRING)
        value = (struct operand){.kind = OPERAND_TEXT, .text = self->word};
    else if (s_is(self, TOKEN_NAME, "true") || s_is(self, TOKEN_NAME, "false"))
        value = (struct operand){.kind = OPERAND_BOOL, .natural = s_is(self, TOKEN_NAME, "true")};
    else if (!s_is(self, TOKEN_NAME, "nil"))
        return -1;
    int node = s_node(self, NODE_LITERAL, 0, 0);
    self->out->nodes[node].literal = value;
    s_next(self);
    return node;
}

static int s_operand(struct parser *self)
{
    int literal = s_literal(self);
    return literal >= 0 ? literal : s_path(self);
}

// ---- rules

static int s_list(struct parser *self, int left)
{
    if (!s_take(self, TOKEN_OPERATOR, "["))
        return s_fail(self, self->start, "behind `in` stands a list: [1, 2] or [\"a\"]");
    int in = s_node(self, NODE_IN, left, -1), *next = &self->out->nodes[in].right;
    do {
        int literal = s_literal(self);
        if (literal < 0) return s_fail(self, self->start, "the list holds numbers, strings, true, false and nil");
        int item = s_node(self, NODE_ITEM, literal, -1);
        if (self->failed) return 0;
        *next = item;
        next = &self->out->nodes[item].right;
    } while (s_take(self, TOKEN_OPERATOR, ","));
    if (!s_take(self, TOKEN_OPERATOR, "]")) return s_fail(self, self->start, "here ',' or ']' is missing");
    return in;
}

static int s_comparison(struct parser *self)
{
    static const struct {
        const char *text;
        enum node_kind kind;
    } operators[] = {{"==", NODE_EQUAL},      {"!=", NODE_UNEQUAL}, {"<", NODE_LESS},
                     {"<=", NODE_LESS_EQUAL}, {">", NODE_GREATER},  {">=", NODE_GREATER_EQUAL}};
    int left = s_operand(self);
    for (size_t i = 0; i < sizeof operators / sizeof *operators; i++) {
        if (!s_take(self, TOKEN_OPERATOR, operators[i].text)) continue;
        int right = s_operand(self);
        return s_node(self, operators[i].kind, left, right);
    }
    if (s_take(self, TOKEN_NAME, "in")) return s_list(self, left);
    if (s_take(self, TOKEN_NAME, "startswith")) {
        int right = s_operand(self);
        return s_node(self, NODE_PREFIX, left, right);
    }
    return s_node(self, NODE_TRUE, left, 0);
}

static int s_or(struct parser *self);

static int s_not(struct parser *self)
{
    if (self->failed) return 0;
    if (self->depth > EXPRESSION_DEPTH_MAX) return s_fail(self, self->start, "this lies too deep in parentheses");
    self->depth++;
    int node;
    if (s_take(self, TOKEN_NAME, "not")) {
        int inner = s_not(self);
        node = s_node(self, NODE_NOT, inner, 0);
    } else if (s_take(self, TOKEN_OPERATOR, "(")) {
        node = s_or(self);
        if (!self->failed && !s_take(self, TOKEN_OPERATOR, ")")) s_fail(self, self->start, "here ')' is missing");
    } else if (s_take(self, TOKEN_NAME, "exists")) {
        int path = s_path(self);
        node = s_node(self, NODE_EXISTS, path, 0);
    } else {
        node = s_comparison(self);
    }
    self->depth--;
    return node;
}

static int s_and(struct parser *self)
{
    int left = s_not(self);
    while (!self->failed && s_take(self, TOKEN_NAME, "and")) {
        int right = s_not(self);
        left = s_node(self, NODE_AND, left, right);
    }
    return left;
}

static int s_or(struct parser *self)
{
    int left = s_and(self);
    while (!self->failed && s_take(self, TOKEN_NAME, "or")) {
        int right = s_and(self);
        left = s_node(self, NODE_OR, left, right);
    }
    return left;
}

weft_err_t weft_expression_new(const char *text, weft_expression_t **out, struct weft_error *error)
{
    if (strlen(text) > EXPRESSION_BYTES_MAX)
        return weft_error_set(error, WEFT_ERR_INVALID_OPTION, "where: the expression is longer than %d bytes.",
                              EXPRESSION_BYTES_MAX);
    weft_expression_t *self = weft_calloc(1, sizeof *self);
    weft_arena_init(&self->arena);
    struct parser parser = {.out = self, .text = text, .at = text, .start = text, .error = error};
    s_next(&parser);
    self->root = s_or(&parser);
    if (!parser.failed && parser.token != TOKEN_END)
        s_fail(&parser, parser.start, "the expression is over here; join two by `and` or `or`");
    if (parser.failed) {
        weft_expression_destroy(&self);
        return WEFT_ERR_INVALID_OPTION;
    }
    *out = self;
    return WEFT_OK;
}

void weft_expression_destroy(weft_expression_t **self_p)
{
    weft_expression_t *self = *self_p;
    if (!self) return;
    *self_p = NULL;
    weft_arena_fini(&self->arena);
    free(self);
}
