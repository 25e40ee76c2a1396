#!/usr/bin/env bash
# `cargo test --quiet` fails with wasm-bindgen-test-runner, although every test would pass.
#
# Cargo hands its own `--quiet` on to the runner of a target as an argument of the test program. wasm-bindgen-test-runner
# accepts several options of libtest, but not this one, and ends with a usage error before it runs a test. Without
# `--quiet` the same tests pass.
#
# Seen with wasm-bindgen-cli and wasm-bindgen 0.2.130, wasm-bindgen-test 0.3.80, cargo 1.95.0, Node.js 20.20.2 on 28 November 2026.
# Needs cargo with the target wasm32-unknown-unknown, and Node.js. It takes some minutes, because the runner is compiled.
# Exits with 0 if this is still so, and with 1 if the behaviour is another one.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
unset CARGO_TARGET_DIR
cd "$work"

cargo install --quiet --debug --root tools wasm-bindgen-cli --version =0.2.130 --bin wasm-bindgen-test-runner
mkdir -p sample/src
cat >sample/Cargo.toml <<'MANIFEST'
[package]
name = "sample"
version = "0.1.0"
edition = "2024"

[dev-dependencies]
wasm-bindgen = "=0.2.130"
wasm-bindgen-test = "=0.3.80"
MANIFEST
cat >sample/src/lib.rs <<'LIBRARY'
#[cfg(test)]
mod tests {
    use wasm_bindgen_test::wasm_bindgen_test;

    #[wasm_bindgen_test]
    fn adds() {
        assert_eq!(1 + 1, 2);
    }
}
LIBRARY

cd sample
export CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUNNER=$work/tools/bin/wasm-bindgen-test-runner
target=(--target wasm32-unknown-unknown --lib)
cargo test "${target[@]}" >"$work/plain" 2>&1 || { cat "$work/plain"; echo "CHANGED: the test fails without --quiet too" >&2; exit 1; }
if cargo test --quiet "${target[@]}" >"$work/quiet" 2>&1; then
	echo "CHANGED: the runner accepts --quiet" >&2
	exit 1
fi
grep -F "unexpected argument '--quiet'" "$work/quiet" || { cat "$work/quiet"; echo "CHANGED: another error" >&2; exit 1; }
echo "as described: cargo test passes, and cargo test --quiet fails in the runner"
