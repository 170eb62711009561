//! `accounts`: the keys of a daemon's accounts, as files. None of these commands needs a daemon.

use std::fs;
use std::path::{Path, PathBuf};

use alloy::primitives::Address;
use alloy::signers::local::PrivateKeySigner;
use clap::{Args, Subcommand};
use privatix_db::Database;
use privatix_node::NodeError;
use privatix_store::identity;
use secrecy::SecretString;
use serde::Serialize;

use crate::app::App;
use crate::check::in_background;
use crate::config::{Loaded, Settings};
use crate::keystore::account_name::AccountName;
use crate::keystore::directory::{Account, AccountError, KeyDirectory, Listing};
use crate::keystore::import::ImportArgs;
use crate::output::{Output, or_dash, table};
use crate::{DaemonError, KeystoreError, backup, files, keystore};

const EXAMPLES: &str = "\
Examples:
  accounts list
  accounts generate second
  accounts import third --import-key UTC--2026-01-01T00-00-00Z--mine
  accounts import fourth --import-mnemonic words.txt --account-index 1
  accounts export second copy.json
  accounts rename second spare
  accounts set-default spare";

/// Commands about the keys of accounts.
#[derive(Subcommand, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) enum AccountsCommand {
    /// Lists the accounts, and files that are damaged
    List,
    /// Makes a new key in the folder `keys`, encrypted under the daemon's password
    Generate {
        /// What the account is called: up to 32 lower-case letters, digits, hyphens and underscores
        name: String,
        #[command(flatten)]
        password: PasswordArgs,
    },
    /// Brings a key that exists already into the folder `keys`, encrypted afresh under the daemon's password
    Import {
        /// What the account is called: up to 32 lower-case letters, digits, hyphens and underscores
        name: String,
        #[command(flatten)]
        password: PasswordArgs,
        #[command(flatten)]
        import: ImportArgs,
    },
    /// Writes a copy of a key to a new file: a keystore under a password of its own, for a wallet or another daemon
    Export {
        /// The account: its name or address
        account: String,
        /// The new file
        file: PathBuf,
        /// A file whose first line is the copy's password; asked for when not given
        #[arg(long, value_name = "FILE")]
        export_password_file: Option<PathBuf>,
        #[command(flatten)]
        password: PasswordArgs,
    },
    /// Gives an account in the folder `keys` another name
    Rename {
        /// The account: its name or address
        account: String,
        /// Its new name
        name: String,
    },
    /// Chooses the account that the daemon signs with, from its next start on; refused once its database belongs to another
    SetDefault {
        /// The account: its name or address
        account: String,
        #[command(flatten)]
        password: PasswordArgs,
    },
}

/// Where the password comes from that all keystores of a daemon have.
#[derive(Args, Debug)]
pub(crate) struct PasswordArgs {
    /// A file whose first line is the daemon's password; that of account.password_file when not given, else it is asked for
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

/// An account, as answers show it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    name: Option<AccountName>,
    address: Option<Address>,
    /// A text, as JSON cannot hold every path.
    file: String,
    default: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
}

impl Row {
    fn of(account: &Account, default: bool) -> Self {
        let Account { name, address, file, .. } = account.clone();
        Self { name: Some(name), address, file: text(&file), default, problem: None }
    }

