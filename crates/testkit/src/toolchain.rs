//! The Foundry binaries that the workspace pins in `contracts/package-lock.json`, installed by npm on first need.

use std::{
    collections::BTreeMap,
    fs::File,
    io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::TestkitError;

/// The workspace's root directory.
pub fn workspace_root() -> PathBuf {
    // The crate is never published: it always lies in `<root>/crates/testkit`.
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_path_buf()
}

/// The Foundry project, `<root>/contracts`.
pub fn contracts_dir() -> PathBuf {
    workspace_root().join("contracts")
}

/// A Foundry program that npm brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tool {
    /// The local node.
    Anvil,
    /// Compiler driver, tests, formatter.
    Forge,
    /// Command line client.
    Cast,
}

impl Tool {
    /// The program's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Anvil => "anvil",
            Self::Forge => "forge",
            Self::Cast => "cast",
        }
    }

    /// The environment variable that names another binary to use; npm is then not needed.
    pub const fn env(self) -> &'static str {
        match self {
            Self::Anvil => "PRIVATIX_ANVIL",
            Self::Forge => "PRIVATIX_FORGE",
            Self::Cast => "PRIVATIX_CAST",
        }
    }

    /// The binary's path; runs `npm ci` in the contracts folder first when its packages are missing or out of date.
    /// Blocks while it installs.
    pub fn locate(self) -> Result<PathBuf, TestkitError> {
        if let Some(path) = std::env::var_os(self.env()) {
            return self.existing(PathBuf::from(path));
        }
        let contracts = contracts_dir();
        install(&contracts)?;
        let tool = self.name();
        let package = format!("{tool}-{}", platform());
        self.existing(contracts.join("node_modules/@foundry-rs").join(package).join("bin").join(tool))
    }

    fn existing(self, path: PathBuf) -> Result<PathBuf, TestkitError> {
        if path.is_file() {
            Ok(path)
        } else {
            Err(TestkitError::NoBinary { tool: self.name(), path, env: self.env() })
        }
    }
}

/// npm's name of this platform in Foundry's packages, such as `linux-amd64`.
fn platform() -> String {
    let os = if cfg!(target_os = "macos") { "darwin" } else { std::env::consts::OS };
    let arch = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    format!("{os}-{arch}")
}

/// What [`install`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Installed {
    /// All packages were there.
    Already,
    /// `npm ci` ran.
    Now,
}

/// Whether `dir/node_modules` holds what `dir/package-lock.json` asks for.
pub fn is_installed(dir: &Path) -> bool {
    let wanted = packages(&dir.join("package-lock.json"));
    // npm writes its hidden lock file last, so that an interrupted installation is seen.
    let present = packages(&dir.join("node_modules/.package-lock.json"));
    match (wanted, present) {
        (Some(wanted), Some(present)) => wanted.iter().all(|(path, package)| match present.get(path) {
            Some(found) => found.identity == package.identity,
            None => package.optional, // a binary of another platform
        }),
        _ => false,
    }
}

/// Runs `npm ci` in `dir` when its packages are missing or out of date. Any number of processes may call this at once:
/// one installs and the others wait for it.
pub fn install(dir: &Path) -> Result<Installed, TestkitError> {
    install_using(dir, Path::new("node"), Path::new("npm"))
}

fn install_using(dir: &Path, node: &Path, npm: &Path) -> Result<Installed, TestkitError> {
    if is_installed(dir) {
        return Ok(Installed::Already);
    }
    let lock_path = dir.join("package-lock.json");
    let lock = match File::open(&lock_path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(TestkitError::NoLockFile { dir: dir.to_path_buf() });
        }
        Err(source) => return Err(TestkitError::File { action: "open", path: lock_path, source }),
    };
    // npm never writes this file under `ci`, so it serves as the lock and leaves nothing behind.
    lock.lock().map_err(|source| TestkitError::File { action: "lock", path: lock_path, source })?;
    if is_installed(dir) {
        return Ok(Installed::Already); // by whoever held the lock
    }
    // npm is a script: without node its own message would be about `env`.
    Command::new(node)
        .arg("--version")
        .output()
        .map_err(|source| TestkitError::MissingTool { tool: "node", source })?;
    let output = Command::new(npm)
        .args(["ci", "--no-audit", "--no-fund", "--loglevel=error"])
        .current_dir(dir)
        .stdin(Stdio::null())
        .output()
        .map_err(|source| TestkitError::MissingTool { tool: "npm", source })?;
    if output.status.success() {
        return Ok(Installed::Now);
    }
    let text = [String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)].concat();
    Err(TestkitError::NpmFailed { dir: dir.to_path_buf(), status: output.status, output: tail(&text, 30) })
}

struct Package {
    identity: (Option<String>, Option<String>),
    optional: bool,
}

