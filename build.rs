//! Lists the recipes in `providers/`, so that another one changes no line of Rust.

use std::error::Error;
use std::io::Write;
use std::path::{Path, PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("providers");
    let mut recipes = Vec::new();
    for entry in std::fs::read_dir(&folder)? {
        let file = entry?.path();
        if file.extension().is_some_and(|extension| extension == "toml") {
            let name = file.to_str().ok_or("this folder's name is no UTF-8")?;
            recipes.push(format!("include_str!({name:?})"));
        }
    }
    recipes.sort();
    #[expect(clippy::disallowed_methods, reason = "cargo tells a build script no other way where to write")]
    let out = std::env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?;
    std::fs::write(PathBuf::from(out).join("recipes.rs"), format!("[{}]", recipes.join(",\n")))?;
    writeln!(std::io::stdout(), "cargo::rerun-if-changed=providers")?;
    Ok(())
}
