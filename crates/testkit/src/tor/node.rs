//! One `tor` process: its keys, its configuration, its life.

use std::{
    ffi::OsStr,
    fs::{DirBuilder, read_dir, read_to_string, remove_file, write},
    io::{self, Write as _},
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::Relay;
use crate::{Process, TestkitError, toolchain::tail};

/// Seconds from one consensus to the next. A network lives shorter than that, so its clients see one consensus, and do
/// not load another in the middle of a test.
///
/// It also fixes when the time periods of onion services begin (12 intervals after midnight UTC), so it must never
/// change while clients run: they would look for descriptors in the wrong period.
pub(super) const INTERVAL: u64 = 1800;
/// Seconds for sending votes, and again for sending signatures, in the first round: the least that tor accepts.
pub(super) const FIRST_DELAY: u64 = 2;

/// The same in the rounds after it.
const DELAY: u64 = 20;
/// What every relay is said to carry.
const BANDWIDTH: u64 = 10_000;
/// A client that measures how long circuits take to build concludes on loopback that a few milliseconds are enough, and
/// then gives up on its own circuits as soon as the machine is busy, for good (arti after some two minutes: "tor
/// operation timed out"). This disables the measuring.
const CONSENSUS_PARAMS: &str = "cbtdisabled=1 cbtinitialtimeout=10000 cbtmintimeout=2000";

/// A relay or directory authority with its folder, running or not.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) relay: Relay,
    /// The fingerprint of an authority's signing identity.
    pub(super) v3_identity: Option<String>,
    folder: PathBuf,
    pub(super) process: Option<Process>,
}

impl Node {
    /// Makes the folder and the keys. Blocks for as long as tor computes them.
    pub(super) fn prepare(
        root: &Path,
        name: String,
        is_authority: bool,
        or_port: u16,
        dir_port: u16,
    ) -> Result<Self, TestkitError> {
        let folder = root.join(&name);
        let keys = folder.join("keys");
        private_folder(&keys)?;
        let v3_identity = if is_authority { Some(authority_keys(&keys, dir_port)?) } else { None };
        let (rsa_identity, ed_identity) = relay_keys(&folder, &name)?;
        let relay = Relay { name, is_authority, or_port, dir_port, rsa_identity, ed_identity };
        Ok(Self { relay, v3_identity, folder, process: None })
    }

    /// The line by which every node knows this authority; `None` for other relays.
    pub(super) fn dir_authority(&self) -> Option<String> {
        let v3_identity = self.v3_identity.as_ref()?;
        let Relay { name, or_port, dir_port, rsa_identity, .. } = &self.relay;
        let line = format!(
            "DirAuthority {name} orport={or_port} v3ident={v3_identity} 127.0.0.1:{dir_port} {rsa_identity}"
        );
        Some(line)
    }

    /// Writes the configuration, with the first vote `vote_offset` seconds after a multiple of [`INTERVAL`].
    pub(super) fn configure(&self, authorities: &[String], vote_offset: u64) -> Result<(), TestkitError> {
        self.write("torrc", &torrc(&self.folder, &self.relay, authorities, vote_offset))
    }

    /// Writes what an authority has measured: the same of every relay. Without it all weights are zero.
    pub(super) fn measure(&self, relays: &[Relay], unix_seconds: u64) -> Result<(), TestkitError> {
        if !self.relay.is_authority {
            return Ok(());
        }
        let line =
            |relay: &Relay| format!("node_id=${} bw={BANDWIDTH} nick={}\n", relay.rsa_identity, relay.name);
        let lines: String = relays.iter().map(line).collect();
        self.write("bandwidths", &format!("{unix_seconds}\n{lines}"))
    }

    fn write(&self, name: &str, text: &str) -> Result<(), TestkitError> {
        let path = self.folder.join(name);
        write(&path, text).map_err(|source| TestkitError::File { action: "write", path, source })
    }

    /// Starts the process.
    pub(super) fn start(&mut self) -> Result<(), TestkitError> {
        let process = Process::builder(&self.relay.name, "tor")
            .args([OsStr::new("-f"), self.folder.join("torrc").as_os_str()])
            .args([OsStr::new("--defaults-torrc"), self.folder.join("none").as_os_str()])
            // Ends when the test process does, whatever else happens.
            .args(["__OwningControllerProcess", &std::process::id().to_string()])
            .log_file(self.folder.join("tor.log"))
            .spawn()
            .map_err(explain_missing)?;
        self.process = Some(process);
        Ok(())
    }

    /// Has a running node read its configuration again.
    pub(super) fn reload(&mut self) -> Result<(), TestkitError> {
        self.process.as_mut().map_or(Ok(()), Process::hang_up)
    }

    /// Kills the process. The folder stays as it is.
    pub(super) fn stop(&mut self) -> Result<(), TestkitError> {
        match self.process.take() {
            Some(mut process) => process.kill().map(|_| ()),
            None => Ok(()),
        }
    }

