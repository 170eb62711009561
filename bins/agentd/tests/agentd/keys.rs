//! An operator brings an account along that other programs made.

use std::fs;
use std::path::{Path, PathBuf};

use privatix_testkit::{TempDir, temp_dir};

use crate::home;
use crate::support::{Home, Outcome, read};

const WORDS: &str = "test test test test test test test test test test test junk";
/// The account of those words, and the next one.
const ACCOUNT: &str = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266";
const SECOND: &str = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8";

/// A keystore of go-ethereum's test data, with a key of 30 bytes as early wallets wrote them, under the password `foo`.
const KEYSTORE: &str = r#"{"crypto":{"cipher":"aes-128-ctr","cipherparams":{"iv":"3ca92af36ad7c2cd92454c59cea5ef00"},
"ciphertext":"108b7d34f3442fc26ab1ab90ca91476ba6bfa8c00975a49ef9051dc675aa","kdf":"scrypt",
"kdfparams":{"dklen":32,"n":2,"r":8,"p":1,"salt":"d0769e608fb86cda848065642a9c6fa046845c928175662b8e356c77f914cd3b"},
"mac":"75d0e6759f7b3cefa319c3be41680ab6beea7d8328653474bd06706d4cc67420"},
"id":"a37e1559-5955-450d-8075-7b8931b392b2","version":3}"#;
const KEY: &str = "81c29e8142bb6a81bef5a92bda7a8328a5c85bb2f9542e76f9b0f94fc018";

/// Where the operator keeps what another program made.
struct Desk(TempDir);

impl Desk {
    fn new() -> Self {
        Self(temp_dir().unwrap())
    }