/// The packages of a lock file by path; `None` when it is missing or not one.
fn packages(lock_file: &Path) -> Option<BTreeMap<String, Package>> {
    let text = std::fs::read_to_string(lock_file).ok()?;
    let json: serde_json::Value = serde_json::from_str(&text).ok()?;
    let packages = json.get("packages")?.as_object()?;
    let text_of = |package: &serde_json::Value, key: &str| Some(package.get(key)?.as_str()?.to_owned());
    let entry = |package: &serde_json::Value| Package {
        identity: (text_of(package, "version"), text_of(package, "integrity")),
        optional: package.get("optional").and_then(serde_json::Value::as_bool).unwrap_or(false),
    };
    // The entry without a path is the project itself.
    Some(packages.iter().filter(|(path, _)| !path.is_empty()).map(|(p, v)| (p.clone(), entry(v))).collect())
}

/// The last `lines` lines of `text`.
pub(crate) fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all.get(all.len().saturating_sub(lines)..).unwrap_or_default().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn project(lock: &str, hidden: Option<&str>) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("package-lock.json"), lock).unwrap();
        if let Some(hidden) = hidden {
            std::fs::create_dir(dir.path().join("node_modules")).unwrap();
            std::fs::write(dir.path().join("node_modules/.package-lock.json"), hidden).unwrap();
        }
        dir
    }

    const LOCK: &str = r#"{"packages":{"":{"name":"x"},"node_modules/a":{"version":"1.0.0"},
        "node_modules/b":{"version":"2.0.0","optional":true}}}"#;

    #[test]
    fn packages_are_installed_when_each_needed_one_has_the_locked_version() {
        let complete = r#"{"packages":{"node_modules/a":{"version":"1.0.0"}}}"#;
        assert!(is_installed(project(LOCK, Some(complete)).path()), "an optional one may be absent");
        let older = r#"{"packages":{"node_modules/a":{"version":"0.9.0"}}}"#;
        assert!(!is_installed(project(LOCK, Some(older)).path()));
        let other_optional =
            r#"{"packages":{"node_modules/a":{"version":"1.0.0"},"node_modules/b":{"version":"1.0.0"}}}"#;
        assert!(!is_installed(project(LOCK, Some(other_optional)).path()));
        assert!(!is_installed(project(LOCK, Some(r#"{"packages":{}}"#)).path()));
        assert!(!is_installed(project(LOCK, Some("{")).path()), "an interrupted installation");
        assert!(!is_installed(project(LOCK, None).path()));
    }

    #[test]
    fn a_folder_without_a_lock_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(install(dir.path()), Err(TestkitError::NoLockFile { .. })));
    }

    #[test]
    fn a_machine_without_node_or_npm_is_told_what_to_install() {
        let dir = project(LOCK, None);
        let (missing, there) = (Path::new("/no/such/program"), Path::new("/bin/sh"));
        for (node, npm, named) in [(missing, there, "`node`"), (there, missing, "`npm`")] {
            let error = install_using(dir.path(), node, npm).unwrap_err();
            assert!(matches!(error, TestkitError::MissingTool { .. }), "{error}");
            assert!(error.to_string().starts_with(named), "{error}");
        }
    }

    #[test]
    fn a_failed_installation_shows_what_npm_said() {
        let dir = project(LOCK, None);
        let npm = script(dir.path(), "echo the disk is full >&2; exit 4");
        let error = install_using(dir.path(), Path::new("/bin/sh"), &npm).unwrap_err();
        assert!(matches!(error, TestkitError::NpmFailed { .. }), "{error}");
        assert!(error.to_string().ends_with("the disk is full"), "{error}");
    }

    #[test]
    fn parallel_callers_install_once() {
        let dir = project(LOCK, None);
        let npm = script(
            dir.path(),
            "echo run >> runs; sleep 0.2; mkdir node_modules; cp package-lock.json node_modules/.package-lock.json",
        );
        let call = || install_using(dir.path(), Path::new("/bin/sh"), &npm).unwrap();
        let done = std::thread::scope(|scope| {
            let callers: Vec<_> = (0..4).map(|_| scope.spawn(call)).collect();
            callers.into_iter().map(|caller| caller.join().unwrap()).collect::<Vec<_>>()
        });
        assert_eq!(done.iter().filter(|&&d| d == Installed::Now).count(), 1);
        assert_eq!(std::fs::read_to_string(dir.path().join("runs")).unwrap(), "run\n");
    }

    /// A program that stands where npm would.
    fn script(dir: &Path, body: &str) -> PathBuf {
        use std::os::unix::fs::PermissionsExt as _;
        let path = dir.join("npm");
        std::fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    #[test]
    fn tail_keeps_the_last_lines() {
        assert_eq!(tail("a\nb\nc\n", 2), "b\nc");
        assert_eq!(tail("a", 2), "a");
    }
}
