//! The wasm-bindgen-test-runner as a member of the workspace: Cargo.lock holds it at the version of wasm-bindgen that it needs, and
//! it shares crates with the other programs. `cargo install` would compile them all once more.

fn main() -> anyhow::Result<()> {
    wasm_bindgen_cli::wasm_bindgen_test_runner::run_cli_with_args(std::env::args_os())
}
