# SPDX-License-Identifier: MPL-2.0
"""A few rows of the fault matrix on real processes, briefly. scripts/faults has all of them, and longer."""

import pathlib
import subprocess

from harness import ROOT, WEFT, run

SEED = 1  # CI wants the same faults each time; scripts/faults smoke takes others


def test_fault_smoke__rows_of_the_fault_matrix_hold():
    done = subprocess.run([str(ROOT / "scripts/faults"), "smoke", "--seed", str(SEED), "--quiet", "--build", str(pathlib.Path(WEFT).parent.parent)],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=280)
    print(done.stdout, flush=True)
    assert done.returncode == 0, "see above"


if __name__ == "__main__":
    run(globals())
