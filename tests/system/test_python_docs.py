# SPDX-License-Identifier: MPL-2.0
"""docs/PYTHON.md: its programs, in order, against one node; each prints what the page says."""

import os
import pathlib
import re
import subprocess
import sys
import tempfile

from harness import ROOT, run, up

PAGE = (ROOT / "docs/PYTHON.md").read_text()
LISTING = re.compile(r"<!-- listing: (\S+) -->\n```python\n(.*?)```\n\n<!-- prints -->\n```\n(.*?)```", re.S)
STATUS = {"crash.py": 1}


def test_python_docs__every_program_prints_what_the_page_says():
    listings = LISTING.findall(PAGE)
    assert len(listings) == PAGE.count("<!-- listing:") == PAGE.count("<!-- prints -->") >= 9
    with up() as node, tempfile.TemporaryDirectory() as directory:
        for name, text, printed in listings:
            path = pathlib.Path(directory, "run-" + name)
            path.write_text(text)
            done = subprocess.run([sys.executable, str(path)], capture_output=True, text=True, timeout=60,
                                  env={**os.environ, "PYTHONPATH": str(ROOT / "lib/python"), "WEFT_BOOTSTRAP": node.endpoint})
            assert done.returncode == STATUS.get(name, 0), f"{name}: {done.stdout}{done.stderr}"
            pattern = ".*".join(re.escape(part) for part in printed.split("..."))
            assert re.fullmatch(pattern, done.stdout), f"{name} prints\n{done.stdout}\nnot\n{printed}\n{done.stderr}"


def test_python_docs__names_of_kafka_python_are_there():
    import python_client  # noqa: F401 - puts the package into the path
    import weft
    from weft import admin, errors
    for name in re.findall(r"`(\w+)`", re.search(r"^\| names \|([^|]*)\|", PAGE, re.M)[1]):
        assert hasattr(weft, name) or hasattr(admin, name), name
    for name in ("KafkaError", "KafkaTimeoutError", "NoBrokersAvailable", "TopicAlreadyExistsError", "UnknownTopicOrPartitionError", "CommitFailedError"):
        assert issubclass(getattr(errors, name), errors.WeftError), name


if __name__ == "__main__":
    run(globals())
