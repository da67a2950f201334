# SPDX-License-Identifier: MPL-2.0
"""weft cluster ... on a real cluster: brokers drained and removed, replicas moved, leaders chosen; and what is refused."""

import json
import shutil
import subprocess

from harness import WEFT, clusters, free_ports, run, wait_until


def settled(cluster, topic, replicas):
    wait_until(lambda: all(len(p["isr"]) == replicas and p["leader"] >= 0 for p in cluster.json("topic", "describe", topic)["partitions"]), "all replicas are in sync")


def missed(cluster, topic, broker):
    wait_until(lambda: all(broker not in p["isr"] for p in cluster.json("topic", "describe", topic)["partitions"]), f"broker {broker} is missed")


def replicas(cluster, topic):
    return [p["replicas"] for p in cluster.json("topic", "describe", topic)["partitions"]]


def leaders(cluster, topic):
    return [p["leader"] for p in cluster.json("topic", "describe", topic)["partitions"]]


def refused(cluster, *arguments, status=1, words, **how):
    done = cluster.weft("cluster", *arguments, status=status, **how)
    assert words in done.stderr + done.stdout, f"{arguments}: {done.stderr!r} {done.stdout!r} does not say {words!r}"


def test_admin__a_topic_shows_its_replicas_and_their_lag():
    with clusters() as cluster:
        cluster.up(3, "--coordinators", 1)
        made = cluster.weft("topic", "create", "orders", "--partitions", 3).stdout
        assert made == "created topic 'orders' with 3 partitions of 3 replicas\n", made
        settled(cluster, "orders", 3)
        cluster.weft("produce", "orders", input="".join(f"{n}\n" for n in range(1000)))
        for partition in cluster.json("topic", "describe", "orders")["partitions"]:
            assert sorted(partition["replicas"]) == sorted(partition["isr"]) == [1, 2, 3] and partition["offline_replicas"] == [], partition
            assert partition["lag"] == 0 and len(partition["replica_status"]) == 3, partition
            assert all(replica["log_end"] == partition["log_end"] for replica in partition["replica_status"]), partition
        assert sorted(leaders(cluster, "orders")) == [1, 2, 3]
        cluster("kill", "broker-2")
        wait_until(lambda: 2 not in leaders(cluster, "orders"), "another leads")
        assert all(p["offline_replicas"] == [2] and 2 not in p["isr"] for p in cluster.json("topic", "describe", "orders")["partitions"])
        text = cluster.weft("cluster", "status").stdout
        assert "not healthy: 2 of 3 brokers alive" in text and "3 not fully in sync" in text and "broker 2 is down" in text, text
        rows = {b["id"]: b["state"] for b in cluster.json("cluster", "brokers")}
        assert rows == {1: "alive", 2: "gone", 3: "alive"}, rows


def test_admin__a_broker_is_drained_and_leads_again():
    with clusters() as cluster:
        cluster.up(3, "--coordinators", 1)
        cluster.weft("topic", "create", "orders", "--partitions", 6)
        cluster.weft("topic", "create", "alone", "--replicas", 1)
        settled(cluster, "orders", 3)
        owner = leaders(cluster, "alone")[0]
        other = owner % 3 + 1
        assert "leads nothing" in cluster.weft("cluster", "drain", other, "--wait").stdout
        assert other not in leaders(cluster, "orders")
        assert {b["id"]: b["state"] for b in cluster.json("cluster", "brokers")}[other] == "draining"
        refused(cluster, "drain", owner, "--wait", words="or are on brokers that are drained")
        for broker in (owner, other):
            cluster.weft("cluster", "drain", broker, "--undo")
        cluster.weft("cluster", "balance")
        wait_until(lambda: sorted(leaders(cluster, "orders")) == [1, 1, 2, 2, 3, 3], "leaders are even again")
        refused(cluster, "drain", 9, words="no broker 9")
        refused(cluster, "drain", "two", status=2, words="is no broker id")
        refused(cluster, "drain", 1, "--undo", "--wait", status=2, words="nothing to wait for")