    fn file(&self, name: &str, contents: impl AsRef<[u8]>) -> String {
        use std::os::unix::fs::PermissionsExt as _;
        let path = self.0.path().join(name);
        fs::write(&path, contents).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

fn init(home: &Home, options: &[&str], stdin: &str) -> Outcome {
    let folder = home.folder.to_str().unwrap();
    let contract = "0x5FbDB2315678afecb367f032d93F642f64180aa3";
    home.plain(&[&["init", folder, "--contract", contract], options].concat(), stdin)
}

/// What `config check` says of the keystore.
#[track_caller]
fn check(home: &Home, more: &[&str]) -> String {
    let checked = home.run(&[&["config", "check", "--offline"], more].concat());
    checked.succeeds().stdout.clone()
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn init_takes_a_keystore_under_its_own_password_or_a_new_one() {
    let desk = Desk::new();
    let keystore = desk.file("UTC--2016-01-01T00-00-00Z--mine", KEYSTORE);
    let (old, new) = (desk.file("old", "foo"), desk.file("new", "bar\n"));
    let taken = home();
    init(&taken, &["--import-key", &keystore, "--password-file", &old], "").succeeds();
    let account = check(&taken, &[]);
    let other = home();
    let options = ["--import-key", &keystore, "--import-password-file", &old, "--password-file", &new];
    init(&other, &options, "").succeeds();
    let generated = home();
    let options = ["--import-key", "-", "--import-password-file", &old, "--generate-password"];
    init(&generated, &options, KEYSTORE).succeeds();

    let line = |text: &str| text.lines().find(|line| line.contains("opens, account")).unwrap().to_owned();
    for home in [&other, &generated] {
        assert_eq!(line(&check(home, &[])), line(&account));
        for file in files_below(&home.folder) {
            let text = read(&file).to_lowercase();
            assert!(!text.contains(KEY), "{} has the key", file.display());
        }
        let encrypted = read(&home.file("keystore.json"));
        assert!(encrypted.contains("262144") && encrypted != KEYSTORE, "it is encrypted afresh");
    }
}

#[test]
fn init_says_how_a_keystore_is_opened() {
    let desk = Desk::new();
    let keystore = desk.file("mine.json", KEYSTORE);
    let wrong = desk.file("wrong", "bar");
    let home = home();
    init(&home, &["--import-key", &keystore, "--password-file", &wrong], "")
        .fails(2, &["does not open keystore", "mine.json", "--import-password-file"]);
    init(&home, &["--import-key", &keystore, "--generate-password"], "")
        .fails(2, &["no password for keystore", "mine.json", "--import-password-file"]);
    let broken = desk.file("broken.json", KEYSTORE.replace("\"n\":2", "\"n\":3"));
    init(&home, &["--import-key", &broken, "--password-file", &wrong], "")
        .fails(2, &["broken.json", "`crypto.kdfparams.n` is 3", "power of two"]);
    init(&home, &["--import-key", "-", "--password-file", &wrong], "hello")
        .fails(2, &["64 hexadecimal digits", "keystore"]);
    assert!(!home.folder.exists());
}

#[test]
fn init_takes_a_mnemonic_from_a_file_or_from_standard_input() {
    let desk = Desk::new();
    let words = desk.file("words", format!("{WORDS}\n"));
    let passphrase = desk.file("passphrase", "of my own\n");
    let made = |options: &[&str], stdin: &str| {
        let home = home();
        init(&home, &[options, &["--generate-password"]].concat(), stdin).succeeds();
        for file in files_below(&home.folder) {
            assert!(!read(&file).contains("junk"), "{} has the words", file.display());
        }
        check(&home, &[])
    };
    assert!(made(&["--import-mnemonic", &words], "").contains(ACCOUNT));
    assert!(made(&["--import-mnemonic", "-"], &WORDS.replace(' ', "\n")).contains(ACCOUNT));
    assert!(made(&["--import-mnemonic", &words, "--account-index", "1"], "").contains(SECOND));
    let path = ["--import-mnemonic", &words, "--derivation-path", "m/44'/60'/0'/0/1"];
    assert!(made(&path, "").contains(SECOND));
    let with = made(&["--import-mnemonic", &words, "--mnemonic-passphrase-file", &passphrase], "");
    assert!(!with.contains(ACCOUNT) && with.contains("opens, account 0x"), "{with}");

    let home = home();
    let refuse =
        |options: &[&str], stdin: &str| init(&home, &[options, &["--generate-password"]].concat(), stdin);
    let spoilt = WORDS.replace("junk", "jnuk");
    let refused = refuse(&["--import-mnemonic", "-"], &spoilt);
    refused.fails(2, &["standard input", "word 12"]);
    assert!(!refused.stderr.contains("jnuk"), "{refused:?}");
    refuse(&["--import-mnemonic", "-"], "test test").fails(2, &["2 words", "12"]);
    refuse(&["--import-key", "-"], WORDS).fails(2, &["--import-mnemonic"]);
    assert_eq!(refuse(&["--import-mnemonic", &words, "--derivation-path", "0/1"], "").code, Some(2));
    assert_eq!(refuse(&["--account-index", "1"], "").code, Some(2), "of no mnemonic");
    assert!(!home.folder.exists());
}

#[test]
fn a_password_is_what_its_owner_knows_whatever_the_editor_made_of_it() {
    let desk = Desk::new();
    let plain = desk.file("plain", "secret");
    let marked = desk.file("marked", b"\xef\xbb\xbfsecret\r\n");
    let home = home();
    let made = init(&home, &["--password-file", &marked], "");
    assert!(made.succeeds().stderr.contains("byte order mark"), "{made:?}");
    for file in [&plain, &marked] {
        check(&home, &["--set", &format!("account.password_file={file}")]);
    }
    let utf_16: Vec<u8> = "\u{feff}secret\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    for (name, contents, says) in [
        ("utf-16", &utf_16[..], "UTF-16"),
        ("latin-1", b"p\xe4ssword", "UTF-8"),
        ("empty", b"", "is empty"),
        ("empty-line", b"\nsecret\n", "first line is empty"),
    ] {
        let file = desk.file(name, contents);
        let setting = format!("account.password_file={file}");
        home.run(&["--set", &setting, "config", "check", "--offline"]).fails(2, &[name, says]);
        let fresh = crate::home();
        init(&fresh, &["--password-file", &file], "").fails(2, &[name, says]);
        assert!(!fresh.folder.exists());
    }
}

#[test]
fn a_password_can_come_through_a_pipe() {
    let home = home();
    let folder = home.folder.to_str().unwrap();
    // As a shell's <(...) does; a second look at such a file would wait for ever.
    let made = home.plain(&["init", folder, "--password-file", "/dev/stdin"], "secret\n");
    made.succeeds();
    let desk = Desk::new();
    check(
        &home,
        &[
            "--set",
            &format!("account.password_file={}", desk.file("same", "secret")),
            "--set",
            "chain.contract=0x5FbDB2315678afecb367f032d93F642f64180aa3",
        ],
    );
}
