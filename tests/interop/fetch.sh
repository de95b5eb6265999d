# Sourced: what the foreign clients need, once, into .cache/interop of this repository. The caller has set $home.
cache=$home/.cache/interop

need() { command -v "$1" >/dev/null || { echo "FAILED $2: $1 is not installed (run tools/deps)"; exit 1; }; }

# fetch NAME KEY-FILE… -- COMMAND…: run COMMAND in $cache/NAME unless it was done for these very files.
fetch() {
    local name=$1 key files=()
    shift
    while [ "$1" != -- ]; do files+=("$1"); shift; done
    shift
    key=$(cat "${files[@]}" | sha256sum | cut -d' ' -f1)
    mkdir -p "$cache/$name"
    exec 8>"$cache/$name.lock"
    flock 8
    if [ "$(cat "$cache/$name/.complete" 2>/dev/null)" != "$key" ]; then
        rm -rf "${cache:?}/$name" && mkdir -p "$cache/$name"
        (cd "$cache/$name" && "$@") >"$cache/$name.log" 2>&1 || { tail -n 20 "$cache/$name.log"; echo "FAILED $name: cannot fetch it"; exit 1; }
        echo "$key" >"$cache/$name/.complete"
    fi
    flock -u 8
}

# fetch_venv REQUIREMENTS: the command for fetch, a Python environment with exactly these packages.
fetch_venv() {
    python3 -m venv venv
    venv/bin/pip install -q --disable-pip-version-check --no-deps --cache-dir "$home/.cache/pip" -r "$1"
}
