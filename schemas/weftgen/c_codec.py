# SPDX-License-Identifier: MPL-2.0
"""C: structs of messages, commands and records, and the tables that lib/wire/codec.c walks."""
from . import py_codec
from .c_tables import SPDX, c_text
from .model import INTEGERS

C_TYPES = {"bool": "bool", "str": "weft_slice_t", "bin": "weft_slice_t", "id": "weft_id_t"}
C_TYPES.update({name: ("int%s_t" if name[0] == "i" else "uint%s_t") % name[1:] for name in INTEGERS})


def _allowed(field):
    """What a reader of the header wants to know beside the doc."""
    notes = []
    if field.required:
        notes.append("required")
    if field.has_default and field.default is not None:
        notes.append("default %s" % str(field.default).lower() if isinstance(field.default, bool) else "default %s" % field.default)
    if field.max:
        notes.append("at most %d bytes" % field.max)
    if field.count_max:
        notes.append("at most %d" % field.count_max)
    return " (%s)" % ", ".join(notes) if notes else ""


def _members(struct):
    lines = []
    for field in struct.fields:
        base = "struct weft_%s" % field.type if field.is_struct else C_TYPES[field.type]
        if field.is_array:
            lines.append("    %s *%s; // %s%s" % (base, field.name, field.doc, _allowed(field)))
            lines.append("    size_t %s_count;" % field.name)
        else:
            lines.append("    %s %s; // %s%s" % (base, field.name, field.doc, _allowed(field)))
    return lines


def _struct(struct, first=(), doc=""):
    lines = ["// %s" % doc] if doc else []
    lines.append("struct weft_%s {" % struct.name)
    lines += list(first) + _members(struct)
    return "\n".join(lines + ["};\n"])


def _prototypes(name, bytes_name):
    full = "weft_" + name
    return ("void %s_init(struct %s *self);\n"
            "WEFT_MUST_USE weft_err_t %s_decode(weft_codec_t *codec, weft_slice_t %s, struct %s *out, struct weft_error *error);\n"
            "void %s_encode(const struct %s *self, weft_buf_t *out);\n" % (full, full, full, bytes_name, full, full, full))


def _header(name, doc, includes, body):
    guard = "WEFT_GEN_%s_H" % name.upper()
    lines = [SPDX + "/**\n%s\n */" % "\n".join(" * " + line if line else " *" for line in doc.split("\n"))]
    lines += ["#ifndef %s\n#define %s\n" % (guard, guard)] + ["#include %s" % include for include in includes]
    return "\n".join(lines) + "\n\n" + body + "\n#endif\n"


CODEC_BODY = """
/** What every request has: enough to dispatch it, or to refuse it under its id. */
struct weft_request_header {
    enum weft_api api;
    weft_slice_t api_name; // points into the header
    uint64_t id;
};

/**
 * One walk, no allocation: guards the bytes, finds api and id, checks `must`. BAD_FRAME, INVALID_REQUEST (no api), UNKNOWN_API, UNSUPPORTED (must).
 * out->id is filled whenever it can be read, also when refused; the rest only on success, but api and api_name with UNSUPPORTED too.
 */
WEFT_MUST_USE weft_err_t weft_request_header_decode(weft_slice_t header, struct weft_request_header *out, struct weft_error *error);

const char *weft_api_name(enum weft_api api); // "produce"; UNKNOWN: "unknown"

/** What every reply has. */
struct weft_reply_header {
    uint64_t id;
    weft_err_t error;       // unknown numbers become INTERNAL
    weft_slice_t name;      // nil: filled from the error table when encoded
    weft_slice_t message;   // nil: likewise
    int32_t leader;         // default -1
    weft_slice_t endpoint;
    uint32_t retry_ms;
};

void weft_reply_header_init(struct weft_reply_header *self);
// Peeks at any reply.
WEFT_MUST_USE weft_err_t weft_reply_header_decode(weft_codec_t *codec, weft_slice_t header, struct weft_reply_header *out,
                                                  struct weft_error *error);
// A plain refusal. sentence NULL: that of the error table.
void weft_error_reply_encode(uint64_t id, weft_err_t error, const char *sentence, weft_buf_t *out);
"""


