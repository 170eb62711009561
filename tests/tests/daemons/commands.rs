//! The commands that texts name exist.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use privatix_testkit::toolchain::workspace_root;

/// A program's commands by their names, each with its own below it and the options that it takes.
#[derive(Debug)]
struct Tree {
    below: BTreeMap<String, Tree>,
    options: BTreeSet<String>,
}

impl Tree {
    /// As the program's own help shows them.
    fn of(program: &Path, path: &[String]) -> Self {
        let output = Command::new(program).args(path).arg("--help").output().unwrap();
        assert!(output.status.success(), "{} {path:?} --help: {output:?}", program.display());
        let help = String::from_utf8(output.stdout).unwrap();
        let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1);
        let listed = listed.take_while(|line| line.starts_with("  "));
        let names =
            listed.filter(|line| !line.starts_with("   ")).filter_map(|l| l.split_whitespace().next());
        let below = names.filter(|name| *name != "help").map(|name| {
            let path: Vec<String> = path.iter().cloned().chain([name.to_owned()]).collect();
            (name.to_owned(), Self::of(program, &path))
        });
        let options = help.split_whitespace().filter(|word| word.starts_with("--"));
        let options = options.map(|option| option.trim_end_matches([',', '.', ')', '`', ';']).to_owned());
        Self { below: below.collect(), options: options.collect() }
    }

    fn knows(&self, name: &str) -> bool {
        self.below.contains_key(name)
    }

    /// What is wrong with words that a text gives as a command of this program.
    fn misses(&self, words: &[&str]) -> Option<String> {
        let mut at = self;
        for word in words {
            let is_name = !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase() || b == b'-');
            if let Some(option) = word.strip_prefix("--") {
                let option = format!("--{}", option.split('=').next().unwrap_or_default());
                if !at.options.contains(&option) {
                    return Some(format!("the option {option}"));
                }
            } else if *word == "|" {
                break;
            } else if !at.below.is_empty() && is_name {
                match at.below.get(*word) {
                    Some(below) => at = below,
                    None => return Some(format!("the command {word}")),
                }
            }
        }
        None
    }
}

/// What a text gives in backticks, on one line.
fn quoted(text: &str) -> Vec<String> {
    let lines =
        text.lines().filter(|line| !line.trim_start().trim_start_matches(['/', '!']).starts_with("```"));
    lines.flat_map(|line| line.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>()).collect()
}

/// Every file with one of these endings in a folder and those below it.
fn each_file(folder: &Path, ending: &str, look: &mut dyn FnMut(&Path, &str)) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            each_file(&path, ending, look);
        } else if path.extension().is_some_and(|found| found == ending) {
            look(&path, &std::fs::read_to_string(&path).unwrap());
        }
    }
}

/// A command that a text gives as `agentd ...` or `clientd ...` must be one of that program. Without the program's name, words that
/// begin with a group of commands, such as `transactions`, must be one of either.
#[test]
fn every_command_that_a_text_names_exists() {
    let bins = super::bins();
    let (agentd, clientd) = (Tree::of(&bins.join("agentd"), &[]), Tree::of(&bins.join("clientd"), &[]));
    assert!(agentd.misses(&["transactions", "show", "ID"]).is_none());
    assert!(agentd.misses(&["transactions", "get", "ID"]).is_some());
    assert!(agentd.misses(&["transactions", "bump", "ID", "--max-fee", "GWEI", "--tipp", "GWEI"]).is_some());
    let mut wrong = Vec::new();
    let mut commands = 0;
    let mut look = |path: &Path, text: &str| {
        for quoted in quoted(text) {
            let words: Vec<&str> = quoted.split_whitespace().filter(|word| *word != "{}").collect();
            let missed = match words.as_slice() {
                ["agentd", words @ ..] => agentd.misses(words),
                ["clientd", words @ ..] => clientd.misses(words),
                // A name alone may be anything.
                [_] | [] => continue,
                // `channels list/show/pause` names several.
                [group, names, ..]
                    if names.contains('/') && (agentd.knows(group) || clientd.knows(group)) =>
                {
                    let mut names = names.split('/');
                    let is_known =
                        |name| [&agentd, &clientd].iter().any(|t| t.misses(&[group, name]).is_none());
                    names.find(|name| !is_known(name)).map(str::to_owned)
                }
                [first, ..] if agentd.knows(first) || clientd.knows(first) => {
                    let of = |tree: &Tree| {
                        if tree.knows(first) { tree.misses(&words) } else { Some(String::new()) }
                    };
                    of(&agentd).and_then(|missed| of(&clientd).map(|other| missed.max(other)))
                }
                _ => continue,
            };
            commands += 1;
            wrong.extend(missed.map(|missed| format!("{}: `{quoted}`: {missed}", path.display())));
        }
    };
    let root = workspace_root();
    for folder in ["crates", "bins"] {
        each_file(&root.join(folder), "rs", &mut look);
    }
    each_file(&root.join("docs"), "md", &mut |path, text| {
        // Decisions name what they refused and renamed, too.
        if !path.components().any(|part| part.as_os_str() == "adr") {
            look(path, text);
        }
    });
    look(Path::new("README.md"), &std::fs::read_to_string(root.join("README.md")).unwrap());
    assert!(wrong.is_empty(), "these are not there:\n{}", wrong.join("\n"));
    assert!(commands > 100, "only {commands} commands were found in the texts");
}
