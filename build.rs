//! Lists the recipes in `providers/`, so that another one changes no line of Rust.

use std::error::Error;
use std::io::Write;
use std::path::{Path, PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("providers");
    let mut recipes = Vec::new();
    for entry in std::fs::read_dir(&folder)? {
        recipes.push(entry?.path());
    }
    recipes.retain(|file| file.extension().is_some_and(|extension| extension == "toml"));
    recipes.sort();
    let included: Vec<String> = recipes.iter().map(|file| format!("include_str!({file:?})")).collect();
    #[expect(clippy::disallowed_methods, reason = "cargo tells a build script no other way where to write")]
    let out = std::env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?;
    std::fs::write(PathBuf::from(out).join("recipes.rs"), format!("[{}]", included.join(",\n")))?;
    writeln!(std::io::stdout(), "cargo::rerun-if-changed=providers")?;
    Ok(())
}
