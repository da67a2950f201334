# SPDX-License-Identifier: MPL-2.0
"""What was released may grow, but not change: schemas/frozen.json is the released shape, compare() says what breaks it."""


def _fields(fields):
    table = {}
    for field in fields:
        row = {"type": field.type_text}
        for key, value in (("max", field.max), ("count_max", field.count_max)):
            if value:
                row[key] = value
        if field.required:
            row["required"] = True
        if field.has_default:
            row["default"] = field.default
        table[field.name] = row
    return table


def shape(model):
    """All that peers and disks rely on."""
    fields = {"request": _fields(model.common_request.fields), "reply": _fields(model.common_reply.fields)}
    for message in model.messages:
        for side in (message.request, message.reply):
            if side:
                fields[side.name] = _fields(side.fields)
    for thing in model.commands + model.records:
        fields[thing.struct.name] = _fields(thing.struct.fields)
    for struct in model.structs.values():
        fields[struct.name] = _fields(struct.fields)
    return {
        "messages": {message.name: bool(message.reply) for message in model.messages},
        "commands": {command.name: command.number for command in model.commands},
        "errors": {str(error["number"]): [error["name"], error["class"], error["outcome"]]
                   for error in model.errors if error["number"] >= 0},
        "fields": fields,
        "options": {scope: {option.name: option.type for option in options} for scope, _doc, options in model.config},
    }


def _same(where, frozen, now, problems):
    """Entries may be added, those that were there stay as they are."""
    for key, value in frozen.items():
        if key not in now:
            problems.append("%s '%s' is gone" % (where, key))
        elif now[key] != value:
            problems.append("%s '%s' was %s and is %s" % (where, key, value, now[key]))


def _compare_field(where, old, new, problems):
    if new["type"] != old["type"]:
        problems.append("%s: the type was %s and is %s" % (where, old["type"], new["type"]))
    for key in ("max", "count_max"):
        if new.get(key, 0) < old.get(key, 0):
            problems.append("%s: %s was %d and shrank to %d" % (where, key, old[key], new.get(key, 0)))
    if ("default" in old) != ("default" in new) or old.get("default") != new.get("default"):
        problems.append("%s: the default was %r and is %r" % (where, old.get("default", "none"), new.get("default", "none")))
    if new.get("required") and not old.get("required"):
        problems.append("%s: was optional and is required" % where)


def compare(frozen, now):
    """Sentences, one for each break."""
    problems = []
    _same("message", frozen["messages"], now["messages"], problems)
    _same("command", frozen["commands"], now["commands"], problems)
    _same("error", frozen["errors"], now["errors"], problems)
    for scope, options in frozen["options"].items():
        _same("setting of a %s" % scope, options, now["options"].get(scope, {}), problems)
    for kind, fields in frozen["fields"].items():
        if kind not in now["fields"]:
            problems.append("'%s' is gone" % kind)
            continue
        for name, old in fields.items():
            if name not in now["fields"][kind]:
                problems.append("%s.%s is gone" % (kind, name))
            else:
                _compare_field("%s.%s" % (kind, name), old, now["fields"][kind][name], problems)
        for name, new in now["fields"][kind].items():
            if name not in fields and "default" not in new:
                problems.append("%s.%s is new: older senders leave it out, so it needs a default" % (kind, name))
    return problems