def test_admin__replicas_move_by_topic_by_plan_and_back():
    with clusters() as cluster:
        cluster.up(3, "--coordinators", 1)
        cluster.weft("topic", "create", "orders", "--partitions", 2, "--replicas", 1)
        lines = "".join(f"{n}\n" for n in range(20000))
        cluster.weft("produce", "orders", input=lines)
        assert "2 partitions moved" in cluster.weft("cluster", "reassign", "--topic", "orders", "--to", "1,2,3", "--wait").stdout
        assert replicas(cluster, "orders") == [[1, 2, 3], [2, 3, 1]]
        settled(cluster, "orders", 3)
        plan = json.loads(cluster.weft("cluster", "reassign", "--topic", "orders", "--partition", 1, "--to", "3", "--dry-run", "--json").stdout)
        assert plan["partitions"][0]["from"] == [2, 3, 1] and plan["partitions"][0]["replicas"] == [3] and plan["dry_run"], plan
        assert replicas(cluster, "orders")[1] == [2, 3, 1]
        assert "mind: 1 partition gets fewer replicas" in cluster.weft("cluster", "reassign", "--plan", "-", "--wait", input=json.dumps(plan)).stdout
        assert replicas(cluster, "orders") == [[1, 2, 3], [3]] and leaders(cluster, "orders")[1] == 3
        out = cluster.weft("consume", "orders", "--from", "earliest", "--exit-at-end").stdout
        assert sorted(map(int, out.split())) == list(range(20000))


def test_admin__a_move_is_shown_slowed_down_and_cancelled():
    with clusters() as cluster:
        cluster.up(2, "--coordinators", 1)
        cluster.weft("topic", "create", "orders", "--replicas", 1)
        cluster.weft("produce", "orders", input=("x" * 1000 + "\n") * 20000)
        holder = replicas(cluster, "orders")[0][0]
        assert "the limit on copying stays" in cluster.weft("cluster", "reassign", "--topic", "orders", "--to", 3 - holder, "--throttle", "1MiB").stdout
        moves = wait_until(lambda: [m for m in cluster.json("cluster", "reassign", "--list")["partitions"] if m["copied_bytes"] > 0], "some was copied")
        assert moves[0]["bytes"] > 20000000 and moves[0]["copied_bytes"] < moves[0]["bytes"] and moves[0]["offsets_left"] > 0, moves
        assert "limited to 1.0 MiB a second" in cluster.weft("cluster", "reassign", "--list").stdout
        assert "1 being moved" in cluster.weft("cluster", "status").stdout
        assert "moved no further" in cluster.weft("cluster", "reassign", "--cancel").stdout
        assert cluster.json("cluster", "reassign", "--list")["partitions"] == [] and replicas(cluster, "orders") == [[holder]]
        assert "nothing is being moved" in cluster.weft("cluster", "reassign", "--cancel").stdout
        assert "not limited" in cluster.weft("cluster", "reassign", "--throttle", 0).stdout
        cluster.weft("cluster", "reassign", "--topic", "orders", "--to", 3 - holder, "--wait")
        assert replicas(cluster, "orders") == [[3 - holder]]
        assert cluster.weft("consume", "orders", "--from", "earliest", "--exit-at-end").stdout.count("\n") == 20000


def test_admin__a_broker_is_removed_and_forgotten():
    with clusters() as cluster:
        cluster.up(3, "--coordinators", 1)
        cluster.weft("topic", "create", "orders", "--partitions", 6, "--replicas", 2)
        cluster.weft("produce", "orders", input="".join(f"{n}\n" for n in range(5000)))
        would = json.loads(cluster.weft("cluster", "remove", 3, "--dry-run", "--json").stdout)
        assert would["replicas"] == sum(3 in ids for ids in replicas(cluster, "orders")) and not would["removed"], would
        assert "stores nothing any more" in cluster.weft("cluster", "remove", 3, "--wait").stdout
        assert all(sorted(ids) == [1, 2] for ids in replicas(cluster, "orders"))
        cluster("term", "broker-3")
        wait_until(lambda: [b["id"] for b in cluster.json("cluster", "brokers")] == [1, 2], "it is forgotten")
        assert sorted(map(int, cluster.weft("consume", "orders", "--exit-at-end").stdout.split())) == list(range(5000))
        refused(cluster, "remove", 3, words="no broker 3")
        refused(cluster, "remove", 2, words="replica")  # nowhere to go
        refused(cluster, "remove", 2, "--undo", "--wait", status=2, words="exclude each other")


