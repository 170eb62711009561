use std::os::unix::fs::PermissionsExt as _;
use std::sync::Barrier;

use alloy::signers::local::PrivateKeySigner;

use super::*;
use crate::keystore::secret_storage::{self, Cost};

/// A data folder with the configured keystore.
struct Home {
    dir: tempfile::TempDir,
    keys: KeyDirectory,
    main: Address,
}

fn name(text: &str) -> AccountName {
    text.parse().unwrap()
}

fn which(text: &str) -> Selector {
    text.parse().unwrap()
}

/// A new key and its document.
fn key() -> (Address, String) {
    let key = PrivateKeySigner::random();
    (key.address(), secret_storage::encrypt(&key, "secret", Cost::TEST))
}

impl Home {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let configured = dir.path().join("keystore.json");
        let (main, document) = key();
        fs::write(&configured, document).unwrap();
        let keys = KeyDirectory::new(dir.path(), &configured);
        Self { dir, keys, main }
    }

    fn add(&self, called: &str) -> Account {
        let (address, document) = key();
        self.keys.add(&name(called), address, &document, &[]).unwrap()
    }

    /// A file that no command made.
    fn drop_in(&self, file: &str, contents: &str) -> PathBuf {
        let path = self.keys.folder.join(file);
        fs::create_dir_all(&self.keys.folder).unwrap();
        fs::write(&path, contents).unwrap();
        path
    }

    fn names(&self) -> Vec<String> {
        self.keys.list().unwrap().accounts.iter().map(|account| account.name.to_string()).collect()
    }

    fn default(&self) -> PathBuf {
        self.keys.default_keystore().unwrap()
    }

    fn set_default(&self, account: &str) {
        let listing = self.keys.list().unwrap();
        self.keys.set_default(listing.account(&which(account)).unwrap()).unwrap();
    }
}

#[test]
fn a_data_folder_of_today_has_one_account() {
    let home = Home::new();
    let listing = home.keys.list().unwrap();
    assert_eq!(home.names(), ["main"]);
    assert_eq!(listing.default_account().unwrap().address, Some(home.main));
    assert_eq!(listing.damaged, []);
    assert_eq!(home.default(), home.dir.path().join("keystore.json"));
    assert!(!home.keys.folder.exists(), "looking changes nothing");
}

#[test]
fn accounts_are_listed_by_name_and_their_files_are_their_owners() {
    let home = Home::new();
    for called in ["zebra", "apple"] {
        home.add(called);
    }
    assert_eq!(home.names(), ["main", "apple", "zebra"]);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&home.keys.folder), 0o700);
    assert_eq!(mode(&home.keys.folder.join("apple.json")), 0o600);
    assert_eq!(home.default(), home.dir.path().join("keystore.json"), "a new account is not the default");
}

#[test]
fn a_name_is_given_once_whatever_has_it() {
    let home = Home::new();
    let first = home.add("seller");
    let damaged = home.drop_in("broken.json", "{");
    let other_case = home.drop_in("Buyer.JSON", "{}");
    for (taken, by) in [
        ("seller", &first.file),
        ("broken", &damaged),
        ("buyer", &other_case),
        ("main", &home.dir.path().join("keystore.json")),
    ] {
        let (address, document) = key();
        let error = home.keys.add(&name(taken), address, &document, &[]).unwrap_err();
        let DaemonError::Account(AccountError::NameTaken { file, .. }) = &error else { panic!("{error}") };
        assert_eq!(file, by);
        assert_eq!(error.exit_code(), 2);
        home.add("other");
        assert!(home.keys.rename(&which("other"), &name(taken)).is_err(), "{taken}");
        fs::remove_file(home.keys.folder.join("other.json")).unwrap();
    }
    assert_eq!(fs::read_to_string(damaged).unwrap(), "{");
}

