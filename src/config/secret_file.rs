//! Files that a first start makes: the pepper, a signing key.
//!
//! Guarantees: however many processes start at once, all read the same content; the file is never seen half
//! written, and only its owner can read it.

use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use zeroize::Zeroizing;

/// What a first start found or made.
pub struct SecretFile {
    /// The content.
    pub text: Zeroizing<String>,
    /// Whether this process made it.
    pub created: bool,
}

/// Reads the file; where there is none, makes it with `content` first.
///
/// # Errors
/// As the file system gives them.
pub fn read_or_create(path: &Path, content: &str, unique: &str) -> std::io::Result<SecretFile> {
    let created = !path.exists() && create(path, content, unique)?;
    let text = Zeroizing::new(std::fs::read_to_string(path)?);
    Ok(SecretFile { text, created })
}

/// Writes a draft beside the file and links it into place: a link fails where the name exists, and what it names is
/// whole.
fn create(path: &Path, content: &str, unique: &str) -> std::io::Result<bool> {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{unique}"));
    let draft = Path::new(&name);
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(draft)?;
    let linked = file
        .write_all(content.as_bytes())
        .and_then(|()| file.sync_all())
        .and_then(|()| std::fs::hard_link(draft, path));
    std::fs::remove_file(draft)?;
    match linked {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn of_many_first_starts_one_wins_and_all_read_the_same() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("pepper");
        let texts: Vec<(String, bool)> = std::thread::scope(|scope| {
            let start = |index: usize| {
                let path = &path;
                move || {
                    let file = read_or_create(path, &format!("content {index}"), &index.to_string())
                        .expect("a file");
                    (file.text.to_string(), file.created)
                }
            };
            let starts: Vec<_> = (0..16).map(|index| scope.spawn(start(index))).collect();
            starts.into_iter().map(|start| start.join().expect("no panic")).collect()
        });
        assert_eq!(texts.iter().filter(|(_, created)| *created).count(), 1);
        assert!(texts.iter().all(|(text, _)| *text == texts[0].0));
        assert_eq!(path.metadata().expect("a file").permissions().mode() & 0o777, 0o600);
        assert_eq!(folder.path().read_dir().expect("a folder").count(), 1, "no draft is left");
    }
}
