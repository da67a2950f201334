# SPDX-License-Identifier: MPL-2.0
"""The weft command as a person and a script use it: output, JSON, sentences, exit status."""

import json
import pathlib
import signal
import subprocess
import tempfile

from harness import WEFT, free_ports, run, up, weft, weft_json


def test_cli__topics_are_created_listed_described_altered_grown_and_deleted():
    with up() as node:
        b = node.endpoint
        assert node.weft("topic", "list").stdout.startswith("there are no topics")
        assert node.weft("topic", "create", "orders", "--partitions", 3, "--set", "retention.ms=1d").stdout == "created topic 'orders' with 3 partitions\n"
        listed = weft_json("topic", "list", bootstrap=b)
        assert [(t["topic"], t["partitions"], t["replicas"]) for t in listed] == [("orders", 3, 1)]
        described = weft_json("topic", "describe", "orders", bootstrap=b)
        assert described["topic"] == "orders" and len(described["topic_id"]) == 32
        assert [p["partition"] for p in described["partitions"]] == [0, 1, 2]
        for partition in described["partitions"]:
            assert partition["leader"] == 1 and partition["replicas"] == [1] and partition["isr"] == [1] and partition["offline_replicas"] == []
            assert isinstance(partition["epoch"], int)
        assert described["config"]["retention.ms"] == "1d"
        assert "PARTITION" in node.weft("topic", "describe", "orders").stdout
        node.weft("topic", "alter", "orders", "--set", "retention.ms=2d")
        assert weft_json("topic", "describe", "orders", bootstrap=b)["config"]["retention.ms"] == "2d"
        node.weft("topic", "add-partitions", "orders", "--to", 5)
        assert len(weft_json("topic", "describe", "orders", bootstrap=b)["partitions"]) == 5
        node.weft("topic", "delete", "orders")
        assert weft_json("topic", "list", bootstrap=b) == []


def test_cli__what_is_produced_is_consumed():
    with up() as node:
        node.weft("topic", "create", "orders", "--partitions", 4)
        node.weft("produce", "orders", "--key-separator", ":", input="ann:tea\nbob:coffee\nann:cake\nnokey\n")
        out = node.weft("consume", "orders", "--from", "earliest", "--exit-at-end", "--format", "%k=%v\\n").stdout
        assert sorted(out.splitlines()) == ["=nokey", "ann=cake", "ann=tea", "bob=coffee"]
        assert out.index("ann=tea") < out.index("ann=cake")
        lines = node.weft("consume", "orders", "--exit-at-end", "--json").stdout.splitlines()
        records = [json.loads(line) for line in lines]
        assert {r["key"] for r in records} == {"ann", "bob", None} and all(r["topic"] == "orders" for r in records)
        assert len({r["partition"] for r in records if r["key"] == "ann"}) == 1
        assert node.weft("consume", "orders", "--count", 2, "--from", "earliest").stdout.count("\n") == 2


def test_cli__binary_values_headers_compression_and_empty_values_survive():
    with up() as node:
        node.weft("topic", "create", "bytes")
        values = [bytes(range(256)), b"", b"x" * 100000, "häß".encode()]
        node.weft("produce", "bytes", "--delimiter", "\\x1e\\x1e", "--compression", "zstd", "--header", "origin=test", input=b"\x1e\x1e".join(values) + b"\x1e\x1e")
        out = subprocess.run([WEFT, "consume", "bytes", "--exit-at-end", "--bootstrap", node.endpoint, "--format", "%h|%v\\x1e\\x1e"], capture_output=True, check=True).stdout
        assert out.split(b"\x1e\x1e")[:-1] == [b"origin=test|" + value for value in values]
        node.weft("produce", "bytes", "--compression", "lz4", "--acks", "leader", input="one\ntwo\n")
        node.weft("produce", "bytes", "--acks", "none", input="three\n")


def test_cli__what_is_sent_without_acknowledgement_has_left_when_produce_ends():
    with up() as node:
        node.weft("topic", "create", "logs")
        node.weft("produce", "logs", "--acks", "none", input="".join(f"{n}\n" for n in range(300000)))
        assert node.weft("consume", "logs", "--count", 300000).stdout.count("\n") == 300000


