#!/bin/sh
# Looks at one picture with the installed model and compares what it finds with what was found where it was packed.
# Exit status 0 where it is the same.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
python=${PYTHON:-}
if [ -z "$python" ] && [ -r "$here/python.path" ]; then
    python=$(cat "$here/python.path")
fi
PYTHONPATH="$here/app" exec "${python:-python3}" -m groundswell.pipelines.marine.deploying.health \
    --model "$here/models" --health "$here/health"
