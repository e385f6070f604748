"""The process in which code of a model is tested. Started by `testing.py`, as a file, with `python -I`.

Arguments: a directory, seconds, bytes of memory, bytes of output. Standard input: one JSON object, either
`{"code", "tests", "mark"}` or `{"run": [...]}`. Ends with 0 where all went well; `mark`, which the code does not know,
is written last, so that a program that ends itself early has not passed.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path


def main() -> int:
    sys.path.insert(0, str(Path(__file__).parents[2]))
    from fireside.proving import fence

    directory = Path(sys.argv[1])
    seconds, memory, output = (int(word) for word in sys.argv[2:5])
    work = json.loads(sys.stdin.buffer.read())
    sys.path.pop(0)
    os.chdir(directory)
    fence.limit(seconds, memory, output)
    shut = fence.shut_in(directory)
    if "run" in work:
        if not shut:
            print("this system cannot keep a program from the network", file=sys.stderr)
            return 3
        os.execvp(work["run"][0], work["run"])  # noqa: S606 - a program that the user named, without a shell
    fence.watch(directory)
    scope = {"__name__": "answer"}
    exec(compile(work["code"], "<answer>", "exec"), scope)  # noqa: S102 - what this process is for
    exec(compile(work["tests"], "<tests>", "exec"), scope)  # noqa: S102
    sys.stdout.flush()
    os.write(1, f"\n{work['mark']}".encode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
