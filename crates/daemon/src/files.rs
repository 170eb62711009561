//! Files that only their owner may read.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use alloy::primitives::hex;
use secrecy::SecretString;
use tempfile::NamedTempFile;

use crate::DaemonError;

fn failed(action: &'static str, path: &Path) -> impl Fn(io::Error) -> DaemonError {
    move |source| match source.kind() {
        io::ErrorKind::AlreadyExists => DaemonError::Exists { path: path.to_owned() },
        _ => DaemonError::File { action, path: path.to_owned(), source },
    }
}

/// Creates a folder, with those above it. A new one is its owner's alone.
pub(crate) fn create_folder(path: &Path) -> Result<(), DaemonError> {
    if path.is_dir() {
        return Ok(());
    }
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path).map_err(failed("create folder", path))
}

/// Writes a new file that only its owner may read: whole or not at all, and never over another.
pub(crate) fn write_private(path: &Path, contents: &[u8]) -> Result<(), DaemonError> {
    let mut file = temporary_beside(path)?;
    file.write_all(contents).map_err(failed("write", path))?;
    keep(file, path)
}

/// A file beside `path` that only its owner may read, gone unless it is [kept](keep).
pub(crate) fn temporary_beside(path: &Path) -> Result<NamedTempFile, DaemonError> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    NamedTempFile::new_in(folder).map_err(failed("write", path))
}

/// Gives a temporary file its name, unless something has that name.
pub(crate) fn keep(file: NamedTempFile, path: &Path) -> Result<(), DaemonError> {
    file.as_file().sync_all().map_err(failed("write", path))?;
    file.persist_noclobber(path).map_err(|error| failed("write", path)(error.error))?;
    Ok(())
}

/// Replaces a file that is no secret.
pub(crate) fn replace(path: &Path, contents: &str) -> Result<(), DaemonError> {
    let mut file = temporary_beside(path)?;
    file.write_all(contents.as_bytes()).map_err(failed("write", path))?;
    file.persist(path).map_err(|error| failed("write", path)(error.error))?;
    Ok(())
}

pub(crate) fn read(path: &Path) -> Result<String, DaemonError> {
    fs::read_to_string(path).map_err(failed("read", path))
}

/// A secret in a file: its first line.
pub(crate) fn read_secret(path: &Path) -> Result<SecretString, DaemonError> {
    let mut text = zeroize::Zeroizing::new(read(path)?);
    if let Some(end) = text.find(['\r', '\n']) {
        text.truncate(end);
    }
    warn_if_shared(path);
    Ok(SecretString::from(text.as_str()))
}

/// 256 random bits in hexadecimal digits.
pub(crate) fn random_secret() -> zeroize::Zeroizing<String> {
    let bytes = zeroize::Zeroizing::new(rand::random::<[u8; 32]>());
    zeroize::Zeroizing::new(hex::encode(*bytes))
}

#[cfg(unix)]
fn warn_if_shared(path: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = File::open(path).and_then(|file| file.metadata()).map_or(0, |data| data.permissions().mode());
    if mode & 0o077 != 0 {
        tracing::warn!(path = %path.display(), "others can read this secret; `chmod 600` it");
    }
}

#[cfg(not(unix))]
fn warn_if_shared(_: &Path) {}