def test_admin__leaders_are_chosen_by_hand():
    with clusters() as cluster:
        cluster.up(3, "--coordinators", 1)
        cluster.weft("topic", "create", "orders", "--replicas", 3)
        settled(cluster, "orders", 3)
        first = leaders(cluster, "orders")[0]
        other = first % 3 + 1
        told = json.loads(cluster.weft("cluster", "elect", "orders", 0, "--broker", other, "--json").stdout)
        assert told["leader"] == other and leaders(cluster, "orders") == [other], told
        refused(cluster, "elect", "orders", 0, words="has a leader already")
        refused(cluster, "elect", "orders", 0, "--broker", other, words="already")
        refused(cluster, "elect", "orders", 0, "--broker", 7, words="7")
        cluster.weft("topic", "create", "alone", "--replicas", 1)
        refused(cluster, "elect", "alone", 0, "--broker", leaders(cluster, "alone")[0] % 3 + 1, words="holds no replica of partition 0")
        refused(cluster, "elect", "orders", 5, words="5")
        refused(cluster, "elect", "order", 0, words="did you mean 'orders'")
        refused(cluster, "elect", "orders", "zero", status=2, words="is no partition")
        refused(cluster, "elect", "orders", 0, "--unclean", status=2, words="--yes")


def test_admin__an_unclean_election_is_a_person_s_act():
    with clusters() as cluster:
        cluster.up(2, "--coordinators", 1)
        cluster.weft("topic", "create", "orders", "--replicas", 2, "--set", "min.insync=1")
        settled(cluster, "orders", 2)
        cluster.weft("produce", "orders", input="both have it\n")
        leader = leaders(cluster, "orders")[0]
        other = 3 - leader
        cluster("kill", f"broker-{other}")
        wait_until(lambda: cluster.partition("orders")["isr"] == [leader], "the dead one is out of the in-sync set")
        cluster.weft("produce", "orders", input="only one has it\n")
        cluster("kill", f"broker-{leader}")
        cluster("start", f"broker-{other}")
        wait_until(lambda: {b["id"]: b["alive"] for b in cluster.json("cluster", "brokers")}[other], "it is back")
        wait_until(lambda: leaders(cluster, "orders") == [-1], "nobody leads, and nobody does by itself")
        refused(cluster, "elect", "orders", 0, words="elect")
        told = cluster.weft("cluster", "elect", "orders", 0, "--unclean", "--yes").stdout
        assert f"broker {other} leads orders/0" in told, told
        wait_until(lambda: leaders(cluster, "orders") == [other], "it leads")
        assert cluster.weft("consume", "orders", "--exit-at-end").stdout == "both have it\n"


def test_admin__coordinators_join_and_leave():
    with clusters() as cluster:
        cluster.up(3)
        cluster.weft("topic", "create", "before")
        voters = {voter["id"]: voter["endpoint"] for voter in cluster.json("cluster", "voters")}
        assert sorted(voters) == [1, 2, 3] and all(voter["reachable"] for voter in cluster.json("cluster", "voters")), voters
        refused(cluster, "voters", "remove", 9, words="no coordinator of that id")
        refused(cluster, "voters", "add", "2=tcp://127.0.0.1:1", words="already")
        ask = [WEFT, "cluster", "voters", "add", "9=tcp://127.0.0.1:1", "--bootstrap", cluster.endpoints]
        twice = [subprocess.Popen(ask, stderr=subprocess.PIPE, text=True) for _ in range(2)]  # as after a lost answer: the second joins
        wait_until(lambda: "coordinator 9 is being added: it is asked at tcp://127.0.0.1:1" in cluster.weft("cluster", "status").stdout, "the change is shown")
        refused(cluster, "voters", "add", "8=tcp://127.0.0.1:1", words="another change")
        for process in twice:
            assert "coordinator 9 at tcp://127.0.0.1:1 does not answer" in process.communicate(timeout=60)[1]
        assert cluster.json("cluster", "status")["voter_change"] == ""
        new = f"tcp://127.0.0.1:{free_ports(1)}"
        everyone = ",".join(f"{number}={endpoint}" for number, endpoint in {**voters, 4: new}.items())
        settings = {"id": 4, "listen": new, "data": cluster.directory / "coordinator-4", "coordinators": everyone}
        with open(cluster.directory / "coordinator-4.trace", "wb") as trace:
            process = subprocess.Popen([WEFT, "coordinator", *(word for key, value in settings.items() for word in ("--set", f"{key}={value}"))], stdout=trace, stderr=trace)
        try:
            told = cluster.weft("cluster", "voters", "add", f"4={new}").stdout
            assert told.startswith("coordinator 4 votes; there are 4 now, which survive no more failures than 3"), told
            active = int(cluster.coordinator()[12:])
            assert cluster.weft("cluster", "voters", "remove", active).stdout == f"coordinator {active} votes no more; there are 3 now\n"
            wait_until(lambda: sorted(v["id"] for v in cluster.json("cluster", "voters")) == sorted({1, 2, 3, 4} - {active}), "the others are in office")
            cluster.weft("topic", "create", "after")
            wait_until(lambda: [topic["topic"] for topic in cluster.json("topic", "list")] == ["after", "before"], "every node knows both")
        finally:
            process.terminate()
            process.wait(30)