    /// Removes votes, consensuses and descriptors. The keys stay.
    pub(super) fn forget_directory(&self) -> Result<(), TestkitError> {
        let error = |source| TestkitError::File { action: "clear", path: self.folder.clone(), source };
        for entry in read_dir(&self.folder).map_err(error)? {
            let entry = entry.map_err(error)?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if ["cached-", "unverified-", "v3-status-", "sr-state"].iter().any(|kind| name.starts_with(kind))
            {
                remove_file(entry.path()).map_err(error)?;
            }
        }
        Ok(())
    }

    /// The end of the log of a process that has ended by itself.
    pub(super) fn ended(&mut self) -> Result<Option<TestkitError>, TestkitError> {
        let Some(process) = &mut self.process else { return Ok(None) };
        let Some(status) = process.try_exit()? else { return Ok(None) };
        let (name, awaited) = (self.relay.name.clone(), "the network".to_owned());
        Ok(Some(TestkitError::Exited { name, status, awaited, log: tail(&process.log(), 30) }))
    }
}

/// Makes a folder that only its owner can read, as tor demands.
pub(super) fn private_folder(folder: &Path) -> Result<(), TestkitError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.map_err(|source| TestkitError::File { action: "create", path: folder.to_owned(), source })
}

/// The identity and signing keys of a directory authority; gives the identity's fingerprint.
fn authority_keys(keys: &Path, dir_port: u16) -> Result<String, TestkitError> {
    let file = |name: &str| keys.join(name).into_os_string();
    let mut command = Command::new("tor-gencert");
    command.args(["--create-identity-key", "--passphrase-fd", "0", "-m", "3", "-a"]);
    command.arg(format!("127.0.0.1:{dir_port}"));
    command.arg("-i").arg(file("authority_identity_key"));
    command.arg("-s").arg(file("authority_signing_key"));
    command.arg("-c").arg(file("authority_certificate"));
    // Nobody ever needs the identity key's pass phrase again.
    output(&mut command, "test\n")?;
    let path = keys.join("authority_certificate");
    let read = read_to_string(&path);
    let certificate = read.map_err(|source| TestkitError::File { action: "read", path, source })?;
    let fingerprint = certificate.lines().find_map(|line| line.strip_prefix("fingerprint "));
    fingerprint.map(str::to_owned).ok_or_else(|| unexpected("tor-gencert", &certificate))
}

/// The identity keys of a relay; gives their RSA fingerprint in hexadecimal and the ed25519 key in base64.
fn relay_keys(folder: &Path, name: &str) -> Result<(String, String), TestkitError> {
    let none = folder.join("none");
    let mut command = Command::new("tor");
    // A throw-away configuration is enough to make tor write its keys.
    command.args(["--list-fingerprint", "--hush", "--ignore-missing-torrc"]);
    command.arg("-f").arg(&none).arg("--defaults-torrc").arg(&none);
    command.arg("--DataDirectory").arg(folder);
    command.args(["--ORPort", "1", "--SocksPort", "0", "--Nickname", name]);
    command.args(["--DirAuthority", &format!("x 127.0.0.1:1 {:040}", 0)]);
    let printed = output(&mut command, "")?;
    // "name 0123 4567 ..."
    let last = printed.lines().last().and_then(|line| line.strip_prefix(name));
    let rsa: String = last.unwrap_or_default().split_whitespace().collect();
    if rsa.len() != 40 {
        return Err(unexpected("tor --list-fingerprint", &printed));
    }
    let path = folder.join("fingerprint-ed25519");
    let read = read_to_string(&path);
    let text = read.map_err(|source| TestkitError::File { action: "read", path, source })?;
    let ed = text.split_whitespace().nth(1).ok_or_else(|| unexpected("tor --list-fingerprint", &text))?;
    Ok((rsa, ed.to_owned()))
}

/// Runs a program with `input`; gives what it prints.
fn output(command: &mut Command, input: &str) -> Result<String, TestkitError> {
    let program = command.get_program().to_string_lossy().into_owned();
    let error = |source: io::Error| {
        let name = program.clone();
        explain_missing(TestkitError::Spawn { name, program: program.clone().into(), source })
    };
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(error)?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that does not read its input has ended with an error, which is the one to show.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child.wait_with_output().map_err(error)?;
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if output.status.success() {
        return Ok(out.trim_end().to_owned());
    }
    Err(unexpected(&program, &format!("{}: {out}{err}", output.status)))
}

fn unexpected(program: &str, printed: &str) -> TestkitError {
    TestkitError::TorTool { program: program.to_owned(), output: tail(printed, 30) }
}

/// A program that is not there is one to install.
pub(super) fn explain_missing(error: TestkitError) -> TestkitError {
    match error {
        TestkitError::Spawn { source, .. } if source.kind() == io::ErrorKind::NotFound => {
            TestkitError::NoTor(source)
        }
        other => other,
    }
}

