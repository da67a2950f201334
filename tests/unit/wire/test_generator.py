#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""The generator refuses wrong schemas, and sees what may not change.

    test_generator.py SCHEMAS_FOLDER
"""
import copy
import json
import os
import shutil
import sys
import tempfile
import unittest

SCHEMAS = sys.argv[1]
sys.dont_write_bytecode = True
sys.path.insert(0, SCHEMAS)

from weftgen import evolution  # noqa: E402
from weftgen.model import Model, SchemaError  # noqa: E402


def timeout_of(message):
    """A field with a default, wherever it stands."""
    return next(field for field in message["request"]["fields"] if field["name"] == "timeout_ms")


class Schemas(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp()
        for name in ("messages", "commands", "records", "config"):
            shutil.copytree(os.path.join(SCHEMAS, name), os.path.join(self.folder, name))
        for name in ("errors.json", "limits.json", "frozen.json"):
            shutil.copy(os.path.join(SCHEMAS, name), self.folder)

    def tearDown(self):
        shutil.rmtree(self.folder)

    def change(self, name, how):
        path = os.path.join(self.folder, name)
        with open(path, encoding="utf-8") as file:
            thing = json.load(file)
        how(thing)
        with open(path, "w", encoding="utf-8") as file:
            json.dump(thing, file)

    def refused(self, name, how, part):
        with self.assertRaises(SchemaError) as caught:
            self.change(name, how)
            Model(self.folder)
        self.assertIn(part, str(caught.exception))

    def test_the_schemas_are_legal(self):
        Model(self.folder)

    def test_a_field_without_doc_is_refused(self):
        self.refused("messages/produce.json", lambda m: m["request"]["fields"][0].pop("doc"), "'doc' is missing")

    def test_a_string_without_max_is_refused(self):
        self.refused("messages/produce.json", lambda m: m["request"]["fields"][0].pop("max"), "'max' belongs")

    def test_an_unknown_key_is_refused(self):
        self.refused("messages/produce.json", lambda m: m.update(comment="x"), "'comment' is not known")

    def test_an_error_number_that_stands_twice_is_refused(self):
        self.refused("errors.json", lambda m: m["errors"][1].update(number=6), "stands twice")

    def test_a_name_that_every_reply_has_is_refused(self):
        self.refused("messages/fetch.json", lambda m: m["reply"]["fields"][0].update(name="message"), "every message has")

    def test_a_default_that_does_not_fit_is_refused(self):
        self.refused("messages/produce.json", lambda m: timeout_of(m).update(default=-1), "does not fit")

    def test_a_struct_that_holds_itself_is_refused(self):
        field = {"name": "inner", "type": "[config_entry]", "doc": "x", "count_max": 2}

        def hold(m):
            next(each for each in m["structs"] if each["name"] == "config_entry")["fields"].append(field)
        self.refused("messages/_structs.json", hold, "holds itself")

    def test_an_option_whose_default_is_not_legal_is_refused(self):
        self.refused("config/broker.json", lambda m: m["options"][0].update(default="x"), "default")


class Evolution(Schemas):
    def problems(self, name=None, how=None):
        if name:
            self.change(name, how)
        with open(os.path.join(self.folder, "frozen.json"), encoding="utf-8") as file:
            return evolution.compare(json.load(file), evolution.shape(Model(self.folder)))

    def one(self, name, how, part):
        problems = self.problems(name, how)
        self.assertTrue(any(part in problem for problem in problems), problems)

    def test_nothing_changed_is_fine(self):
        self.assertEqual(self.problems(), [])

    def test_a_new_optional_field_is_fine(self):
        field = {"name": "new_one", "type": "u32", "doc": "x", "default": 0}
        self.assertEqual(self.problems("messages/produce.json", lambda m: m["request"]["fields"].append(field)), [])

    def test_a_new_field_without_default_is_seen(self):
        field = {"name": "new_one", "type": "u32", "doc": "x"}
        self.one("messages/produce.json", lambda m: m["request"]["fields"].append(field), "produce_request.new_one")

    def test_a_field_that_disappears_is_seen(self):
        self.one("messages/produce.json", lambda m: m["request"]["fields"].remove(timeout_of(m)), "produce_request.timeout_ms")

    def test_a_field_that_changes_type_is_seen(self):
        self.one("messages/produce.json", lambda m: timeout_of(m).update(type="u64"), "u32")

    def test_a_default_that_changes_is_seen(self):
        self.one("messages/produce.json", lambda m: timeout_of(m).update(default=1), "default")

    def test_a_default_that_is_lost_is_seen(self):
        self.one("messages/produce.json", lambda m: timeout_of(m).pop("default"), "default")

    def test_a_maximum_that_shrinks_is_seen_and_one_that_grows_is_fine(self):
        self.one("messages/produce.json", lambda m: m["request"]["fields"][0].update(max=100), "max")
        self.assertEqual(self.problems("messages/produce.json", lambda m: m["request"]["fields"][0].update(max=300)), [])

    def test_an_error_number_that_changes_meaning_is_seen(self):
        self.one("errors.json", lambda m: m["errors"][2].update(name="BAD_SUM"), "BAD_CRC")

    def test_a_message_that_disappears_is_seen(self):
        os.remove(os.path.join(self.folder, "messages", "fetch.json"))
        self.assertTrue(any("fetch" in problem for problem in self.problems()))

    def test_a_command_number_that_changes_is_seen(self):
        self.one("commands/took_office.json", lambda m: m.update(number=90), "took_office")

    def test_comparing_does_not_change_what_is_compared(self):
        shape = evolution.shape(Model(self.folder))
        before = copy.deepcopy(shape)
        evolution.compare(shape, shape)
        self.assertEqual(shape, before)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
