"""Download the data sets that may be downloaded, checked by size and hash; goes on where a broken download stopped.

    python scripts/fetch_assets.py --list
    python scripts/fetch_assets.py --only squad_v1 wnut17 --dest data

Licensed data is not fetched: the list says where a person gets it. No trial ever calls this.
"""

import sys

from repro.doctor.fetch import main

if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
