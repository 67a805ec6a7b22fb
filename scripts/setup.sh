#!/bin/sh
# Makes $VENV with everything installed. A python that already has torch and transformers (a GPU image) is built upon;
# elsewhere constraints/cpu.txt keeps pip from taking gigabytes of CUDA packages.
set -eu
cd "$(dirname "$0")/.."
: "${PYTHON:=python3}" "${VENV:=.venv}"
# pip before 23.1 (Debian 12's, say) builds seqeval and antlr4 with the venv's old setuptools, which fails by now.
export PIP_USE_PEP517=1
EXTRAS=dev,offline-models,generation-metrics,neural-metrics,tensorboard,search
command -v "$PYTHON" >/dev/null 2>&1 || PYTHON=python3
"$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "repro needs Python 3.11 or newer; $PYTHON is $("$PYTHON" --version). Set PYTHON=python3.12, say." >&2
    exit 2
}
if "$PYTHON" -c "import torch, transformers" >/dev/null 2>&1; then
    "$PYTHON" -m venv --system-site-packages "$VENV"
    "$VENV/bin/pip" install --quiet --disable-pip-version-check -e ".[$EXTRAS]"
else
    "$PYTHON" -m venv "$VENV"
    "$VENV/bin/pip" install --quiet --disable-pip-version-check -c constraints/cpu.txt -e ".[$EXTRAS]"
fi
