//! Files that a first start makes: the pepper, a signing key.
//!
//! Guarantees: however many processes start at once, all read the same content; the file is never seen half
//! written, and only its owner can read it. One that is replaced keeps its owner and its permissions.

use std::io::{ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::Path;

use zeroize::Zeroizing;

use crate::ambient::Entropy;
use crate::domain::ids::MessageId;

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

/// Puts other content into a file that is there, so that whoever reads it at any moment reads all of the old or all
/// of the new.
///
/// # Errors
/// As the file system gives them; the file is as it was.
pub fn replace(path: &Path, content: &str, unique: &str) -> std::io::Result<()> {
    // Where a link names the file, the link stays.
    let path = path.canonicalize()?;
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{unique}"));
    let draft = Path::new(&name);
    let replaced = write_like(draft, content, &path).and_then(|()| std::fs::rename(draft, &path));
    if replaced.is_err() {
        // It may never have been made.
        let _ = std::fs::remove_file(draft);
    }
    replaced?;
    // The name is safe from a loss of power only once its folder is written.
    path.parent().map_or(Ok(()), |folder| std::fs::File::open(folder)?.sync_all())
}

/// Writes a file that belongs to whom another one belongs to: the operator who runs a command is often not the user
/// that the server runs as.
fn write_like(draft: &Path, content: &str, model: &Path) -> std::io::Result<()> {
    let model = model.metadata()?;
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(draft)?;
    let made = file.metadata()?;
    if (made.uid(), made.gid()) != (model.uid(), model.gid()) {
        fchown(&file, Some(model.uid()), Some(model.gid()))?;
    }
    file.set_permissions(model.permissions())?;
    file.write_all(content.as_bytes())?;
    file.sync_all()
}

/// What tells the drafts of two processes apart.
#[must_use]
pub fn draft_name(entropy: &dyn Entropy) -> String {
    MessageId::generate(entropy).to_string()
}

/// Whether users other than the owner and the group can get at a file.
pub(super) fn is_readable_by_others(path: &Path) -> bool {
    path.metadata().is_ok_and(|file| file.permissions().mode() & 0o007 != 0)
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