def test_cli__a_record_that_is_too_large_is_told_by_its_number():
    with up() as node:
        node.weft("topic", "create", "orders", "--set", "max.record.bytes=1000")
        text = "".join(f"{n}\n" for n in range(1200)) + "x" * 1001 + "\nafter\n"
        done = node.weft("produce", "orders", "--json", input=text, status=1)
        assert "record 1,201 has 1,008 bytes; topic 'orders' takes at most 1,000 (max.record.bytes)" in done.stderr, done.stderr
        assert "stopped after record 1,200: 1,200 delivered, nothing after it was sent" in done.stderr, done.stderr
        told = json.loads(done.stdout)
        assert (told["records"], told["delivered"], told["failed"], told["stopped_at"]) == (1200, 1200, 0, 1201), told
        assert node.weft("consume", "orders", "--exit-at-end").stdout.count("\n") == 1200
        node.weft("produce", "orders", input="y" * 993 + "\n")  # the largest that it takes
        node.weft("produce", "orders", input="y" * 994 + "\n", status=1)


def test_cli__bytes_that_are_no_text_stay_whole_in_json():
    with up() as node:
        node.weft("topic", "create", "bytes")
        for value in (b"\xff\x00a", b"\xff", "hä".encode()):
            node.weft("produce", "bytes", "--delimiter", "\\x1e", "--key-separator", "=", "--header", "n=text", input=b"\xfe\xfd=" + value + b"\x1e")
        records = [json.loads(line) for line in node.weft("consume", "bytes", "--exit-at-end", "--json").stdout.splitlines()]
        assert [r.get("value_base64") for r in records] == ["/wBh", "/w==", None] and records[2]["value"] == "hä", records
        assert all(r["key_base64"] == "/v0=" and "key" not in r and r["headers"] == [["n", "text"]] for r in records), records
        assert node.stop() == 0
        batches = [json.loads(line) for line in weft("log", "dump", "--records", "--json", node.directory / "data").stdout.splitlines()]
        assert "/wBh" in [r.get("value_base64") for b in batches for r in b.get("records", [])], batches


def test_cli__an_offset_outside_the_log_is_refused():
    with up() as node:
        node.weft("topic", "create", "orders")
        assert "it is empty, its next offset is 0" in node.weft("consume", "orders", "--from", 5, status=1).stderr
        node.weft("produce", "orders", input="a\nb\nc\n")
        node.weft("topic", "delete-records", "orders", "--partition", 0, "--before", 1)
        for offset in (99999, 0):
            done = node.weft("consume", "orders", "--from", offset, "--exit-at-end", status=1)
            assert done.stdout == "" and f"offset {offset} is outside orders/0: it holds 1 to 2; use --from earliest" in done.stderr, done
        assert node.weft("consume", "orders", "--from", 2, "--exit-at-end").stdout == "c\n"
        assert node.weft("consume", "orders", "--from", 3, "--exit-at-end").stdout == ""
        assert node.weft("consume", "orders", "--from", "@-1h", "--exit-at-end").stdout == "b\nc\n"
        assert node.weft("consume", "orders", "--from", "@2026-01-31 11:30", "--count", 1).stdout == "b\n"
        assert "no topic matches 'no*'" in node.weft("consume", "no*", "--exit-at-end", status=1).stderr


def test_cli__acknowledgements_are_json_lines_when_json_is_asked_for():
    with up() as node:
        node.weft("topic", "create", "orders")
        lines = [json.loads(line) for line in node.weft("produce", "orders", "--json", "--print-acks", input="a\nb\n").stdout.splitlines()]
        assert lines[:2] == [{"partition": 0, "offset": 0}, {"partition": 0, "offset": 1}] and lines[2]["delivered"] == 2 and lines[2]["stopped_at"] is None, lines


def test_cli__offsets_times_partitions_and_patterns_choose_what_is_read():
    with up() as node:
        node.weft("topic", "create", "log.a")
        node.weft("topic", "create", "log.b", "--partitions", 2)
        node.weft("produce", "log.a", input="".join(f"{n}\n" for n in range(10)))
        node.weft("produce", "log.b", "--partition", 1, input="b\n")
        assert node.weft("consume", "log.a", "--from", 7, "--exit-at-end").stdout == "7\n8\n9\n"
        assert sorted(node.weft("consume", "log.*", "--exit-at-end", "--format", "%t/%p/%o ").stdout.split()) == [f"log.a/0/{n}" for n in range(10)] + ["log.b/1/0"]
        assert node.weft("consume", "log.b", "--partition", 0, "--exit-at-end").stdout == ""
        assert node.weft("consume", "log.a", "--from", "@2001-01-01T00:00:00Z", "--exit-at-end", "--count", 1).stdout == "0\n"
        assert node.weft("topic", "delete-records", "log.a", "--partition", 0, "--before", 4).stdout == "log.a/0 begins at offset 4 now\n"
        assert node.weft("consume", "log.a", "--from", "earliest", "--exit-at-end", "--count", 1).stdout == "4\n"