def test_admin__a_coordinator_with_another_disk_says_so():
    with clusters() as cluster:
        cluster.up(3)
        active = cluster.coordinator()
        name = next(f"coordinator-{number}" for number in (1, 2, 3) if f"coordinator-{number}" != active)
        cluster("kill", name)
        wait_until(lambda: "unreachable" in cluster.weft("cluster", "status").stdout, "it is missed")
        shutil.rmtree(cluster.directory / name)
        cluster("start", name)

        def says():
            return next(one["says"] for one in cluster.json("cluster", "voters") if one["id"] == int(name[-1]))
        wait_until(lambda: "with another data directory" in says(), "it is asked itself")
        text = cluster.weft("cluster", "status").stdout
        assert f"takes no part  " in text and f"coordinator {name[-1]} takes no part: the other coordinators know" in text, text


def test_admin__what_can_not_be_is_refused_and_changes_nothing():
    with clusters() as cluster:
        cluster.up(3, "--coordinators", 1)
        cluster.weft("topic", "create", "orders", "--partitions", 2)
        settled(cluster, "orders", 3)
        before = replicas(cluster, "orders")
        assert "replica" in cluster.weft("topic", "create", "many", "--replicas", 4, status=1).stderr
        cluster.weft("topic", "create", "many", "--replicas", 17, status=2)
        for arguments, status, words in (
            (("--topic", "orders", "--to", "1,9"), 1, "9"),
            (("--topic", "orders", "--to", "1,1"), 1, "twice"),
            (("--topic", "order", "--to", "1"), 1, "did you mean 'orders'"),
            (("--topic", "orders", "--partition", "2", "--to", "1"), 1, "there is no partition 2"),
            (("--topic", "orders", "--to", ""), 2, "--to takes broker ids"),
            (("--topic", "orders", "--to", "x"), 2, "--to takes broker ids"),
            (("--topic", "orders", "--to", ",".join(map(str, range(17)))), 2, "at most 16"),
            (("--topic", "orders"), 2, "--to is missing"),
            (("--to", "1"), 2, "--topic T is missing"),
            (("--topic", "orders", "--plan", "x"), 2, "exclude each other"),
            (("--list", "--cancel"), 2, "--list stands alone"),
            ((), 2, "nothing is asked for"),
            (("--plan", "/nowhere/plan.json"), 1, "can't read the plan"),
            (("--topic", "orders", "--to", "1", "--throttle", "fast"), 2, "--throttle"),
        ):
            refused(cluster, "reassign", *arguments, status=status, words=words)
        for plan, words in (
            ("", "line 1: expected '{'"),
            ("{}", "names no partition"),
            ('{"partitions": []}', "names no partition"),
            ('{"partitions": [{"topic": "orders"}]}', "needs \"topic\", \"partition\" and \"replicas\""),
            ('{"partitions": [\n{"topic": "orders", "partition": 0, "replicas": [1, "2"]}]}', "line 2: expected a whole number"),
            ('{"partitions": [{"topic": "orders", "partition": -1, "replicas": [1]}]}', "whole number from 0"),
            ('{"partitions": [{"topic": "orders", "partition": 0, "replicas": [1,]}]}', "','"),
            ('{"partitions": [{"topic": "orders", "partition": 0, "replicas": [1]}]} x', "more behind the end"),
            ("[" * 100, "expected '{'"),
            ('{"x": ' + "[" * 100, "nested deeper"),
            ('{"partitions": [{"topic": "orders', "does not end"),
            ('{"partitions": [{"topic": "orders", "partition": 0, "replicas": [1, 2, 3]}, {"topic": "orders", "partition": 1, "replicas": [8]}]}', "8"),
        ):
            refused(cluster, "reassign", "--plan", "-", words=words, input=plan)
        assert replicas(cluster, "orders") == before and cluster.json("cluster", "reassign", "--list")["partitions"] == []
        refused(cluster, "alter", "--set", "reassign.byte=1", words="did you mean 'reassign.bytes'")
        refused(cluster, "alter", "--set", "reassign.bytes=much", words="reassign.bytes")
        refused(cluster, "alter", "--set", "reassign.bytes", status=2, words="KEY=VALUE")
        refused(cluster, "alter", status=2, words="nothing to alter")
        refused(cluster, "voters", "add", status=2, words="ID=ENDPOINT is missing")
        refused(cluster, "voters", "add", "4", status=2, words="is not ID=ENDPOINT")
        refused(cluster, "voters", "add", "4=nowhere", words="is no endpoint")
        refused(cluster, "voters", "remove", "x", status=2, words="is no coordinator id")
        refused(cluster, "voters", "replace", "1", status=2, words="neither add nor remove")
        assert cluster.weft("cluster", "alter", "--set", "reassign.bytes=5MiB").stdout == "altered 1 setting of the cluster\n"
        cluster.weft("cluster", "alter", "--unset", "reassign.bytes")


