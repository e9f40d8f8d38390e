//! The `syncd` command.
fn main() {}
