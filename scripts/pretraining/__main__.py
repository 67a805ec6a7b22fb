"""Pre-train a mini model on the text of the small world: `conf/pretraining/<model>.yaml` says how.

    python -m scripts.pretraining mini-t5-xs --out runs/pretrained

An interrupted command goes on where it stood when it is given again. Needs no network.
"""

import sys

from repro.errors import ReproError
from scripts.pretraining.command import main

if __name__ == "__main__":
    try:
        sys.exit(main())
    except ReproError as error:
        print(f"pretraining: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