def codec_header(model):
    body = ["enum weft_api {", "    WEFT_API_UNKNOWN,"]
    body += ["    WEFT_API_%s, // %s" % (message.name.upper(), message.doc) for message in model.messages]
    body += ["};\n", "#define WEFT_API_COUNT %d // with UNKNOWN" % (len(model.messages) + 1), CODEC_BODY]
    body += [_struct(struct, doc=struct.doc) for struct in model.structs_of("shared")]
    return _header("codec", "Codec: what all messages share. See wire/codec.h for the rules.", ['"wire/codec.h"'], "\n".join(body))


def messages_header(model):
    body = [_struct(struct, doc=struct.doc) for struct in model.structs_of("messages")]
    for message in model.messages:
        body.append("// ---- %s: %s\n" % (message.name, message.doc))
        data = "// Data frame: %s.\n" % message.request_data if message.request_data else ""
        body.append(data + _struct(message.request, ["    uint64_t id; // Chosen by the sender, mirrored by the reply."]))
        body.append(_prototypes(message.request.name, "header"))
        if message.reply:
            data = "// Data frame: %s.\n" % message.reply_data if message.reply_data else ""
            body.append(data + _struct(message.reply, ["    struct weft_reply_header header;"]))
            body.append(_prototypes(message.reply.name, "header"))
    doc = ("Messages: a struct for every request and reply, and its three functions.\n\n"
           "_init sets the defaults, _decode guards and decodes (INVALID_REQUEST names field, value and what is allowed; *out only on success;\n"
           "arrays live until the next decode with the codec, strings point into the header), _encode appends one msgpack map.")
    return _header("messages", doc, ["<weft_gen/codec.h>"], "\n".join(body))


def commands_header(model):
    body = ["enum weft_command {", "    WEFT_COMMAND_UNKNOWN,"]
    body += ["    WEFT_COMMAND_%s = %d, // %s" % (command.name.upper(), command.number, command.doc) for command in model.commands]
    body += ["};\n", "const char *weft_command_name(enum weft_command command); // \"topic_created\"; UNKNOWN: \"unknown\"\n",
             "// Which command the bytes hold; a number that this build does not know gives UNKNOWN. BAD_FRAME, INVALID_REQUEST.\n"
             "WEFT_MUST_USE weft_err_t weft_command_peek(weft_slice_t bytes, enum weft_command *out);\n"]
    body += [_struct(struct, doc=struct.doc) for struct in model.structs_of("commands")]
    for command in model.commands:
        body.append("// ---- %d %s: %s\n" % (command.number, command.name, command.doc))
        body += [_struct(command.struct), _prototypes(command.struct.name, "bytes")]
    doc = "Commands: changes of the cluster state, each a msgpack map with its number under \"command\"."
    return _header("commands", doc, ["<weft_gen/codec.h>"], "\n".join(body))


def records_header(model):
    body = [_struct(struct, doc=struct.doc) for struct in model.structs_of("records")]
    for record in model.records:
        body.append("// ---- %s: %s\n" % (record.name, record.doc))
        body += [_struct(record.struct), _prototypes(record.struct.name, "bytes")]
    doc = "Records: what nodes keep on disk beside the batches, each a msgpack map."
    return _header("records", doc, ["<weft_gen/codec.h>"], "\n".join(body))


# ---- sources

def _initial(field):
    if not field.has_default or field.default is None or isinstance(field.default, str):
        return "0"
    if isinstance(field.default, bool):
        return "1" if field.default else "0"
    return "INT64_C(%d)" % field.default if field.default > -(1 << 63) else "INT64_MIN"


def _row(field, c_struct, member=None):
    flags = [name for name, on in (("ARRAY", field.is_array), ("REQUIRED", field.required),
                                   ("HAS_DEFAULT", field.has_default), ("ALWAYS", field.always)) if on]
    parts = [".name = %s" % c_text(field.name), ".name_bytes = %d" % len(field.name),
             ".type = WEFT_FIELD_%s" % ("STRUCT" if field.is_struct else field.type.upper())]
    if flags:
        parts.append(".flags = " + " | ".join("WEFT_FIELD_" + flag for flag in flags))
    parts.append(".offset = offsetof(%s, %s)" % (c_struct, member or field.name))
    if field.is_array:
        parts += [".count_offset = offsetof(%s, %s_count)" % (c_struct, field.name), ".count_max = %d" % field.count_max]
    if field.max:
        parts.append(".bytes_max = %d" % field.max)
    if _initial(field) != "0":
        parts.append(".initial = %s" % _initial(field))
    if isinstance(field.default, str):
        parts.append(".initial_text = %s" % c_text(field.default))
    if field.is_struct:
        parts.append(".element = &s_%s_shape" % field.type)
    return "    {%s}," % ", ".join(parts)


