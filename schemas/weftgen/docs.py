# SPDX-License-Identifier: MPL-2.0
"""What is committed under docs/: PROTOCOL.md (from PROTOCOL.md.in), ERRORS.md, CONFIG.md, golden.json."""
import os

from . import golden
from .model import INTEGERS, UNITS

NOTE = "<!-- Made by schemas/generate.py --docs from schemas/; change it there. -->\n"

EXAMPLES = {
    "topic": '"orders"', "topics": '["orders"]', "name": '"orders"', "partition": "0", "offset": "1042", "id": "7", "client": '"kiosk-17"',
    "endpoint": '"tcp://10.0.0.3:9650"', "endpoints": '["tcp://10.0.0.3:9650"]', "coordinators": '["tcp://10.0.0.1:9651"]',
    "coordinator": '"tcp://10.0.0.1:9651"', "high_watermark": "1043", "log_start": "0", "log_end": "1043", "durable": "1043",
    "level": '"durable"', "node": '"broker-1"', "health": '"serving"', "version": "118", "to": "12", "from": "6", "rack": '"r1"',
    "frame_bytes_max": "33554432", "batch_bytes_max": "16777216", "session_window": "64", "wall_ms": "1767225600000",
    "heartbeat_ms": "150", "session_ms": "1000", "key": '"retention.ms"', "value": '"1d"', "broker_id": "3", "leader": "3",
    "replicas": "3", "partitions": "6", "features": "[]", "before_offset": "500", "health_message": '""', "epoch": "4", "alive": "true",
    "from_index": "117", "to_index": "118", "index": "118", "protocol_min": "1", "protocol_max": "1", "timestamp_ms": "1767225600000",
}
# Where a name means another type elsewhere.
EXAMPLES_OF = {
    ("hello_reply", "node"): '"broker"', ("hello_reply", "version"): '"0.1.0"', ("node_status_reply", "version"): '"0.1.0"',
    ("status_broker", "version"): '"0.1.0"', ("metadata_topic", "id"): "<16 bytes>", ("metadata_broker", "id"): "3",
    ("status_broker", "id"): "3", ("counter", "name"): '"produce_requests"', ("counter", "value"): "31337",
    ("cluster_status_reply", "topics"): "2", ("metadata_partition", "replicas"): "[3, 1, 2]", ("metadata_partition", "isr"): "[3, 1]",
    ("metadata_partition", "offline"): "[2]", ("snapshot_topic", "id"): "<16 bytes>", ("snapshot_broker", "id"): "3",
    ("placement", "replicas"): "[3, 1, 2]",
}


def number(value):
    for power in (63, 64, 31, 32, 15, 16):
        if value == (1 << power) - 1:
            return "2^%d-1" % power
        if value == -(1 << power):
            return "-2^%d" % power
    return "%d" % value


