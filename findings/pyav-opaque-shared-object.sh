#!/usr/bin/env bash
# PyAV 18.1.0 loses `Packet.opaque` if two packets were given one object, and small numbers are one.
#
# `packet.opaque = number` is the documented way to know which packet a decoded frame came from
# (with `copy_opaque`, the frame carries it). PyAV keeps the object in a table by its address and
# removes it when the first buffer that names it is freed. Whoever numbers packets 0, 1, 2, ...
# twice (two passes over a file, two files, after a seek) has equal small numbers at one address:
# when a packet of the first pass is freed, frames of the second have `opaque` None, now and then,
# without an error. Strings and None-like constants are shared in the same way.
# For whom it matters: who matches frames to packets. What helps: a new object for each packet, as
# `(number,)` made at run time.
#
# Versions: PyAV 18.1.0, NumPy 2.4.6. Exits non-zero if the behaviour is another one.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" -q install "av==18.1.0" "numpy==2.4.6"
cat > "$work/show.py" <<'PY'
import sys

import av

print("PyAV", av.__version__)


def passes(make):
    """Give two packets what `make` returns, free the first, and ask the second."""
    first, second = av.Packet(4), av.Packet(4)
    first.opaque, second.opaque = make(7), make(7)
    before = second.opaque
    del first
    return before, second.opaque


shared = passes(lambda number: number)
own = passes(lambda number: (number,))
print("one small number for both packets: before and after the first is freed:", *shared)
print("a tuple of its own for each:", *own)
sys.exit(shared != (7, None) or own != ((7,), (7,)))
PY
"$work/venv/bin/python" "$work/show.py"
