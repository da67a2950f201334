# SPDX-License-Identifier: MPL-2.0
"""The conformance kit (scripts/conformance): our servers and our clients pass it, and it notices who does not."""

import json
import os
import subprocess
import sys
import threading

import msgpack
import zmq

from harness import DEADLINE_S, ROOT, WEFT, clusters, run, up

KIT = [sys.executable, str(ROOT / "tests/conformance/main.py")]


def kit(*arguments, status=0):
    done = subprocess.run([*KIT, *map(str, arguments)], capture_output=True, text=True, timeout=20 * DEADLINE_S, env={**os.environ, "WEFT_CLI": WEFT})
    assert done.returncode == status, f"{arguments}: status {done.returncode}\n{done.stdout[-3000:]}\n{done.stderr[-2000:]}"
    return done


def results(done):
    return {one["check"]: one for one in json.loads(done.stdout)["checks"]}


def test_conformance__one_node_passes():
    with up("--shards", "2") as node:
        found = results(kit(node.endpoint, "--json"))
        assert all(one["result"] == "passed" for one in found.values()), [one for one in found.values() if one["result"] != "passed"]
        assert "conformance-" not in node.weft("topic", "list").stdout, "the kit left topics behind"


def test_conformance__any_node_of_a_cluster_passes():
    with clusters() as cluster:
        cluster.up(3)
        found = results(kit(cluster.endpoints.split(",")[1], "--json"))
        assert all(one["result"] == "passed" for one in found.values()), [one for one in found.values() if one["result"] != "passed"]


def test_conformance__the_command_passes_as_a_client():
    found = results(kit("client", "--json", "--", ROOT / "tests/conformance/weft_client"))
    assert all(one["result"] == "passed" for one in found.values()), [one for one in found.values() if one["result"] != "passed"]


def test_conformance__the_python_package_passes_as_a_client():
    found = results(kit("client", "--json", "--", sys.executable, ROOT / "tests/conformance/python_client"))
    assert all(one["result"] in ("passed", "skipped") for one in found.values()), [one for one in found.values() if one["result"] != "passed"]


def test_conformance__a_careless_client_is_told():
    """It sends each line once, asks no questions and never looks at an answer."""
    careless = [sys.executable, "-c", """
import sys, msgpack, zmq
socket = zmq.Context().socket(zmq.DEALER)
socket.connect(sys.argv[2].split(",")[0])
for n, line in enumerate(sys.stdin.buffer):
    socket.send_multipart([msgpack.packb({"api": "produce", "id": n, "topic": sys.argv[3], "partition": 0}), msgpack.packb([0, None, line.rstrip(b"\\n"), None])])
    socket.recv_multipart()
"""]
    found = results(kit("client", "--json", "--only", "lines become", "--only", "need not lead", "--only", "permanent refusal", "--", *careless, status=1))
    assert found["lines become records"]["result"] == "passed", found
    assert found["the node it knows need not lead"]["result"] == "failed", found
    assert found["a permanent refusal is told and not repeated"]["result"] == "failed", found


def test_conformance__a_leader_may_be_found_by_asking():
    """A client that asks no metadata: NOT_LEADER tells it. What it asked the wrong node is not held against it."""
    asking = [sys.executable, "-c", """
import sys, time, msgpack, zmq
nodes = sys.argv[2].split(",")
sockets = {node: zmq.Context.instance().socket(zmq.DEALER) for node in nodes}
for node in nodes:
    sockets[node].connect(node)
where = nodes[-1]
for line in sys.stdin.buffer:
    while True:
        sockets[where].send_multipart([msgpack.packb({"api": "produce", "id": 2, "topic": sys.argv[3], "partition": 0}), msgpack.packb([0, None, line.rstrip(b"\\n"), None])])
        reply = msgpack.unpackb(sockets[where].recv_multipart()[0], strict_map_key=False)
        if not reply["error"]:
            break
        time.sleep(reply.get("retry_ms", 0) / 1000)  # allow-sleep: this is the pause that the check is about
        where = reply.get("endpoint") or where
"""]
    found = results(kit("client", "--json", "--only", "lines become", "--only", "retry ms", "--only", "need not lead", "--", *asking))
    assert [one["result"] for one in found.values()] == ["passed"] * 3, found


def test_conformance__a_server_that_talks_nonsense_is_told():
    for answer, words in (([b"\xc1\x00"], "begins with a msgpack map"), ([msgpack.packb([1])], "begins with a msgpack map"), ([b"\x80"] * 3, "has 3 frames"),
                          ([msgpack.packb({"error": 0})], "the reply has id None")):
        socket = zmq.Context.instance().socket(zmq.ROUTER)
        endpoint = f"tcp://127.0.0.1:{socket.bind_to_random_port('tcp://127.0.0.1')}"

        def serve(socket=socket, answer=answer):
            peer = socket.recv_multipart()[0]
            socket.send_multipart([peer, *answer])

        thread = threading.Thread(target=serve)
        thread.start()
        said = kit(endpoint, status=1).stderr
        thread.join()
        socket.close(1000)
        assert words in said and "Traceback" not in said, said


def test_conformance__usage_is_told():
    assert "did you mean tcp://localhost:9650" in kit("localhost:9650", status=2).stderr
    assert "is no endpoint" in kit("carrier://pigeon", status=2).stderr
    assert "is no program" in kit("client", "--", "/no/such/program", status=2).stderr
    assert "no check has" in kit("tcp://127.0.0.1:1", "--only", "no such thing", status=2).stderr
    assert "lines become records" in kit("--list").stdout


if __name__ == "__main__":
    run(globals())