def table(heads, rows):
    """An aligned Markdown table, readable as plain text too."""
    rows = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in [heads] + rows) for i in range(len(heads))]
    widths[-1] = 0  # the last column needs no padding
    lines = []
    for row in [heads, ["-" * max(3, width) for width in widths]] + rows:
        lines.append("| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths)) + " |")
    return "\n".join(lines) + "\n"


def anchor(name):
    return name.replace(" ", "-").replace(".", "")


# ---- PROTOCOL.md

def _type_text(model, field):
    inner = field.type
    text = "[%s](#%s)" % (inner, inner) if inner in model.structs else inner
    if field.is_array:
        return "array of " + text
    return text


def _limits(field):
    parts = []
    if field.max:
        parts.append("%d bytes" % field.max)
    if field.count_max:
        parts.append("%d elements" % field.count_max)
    return ", ".join(parts)


def _default(field):
    if field.required:
        return "**required**"
    if field.has_default and field.default is not None:
        return "`%s`" % (str(field.default).lower() if isinstance(field.default, bool) else field.default)
    if field.is_array:
        return "`[]`" if field.has_default else ""
    if field.has_default:
        return "zero" if field.type == "id" else "nil"
    return ""


def _fields(model, fields):
    if not fields:
        return "No fields of its own.\n"
    return table(["key", "type", "absent", "at most", "meaning"],
                 [["`%s`" % field.name, _type_text(model, field), _default(field), _limits(field), field.doc] for field in fields])


def _example_value(model, owner, field):
    given = EXAMPLES_OF.get((owner, field.name))
    if given is None and not field.is_struct:
        given = EXAMPLES.get(field.name)
        if given and field.is_array != given.startswith("["):
            given = None
    if given is not None:
        return given
    if field.is_struct:
        struct = model.structs[field.type]
        return "[{%s}]" % ", ".join('"%s": %s' % (inner.name, _example_value(model, struct.name, inner)) for inner in struct.fields)
    base = "<16 bytes>" if field.type == "id" else "0" if field.type in INTEGERS else "false" if field.type == "bool" else '"..."'
    return "[%s]" % ("" if field.type in ("str", "id") else base) if field.is_array else base


def _example(model, owner, head, fields):
    shown = [field for field in fields
             if field.required or field.always or not field.has_default or (field.name == "topic" and field.type == "str")]
    pairs = head + ['"%s": %s' % (field.name, _example_value(model, owner, field)) for field in shown]
    lines, line = [], "{"
    for position, pair in enumerate(pairs):
        pair += ", " if position + 1 < len(pairs) else "}"
        if len(line) + len(pair) > 110 and line.strip() != "{":
            lines.append(line.rstrip())
            line = " "
        line += pair
    return "\n".join(lines + [line if pairs else "{}"])


def _structs(model, fields, shown):
    """Tables of the structs that the fields hold, each once in the document."""
    text = ""
    for field in fields:
        if field.is_struct and field.type not in shown:
            shown.add(field.type)
            struct = model.structs[field.type]
            text += '\n<a id="%s"></a>Each **%s**:\n\n%s' % (struct.name, struct.name, _fields(model, struct.fields))
            text += _structs(model, struct.fields, shown)
    return text


def _message(model, message, shown):
    lines = ["### %s\n" % message.name, "%s  \n*To: %s. Since protocol version %d.*\n" % (message.doc, message.to, message.since)]
    head = ['"api": "%s"' % message.name] + (['"id": 7'] if message.reply else [])
    lines.append("```\n%s%s" % (_example(model, message.request.name, head, message.request.fields),
                                "  [data]" if message.request_data else ""))
    if message.reply:
        answer = _example(model, message.reply.name, ['"id": 7', '"error": 0'], message.reply.fields)
        lines[-1] += "\n-> %s%s" % (answer.replace("\n", "\n   "), "  [data]" if message.reply_data else "")
    lines[-1] += "\n```\n"
    lines.append("**Request**\n\n" + _fields(model, message.request.fields))
    if message.request_data:
        lines.append("Data frame: %s.\n" % message.request_data)
    lines[-1] += _structs(model, message.request.fields, shown)
    if not message.reply:
        lines.append("It is never answered.\n")
        return "\n".join(lines)
    lines.append("**Reply**\n\n" + _fields(model, message.reply.fields))
    if message.reply_data:
        lines.append("Data frame: %s.\n" % message.reply_data)
    lines[-1] += _structs(model, message.reply.fields, shown)
    return "\n".join(lines)


def _things(model, things, title, shown):
    text = []
    for thing in things:
        text.append("### %s\n\n%s\n\n%s%s" % (title(thing), thing.doc, _fields(model, thing.struct.fields),
                                              _structs(model, thing.struct.fields, shown)))
    return "\n".join(text)


def protocol(model):
    shown = set()
    with open(os.path.join(model.folder, "PROTOCOL.md.in"), encoding="utf-8") as file:
        text = file.read()
    values = {
        "note": NOTE,
        "request_header": _fields(model, model.common_request.fields),
        "reply_header": _fields(model, model.common_reply.fields),
        "limits": table(["limit", "value", "of what"], [["`%s`" % limit["name"], "%d" % limit["value"], limit["doc"]]
                                                       for limit in model.limits]),
        "message_list": table(["message", "to", "what it does"],
                              [["[%s](#%s)" % (message.name, anchor(message.name)), message.to, message.doc] for message in model.messages]),
        "messages": "\n".join(_message(model, message, shown) for message in model.messages),
        "commands": _things(model, model.commands, lambda command: "%d: %s" % (command.number, command.name), shown),
        "records": _things(model, model.records, lambda record: record.name, shown),
    }
    for name, value in values.items():
        text = text.replace("{{%s}}" % name, value.rstrip("\n"))
    return text


# ---- ERRORS.md

CLASSES = [["retry", "The same again after a while (`retry_ms` if the reply has one, else a growing pause)."],
           ["refresh", "Somebody else is responsible now: follow `endpoint`, or ask any node for `metadata`, then again."],
           ["permanent", "The request can't succeed as it is. Tell whoever asked."],
           ["fatal", "Whoever sent it must stop: it was replaced, or does not belong here."]]
OUTCOMES = [["not_applied", "Nothing happened."], ["maybe_applied", "It may have happened; only an idempotent producer may repeat it without a thought."],
            ["applied", "It has happened already."]]


def errors(model):
    def rows(wanted):
        chosen = sorted((error for error in model.errors if wanted(error["number"])), key=lambda error: abs(error["number"]))
        return [["%d" % error["number"], "`%s`" % error["name"], error["class"], error["outcome"], error["sentence"]] for error in chosen]
    heads = ["number", "name", "class", "outcome", "what it means and what to do"]
    return """# Errors

%s
Every reply carries `error`: 0, or a number of the first table, with its `name` and a sentence in `message` that says what was wrong and
what to do. Numbers never change their meaning; where Kafka has the same error, the number is Kafka's. A number that a client does not know
is treated as `INTERNAL`.

In C: `<weft/errors.h>` has `WEFT_ERR_<NAME>`, `weft_err_name()`, `weft_err_sentence()`, `weft_err_class()` and `weft_err_outcome()`. Retry code
asks for the class and the outcome; it never lists numbers.

**Class**: what to do.

%s
**Outcome**: whether what was asked for may have happened. A timeout is never `not_applied`.

%s
## Errors that travel

%s
## Local errors

Made by the library itself; they never stand in a reply.

%s""" % (NOTE, table(["class", "what to do"], CLASSES), table(["outcome", "meaning"], OUTCOMES),
         table(heads, rows(lambda value: value > 0)), table(heads, rows(lambda value: value < 0)))


# ---- CONFIG.md

def _with_unit(option, value):
    if value == (1 << 63) - 1:
        return ""
    units = UNITS.get(option.type, {"": 1})
    name, factor = max(((name, factor) for name, factor in units.items() if value and value % factor == 0), key=lambda unit: unit[1],
                       default=("", 1))
    name = "" if factor == 1 else name
    return number(value) if name == "" else "%d%s" % (value // factor, name)


def _allowed(option):
    if option.type == "bool":
        return "true, false"
    if option.type == "choice":
        return ", ".join(option.choices)
    low, high = _with_unit(option, option.min), _with_unit(option, option.max)
    if option.type == "text":
        return "%s to %s bytes" % (low, high)
    return "%s to %s" % (low, high) if high else "from %s up" % low


def config(model):
    text = """# Configuration

%s
A node reads its settings from a file (`--config FILE`), then from the command line (`--set key=value`, which wins). Topics get theirs with
`weft topic create NAME --set key=value` and `weft topic alter`; producers and consumers from the program. Defaults are meant to be good: an
empty file is a legal one.

Files are ZPL (ZeroMQ RFC 4): `key = value` lines, `#` comments, values with spaces or `#` in quotes. A dot in a key may be written as a level:

```
# broker.conf
id = 3
data = /var/lib/weft
listen = "tcp://0.0.0.0:9650"
session
    expiry
        ms = 2d
```

**int** is decimal; **bytes** takes `KiB`, `MiB`, `GiB`; **duration** is in milliseconds, or takes `ms`, `s`, `m`, `h`, `d`. A wrong key or value is
refused before anything starts, with file, line, what is allowed and the nearest known key. *Live* settings may change while running.
""" % NOTE
    for scope, doc, options in model.config:
        rows = [["`%s`" % option.name, option.type, "`%s`" % option.default if option.default else "", _allowed(option),
                 ("*Live.* " if option.live else "") + option.doc] for option in options]
        text += "\n## %s\n\n%s\n\n%s" % (scope.capitalize(), doc, table(["key", "type", "default", "allowed", "meaning"], rows))
    return text


def files(model):
    return {"PROTOCOL.md": protocol(model), "ERRORS.md": errors(model), "CONFIG.md": config(model), "golden.json": golden.text(model)}
