// SPDX-License-Identifier: MPL-2.0
#include "rules.h"

#include <stdio.h>
#include <stdlib.h>

bool weft_rule_name_matches(const char *pattern, const char *name)
{
    return strcmp(pattern, "*") == 0 || strcmp(pattern, name) == 0;
}

// What a new rule covers whole is of no use any more, so a test that cuts and heals for ever keeps a short list.
static void s_forget(struct weft_rules *self, const char *from, const char *to, enum weft_rule_kind kind)
{
    size_t kept = 0;
    for (size_t i = 0; i < self->count; i++) {
        const struct weft_rule *rule = &self->items[i];
        bool covered =
            rule->kind == kind && weft_rule_name_matches(from, rule->from) && weft_rule_name_matches(to, rule->to);
        if (!covered) self->items[kept++] = self->items[i];
    }
    self->count = kept;
}

void weft_rules_add(struct weft_rules *self, const char *from, const char *to, enum weft_rule_kind kind, int64_t value)
{
    s_forget(self, from, to, kind);
    if (self->count == self->capacity) {
        self->capacity = self->capacity == 0 ? 16 : self->capacity * 2;
        self->items = weft_realloc(self->items, self->capacity * sizeof *self->items);
    }
    struct weft_rule *rule = &self->items[self->count++];
    *rule = (struct weft_rule){.kind = kind, .value = value};
    snprintf(rule->from, sizeof rule->from, "%s", from);
    snprintf(rule->to, sizeof rule->to, "%s", to);
}

int64_t weft_rules_get(const struct weft_rules *self, const char *from, const char *to, enum weft_rule_kind kind)
{
    for (size_t i = self->count; i-- > 0;) {
        const struct weft_rule *rule = &self->items[i];
        if (rule->kind == kind && weft_rule_name_matches(rule->from, from) && weft_rule_name_matches(rule->to, to))
            return rule->value;
    }
    return 0;
}

void weft_rules_fini(struct weft_rules *self)
{
    free(self->items);
    *self = (struct weft_rules){.items = NULL};
}