def test_cli__sentences_help():
    with up() as node:
        node.weft("topic", "create", "orders")
        cases = [
            (("topic", "describe", "order"), 1, "did you mean 'orders'"),
            (("consume", "order", "--exit-at-end", "--wait", "0"), 1, "did you mean 'orders'"),
            (("produce", "order", "--wait", "0"), 1, "orders"),
            (("produce", "order", "--wait", "1200ms"), 1, "waiting up to 1200ms for it to be made (--wait): topic 'order' does not exist; did you mean 'orders'?"),
            (("produce", "orders", "--wait", "long"), 2, "takes a duration"),
            (("topic", "create", "orders"), 1, "exists"),
            (("topic", "create", "bad/name"), 1, "letters"),
            (("topic", "create", "x", "--set", "retention.msec=1"), 1, "retention.ms"),
            (("topic", "create", "x", "--replicas", "3"), 1, "replica"),
            (("topic", "create", "x", "--partitions", "0"), 2, "from 1"),
            (("produce", "orders", "--partition", "7"), 1, "from 0 to 0"),
            (("produce", "orders", "--acks", "some"), 2, "none|leader|all"),
            (("consume", "orders", "--from", "yesterday"), 2, "earliest"),
            (("consume", "orders", "--from", "@-1w"), 2, "earliest"),
            (("consume", "orders", "--format", "%q"), 2, "'%q'"),
            (("consume", "orders", "--format", "%v%"), 2, "lone %"),
            (("log", "dump", "/etc/ssl"), 1, "there is no log in"),
            (("tpoic", "list"), 2, "topic list"),
            (("topic", "lst"), 2, "topic list"),
            (("topic", "list", "--jsn"), 2, "--json"),
            (("topic", "create"), 2, "NAME"),
            (("broker", "--set", "idd=3"), 2, "id"),
        ]
        for arguments, status, words in cases:
            done = node.weft(*arguments, input="x\n", status=status)
            assert words in done.stderr, f"weft {' '.join(arguments)}: {done.stderr!r} does not say {words!r}"
            assert done.stderr.count("\n") <= 2, done.stderr


def test_cli__status_says_what_is_healthy():
    with up() as node:
        status = weft_json("cluster", "status", bootstrap=node.endpoint)
        assert status["healthy"] is True and status["problems"] == [] and [b["alive"] for b in status["brokers"]] == [True]
        assert "healthy" in node.weft("cluster", "status").stdout
        assert "alive" in node.weft("cluster", "brokers").stdout
        node.weft("topic", "create", "orders")
        node.weft("produce", "orders", input="x\n")
        counters = weft_json("node", "status", bootstrap=node.endpoint)["counters"]
        assert counters, "no counters"


def test_cli__logs_are_dumped_and_verified_offline():
    with up() as node:
        node.weft("topic", "create", "orders")
        node.weft("produce", "orders", input="alpha\nbeta\n")
        assert node.stop() == 0, node.trace()
        segment = next(path for path in (node.directory / "data/broker-1").rglob("*.log"))
        assert "offset" in weft("log", "dump", segment).stdout.lower()
        weft("log", "verify", node.directory / "data/broker-1")
        content = bytearray(segment.read_bytes())
        content[90] ^= 1
        segment.write_bytes(bytes(content))
        done = weft("log", "verify", node.directory / "data/broker-1", status=1)
        assert segment.name in done.stdout + done.stderr


def test_cli__waiting_for_a_cluster_is_told():
    done = weft("topic", "list", "--timeout", "3s", bootstrap="tcp://127.0.0.1:1", status=1)
    first, last = done.stderr.splitlines()
    assert first == "weft topic list: still trying: no connection to tcp://127.0.0.1:1 (for 3s, see --timeout)", first
    assert "is a node running there" in last, last
    assert "--timeout is 'soon'" in weft("topic", "list", "--timeout", "soon", bootstrap="tcp://127.0.0.1:1", status=None).stderr


def test_cli__nothing_listens_there_is_told_quickly():
    done = weft("topic", "list", "--timeout", "500ms", bootstrap="tcp://127.0.0.1:1", status=1)
    assert "127.0.0.1:1" in done.stderr, done.stderr


