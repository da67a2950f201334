// SPDX-License-Identifier: MPL-2.0
/**
 * Rules of a test's network: who is cut from whom, and how late messages are, by name. "*" is everybody; the rule given last
 * wins, so that a cut from all can be healed towards one.
 *
 * A plain list, for both kinds of time; not thread-safe.
 */
#ifndef WEFT_TESTING_RULES_H
#define WEFT_TESTING_RULES_H

#include "../base/bytes.h"

#define WEFT_TEST_NAME_BYTES_MAX 132 // the longest `client`, and the terminator

enum weft_rule_kind { WEFT_RULE_CUT, WEFT_RULE_DELAY_US, WEFT_RULE_KINDS };

struct weft_rule {
    char from[WEFT_TEST_NAME_BYTES_MAX], to[WEFT_TEST_NAME_BYTES_MAX];
    enum weft_rule_kind kind;
    int64_t value;
};

struct weft_rules {
    struct weft_rule *items;
    size_t count, capacity;
};

// One way. A rule for everybody replaces all of its kind before it.
void weft_rules_add(struct weft_rules *self, const char *from, const char *to, enum weft_rule_kind kind, int64_t value);
int64_t weft_rules_get(const struct weft_rules *self, const char *from, const char *to, enum weft_rule_kind kind);
void weft_rules_fini(struct weft_rules *self);
bool weft_rule_name_matches(const char *pattern, const char *name);

#endif
