//! What cargo knows of the workspace.

use cargo_metadata::{Metadata, MetadataCommand};
use privatix_testkit::toolchain::workspace_root;

use crate::Result;

/// The workspace's packages, their dependencies as declared, and the target folder.
pub fn load() -> Result<Metadata> {
    let mut command = MetadataCommand::new();
    command.manifest_path(workspace_root().join("Cargo.toml")).no_deps();
    Ok(command.exec()?)
}
