#!/bin/sh
# Install the project into a folder of its own, in two steps: what it needs, then the project.
#
#   install.sh dependencies FOLDER
#   install.sh project FOLDER
#
# FOLDER becomes a virtual environment; nothing else is touched, and it takes no rights beyond writing there.
# TORCH_INDEX is an index that pip asks besides its own. BASE_PACKAGES is a site-packages folder that has the
# dependencies already: they are used from there, and nothing is downloaded.
set -eu
step=${1:?dependencies or project} folder=${2:?a folder}
source=$(cd "$(dirname "$0")/../.." && pwd)
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 HOME="${HOME:-/tmp}"

case $step in
dependencies)
    "${PYTHON:-python3}" -m venv "$folder"
    if [ -n "${BASE_PACKAGES:-}" ]; then
        site=$("$folder/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
        echo "$BASE_PACKAGES" >"$site/base.pth"
        # The base's own is newer, and builds the project without a download.
        "$folder/bin/pip" uninstall --quiet --yes setuptools
        exit 0
    fi
    # What pyproject.toml asks for, without the project itself.
    "$folder/bin/python" - "$source/pyproject.toml" >"$folder/requirements.txt" <<'PYTHON'
import sys
import tomllib

with open(sys.argv[1], "rb") as file:
    project = tomllib.load(file)["project"]
extras = project["optional-dependencies"]
print(*project["dependencies"], *extras["server"], *extras["synth"], *extras["embedded"], sep="\n")
PYTHON
    "$folder/bin/pip" install --quiet ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} \
        --constraint "$source/constraints.txt" --requirement "$folder/requirements.txt"
    ;;
project)
    # pip builds in the source's folder: in a copy, which need not be ours to write to.
    copy=$(mktemp -d)
    trap 'rm -rf "$copy"' EXIT
    for name in pyproject.toml README.md LICENSE data trainables search_spaces infra seldtune; do
        cp -r "$source/$name" "$copy/"
    done
    "$folder/bin/pip" install --quiet --no-deps ${BASE_PACKAGES:+--no-build-isolation} "$copy"
    # From elsewhere, so that it is the installed one that answers.
    cd "$folder"
    bin/seldtune --help >/dev/null
    bin/python -c 'import infra.sweep.run, mlflow, optuna, ray, torch'
    ;;
*)
    echo "step is $step: choose dependencies or project" >&2
    exit 2
    ;;
esac
