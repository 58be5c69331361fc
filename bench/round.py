"""One round in a process of its own: ``python -m bench.round FILE`` reads an order and writes what it measured."""

import pickle
import sys
from pathlib import Path

from bench.load import fire

if __name__ == "__main__":
    sys.stdout.buffer.write(pickle.dumps(fire(pickle.loads(Path(sys.argv[1]).read_bytes()))))