#[test]
fn an_address_is_added_once_and_named_by_what_has_it() {
    let home = Home::new();
    let (address, document) = key();
    home.keys.add(&name("first"), address, &document, &[]).unwrap();
    let rescue = Address::repeat_byte(7);
    let elsewhere = [(rescue, "of chain.rescue_keystore".to_owned())];
    for (taken, says) in [(address, "first"), (home.main, "main"), (rescue, "of chain.rescue_keystore")] {
        let error = home.keys.add(&name("second"), taken, &document, &elsewhere).unwrap_err();
        let DaemonError::Account(AccountError::AddressTaken { name, .. }) = &error else { panic!("{error}") };
        assert_eq!(name, says);
    }
    assert_eq!(home.names(), ["main", "first"]);
}

#[test]
fn of_many_that_add_one_account_at_once_one_succeeds() {
    let home = Home::new();
    let (address, document) = key();
    let barrier = Barrier::new(8);
    let added = std::thread::scope(|scope| {
        let add = |number: usize| {
            let (keys, barrier, document) = (&home.keys, &barrier, &document);
            scope.spawn(move || {
                barrier.wait();
                keys.add(&name(&format!("account-{number}")), address, document, &[]).is_ok()
            })
        };
        let threads: Vec<_> = (0..8).map(add).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).filter(|ok| *ok).count()
    });
    assert_eq!(added, 1);
    assert_eq!(home.names().len(), 2);
}

#[test]
fn damaged_files_are_listed_and_break_nothing() {
    let home = Home::new();
    let good = home.add("good");
    let document = fs::read_to_string(&good.file).unwrap();
    home.drop_in("cut.json", &document[..document.len() / 2]);
    home.drop_in("empty.json", "");
    home.drop_in("large.json", &" ".repeat(70_000));
    home.drop_in("UTC--2026-01-01T00-00-00Z--mine.json", &key().1);
    home.drop_in("main.json", &key().1);
    home.drop_in("twin.json", &document);
    home.drop_in("nameless.json", &key().1.replace("\"address\"", "\"adress\""));
    home.drop_in("notes.txt", "not looked at");
    fs::create_dir(home.keys.folder.join("folder.json")).unwrap();
    std::os::unix::fs::symlink("/nowhere", home.keys.folder.join("link.json")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, home.keys.folder.join("pipe.json"), 0o600.into()).unwrap();

    let listing = home.keys.list().unwrap();
    assert_eq!(home.names(), ["main", "good"]);
    let reason = |file: &str| {
        let found = listing.damaged.iter().find(|damaged| damaged.file.ends_with(file));
        found.unwrap_or_else(|| panic!("{file} is not in {listing:?}")).reason.clone()
    };
    for (file, says) in [
        ("cut.json", "no usable keystore"),
        ("empty.json", "no usable keystore"),
        ("large.json", "larger than 65536 bytes"),
        ("UTC--2026-01-01T00-00-00Z--mine.json", "lower-case letters"),
        ("main.json", "that of the configured keystore"),
        ("twin.json", "the same account as good"),
        ("nameless.json", "names no address"),
        ("folder.json", "not a regular file"),
        ("link.json", "cannot be read"),
        ("pipe.json", "not a regular file"),
    ] {
        assert!(reason(file).contains(says), "{file}: {}", reason(file));
    }
    assert_eq!(listing.damaged.len(), 10, "{listing:?}");
    home.add("another");
    assert_eq!(home.default(), home.dir.path().join("keystore.json"));
}

#[test]
fn the_configured_keystore_may_be_one_of_the_folder() {
    let home = Home::new();
    let seller = home.add("seller");
    let configured = home.dir.path().join("./keys/../keys/seller.json");
    let keys = KeyDirectory::new(home.dir.path(), &configured);
    let listing = keys.list().unwrap();
    assert_eq!(listing.accounts.len(), 1, "{listing:?}");
    assert_eq!(listing.default_account().unwrap().name, seller.name);
    let error = keys.rename(&which("seller"), &name("other")).unwrap_err();
    assert!(matches!(error, DaemonError::Account(AccountError::Configured { .. })), "{error}");
    assert_eq!(listing.damaged, []);

    // Under a name that a new account could not have.
    let of_geth = home.keys.folder.join("UTC--2026-01-01T00-00-00Z--mine.json");
    fs::rename(&seller.file, &of_geth).unwrap();
    let keys = KeyDirectory::new(home.dir.path(), &of_geth);
    let listing = keys.list().unwrap();
    assert_eq!((listing.accounts[0].name.as_str(), listing.damaged.len()), ("main", 0), "{listing:?}");
    assert_eq!(listing.default_account().unwrap().file, of_geth);
    let address = seller.address.unwrap();
    let error = keys.check_new(&name("again"), address, &[]).unwrap_err();
    assert!(matches!(error, DaemonError::Account(AccountError::AddressTaken { .. })), "{error}");
}

