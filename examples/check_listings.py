#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""check_listings.py DOC EXAMPLES [--write]: every C listing in DOC that follows a line `<!-- NAME.c -->` is EXAMPLES/NAME.c, without its first line.

With --write the listings are replaced by what the files hold.
"""
import pathlib
import re
import sys


def main(arguments):
    document, examples = pathlib.Path(arguments[0]), pathlib.Path(arguments[1])
    text = document.read_text(encoding="utf-8")
    wrong = []

    def listing(match):
        source = (examples / match[1]).read_text(encoding="utf-8").split("\n", 1)[1]
        if match[2] != source:
            wrong.append(match[1])
        return "<!-- %s -->\n```c\n%s```" % (match[1], source)

    made, count = re.subn(r"<!-- ([a-z_]+\.c) -->\n```c\n(.*?)```", listing, text, flags=re.S)
    if "--write" in arguments:
        document.write_text(made, encoding="utf-8")
        return 0
    if not count:
        print("%s: no listing found" % document)
        return 1
    for name in wrong:
        print("%s: the listing of %s differs from the file; run %s with --write" % (document, name, sys.argv[0]))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