def _shape(struct, sentence_name, rows, linkage="static "):
    c_struct = "struct weft_%s" % struct.name
    table = "static const struct weft_field s_%s_fields[] = {\n%s\n};\n" % (struct.name, "\n".join(rows)) if rows else ""
    fields = ("s_%s_fields" % struct.name, "%d" % len(rows)) if rows else ("NULL", "0")
    return table + "%sconst struct weft_shape s_%s_shape = {%s, %s, %s, sizeof(%s)};\n" % (
        linkage, struct.name, c_text(sentence_name), fields[0], fields[1], c_struct)


def _struct_shapes(model, group, used):
    """Tables of the structs that `used` reach, inner ones first."""
    wanted = set()

    def reach(struct):
        for field in struct.fields:
            if field.is_struct and field.type not in wanted:
                wanted.add(field.type)
                reach(model.structs[field.type])
    for struct in used:
        reach(struct)
    lines = []
    for struct in model.structs_of("shared") + model.structs_of(group):
        if struct.name in wanted:
            rows = [_row(field, "struct weft_%s" % struct.name) for field in struct.fields]
            lines.append(_shape(struct, struct.name, rows))
    return lines


REPLY_MEMBERS = ("id", "error", "name", "message", "leader", "endpoint", "retry_ms")


def _reply_rows(model, c_struct, prefix):
    fields = model.common_reply.fields
    if tuple(field.name for field in fields) != REPLY_MEMBERS:
        raise ValueError("messages/_common.json: the reply header is fixed in struct weft_reply_header")
    return [_row(field, c_struct, prefix + field.name) for field in fields]


def _plain(name, shape, bytes_name, limits, head):
    return """void weft_{n}_init(struct weft_{n} *self) {{ weft_shape_init(&s_{s}_shape, self); }}

weft_err_t weft_{n}_decode(weft_codec_t *codec, weft_slice_t {b}, struct weft_{n} *out, struct weft_error *error)
{{
    return weft_shape_decode(codec, &s_{s}_shape, {b}, &{l}, out, error);
}}

void weft_{n}_encode(const struct weft_{n} *self, weft_buf_t *out)
{{
{h}    weft_shape_encode(&s_{s}_shape, self, &head, out);
}}
""".format(n=name, s=shape, b=bytes_name, l=limits, h=head)


def messages_source(model):
    sides = [side for message in model.messages for side in (message.request, message.reply) if side]
    lines = [SPDX + "#include <weft_gen/messages.h>\n\n#include <stddef.h>\n"]
    lines += _struct_shapes(model, "messages", sides)
    for message in model.messages:
        name = message.request.name
        c_struct = "struct weft_%s" % name
        id_field = next(field for field in model.common_request.fields if field.name == "id")
        rows = [_row(id_field, c_struct)] + [_row(field, c_struct) for field in message.request.fields]
        lines.append(_shape(message.request, message.name + " request", rows))
        head = "    const struct weft_shape_head head = {.text_key = \"api\", .text = %s};\n" % c_text(message.name)
        lines.append(_plain(name, name, "header", "weft_guard_header", head))
        if message.reply:
            lines.append(_reply_functions(model, message))
    lines.append(_codec_functions(model))
    return "\n".join(lines)


def _reply_functions(model, message):
    name = message.reply.name
    c_struct = "struct weft_%s" % name
    rows = _reply_rows(model, c_struct, "header.") + [_row(field, c_struct) for field in message.reply.fields]
    return _shape(message.reply, message.name + " reply", rows) + """
void weft_{n}_init(struct weft_{n} *self) {{ weft_shape_init(&s_{n}_shape, self); }}

weft_err_t weft_{n}_decode(weft_codec_t *codec, weft_slice_t header, struct weft_{n} *out, struct weft_error *error)
{{
    return weft_reply_shape_decode(codec, &s_{n}_shape, header, out, error);
}}

void weft_{n}_encode(const struct weft_{n} *self, weft_buf_t *out) {{ weft_reply_shape_encode(&s_{n}_shape, self, out); }}
""".format(n=name)


