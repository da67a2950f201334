# SPDX-License-Identifier: MPL-2.0
"""The conformance kit: checks a server, or plays one and checks a client, against docs/PROTOCOL.md.

    scripts/conformance ENDPOINT [--only WORDS]... [--json]        a server: any node of a running cluster
    scripts/conformance client [--only WORDS]... [--json] -- COMMAND...
                                                                   a client: COMMAND is called as
                                                                     COMMAND produce ENDPOINTS TOPIC        a record per line of stdin; 0 when all are acknowledged
                                                                     COMMAND consume ENDPOINTS TOPIC COUNT  prints so many values from the earliest on, a line each
    scripts/conformance --list                                     what is checked

A server keeps its data: the checks work in topics and groups of their own (conformance-*) and delete the topics. Exit status: 0 all passed
(a check that does not apply is skipped and says why), 1 something failed, 2 usage.
"""

import argparse
import sys

import report


def arguments():
    parser = argparse.ArgumentParser(prog="scripts/conformance", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
                                     usage=argparse.SUPPRESS)
    parser.add_argument("what", nargs="?", metavar="ENDPOINT | client")
    parser.add_argument("--only", action="append", metavar="WORDS", help="only checks whose names have these words (* and ? as in a shell)")
    parser.add_argument("--json", action="store_true", help="the results as one JSON value")
    parser.add_argument("--list", action="store_true", help="name the checks and end")
    given, command = sys.argv[1:], []
    if "--" in given:
        given, command = given[:given.index("--")], given[given.index("--") + 1:]
    known = parser.parse_args(given)
    if not known.list and not known.what:
        parser.error("name an endpoint, as tcp://127.0.0.1:9650, or 'client -- COMMAND'")
    if known.what and known.what != "client" and "://" not in known.what:
        parser.error(f"'{known.what}' is no endpoint; did you mean tcp://{known.what}?")
    if (known.what == "client") != bool(command) and not known.list:
        parser.error("a client is checked by 'client -- COMMAND...', a server by its endpoint")
    return known, command


def main():
    known, command = arguments()
    try:
        import client_checks
        import cluster_checks
        import server_checks
    except ImportError as error:
        print(f"scripts/conformance: {error}; it needs pyzmq and msgpack (Debian: python3-zmq, python3-msgpack)", file=sys.stderr)
        return 2
    if known.list:
        report.list_checks(server_checks.CHECKS + cluster_checks.CHECKS)
        report.list_checks(client_checks.CHECKS)
        return 0
    module = client_checks if known.what == "client" else server_checks
    checks = client_checks.CHECKS if module is client_checks else server_checks.CHECKS + cluster_checks.CHECKS
    chosen = report.selected(checks, known.only)
    if not chosen:
        print(f"scripts/conformance: no check has {' or '.join(known.only)} in its name; --list names them", file=sys.stderr)
        return 2
    return module.run(chosen, command if command else known.what, known.json)


if __name__ == "__main__":
    sys.exit(main())