def test_cli__a_second_node_on_the_same_data_or_endpoint_is_refused():
    with up() as node, tempfile.TemporaryDirectory() as other:
        done = weft("up", "--data", node.directory / "data", "--listen", "tcp://127.0.0.1:*", status=1)
        assert "in use" in done.stderr, done.stderr
        done = weft("up", "--data", other, "--listen", node.endpoint, status=1)
        port = int(node.endpoint.split(":")[-1])  # the broker's; its neighbour is the coordinator's, which starts first
        assert f":{port + 1} is in use" in done.stderr, done.stderr


def test_cli__a_topic_that_exists_is_told_as_it_is():
    with up() as node:
        made = weft_json("topic", "create", "orders", "--partitions", 3, bootstrap=node.endpoint)
        done = node.weft("topic", "create", "orders", "--if-not-exists", "--partitions", 5, "--json")
        assert json.loads(done.stdout) == {"topic": "orders", "topic_id": made["topic_id"], "existed": True, "partitions": 3, "replicas": 1}
        assert "differs: it has 3 partitions" in done.stderr, done.stderr
        assert node.weft("topic", "create", "orders", "--if-not-exists", "--partitions", 3).stdout == "topic 'orders' exists already\n"


def test_cli__up_takes_settings_and_says_how_it_is_reached_and_that_it_stopped():
    with tempfile.TemporaryDirectory() as directory:
        for arguments, words in ((("--listen", "127.0.0.1:9650"), "'127.0.0.1:9650', no endpoint; did you mean tcp://127.0.0.1:9650?"),
                                 (("--brokers", 3, "--advertise", "tcp://127.0.0.1:1"), "--advertise is of one broker"),
                                 (("--coordinators", 2), "it takes 1, 3 or 5"),
                                 (("--set", "listen=tcp://127.0.0.1:1"), "there is --listen")):
            done = weft("up", "--data", directory, *arguments, status=2)
            assert words in done.stderr, done.stderr
        done = weft("up", "--data", directory, "--listen", "tcp://127.0.0.1:*", "--set", "rakc=a", status=1)
        assert "rack" in done.stderr, done.stderr
    with up("--set", "rack=west") as node:
        assert weft_json("cluster", "brokers", bootstrap=node.endpoint)[0]["rack"] == "west"
        node.process.send_signal(signal.SIGHUP)  # the terminal went: a clean stop too
        assert node.process.wait(30) == 0
        assert node.trace().splitlines()[-1] == "weft stopped cleanly", node.trace()
    port = free_ports(4)
    for advertise, reached in (((), f"tcp://127.0.0.1:{port}"), (("--advertise", f"tcp://localhost:{port}"), f"tcp://localhost:{port}")):
        with up("--listen", f"tcp://0.0.0.0:{port}", *advertise) as node:
            assert f"export WEFT_BOOTSTRAP={reached}\n" in node.trace() and node.endpoint == reached, node.trace()
            if advertise:
                node.weft("topic", "create", "orders")
                node.weft("produce", "orders", input="one\n")


def test_cli__up_runs_a_whole_cluster_in_one_process():
    with up("--brokers", 3, "--coordinators", 3) as node:
        voters = weft_json("cluster", "voters", bootstrap=node.endpoint)
        assert len(voters) == 3 and sum(voter["active"] for voter in voters) == 1, voters
        node.weft("topic", "create", "orders", "--partitions", 3)
        node.weft("produce", "orders", input="".join(f"{n}\n" for n in range(1000)))
        partitions = weft_json("topic", "describe", "orders", bootstrap=node.endpoint)["partitions"]
        assert all(sorted(p["replicas"]) == sorted(p["isr"]) == [1, 2, 3] for p in partitions), partitions
        assert node.stop() == 0, node.trace()
        node.start()
        one_of_three = ",".join(("tcp://127.0.0.1:1", "tcp://127.0.0.1:2", node.endpoint))  # one that lives is enough
        assert sorted(map(int, weft("consume", "orders", "--exit-at-end", bootstrap=one_of_three).stdout.split())) == list(range(1000))
        assert weft("consume", "orders", "--exit-at-end", bootstrap=voters[0]["endpoint"]).stdout.count("\n") == 1000  # a coordinator is, too