def _codec_functions(model):
    rows = _reply_rows(model, "struct weft_reply_header", "")
    header = type("Header", (), {"name": "reply_header"})
    names = ['    [WEFT_API_UNKNOWN] = {"unknown", NULL},']
    names += ["    [WEFT_API_%s] = {%s, &s_%s_shape}," % (message.name.upper(), c_text(message.name), message.request.name)
              for message in model.messages]
    return _shape(header, "reply", rows) + """
void weft_reply_header_init(struct weft_reply_header *self) { weft_shape_init(&s_reply_header_shape, self); }

weft_err_t weft_reply_header_decode(weft_codec_t *codec, weft_slice_t header, struct weft_reply_header *out, struct weft_error *error)
{
    return weft_reply_shape_decode(codec, &s_reply_header_shape, header, out, error);
}

void weft_error_reply_encode(uint64_t id, weft_err_t error, const char *sentence, weft_buf_t *out)
{
    struct weft_reply_header header;
    weft_reply_header_init(&header);
    header.id = id;
    header.error = error;
    header.message = weft_slice_text(sentence);
    weft_reply_shape_encode(&s_reply_header_shape, &header, out);
}

// By enum weft_api, sorted by name: wire/request.c searches it.
const struct weft_api_row weft_api_rows[WEFT_API_COUNT] = {
%s
};

const char *weft_api_name(enum weft_api api) { return weft_api_rows[api < WEFT_API_COUNT ? api : WEFT_API_UNKNOWN].name; }
""" % "\n".join(names)


def commands_source(model):
    lines = [SPDX + "#include <weft_gen/commands.h>\n\n#include <stddef.h>\n"]
    lines += _struct_shapes(model, "commands", [command.struct for command in model.commands])
    for command in model.commands:
        struct = command.struct
        rows = [_row(field, "struct weft_%s" % struct.name) for field in struct.fields]
        lines.append(_shape(struct, command.name + " command", rows))
        head = "    const struct weft_shape_head head = {.number_key = \"command\", .number = %d};\n" % command.number
        lines.append(_plain(struct.name, struct.name, "bytes", "weft_guard_record", head))
    cases = ["    case WEFT_COMMAND_%s: return %s;" % (command.name.upper(), c_text(command.name)) for command in model.commands]
    lines.append("""const char *weft_command_name(enum weft_command command)
{
    switch (command) {
%s
    case WEFT_COMMAND_UNKNOWN: break;
    }
    return "unknown";
}

weft_err_t weft_command_peek(weft_slice_t bytes, enum weft_command *out)
{
    uint64_t number;
    weft_err_t err = weft_map_number(bytes, &weft_guard_record, "command", &number);
    if (err) return err;
    switch (number) {
%s
        *out = (enum weft_command) number;
        break;
    default: *out = WEFT_COMMAND_UNKNOWN; break;
    }
    return WEFT_OK;
}
""" % ("\n".join(cases), "\n".join("    case %d:" % command.number for command in model.commands)))
    return "\n".join(lines)


def records_source(model):
    lines = [SPDX + "#include <weft_gen/records.h>\n\n#include <stddef.h>\n"]
    lines += _struct_shapes(model, "records", [record.struct for record in model.records])
    for record in model.records:
        struct = record.struct
        rows = [_row(field, "struct weft_%s" % struct.name) for field in struct.fields]
        lines.append(_shape(struct, record.name + " record", rows))
        lines.append(_plain(struct.name, struct.name, "bytes", "weft_guard_record", "    const struct weft_shape_head head = {0};\n"))
    return "\n".join(lines)


def kinds_header(model, folder):
    """All kinds, for tests and fuzzers that go through every codec."""
    rows = ["    X(%s)" % kind for kind in py_codec.kinds(model)]
    body = "#define WEFT_KINDS(X) \\\n%s\n\n" % " \\\n".join(rows)
    body += "#define WEFT_GENERATED_FOLDER %s // vectors/, fuzz_seeds/, python/\n" % c_text(folder)
    doc = "Kinds: everything that has a codec, as an X-macro, for tests and fuzzers."
    return _header("kinds", doc, ["<weft_gen/commands.h>", "<weft_gen/messages.h>", "<weft_gen/records.h>"], body)
