//! Programs that tests run and that only the system's package manager brings.

use std::env;
use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::Result;
use crate::command::{output, run};

/// A Debian package, and by what it is known to be installed.
struct Package {
    name: &'static str,
    brings: Brings,
    purpose: &'static str,
}

/// What a package brings.
enum Brings {
    /// A program on the path.
    Program(&'static str),
    /// A module of Python: of the one on the path, or of the system's.
    Module(&'static str),
}

const PACKAGES: [Package; 3] = [
    Package { name: "tor", brings: Brings::Program("tor"), purpose: "the private Tor network" },
    Package { name: "faketime", brings: Brings::Program("faketime"), purpose: "tests with a wrong clock" },
    Package {
        name: "python3-cryptography",
        brings: Brings::Module("cryptography"),
        purpose: "the client in Python",
    },
];

impl Package {
    fn is_installed(&self, path: &OsStr) -> bool {
        match self.brings {
            Brings::Program(program) => is_on(path, program),
            Brings::Module(module) => ["python3", "/usr/bin/python3"].iter().any(|python| {
                let mut import = Command::new(python);
                import.arg("-c").arg(format!("import {module}")).stderr(Stdio::null());
                import.status().is_ok_and(|status| status.success())
            }),
        }
    }
}

/// Installs what is missing of `PACKAGES` by apt-get, as root or with sudo.
pub fn install() -> Result<()> {
    let path = env::var_os("PATH").unwrap_or_default();
    let missing: Vec<_> = PACKAGES.iter().filter(|package| !package.is_installed(&path)).collect();
    if missing.is_empty() {
        let names: Vec<_> = PACKAGES.iter().map(|package| package.name).collect();
        println!("{} are installed", names.join(", "));
        return Ok(());
    }
    if !is_on(&path, "apt-get") {
        return Err(remedy(&missing).into());
    }
    let is_root = output(Command::new("id").arg("-u"))?.trim() == "0";
    if !is_root && !is_on(&path, "sudo") {
        return Err(format!("{} (this needs root, and there is no sudo)", remedy(&missing)).into());
    }
    run(&mut apt_get(is_root, &["update", "-q"]))?;
    let mut install = apt_get(is_root, &["install", "-y", "-q", "--no-install-recommends"]);
    run(install.args(missing.iter().map(|package| package.name)))
}

/// What somebody must do whose system we do not know.
fn remedy(missing: &[&Package]) -> String {
    let each = missing.iter().map(|Package { name, brings, purpose }| match brings {
        Brings::Program(program) => {
            format!("install the package `{name}`, so that `{program}` is on PATH, for {purpose}")
        }
        Brings::Module(module) => {
            format!("install the package `{name}`, so that python3 can import `{module}`, for {purpose}")
        }
    });
    each.collect::<Vec<_>>().join("; ")
}

fn apt_get(is_root: bool, args: &[&str]) -> Command {
    // sudo drops the environment, so the variable is set behind it.
    let mut command = Command::new(if is_root { "env" } else { "sudo" });
    if !is_root {
        command.arg("env");
    }
    command.args(["DEBIAN_FRONTEND=noninteractive", "apt-get"]).args(args);
    command
}

/// Whether a folder of `path` has such a program.
fn is_on(path: &OsStr, program: &str) -> bool {
    let is_there = |folder: &Path| folder.join(program).is_file();
    // Debian keeps some programs out of the path of ordinary users.
    env::split_paths(path).any(|folder| is_there(&folder)) || is_there(Path::new("/usr/sbin"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_looked_for_in_every_folder_of_the_path() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("some-program"), "").unwrap();
        let path = env::join_paths([Path::new("/no/such/folder"), folder.path()]).unwrap();
        assert!(is_on(&path, "some-program"));
        assert!(!is_on(&path, "another-program"));
    }

    #[test]
    fn who_must_install_something_by_hand_reads_its_name_and_what_it_is_for() {
        let text = remedy(&[&PACKAGES[0]]);
        assert_eq!(text, "install the package `tor`, so that `tor` is on PATH, for the private Tor network");
        let text = remedy(&[&PACKAGES[2]]);
        let expected = "install the package `python3-cryptography`, so that python3 can import `cryptography`, for the client in Python";
        assert_eq!(text, expected);
    }

    #[test]
    fn apt_get_asks_nothing_and_needs_root() {
        let words = |command: &Command| {
            let args = command.get_args().map(|arg| arg.to_str().unwrap().to_owned());
            std::iter::once(command.get_program().to_str().unwrap().to_owned())
                .chain(args)
                .collect::<Vec<_>>()
        };
        let quiet = ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "update"];
        assert_eq!(words(&apt_get(true, &["update"])), quiet);
        assert_eq!(words(&apt_get(false, &["update"])), [&["sudo"][..], &quiet].concat());
    }
}