def test_cli__help_manual_and_completion_cover_every_verb():
    overview = weft("help").stdout
    for verb in ("up", "topic create", "produce", "consume", "cluster status", "cluster drain", "cluster remove", "cluster reassign", "cluster balance", "cluster elect",
                 "cluster alter", "cluster voters", "bridge", "bridge status", "bridge offset", "bridge groups", "log dump", "bench limit"):
        assert verb in overview
        assert "usage:" in weft(*verb.split(), "--help").stdout
        manual = weft("manual", *verb.split()).stdout
        assert manual.startswith(".TH weft-") and ".SH OPTIONS" in manual
    script = weft("completion").stdout
    probe = script + '\nCOMP_WORDS=(weft topic cr); COMP_CWORD=2; _weft; echo "${COMPREPLY[@]}"\nCOMP_WORDS=(weft produce x --comp); COMP_CWORD=3; _weft; echo "${COMPREPLY[@]}"\n'
    out = subprocess.run(["bash", "-c", probe], capture_output=True, text=True, check=True).stdout
    assert out.splitlines() == ["create", "--compression"], out

    def complete(*words):
        typed = " ".join(f"'{word}'" for word in ("weft", *words))
        probe = script + f'\nCOMP_WORDS=({typed}); COMP_CWORD={len(words)}; _weft; echo "${{COMPREPLY[@]}}"\n'
        return subprocess.run(["bash", "-uc", probe], capture_output=True, text=True, check=True).stdout.split()

    assert complete("produce", "x", "--acks", "") == ["none", "leader", "all"]
    assert complete("produce", "--compression", "z") == ["zstd"]
    assert complete("consume", "x", "--from", "") == ["earliest", "latest"]
    assert complete("bench", "produce", "--acks", "l") == ["leader"]
    assert "topic" in complete("help", "") and complete("help", "topic", "cr") == ["create"]


def test_cli__manual_pages_are_as_such_pages_are():
    assert '.SH SYNOPSIS\n.BI "weft node list" "" " [options]"\n' in weft("manual", "node", "list").stdout
    page = weft("manual", "up").stdout
    assert '.SH SYNOPSIS\n.BI "weft up" " [FILE]" " [options]"\n' in page and '.TP\n.BI "\\-\\-brokers" " " "N"\n' not in page, page
    assert '.TP\n.BI "\\-\\-brokers " "N"\nHow many brokers.\n' in page, page


def test_cli__slips_are_answered():
    assert weft("-v").stdout == weft("--version").stdout
    assert weft("topic", status=2).stderr.startswith("usage: weft topic VERB [arguments] [options]\n  weft topic create")
    assert weft("topic", "--help").stdout.startswith("usage: weft topic VERB")
    assert weft("prodcue", "x", status=2).stderr == "weft: there is no 'prodcue'; did you mean 'weft produce'?\n"
    assert weft("bridge", "ofset", "t", "0", "1", status=2).stderr == "weft: there is no 'bridge ofset'; did you mean 'weft bridge offset'?\n"
    assert "there is no 'topic crate'" in weft("topic", "crate", status=2).stderr


def test_cli__bench_consume_measures_as_many_records_as_asked_for():
    with up() as node:
        told = weft_json("bench", "consume", "--count", 20000, bootstrap=node.endpoint)
        assert told["records"] == 20000, told


def test_cli__bench_commit_says_what_it_can_not_measure_and_deletes_its_groups():
    with up() as node:
        node.weft("topic", "create", "few", "--partitions", 3)
        bench = ("bench", "commit", "--groups", 5, "--seconds", 1)
        assert "there is no topic 'nope'" in node.weft(*bench, "--topic", "nope", status=1).stderr
        assert "has no 10 partitions but 3" in node.weft(*bench, "--topic", "few", status=1).stderr
        assert "--partitions is 3" in node.weft(*bench, "--partitions", 3, "--entries", 4, status=2).stderr
        told = json.loads(node.weft(*bench, "--topic", "few", "--partitions", 3, "--entries", 3, "--delete", "--json").stdout)
        assert told["commits"] > 0 and told["refused"] == 0, told
        assert "bench-" not in node.weft("group", "list").stdout


def test_cli__an_embedded_bench_makes_its_directory():
    with tempfile.TemporaryDirectory() as directory:
        new = pathlib.Path(directory, "new", "one")
        weft("bench", "commit", "--embedded", "--dir", new, "--groups", 5, "--seconds", 1)
        assert list(new.iterdir()) == []
        file = pathlib.Path(directory, "file")
        file.touch()
        refused = weft("bench", "commit", "--embedded", "--dir", file, status=1).stderr
        assert refused == f"weft bench commit: can't make a directory in {file}; name another place with --dir\n", refused


if __name__ == "__main__":
    run(globals())
