//! Files that only their owner may read: databases hold secrets.

use std::fs::File;
use std::io;
use std::path::Path;

/// Opens a file, creating it if missing; either way it is its owner's alone then.
pub(crate) fn create(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.create(true).truncate(false).write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(path)?;
    narrow(path);
    Ok(file)
}

/// Takes the permissions of others from a file, if it is there. The file of another owner stays as it is: whoever shares a
/// database in that way means to.
#[cfg(unix)]
pub(crate) fn narrow(path: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    let Ok(metadata) = path.metadata() else { return };
    let mut permissions = metadata.permissions();
    let mode = permissions.mode();
    let narrowed = mode & !0o077;
    if mode == narrowed {
        return;
    }
    permissions.set_mode(narrowed);
    if let Err(error) = std::fs::set_permissions(path, permissions) {
        tracing::warn!(path = %path.display(), %error, "others can read this file, and its mode cannot be changed");
    }
}

#[cfg(not(unix))]
pub(crate) fn narrow(_: &Path) {}
