# SPDX-License-Identifier: MPL-2.0
"""The schemas as objects, read and checked.

A schema is a JSON file. Whatever is unknown, missing or contradictory in it is refused with the file and the place, so
that a typing error never turns into a field that is silently ignored.
"""
import json
import os
import re

INTEGERS = {
    "i8": (-(1 << 7), (1 << 7) - 1), "i16": (-(1 << 15), (1 << 15) - 1),
    "i32": (-(1 << 31), (1 << 31) - 1), "i64": (-(1 << 63), (1 << 63) - 1),
    "u8": (0, (1 << 8) - 1), "u16": (0, (1 << 16) - 1), "u32": (0, (1 << 32) - 1), "u64": (0, (1 << 64) - 1),
}
SCALARS = set(INTEGERS) | {"bool", "str", "bin", "id"}
CLASSES = ("none", "retry", "refresh", "permanent", "fatal")
OUTCOMES = ("not_applied", "maybe_applied", "applied")
OPTION_TYPES = ("bool", "int", "bytes", "duration", "text", "choice")
UNITS = {
    "int": {"": 1},
    "bytes": {"": 1, "B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30},
    "duration": {"": 1, "ms": 1, "s": 1000, "m": 60000, "h": 3600000, "d": 86400000},
}
C_WORDS = set("""auto break case char const continue default do double else enum extern float for goto if inline int long
register restrict return short signed sizeof static struct switch typedef union unsigned void volatile while bool true
false""".split())
NAME = re.compile(r"^[a-z][a-z0-9_]*$")


class SchemaError(Exception):
    """What is wrong with a schema, and where."""


def _check_keys(where, thing, needed, allowed=()):
    if not isinstance(thing, dict):
        raise SchemaError("%s: an object is wanted" % where)
    for key in needed:
        if key not in thing:
            raise SchemaError("%s: '%s' is missing" % (where, key))
    for key in thing:
        if key not in needed and key not in allowed:
            raise SchemaError("%s: '%s' is not known here" % (where, key))
    if "doc" in needed and not (isinstance(thing["doc"], str) and thing["doc"].strip()):
        raise SchemaError("%s: 'doc' is empty" % where)


def _check_name(where, name):
    if not isinstance(name, str) or not NAME.match(name) or name in C_WORDS:
        raise SchemaError("%s: '%s' is no legal name" % (where, name))


class Field:
    """One key of a message, struct, command or record."""

    def __init__(self, where, json_field):
        _check_keys(where, json_field, ("name", "type", "doc"), ("max", "count_max", "default", "required", "always"))
        self.name = json_field["name"]
        where = "%s, field '%s'" % (where, self.name)
        _check_name(where, self.name)
        self.where = where
        self.type_text = json_field["type"]
        self.is_array = self.type_text.startswith("[")
        self.type = self.type_text.strip("[]")
        self.doc = json_field["doc"]
        self.max = json_field.get("max", 0)
        self.count_max = json_field.get("count_max", 0)
        self.has_default = "default" in json_field
        self.default = json_field.get("default")
        self.required = json_field.get("required", False)
        self.always = json_field.get("always", False)
        self.is_struct = self.type not in SCALARS
        self._check()

    def _check(self):
        if self.is_array and self.type_text != "[%s]" % self.type:
            raise SchemaError("%s: type '%s' is not legal" % (self.where, self.type_text))
        if self.is_struct and not self.is_array:
            raise SchemaError("%s: type '%s' is not known (a struct stands in an array)" % (self.where, self.type))
        if (self.type in ("str", "bin")) != (self.max > 0):
            raise SchemaError("%s: 'max' belongs to every str and bin, and to nothing else" % self.where)
        if self.is_array != (self.count_max > 0):
            raise SchemaError("%s: 'count_max' belongs to every array, and to nothing else" % self.where)
        if self.required and self.has_default:
            raise SchemaError("%s: what is required has no default" % self.where)
        if self.always and not self.has_default:
            raise SchemaError("%s: 'always' says something only where there is a default" % self.where)
        if self.has_default:
            self._check_default()

    def _check_default(self):
        value = self.default
        if value is None:  # zero id, nil string, empty array
            good = self.is_array or self.type in ("id", "str", "bin")
        elif self.is_array:
            good = False
        elif self.type in INTEGERS:
            low, high = INTEGERS[self.type]
            good = isinstance(value, int) and not isinstance(value, bool) and low <= value <= high
        elif self.type == "bool":
            good = isinstance(value, bool)
        elif self.type == "str":
            good = isinstance(value, str) and 0 < len(value.encode()) <= self.max
        else:
            good = False
        if not good:
            raise SchemaError("%s: default %r does not fit the type" % (self.where, value))


class Struct:
    """A named list of fields."""

    def __init__(self, where, name, fields, doc=""):
        _check_name(where, name)
        self.name = name
        self.doc = doc
        self.fields = [Field(where, field) for field in fields]
        seen = set()
        for field in self.fields:
            if field.name in seen:
                raise SchemaError("%s: field '%s' stands twice" % (where, field.name))
            seen.add(field.name)


class Message:
    """A request and, unless it is pushed, its reply."""

    def __init__(self, where, thing):
        _check_keys(where, thing, ("name", "since", "doc", "to", "request"), ("reply", "structs"))
        self.name, self.since, self.doc, self.to = thing["name"], thing["since"], thing["doc"], thing["to"]
        self.request, self.request_data = self._side(where + " request", thing["request"], self.name + "_request")
        self.reply, self.reply_data = None, None
        if "reply" in thing:
            self.reply, self.reply_data = self._side(where + " reply", thing["reply"], self.name + "_reply")

    @staticmethod
    def _side(where, thing, name):
        _check_keys(where, thing, ("fields",), ("data",))
        return Struct(where, name, thing["fields"]), thing.get("data")


class Command:
    """A change of the cluster state."""

    def __init__(self, where, thing):
        _check_keys(where, thing, ("name", "number", "since", "doc", "fields"), ("structs",))
        self.name, self.number, self.since, self.doc = thing["name"], thing["number"], thing["since"], thing["doc"]
        self.struct = Struct(where, self.name + "_command", thing["fields"])
        if not self.struct.fields or any(field.name == "command" for field in self.struct.fields):
            raise SchemaError("%s: a command has fields, none of them 'command'" % where)


class Record:
    """Something kept on disk."""

    def __init__(self, where, thing):
        _check_keys(where, thing, ("name", "since", "doc", "fields"), ("structs",))
        self.name, self.since, self.doc = thing["name"], thing["since"], thing["doc"]
        self.struct = Struct(where, self.name + "_record", thing["fields"])
        if not self.struct.fields:
            raise SchemaError("%s: a record has fields" % where)


# What an option is to a topology: enum weft_option_role in lib/include/weft/options.h.
OPTION_ROLES = ("none", "listen", "control", "source", "target", "source-topic", "target-topic", "path")


class Option:
    """One configuration key."""

    def __init__(self, where, thing):
        _check_keys(where, thing, ("name", "type", "default", "doc"), ("min", "max", "choices", "live", "role"))
        self.name, self.type, self.default, self.doc = thing["name"], thing["type"], thing["default"], thing["doc"]
        where = "%s, option '%s'" % (where, self.name)
        if not re.match(r"^[a-z][a-z0-9.]*$", self.name):
            raise SchemaError("%s: no legal name" % where)
        if self.type not in OPTION_TYPES:
            raise SchemaError("%s: type '%s' is not known" % (where, self.type))
        self.choices = thing.get("choices", [])
        if (self.type == "choice") != bool(self.choices):
            raise SchemaError("%s: 'choices' belongs to a choice, and to nothing else" % where)
        if self.type == "text" and "max" not in thing:
            raise SchemaError("%s: 'max' is missing" % where)
        self.has_max = "max" in thing
        self.live = thing.get("live", False)
        self.role = thing.get("role", "none")
        if self.role not in OPTION_ROLES or (self.role != "none" and self.type != "text"):
            raise SchemaError("%s: role '%s' is not known, or not of a text" % (where, self.role))
        if self.type == "bool":
            self.min, self.max = 0, 1
        elif self.type == "choice":
            self.min, self.max = 0, len(self.choices) - 1
        else:
            self.min, self.max = thing.get("min", 0), thing.get("max", (1 << 63) - 1)
        if not isinstance(self.default, str) or not self._is_legal(self.default):
            raise SchemaError("%s: the default %r is not legal (and has to be given as text)" % (where, self.default))

    def _is_legal(self, text):
        """As lib/base/options.c parses it."""
        if self.type == "bool":
            return text in ("true", "false")
        if self.type == "choice":
            return text in self.choices
        if self.type == "text":
            return self.min <= len(text.encode()) <= self.max
        match = re.match(r"^(-?[0-9]+)([A-Za-z]*)$", text)
        if not match or match.group(2) not in UNITS[self.type]:
            return False
        return self.min <= int(match.group(1)) * UNITS[self.type][match.group(2)] <= self.max


class Model:
    """Everything under schemas/."""

    def __init__(self, folder):
        self.folder = folder
        self._read_errors()
        self._read_limits()
        self._read_common()
        self.structs = {}       # name -> Struct
        self.struct_group = {}  # name -> "shared", "messages", "commands" or "records"
        shared = self._json("messages/_structs.json")
        _check_keys("messages/_structs.json", shared, ("doc", "structs"))
        self._add_structs("messages/_structs.json", shared, "shared")
        self.messages = self._read_folder("messages", Message)
        self.commands = sorted(self._read_folder("commands", Command), key=lambda command: command.number)
        self.records = self._read_folder("records", Record)
        self._check_structs()
        self._check_commands()
        self._read_config()

    def _json(self, name):
        path = os.path.join(self.folder, name)
        try:
            with open(path, encoding="utf-8") as file:
                return json.load(file)
        except (OSError, ValueError) as error:
            raise SchemaError("%s: %s" % (name, error))

    def _names(self, folder):
        names = sorted(os.listdir(os.path.join(self.folder, folder)))
        return [name for name in names if name.endswith(".json") and not name.startswith("_")]

    def _read_errors(self):
        table = self._json("errors.json")
        _check_keys("errors.json", table, ("doc", "errors"))
        self.errors_doc, self.errors = table["doc"], table["errors"]
        numbers, names = set(), set()
        for error in self.errors:
            where = "errors.json, '%s'" % error.get("name")
            _check_keys(where, error, ("number", "name", "class", "outcome", "sentence"))
            if error["number"] in numbers or error["name"] in names:
                raise SchemaError("%s: number or name stands twice" % where)
            if error["class"] not in CLASSES or error["outcome"] not in OUTCOMES or not error["sentence"]:
                raise SchemaError("%s: class, outcome or sentence is not legal" % where)
            if not -(1 << 15) <= error["number"] < (1 << 15):
                raise SchemaError("%s: the number does not fit 16 bits" % where)
            numbers.add(error["number"])
            names.add(error["name"])

    def _read_limits(self):
        table = self._json("limits.json")
        _check_keys("limits.json", table, ("doc", "limits"))
        self.limits = table["limits"]
        for limit in self.limits:
            _check_keys("limits.json, '%s'" % limit.get("name"), limit, ("name", "value", "doc"))
        if len({limit["name"] for limit in self.limits}) != len(self.limits):
            raise SchemaError("limits.json: a name stands twice")

    def limit(self, name):
        return next(limit["value"] for limit in self.limits if limit["name"] == name)

    def _read_common(self):
        where = "messages/_common.json"
        common = self._json(where)
        _check_keys(where, common, ("doc", "request", "reply"))
        self.common_request = Struct(where + " request", "request", common["request"])
        self.common_reply = Struct(where + " reply", "reply", common["reply"])

    def _add_structs(self, where, thing, group):
        for struct in thing.get("structs", []):
            _check_keys(where, struct, ("name", "fields"), ("doc",))
            if struct["name"] in self.structs:
                raise SchemaError("%s: struct '%s' is known already" % (where, struct["name"]))
            self.structs[struct["name"]] = Struct(where, struct["name"], struct["fields"], struct.get("doc", ""))
            self.struct_group[struct["name"]] = group

    def _read_folder(self, folder, kind):
        things = []
        for name in self._names(folder):
            where = "%s/%s" % (folder, name)
            thing = self._json(where)
            made = kind(where, thing)
            if made.name + ".json" != name:
                raise SchemaError("%s: the file is named otherwise than what it describes" % where)
            self._add_structs(where, thing, folder)
            things.append(made)
        return sorted(things, key=lambda made: made.name)

    def _check_structs(self):
        tops = [side for message in self.messages for side in (message.request, message.reply) if side]
        tops += [thing.struct for thing in self.commands + self.records]
        for struct in tops + list(self.structs.values()):
            for field in struct.fields:
                if field.is_struct and field.type not in self.structs:
                    raise SchemaError("%s: struct '%s' is not known" % (field.where, field.type))
        for name in self.structs:
            self.struct_depth(name)
        for message in self.messages:
            self._check_limits(message.request, "HEADER_COUNT_MAX")
            if message.reply:
                self._check_limits(message.reply, "REPLY_COUNT_MAX")
        for thing in self.commands + self.records:
            self._check_limits(thing.struct, "STATE_COUNT_MAX")
        for message in self.messages:
            for side, common in ((message.request, self.common_request), (message.reply, self.common_reply)):
                taken = {field.name for field in common.fields}
                for field in side.fields if side else []:
                    if field.name in taken:
                        raise SchemaError("%s: every message has a key of that name" % field.where)

    def _check_limits(self, struct, count_limit, depth=1):
        """What a schema allows must pass the guard."""
        for field in struct.fields:
            if field.count_max > self.limit(count_limit) or field.max > self.limit("STRING_BYTES_MAX"):
                raise SchemaError("%s: more than %s or STRING_BYTES_MAX allow" % (field.where, count_limit))
            if depth + 1 + field.is_array > self.limit("HEADER_DEPTH_MAX"):
                raise SchemaError("%s: deeper than HEADER_DEPTH_MAX" % field.where)
            if field.is_struct:
                self._check_limits(self.structs[field.type], count_limit, depth + 2)

    def struct_depth(self, name, above=()):
        """How deep a struct nests; refuses one that holds itself."""
        if name in above:
            raise SchemaError("struct '%s' holds itself" % name)
        below = [self.struct_depth(field.type, above + (name,)) for field in self.structs[name].fields if field.is_struct]
        return 1 + max(below, default=0)

    def structs_of(self, group):
        """The structs of one group, those that others hold first."""
        names = [name for name in self.structs if self.struct_group[name] == group]
        return [self.structs[name] for name in sorted(names, key=lambda name: (self.struct_depth(name), name))]

    def _check_commands(self):
        numbers = [command.number for command in self.commands]
        if len(set(numbers)) != len(numbers) or any(not 0 < number < (1 << 15) for number in numbers):
            raise SchemaError("commands: a number stands twice or is not legal")

    def _read_config(self):
        self.config = []
        for name in self._names("config"):
            where = "config/%s" % name
            table = self._json(where)
            _check_keys(where, table, ("scope", "doc", "options"))
            options = [Option(where, option) for option in table["options"]]
            if len({option.name for option in options}) != len(options):
                raise SchemaError("%s: an option stands twice" % where)
            self.config.append((table["scope"], table["doc"], options))
