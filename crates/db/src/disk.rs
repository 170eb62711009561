use std::io;
use std::path::Path;

/// Bytes that this process may still write where `path` is.
///
/// # Errors
/// What the system answers; [`io::ErrorKind::Unsupported`] where it is not looked up.
#[cfg(unix)]
pub fn free_space(path: &Path) -> io::Result<u64> {
    let found = rustix::fs::statvfs(path)?;
    Ok(found.f_bavail.saturating_mul(found.f_frsize))
}

/// Bytes that this process may still write where `path` is.
///
/// # Errors
/// What the system answers; [`io::ErrorKind::Unsupported`] where it is not looked up.
#[cfg(not(unix))]
pub fn free_space(_: &Path) -> io::Result<u64> {
    Err(io::Error::new(
        io::ErrorKind::Unsupported,
        "it is not looked up on this system; watch it by other means",
    ))
}

/// Whether both are on one disk; yes if that is not known.
#[cfg(unix)]
pub(crate) fn is_same_disk(one: &Path, other: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    match (one.metadata(), other.metadata()) {
        (Ok(one), Ok(other)) => one.dev() == other.dev(),
        _ => true,
    }
}

#[cfg(not(unix))]
pub(crate) fn is_same_disk(_: &Path, _: &Path) -> bool {
    true
}