    fn called(&self) -> String {
        match (&self.name, self.address) {
            (Some(name), Some(address)) => format!("{name}, {address}"),
            (Some(name), None) => name.to_string(),
            (None, address) => or_dash(address),
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Exported {
    name: AccountName,
    address: Address,
    file: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Renamed {
    former_name: AccountName,
    #[serde(flatten)]
    account: Row,
}

impl AccountsCommand {
    pub(crate) async fn carry_out<A: App>(
        self,
        loaded: &Loaded<A::Settings>,
        output: Output,
    ) -> Result<(), DaemonError> {
        let keys = KeyDirectory::of(loaded);
        match self {
            Self::List => output.show(&rows(&keys.list()?), |rows| shown(rows)),
            Self::Generate { name, password } => {
                let made = add(loaded, &name, &password, |_| Ok(PrivateKeySigner::random())).await?;
                output.show(&made, |made| format!("account {}\nwrote {}", made.called(), made.file));
            }
            Self::Import { name, password, import } => {
                let key = move |of_daemon: Option<&Path>| {
                    import.key(of_daemon)?.ok_or_else(|| AccountError::NothingToImport.into())
                };
                let made = add(loaded, &name, &password, key).await?;
                output.show(&made, |made| format!("account {}\nwrote {}", made.called(), made.file));
            }
            Self::Export { account, file, export_password_file, password } => {
                let listing = keys.list()?;
                let account = listing.account(&account.parse()?)?.clone();
                if is_in(&file, keys.folder()) {
                    return Err(AccountError::ExportInside { folder: keys.folder().to_owned() }.into());
                }
                if file.symlink_metadata().is_ok() {
                    return Err(DaemonError::Exists { path: file });
                }
                let from = password.file(loaded);
                let exported = in_background(move || {
                    let password = daemon_password(from.as_deref(), &account.file)?;
                    let key = keystore::open(&account.file, &password)?;
                    let new = match &export_password_file {
                        Some(file) => files::read_secret(file)?,
                        None => keystore::new_password("the exported keystore").map_err(of_export)?,
                    };
                    keystore::create(&file, &key, &new)?;
                    Ok(Exported { name: account.name, address: key.address(), file: text(&file) })
                });
                output.show(&exported.await?, |exported| {
                    let Exported { name, address, file } = exported;
                    format!(
                        "wrote {file}, the key of {name}, {address}, under its own password\nWhoever has both can move the account's money; two daemons must not use one account"
                    )
                });
            }
            Self::Rename { account, name } => {
                let (former, renamed) = keys.rename(&account.parse()?, &name.parse()?)?;
                let listing = keys.list()?;
                let default = listing.default_account().is_some_and(|default| default.name == renamed.name);
                let renamed = Renamed { former_name: former.name, account: Row::of(&renamed, default) };
                output.show(&renamed, |renamed| {
                    format!("{} is now {}", renamed.former_name, renamed.account.called())
                });
            }
            Self::SetDefault { account, password } => {
                let mut account = keys.list()?.account(&account.parse()?)?.clone();
                if let Some(owner) = owner::<A>(loaded).await? {
                    let from = password.file(loaded);
                    let address = match account.address {
                        Some(address) => address,
                        None => address_of(&account.file, from).await?,
                    };
                    account.address = Some(address);
                    if owner.account != A::acts_for(&loaded.settings).unwrap_or(address) {
                        let (owner, database) = (owner.account, backup::database::<A>(loaded));
                        return Err(AccountError::OtherOwner { database, owner, address }.into());
                    }
                }
                keys.set_default(&account)?;
                output.show(&Row::of(&account, true), |row| {
                    format!("{}: the daemon signs with it from its next start on", row.called())
                });
            }
        }
        Ok(())
    }
}

impl PasswordArgs {
    fn file<C: Settings>(&self, loaded: &Loaded<C>) -> Option<PathBuf> {
        let configured = || Some(loaded.path(loaded.settings.account().password_file.as_ref()?));
        self.password_file.clone().or_else(configured)
    }
}

/// Puts a new key beside those that are there. `key` is asked with the file of the daemon's password, if there is one.
async fn add<C: Settings>(
    loaded: &Loaded<C>,
    name: &str,
    password: &PasswordArgs,
    key: impl FnOnce(Option<&Path>) -> Result<PrivateKeySigner, DaemonError> + Send + 'static,
) -> Result<Row, DaemonError> {
    let keys = KeyDirectory::of(loaded);
    let name: AccountName = name.parse()?;
    // Before a password is asked for.
    keys.check_free(&name)?;
    let from = password.file(loaded);
    let mut elsewhere: Vec<(Address, String)> = rescue_address(loaded).into_iter().collect();
    in_background(move || {
        let default = keys.default_keystore()?;
        let password = daemon_password(from.as_deref(), &default)?;
        // The daemon has one password: another one would be found out only when it starts.
        let opened = keystore::open(&default, &password)?.address();
        for account in keys.list()?.accounts {
            if account.address.is_none() {
                let address = if account.file == default {
                    opened
                } else {
                    keystore::open(&account.file, &password)?.address()
                };
                elsewhere.push((address, account.name.to_string()));
            }
        }
        let key = key(from.as_deref())?;
        keys.check_new(&name, key.address(), &elsewhere)?;
        let document = keystore::encrypted(&key, &password)?;
        Ok(Row::of(&keys.add(&name, key.address(), &document, &elsewhere)?, false))
    })
    .await
}

fn daemon_password(file: Option<&Path>, keystore: &Path) -> Result<SecretString, DaemonError> {
    if !keystore.exists() {
        return Err(KeystoreError::Missing { path: keystore.to_owned() }.into());
    }
    keystore::password(file, &format!("keystore {}", keystore.display()))
}

fn of_export(error: DaemonError) -> DaemonError {
    match error {
        DaemonError::Keystore(KeystoreError::NoPassword { .. }) => AccountError::NoExportPassword.into(),
        other => other,
    }
}

/// The address of a keystore that does not name it.
async fn address_of(keystore: &Path, password_file: Option<PathBuf>) -> Result<Address, DaemonError> {
    let keystore = keystore.to_owned();
    in_background(move || {
        let password = daemon_password(password_file.as_deref(), &keystore)?;
        Ok(keystore::open(&keystore, &password)?.address())
    })
    .await
}

/// The rescue account must not be used elsewhere.
fn rescue_address<C: Settings>(loaded: &Loaded<C>) -> Option<(Address, String)> {
    let file = loaded.path(loaded.settings.chain().rescue_keystore.as_ref()?);
    Some((keystore::directory::read_address(&file).ok()??, "of chain.rescue_keystore".to_owned()))
}

/// Whose the database is, if there is one that was used.
async fn owner<A: App>(loaded: &Loaded<A::Settings>) -> Result<Option<identity::Identity>, DaemonError> {
    let Some(mut conn) = Database::look(&backup::database::<A>(loaded)).await? else { return Ok(None) };
    Ok(identity::get(&mut conn).await.map_err(NodeError::from)?)
}

/// Whether a new file would be in this folder, by whatever path.
fn is_in(file: &Path, folder: &Path) -> bool {
    let parent = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let real = |path| fs::canonicalize(path).ok();
    real(folder).is_some_and(|folder| real(parent).is_some_and(|parent| parent.starts_with(folder)))
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

fn rows(listing: &Listing) -> Vec<Row> {
    let default = listing.default_account();
    let usable = listing.accounts.iter().map(|account| Row::of(account, Some(account) == default));
    let damaged = listing.damaged.iter().map(|damaged| Row {
        name: damaged.name.clone(),
        address: None,
        file: text(&damaged.file),
        default: false,
        problem: Some(damaged.reason.clone()),
    });
    usable.chain(damaged).collect()
}

fn shown(rows: &[Row]) -> String {
    let row = |row: &Row| {
        let state = match (&row.problem, row.default) {
            (Some(problem), _) => format!("DAMAGED: {problem}"),
            (None, true) => "default".to_owned(),
            (None, false) => String::new(),
        };
        [or_dash(row.name.as_ref()), or_dash(row.address), row.file.clone(), state]
    };
    table(["name", "address", "file", "state"], rows.iter().map(row))
}
