//! What the figures were taken on, in one sentence: no names, no dates.

use std::{fs, path::Path, process::Command};

use crate::command::output;

/// Processor, cores, memory, the file system under `dir`, system and compiler.
pub(super) fn described(dir: &Path) -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let mut parts = vec![
        after(&read("/proc/cpuinfo"), "model name").unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
        format!("{cores} cores"),
    ];
    parts.extend(gibibytes(&read("/proc/meminfo")).map(|size| format!("{size} GiB of memory")));
    parts.extend(file_system(&read("/proc/mounts"), dir).map(|kind| format!("databases on {kind}")));
    parts.push(std::env::consts::OS.to_owned());
    let compiler = output(Command::new("rustc").arg("--version")).unwrap_or_default();
    parts.extend(compiler.split(' ').nth(1).map(|version| format!("rustc {version}")));
    format!("{}, release profile.", parts.join(", "))
}

/// The value of a `name : value` line.
fn after(text: &str, name: &str) -> Option<String> {
    let value = text.lines().find_map(|line| line.strip_prefix(name))?;
    let value = value.trim_start_matches([' ', '\t', ':']).trim();
    (!value.is_empty()).then(|| value.to_owned())
}

fn gibibytes(meminfo: &str) -> Option<u64> {
    let kibibytes: u64 = after(meminfo, "MemTotal")?.split(' ').next()?.parse().ok()?;
    Some((kibibytes + (1 << 19)) >> 20)
}

/// The kind of the file system that holds `dir`: the one mounted deepest above it.
fn file_system(mounts: &str, dir: &Path) -> Option<String> {
    let above = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ').skip(1);
        let (at, kind) = (words.next()?, words.next()?);
        dir.starts_with(at).then(|| (at.len(), kind.to_owned()))
    });
    above.max().map(|(_, kind)| kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deepest_mount_above_a_folder_holds_it() {
        let mounts = "/dev/a / ext4 rw 0 0\ntmpfs /tmp tmpfs rw 0 0\n/dev/b /tmp/disk xfs rw 0 0\n";
        let kind = |dir: &str| file_system(mounts, Path::new(dir)).unwrap();
        assert_eq!([kind("/home/x"), kind("/tmp/x"), kind("/tmp/disk/x")], ["ext4", "tmpfs", "xfs"]);
        assert!(file_system("", Path::new("/")).is_none());
    }

    #[test]
    fn the_system_s_files_are_read() {
        assert_eq!(after("model name\t: Fast CPU\n", "model name").unwrap(), "Fast CPU");
        assert!(after("", "model name").is_none());
        assert_eq!(gibibytes("MemTotal:       16301292 kB\n"), Some(16));
        let text = described(Path::new("/"));
        assert!(text.ends_with("release profile.") && text.contains(" cores, "), "{text}");
    }
}