#[test]
fn a_missing_configured_keystore_is_listed_while_it_is_the_default() {
    let home = Home::new();
    home.add("seller");
    fs::remove_file(home.dir.path().join("keystore.json")).unwrap();
    let damaged = home.keys.list().unwrap().damaged;
    assert!(damaged[0].file.ends_with("keystore.json") && damaged.len() == 1, "{damaged:?}");
    home.set_default("seller");
    assert_eq!(home.keys.list().unwrap().damaged, []);
}

#[test]
fn the_default_goes_with_its_account_and_not_with_a_name() {
    let home = Home::new();
    let (first, second) = (home.add("first"), home.add("second"));
    home.set_default("first");
    assert_eq!(home.default(), first.file);
    let (former, renamed) =
        home.keys.rename(&which(&first.address.unwrap().to_string()), &name("third")).unwrap();
    assert_eq!((former.name, renamed.name.clone()), (name("first"), name("third")));
    assert_eq!(home.default(), renamed.file);
    home.keys.rename(&which("second"), &name("first")).unwrap();
    assert_eq!(home.default(), renamed.file);
    assert_ne!(second.file, renamed.file);
    home.set_default("main");
    assert_eq!(home.default(), home.dir.path().join("keystore.json"));
    assert!(!home.keys.choice_file().exists());
}

#[test]
fn a_default_without_a_usable_key_is_never_another_account() {
    let home = Home::new();
    let seller = home.add("seller");
    home.set_default("seller");
    let away = home.dir.path().join("away");
    fs::rename(&seller.file, &away).unwrap();
    let error = home.keys.default_keystore().unwrap_err();
    assert!(matches!(error, DaemonError::Account(AccountError::DefaultMissing { .. })), "{error}");
    let listing = home.keys.list().unwrap();
    assert!(listing.default_account().is_none());
    assert!(listing.damaged[0].reason.contains(&seller.address.unwrap().to_string()), "{listing:?}");
    // Under another name it is the same account.
    fs::rename(&away, home.keys.folder.join("found.json")).unwrap();
    assert!(home.default().ends_with("found.json"));

    for contents in ["", "seller", "0x12"] {
        home.drop_in("default", contents);
        assert_eq!(home.keys.default_keystore().unwrap_err().exit_code(), 2, "{contents:?}");
        let listing = home.keys.list().unwrap();
        assert!(listing.default_account().is_none() && listing.damaged.len() == 1, "{listing:?}");
    }
    home.set_default("main");
    assert_eq!(home.default(), home.dir.path().join("keystore.json"));
}

#[test]
fn what_a_killed_process_leaves_is_no_account_and_goes_with_the_next_change() {
    let home = Home::new();
    let seller = home.add("seller");
    home.set_default("seller");
    let before = home.keys.list().unwrap();
    // Killed before the new file, or the new choice, got its name.
    for place in ["new.json", "default"] {
        let mut file = files::temporary_beside(&home.keys.folder.join(place)).unwrap();
        std::io::Write::write_all(&mut file, key().1.as_bytes()).unwrap();
        file.keep().unwrap();
    }
    assert_eq!(home.keys.list().unwrap(), before);
    assert_eq!(home.default(), seller.file);
    let (address, _) = key();
    home.keys.check_new(&name("new"), address, &[]).unwrap();

    home.add("new");
    let left = files::names_in(&home.keys.folder).unwrap();
    assert_eq!(left, [".lock", "default", "new.json", "seller.json"]);
}
