#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""The main job of scripts/quickstart: the package index through a topic and back, with proof.

Records travel over the weft command's pipes: key, unit separator (0x1f), value, NUL. Every acknowledgement is the default one: durable.
"""

import collections
import hashlib
import json
import pathlib
import subprocess
import sys
import time

TOPIC, PARTITIONS = "packages", 6
KEY_END, RECORD_END = b"\x1f", b"\0"


def stanzas():
    """(package name, stanza) of every stanza of the index, in its order."""
    text = subprocess.run(["apt-cache", "dumpavail"], check=True, capture_output=True).stdout
    for stanza in text.split(b"\n\n"):
        stanza = stanza.strip(b"\n")
        if stanza.startswith(b"Package: "):
            yield stanza[9:].split(b"\n", 1)[0], stanza


def digest(records):
    """One checksum of the content, whatever the order across keys: per key a running hash in order, then all sorted."""
    running = collections.defaultdict(hashlib.sha256)
    for key, value in records:
        running[key].update(len(value).to_bytes(8, "big") + value)
    whole = hashlib.sha256()
    for key in sorted(running):
        whole.update(key + b"\0" + running[key].digest())
    return whole.hexdigest()


def in_order(sent, placed):
    """One partition a key, and in each partition exactly its keys' records in the order in which they were sent."""
    partition_of, records_of = {}, collections.defaultdict(list)
    for partition, key, value in placed:
        if partition_of.setdefault(key, partition) != partition:
            return False
        records_of[partition].append((key, value))
    wanted = collections.defaultdict(list)
    for key, value in sent:
        wanted[partition_of.get(key)].append((key, value))
    return wanted == records_of


def timed(command, **options):
    started = time.monotonic()
    result = subprocess.run(command, capture_output=True, **options)
    if result.returncode != 0:
        sys.exit(f"quickstart: {' '.join(command[1:3])} failed: {result.stderr.decode(errors='replace').strip()}")
    return result.stdout, time.monotonic() - started


def row(name, value, note=""):
    print(f"  {name:<22}{value:>16}  {note}")


def main(weft, work):
    sent = list(stanzas())
    if not sent:
        sys.exit("quickstart: apt-cache dumpavail shows no package; run apt-get update first")
    payload = b"".join(key + KEY_END + value + RECORD_END for key, value in sent)
    timed([weft, "topic", "create", TOPIC, "--partitions", str(PARTITIONS)])
    print(f"\nproducing {len(sent):,} packages to '{TOPIC}' ({PARTITIONS} partitions, durable acknowledgements) ...")
    _, produce_s = timed([weft, "produce", TOPIC, "--key-separator", "\\x1f", "--delimiter", "\\0"], input=payload)
    print("consuming them from the beginning ...")
    out, consume_s = timed([weft, "consume", TOPIC, "--from", "earliest", "--exit-at-end", "--format", "%p\\x1f%k\\x1f%v\\0"])
    placed = [item.split(KEY_END, 2) for item in out.split(RECORD_END)[:-1]]
    received = [(key, value) for _, key, value in placed]
    described, _ = timed([weft, "topic", "describe", TOPIC, "--json"])
    leaders = {partition["leader"] for partition in json.loads(described)["partitions"]}

    order = in_order(sent, placed)
    digest_in, digest_out = digest(sent), digest(received)
    size = sum(len(key) + len(value) for key, value in sent)
    on_disk = sum(path.stat().st_size for path in pathlib.Path(work, "data").rglob("*.log"))

    print("\nWeft quickstart")
    row("records sent", f"{len(sent):,}", f"{size / 2**20:.1f} MiB of keys and values, {len({key for key, _ in sent}):,} keys")
    row("records received", f"{len(received):,}", "same count" if len(received) == len(sent) else "DIFFERS")
    row("order", "kept" if order else "BROKEN", "a key stays in one partition, a partition in the order sent")
    row("checksum", digest_out[:16], "same content" if digest_in == digest_out else f"DIFFERS from {digest_in[:16]}")
    row("produce", f"{len(sent) / produce_s:,.0f}/s", f"{size / 2**20 / produce_s:.0f} MiB/s, {produce_s:.2f} s, through a pipe")
    row("consume", f"{len(received) / consume_s:,.0f}/s", f"{size / 2**20 / consume_s:.0f} MiB/s, {consume_s:.2f} s, through a pipe")
    row("on disk", f"{on_disk / 2**20:.1f} MiB", f"led by broker {', '.join(map(str, sorted(leaders)))}")
    good = len(received) == len(sent) and order and digest_in == digest_out
    print(f"\n{'Every record came back once, in order, byte for byte.' if good else 'The data that came back is not the data sent.'}\n")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2]))
