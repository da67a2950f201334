# SPDX-License-Identifier: MPL-2.0
"""docs/ATTACH.md: exactly its listings, against a live broker."""

import pathlib
import re
import subprocess
import sys
import tempfile

from harness import ROOT, clusters, run, up


def listings():
    text = (ROOT / "docs/ATTACH.md").read_text()
    return dict(re.findall(r"<!-- listing: (\S+) -->\n```python\n(.*?)```", text, re.S))


def python(directory, name, *arguments):
    path = pathlib.Path(directory, name)
    path.write_text(listings()[name])
    done = subprocess.run([sys.executable, str(path), *map(str, arguments)], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, f"{name}: {done.stderr}"
    return done.stdout


def test_attach__every_listing_runs_and_agrees():
    with up() as node, tempfile.TemporaryDirectory() as directory:
        node.weft("topic", "create", "orders", "--partitions", 1)
        assert python(directory, "producer.py", node.endpoint, "orders") == "100 records from offset 0 on, durable\n"
        assert python(directory, "producer.py", node.endpoint, "orders") == "100 records from offset 100 on, durable\n"
        expected = "".join(f"{at} customer-{at % 100 % 7} order {at % 100}\n" for at in range(200))
        assert python(directory, "consumer.py", node.endpoint, "orders", 0, 200) == expected
        assert python(directory, "consumer.py", node.endpoint, "orders", 57, 2) == "57 customer-1 order 57\n58 customer-2 order 58\n"
        told = python(directory, "request.py", node.endpoint)
        assert "broker 1, Weft" in told and f"orders/0 led by broker 1 at {node.endpoint}" in told, told
        segments = sorted(pathlib.Path(node.directory, "data").rglob("*/0/*.log"))
        assert python(directory, "segment.py", *[s for s in segments if "broker" in str(s)]) == expected


def test_attach__whoever_is_asked_the_leader_serves_and_the_end_ends():
    with clusters() as cluster, tempfile.TemporaryDirectory() as directory:
        cluster.up(2)
        cluster.weft("topic", "create", "orders", "--partitions", 1, "--replicas", 1)
        leader = cluster.partition("orders")["leader"]
        other = next(broker["endpoint"] for broker in cluster.json("cluster", "brokers") if broker["id"] != leader)
        assert python(directory, "producer.py", other, "orders") == "100 records from offset 0 on, durable\n"
        assert python(directory, "consumer.py", other, "orders", 98, 9) == "98 customer-0 order 98\n99 customer-1 order 99\n"


def test_attach__listings_are_short():
    for name, text in listings().items():
        lines = [line for line in text.splitlines() if line.strip()]
        assert len(lines) <= 24, f"{name} has {len(lines)} lines"


if __name__ == "__main__":
    run(globals())