def test_admin__an_empty_disk_loses_nothing_without_a_persons_word():
    with clusters() as cluster:
        cluster.up(3, "--coordinators", 1)
        cluster.weft("topic", "create", "pay", "--replicas", 3)
        cluster.weft("topic", "create", "alone", "--replicas", 2)
        settled(cluster, "pay", 3)
        settled(cluster, "alone", 2)
        for topic in ("pay", "alone"):
            cluster.weft("produce", topic, input="".join(f"{n}\n" for n in range(1000)))
        first, second = [r for r in replicas(cluster, "alone")[0]]
        cluster("term", f"broker-{second}")
        cluster("term", f"broker-{first}")  # now the only one that has everything
        data = cluster.directory / f"broker-{first}"
        data.rename(cluster.directory / "away")
        cluster("start", f"broker-{first}", status=None)
        trace = cluster.directory / f"broker-{first}.trace"
        wait_until(lambda: "put the old directory back" in trace.read_text(errors="replace"), "the empty disk is refused")
        wait_until(lambda: {row["node"]: row["state"] for row in json.loads(cluster("status", "--json"))}[f"broker-{first}"] == "dead", "it has ended")
        cluster("start", f"broker-{second}")
        wait_until(lambda: leaders(cluster, "pay")[0] >= 0, "the others lead")
        assert leaders(cluster, "alone") == [-1]
        shutil.rmtree(data)
        (cluster.directory / "away").rename(data)
        cluster("start", f"broker-{first}")
        settled(cluster, "alone", 2)
        settled(cluster, "pay", 3)
        for topic in ("pay", "alone"):
            assert cluster.weft("consume", topic, "--from", "earliest", "--exit-at-end").stdout.split() == [str(n) for n in range(1000)]
        cluster("kill", f"broker-{second}")  # where others have everything an empty disk is just filled again
        missed(cluster, "pay", second)  # or the sets below would be those from before its death
        missed(cluster, "alone", second)
        shutil.rmtree(cluster.directory / f"broker-{second}")
        cluster("start", f"broker-{second}")
        settled(cluster, "alone", 2)
        settled(cluster, "pay", 3)
        cluster("kill", f"broker-{first}")
        wait_until(lambda: leaders(cluster, "alone") == [second], "the one that was filled again leads")
        assert cluster.weft("consume", "alone", "--from", "earliest", "--exit-at-end").stdout.split() == [str(n) for n in range(1000)]


if __name__ == "__main__":
    run(globals())
