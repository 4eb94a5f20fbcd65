#!/bin/sh
# Installs this package into a folder of its own and writes the service that runs it. Nothing outside of the folder and
# of the folder for results is changed, unless --enable is given.
set -eu

usage() {
    cat <<'TEXT'
Usage: sh install.sh --prefix DIR --input DIR --out DIR [--python FILE] [--user NAME] [--enable] [--no-check] [--dry-run]

  --prefix DIR    where to install; what an earlier installation left there is replaced
  --input DIR     folder that recordings arrive in
  --out DIR       folder for results
  --python FILE   Python (3.11 or newer) that has what app/requirements.txt lists; without it an environment is made
                  in DIR/environment and filled by pip
  --user NAME     who runs the service (default: you, also under sudo)
  --enable        put the service into /etc/systemd/system and start it, anew if an older one runs (as root)
  --no-check      do not look at the known picture after installing
  --dry-run       only say what would be done
TEXT
}

fail() {
    echo "install.sh: $1" >&2
    exit 2
}

prefix='' input='' out='' python='' enable=no check=yes dry=no
user=$(id -un)
[ "$(id -u)" != 0 ] || user=${SUDO_USER:-$user}
while [ $# -gt 0 ]; do
    case $1 in
        --prefix | --input | --out | --python | --user)
            [ $# -ge 2 ] || fail "$1 needs a value"
            case $1 in
                --prefix) prefix=$2 ;;
                --input) input=$2 ;;
                --out) out=$2 ;;
                --python) python=$2 ;;
                --user) user=$2 ;;
            esac
            shift 2
            ;;
        --enable) enable=yes; shift ;;
        --no-check) check=no; shift ;;
        --dry-run) dry=yes; shift ;;
        -h | --help) usage; exit 0 ;;
        *) usage >&2; fail "there is no option $1" ;;
    esac
done

# The service's file has no quotes around these: what is not plain is refused, not guessed at.
plain() {
    case $2 in
        /) fail "$1 cannot be the root folder" ;;
        /*) ;;
        *) fail "$1 must be given as a path that begins with /" ;;
    esac
    case $2 in
        *[!A-Za-z0-9._/-]* | *..*) fail "$1 may have letters, digits, dots, dashes and slashes only: $2" ;;
    esac
}

if [ -z "$prefix" ] || [ -z "$input" ] || [ -z "$out" ]; then
    usage >&2
    fail "--prefix, --input and --out are needed"
fi
plain --prefix "$prefix"
plain --input "$input"
plain --out "$out"
[ -z "$python" ] || plain --python "$python"
case $user in
    '' | *[!A-Za-z0-9._-]*) fail "--user is no user's name: $user" ;;
esac

here=$(cd "$(dirname "$0")" && pwd)
[ "$here" != "$prefix" ] || fail "--prefix is the folder of the package itself"
cd "$here"
sha256sum -c --quiet SHA256SUMS >&2 || fail "the package is damaged; copy it again"

run() {
    if [ "$dry" = yes ]; then
        echo "would run: $*"
    else
        "$@"
    fi
}

new_enough='import sys; sys.exit(sys.version_info < (3, 11))'
if [ -z "$python" ]; then
    base=$(command -v python3) || fail "there is no python3"
    "$base" -c "$new_enough" || fail "$base is older than Python 3.11; name another one with --python"
    python=$prefix/environment/bin/python
    run mkdir -p "$prefix"
    [ -x "$python" ] || run "$base" -m venv --system-site-packages "$prefix/environment"
    run "$python" -m pip install --quiet -r app/requirements.txt
else
    [ -x "$python" ] || fail "--python is nothing that can be run: $python"
    "$python" -c "$new_enough" || fail "$python is older than Python 3.11"
fi

run mkdir -p "$prefix"
if [ ! -d "$out" ]; then
    run mkdir -p "$out"
    [ "$(id -u)" != 0 ] || run chown "$user" "$out"
fi
for part in app models health config; do
    run rm -rf "$prefix/$part.new"
    run cp -R "$part" "$prefix/$part.new"
    if [ "$part" = config ] && [ -d "$prefix/config" ]; then
        echo "keeping $prefix/config; the package's own is in $prefix/config.new"
        continue
    fi
    run rm -rf "${prefix:?}/$part"
    run mv "$prefix/$part.new" "$prefix/$part"
done
for file in health-check.sh build-engines.sh plan.json README.md; do
    run cp "$file" "$prefix/$file"
done

unit=$prefix/groundswell-marine.service
if [ "$dry" = yes ]; then
    echo "would write: $prefix/python.path, $unit"
else
    echo "$python" >"$prefix/python.path"
    sed -e "s|@PREFIX@|$prefix|g" -e "s|@INPUT@|$input|g" -e "s|@OUT@|$out|g" -e "s|@PYTHON@|$python|g" \
        -e "s|@USER@|$user|g" groundswell-marine.service.in >"$unit"
fi

[ "$check" = no ] || run sh "$prefix/health-check.sh"

if [ "$enable" = yes ]; then
    run cp "$unit" /etc/systemd/system/groundswell-marine.service
    run systemctl daemon-reload
    run systemctl enable groundswell-marine.service
    run systemctl restart groundswell-marine.service # enable --now would leave an older one running
else
    echo "To run it at every start of the computer (as root): cp $unit /etc/systemd/system/ &&" \
        "systemctl daemon-reload && systemctl enable groundswell-marine && systemctl restart groundswell-marine"
fi