/// A node's configuration.
fn torrc(folder: &Path, relay: &Relay, authorities: &[String], vote_offset: u64) -> String {
    let Relay { name, is_authority, or_port, dir_port, .. } = relay;
    let folder = folder.display();
    let common = format!(
        "# Private addresses, and intervals shorter than the public network's.\n\
         TestingTorNetwork 1\n\
         # Publish without a test from outside.\n\
         AssumeReachable 1\n\
         # Few relays are enough for circuits.\n\
         PathsNeededToBuildCircuits 0.67\n\
         DataDirectory {folder}\n\
         Nickname {name}\n\
         ContactInfo test@localhost.invalid\n\
         Address 127.0.0.1\n\
         ORPort 127.0.0.1:{or_port}\n\
         DirPort 127.0.0.1:{dir_port}\n\
         SocksPort 0\n\
         Log notice stdout\n\
         SafeLogging 0\n\
         NumCPUs 1\n\
         MaxMemInQueues 256 MB\n\
         ShutdownWaitLength 0\n\
         V3AuthNIntervalsValid 3\n"
    );
    let role = if *is_authority {
        format!(
            "AuthoritativeDirectory 1\n\
             V3AuthoritativeDirectory 1\n\
             # The first vote comes when the offset is moved to the near future; until then it is far away.\n\
             TestingV3AuthInitialVotingInterval {INTERVAL}\n\
             TestingV3AuthInitialVoteDelay {FIRST_DELAY}\n\
             TestingV3AuthInitialDistDelay {FIRST_DELAY}\n\
             TestingV3AuthVotingStartOffset {vote_offset}\n\
             V3AuthVotingInterval {INTERVAL}\n\
             V3AuthVoteDelay {DELAY}\n\
             V3AuthDistDelay {DELAY}\n\
             ConsensusParams {CONSENSUS_PARAMS}\n\
             V3BandwidthsFile {folder}/bandwidths\n\
             # Every relay is fit for every place, whatever its time in service.\n\
             TestingDirAuthVoteExit *\n\
             TestingDirAuthVoteGuard *\n\
             TestingDirAuthVoteHSDir *\n\
             TestingMinExitFlagThreshold 0\n\
             MinUptimeHidServDirectoryV2 0 seconds\n\
             # `Fast` and `Stable` go by the median of the network, so among equals some relay lacks them at random.\n\
             # Onion services need stable relays.\n\
             AuthDirFastGuarantee 1 bytes\n\
             AuthDirVoteStableGuaranteeMinUptime 0 seconds\n\
             AuthDirVoteStableGuaranteeMTBF 0 seconds\n\
             ExitPolicy reject *:*\n"
        )
    } else {
        "# Exits to this machine.\n\
                 ExitRelay 1\n\
                 ExitPolicyRejectPrivate 0\n\
                 ExitPolicy accept *:*\n"
            .to_owned()
    };
    let authorities = authorities.join("\n");
    format!("{common}{authorities}\n{role}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_without_tor_is_named_the_package_to_install() {
        let error = output(&mut Command::new("/no/such/tor-gencert"), "").unwrap_err();
        assert!(matches!(error, TestkitError::NoTor(_)), "{error}");
        assert!(error.to_string().contains("install Debian's package `tor`"), "{error}");
    }

    #[test]
    fn a_program_that_makes_no_keys_is_shown_with_what_it_printed() {
        let mut failing = Command::new("/bin/sh");
        let error = output(failing.args(["-c", "echo the disk is full >&2; exit 4"]), "test\n").unwrap_err();
        assert!(matches!(error, TestkitError::TorTool { .. }), "{error}");
        assert!(error.to_string().ends_with("the disk is full"), "{error}");
    }

    #[test]
    fn authorities_vote_and_relays_are_exits() {
        let relay = |is_authority| Relay {
            name: "some".to_owned(),
            is_authority,
            or_port: 5000,
            dir_port: 5001,
            rsa_identity: String::new(),
            ed_identity: String::new(),
        };
        let lines = ["DirAuthority a".to_owned(), "DirAuthority b".to_owned()];
        let authority = torrc(Path::new("/some"), &relay(true), &lines, 77);
        let exit = torrc(Path::new("/some"), &relay(false), &lines, 77);
        for text in [&authority, &exit] {
            assert!(text.contains("\nDirAuthority a\nDirAuthority b\n"), "{text}");
            assert!(text.contains("\nORPort 127.0.0.1:5000\n"), "{text}");
        }
        assert!(authority.contains("\nTestingV3AuthVotingStartOffset 77\n"), "{authority}");
        assert!(exit.ends_with("\nExitPolicy accept *:*\n") && !exit.contains("Voting"), "{exit}");
    }
}
