# Sourced by every script. `start MODULE ARGUMENT...` runs a program of the project in its environment, under the script's name;
# `prepare` brings what tests and checks need, goes to the project's root and sets `python`, the interpreter to use.

here=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
if ! command -v python3 >/dev/null; then
    echo "ringpay: python3 is missing; on Debian and Ubuntu: apt-get install python3 python3-venv" >&2
    exit 7
fi

start() {
    local script
    script=$(readlink -f "$0")
    exec python3 "$here/prepare.py" users "scripts/${script##*/}" "$@"
}

prepare() {
    root=$(dirname "$(dirname "$here")")
    cd "$root" || exit 1
    python3 "$here/prepare.py" tests || exit $?
    python=$root/.venv/bin/python
    [[ ${RINGPAY_VENV-} == off ]] && python=$(command -v python3)
    export PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH}
}
