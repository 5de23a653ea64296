# Sourced by the shell scripts after they have read their arguments: prepares .venv and goes to the project's root.
# Sets `python`, the interpreter to use, and `programs`, the Python programs in scripts/ that have no suffix.

root=$(dirname "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")")
cd "$root" || exit 1
if ! command -v python3 >/dev/null; then
    echo "ringpay: python3 is missing; on Debian and Ubuntu: apt-get install python3 python3-venv" >&2
    exit 2
fi
python3 scripts/_venv.py || exit $?
python=$root/.venv/bin/python
[[ ${RINGPAY_VENV-} == off ]] && python=$(command -v python3)
export PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH}

programs=()
for file in scripts/*; do
    case $(head -n 1 "$file" 2>/dev/null | tr -d '\0') in
        '#!'*python*) [[ $file == *.py ]] || programs+=("$file") ;;
    esac
done
