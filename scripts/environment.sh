# Installs into .venv. Sourced by the other scripts: . scripts/environment.sh in the root.

# Tests and benchmarks start hundreds of processes. Without compiled modules beside the sources, as
# container images like to have it, each start takes three times as long.
unset PYTHONDONTWRITEBYTECODE

say() {
    printf '%s\n' "$*" >&2
}

die() {
    say "$@"
    exit 1
}

# Does the interpreter start (a pyenv shim may not), and is it new enough?
is_new_enough() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

# Installs packages as root on Debian; fails otherwise.
apt_install() {
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || return 1
    say "$0: installing $* with apt-get"
    {
        DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends "$@" || {
            apt-get update -qq &&
                DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends "$@"
        }
    } </dev/null >/dev/null 2>&1
}

can_make_environments() {
    "$1" -c 'import ensurepip, venv' >/dev/null 2>&1
}

# Sets python to an interpreter that can make virtual environments.
find_python() {
    without_venv=
    for python in python3.13 python3.12 python3.11 python3 python; do
        is_new_enough "$python" || continue
        if can_make_environments "$python"; then
            return
        fi
        without_venv=${without_venv:-$python}
    done
    if [ -n "$without_venv" ]; then
        python=$without_venv
        version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
        if apt_install "python$version-venv" && can_make_environments "$python"; then
            return
        fi
        die "$0: $python has no ensurepip, so it cannot make a virtual environment." \
            "Install it: apt-get install python$version-venv (Debian, Ubuntu)"
    fi
    die "$0: needs Python 3.11 or newer, and found none as python3.13, python3.12, python3.11," \
        "python3 or python. Install one: apt-get install python3 python3-venv (Debian, Ubuntu)"
}

# What an installation depends on: these files, and its path (a moved .venv is broken).
fingerprint() {
    {
        pwd -P
        cat setup.py pyproject.toml scripts/environment.sh wsserver/version.py
    } | cksum
}

# has_stamp serve|test|bench|docs|cluster FINGERPRINT: whether the current state was installed
has_stamp() {
    [ "$(cat ".venv/installed-$1" 2>/dev/null)" = "$2" ]
}

# is_installed serve|test|bench|docs|cluster FINGERPRINT: whether .venv has the packages
is_installed() {
    is_new_enough .venv/bin/python || return 1
    has_stamp "$1" "$2" && return
    # The others' packages include the server's, and the tests' those of the documentation.
    case $1 in
        serve)
            has_stamp test "$2" || has_stamp bench "$2" || has_stamp docs "$2" ||
                has_stamp cluster "$2"
            ;;
        docs | cluster) has_stamp test "$2" ;;
        *) return 1 ;;
    esac
}

# ensure_installed serve|test|bench|docs|cluster: installs what is missing; true if it had to.
ensure_installed() {
    wanted=$(fingerprint)
    if is_installed "$1" "$wanted"; then
        return 1
    fi
    # One at a time, if the system has flock; after waiting it may be done already.
    exec 9>.venv.lock
    if command -v flock >/dev/null && ! flock -n 9; then
        say "$0: waiting for another installation into .venv"
        flock 9
    fi
    status=1
    if ! is_installed "$1" "$wanted"; then
        install_packages "$1" "$wanted"
        status=0
    fi
    exec 9>&-
    return $status
}

# install_packages serve|test|bench|docs|cluster FINGERPRINT
install_packages() {
    if ! is_new_enough .venv/bin/python || ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
        find_python
        say "$0: making .venv with $("$python" --version)"
        "$python" -m venv --clear .venv || die "$0: could not make .venv"
    fi
    # Packages are only added.
    for kind in serve test bench docs cluster; do
        has_stamp "$kind" "$2" || rm -f ".venv/installed-$kind"
    done
    say "$0: installing into .venv; the first time takes about a minute"
    case $1 in
        test | bench | docs | cluster) packages=".[$1]" ;;
        *) packages='.' ;;
    esac
    # Editable, so that a changed source needs no new installation.
    PIP_USER=0 .venv/bin/python -m pip install -qq --disable-pip-version-check \
        --editable "$packages" >&2 || die "$0: the installation failed; fix the error and run it again"
    printf '%s\n' "$2" >".venv/installed-$1"
}

# Compiles the modules of COMPILED in setup.py, in build/compiled, from the files of this tree, and
# leaves the tree as it is. Returns 75 where there is no C compiler.
build_compiled() {
    if ! command -v cc >/dev/null; then
        say "$0: no C compiler (cc) on PATH (apt-get install gcc)"
        return 75
    fi
    scripts/test --version >/dev/null || return
    rm -rf build/compiled
    mkdir -p build/compiled
    git ls-files -z --cached --others --exclude-standard |
        tar -c --null --files-from - | tar -xC build/compiled || return
    (
        python=$PWD/.venv/bin/python
        cd build/compiled
        WSSERVER_COMPILE=1 "$python" setup.py -q build_ext --inplace >build.log 2>&1 || {
            cat build.log >&2
            exit 1
        }
    )
}
