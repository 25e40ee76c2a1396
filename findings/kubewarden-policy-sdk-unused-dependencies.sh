#!/usr/bin/env bash
# kubewarden-policy-sdk depends on chrono, serde_yaml and url, and compiles without a line of them.
#
# They are normal dependencies, so that each policy compiles them and the crates that they bring. With empty crates in their places
# the SDK compiles all the same, and a policy has 64 crates in place of 96.
#
# Seen with kubewarden-policy-sdk 0.17.3, without the features cluster-context and crd, and cargo 1.95.0 on 29 November 2026.
# Needs cargo.
# Exits with 0 if this is still so, and with 1 if the behaviour is another one.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
unset CARGO_TARGET_DIR
cd "$work"

mkdir src
touch src/lib.rs
cat >Cargo.toml <<'MANIFEST'
[package]
name = "policy"
version = "0.1.0"
edition = "2024"

[dependencies]
kubewarden-policy-sdk = { version = "=0.17.3", default-features = false }
MANIFEST
crates() { cargo tree --quiet --prefix none --no-dedupe --format '{p}' | sort -u | wc -l; }
before=$(crates)

printf '\n[patch.crates-io]\n' >>Cargo.toml
for dependency in chrono:0.4.99 serde_yaml:0.9.99 url:2.99.0; do
	name=${dependency%:*}
	mkdir -p "empty/$name/src"
	touch "empty/$name/src/lib.rs"
	printf '[package]\nname = "%s"\nversion = "%s"\n\n[features]\nserde = []\n' "$name" "${dependency#*:}" >"empty/$name/Cargo.toml"
	printf '%s = { path = "empty/%s" }\n' "$name" "$name" >>Cargo.toml
done
rm Cargo.lock
after=$(crates)
[ "$(cargo tree --quiet --prefix none --no-dedupe | sort -u | grep -c "$work/empty/")" = 3 ] || { echo "CHANGED: it does not depend on all three" >&2; exit 1; }
cargo check --quiet || { echo "CHANGED: the SDK uses one of them" >&2; exit 1; }
echo "as described: it compiles with empty crates, $after crates in place of $before"
