//! The keys of all accounts of a daemon: a keystore for each in the folder `keys`, and the configured keystore.
//!
//! An account is known by its address; names and the choice of the default are kept here, and nowhere else. Each change is
//! one step for whoever looks, so that a process that is killed leaves what was there before or what is there after it:
//! the default is stored by its address, and a new name therefore changes one file.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use alloy::primitives::Address;

use super::account_name::{AccountName, Selector};
use super::secret_storage::SecretStorage;
use crate::config::{Loaded, Settings};
use crate::{DaemonError, files};

/// What can be wrong with a command about accounts.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AccountError {
    /// It is no name. Not repeated, as it may be a key that came to the wrong place.
    #[error(
        "an account's name has up to 32 lower-case letters, digits, hyphens and underscores, and begins with a letter or digit; an address has 0x and 40 hexadecimal digits"
    )]
    BadName,
    /// There is no such account.
    #[error("there is no account {account}; `accounts list` shows all")]
    Unknown {
        /// Its name or address.
        account: String,
    },
    /// The name is in use.
    #[error("the name {name} is in use by {file}; choose another one")]
    NameTaken {
        /// The name.
        name: String,
        /// The file that has it.
        file: PathBuf,
    },
    /// The key is there already.
    #[error("{address} is the account {name} already; nothing was written")]
    AddressTaken {
        /// The account.
        address: Address,
        /// What it is called.
        name: String,
    },
    /// The configured keystore has the name that it has.
    #[error(
        "{file} is the keystore that account.keystore names, so the command cannot rename it: move it to keys/NAME.json yourself, with NAME of your choice, and set account.keystore to that"
    )]
    Configured {
        /// The keystore.
        file: PathBuf,
    },
    /// The default account has no key.
    #[error(
        "{choice} makes {address} the default account, and no usable keystore has its key: `accounts list` shows what is there; put the keystore back, or choose another account with `accounts set-default`"
    )]
    DefaultMissing {
        /// The file with the choice.
        choice: PathBuf,
        /// The account.
        address: Address,
    },
    /// The database cannot be used with another account.
    #[error(
        "the database {database} belongs to account {owner}, so the daemon cannot sign as {address}; give that account a data folder of its own, or make {owner} the default"
    )]
    OtherOwner {
        /// The database.
        database: PathBuf,
        /// The account that it belongs to.
        owner: Address,
        /// The account that was to be the default.
        address: Address,
    },
    /// A copy in the folder of keys would be an account twice.
    #[error("{folder} holds the daemon's own keys; export to another folder")]
    ExportInside {
        /// The folder.
        folder: PathBuf,
    },
    /// Nobody can be asked for the password of an exported keystore.
    #[error(
        "no password for the exported keystore: give --export-password-file with a file that holds it, or run this in a terminal to type it"
    )]
    NoExportPassword,
    /// Nothing to import was named.
    #[error("nothing to import: give --import-key or --import-mnemonic")]
    NothingToImport,
}

/// A keystore that can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) name: AccountName,
    /// As the keystore names it; only the configured one may name none.
    pub(crate) address: Option<Address>,
    pub(crate) file: PathBuf,
    /// Whether `account.keystore` names it.
    pub(crate) is_configured: bool,
}

/// A file that should be a keystore, or the choice of the default, and cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Damaged {
    /// Its name, if it has one.
    pub(crate) name: Option<AccountName>,
    pub(crate) file: PathBuf,
    pub(crate) reason: String,
}

/// Which account is the default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Choice {
    /// That of the configured keystore, as nothing else was chosen.
    Configured,
    Address(Address),
    Unreadable,
}

/// All accounts at one moment, the configured one first, the others in the order of their names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listing {
    pub(crate) accounts: Vec<Account>,
    pub(crate) damaged: Vec<Damaged>,
    choice: Choice,
}

impl Listing {
    /// The account that the daemon uses where none is named.
    pub(crate) fn default_account(&self) -> Option<&Account> {
        self.accounts.iter().find(|account| match self.choice {
            Choice::Configured => account.is_configured,
            Choice::Address(address) => account.address == Some(address),
            Choice::Unreadable => false,
        })
    }

    pub(crate) fn account(&self, which: &Selector) -> Result<&Account, AccountError> {
        let found = self.accounts.iter().find(|account| match which {
            Selector::Name(name) => account.name == *name,
            Selector::Address(address) => account.address == Some(*address),
        });
        found.ok_or_else(|| AccountError::Unknown { account: which.to_string() })
    }

    /// Adds a keystore that was read, or what is wrong with it.
    fn add(
        &mut self,
        name: Option<AccountName>,
        file: PathBuf,
        is_configured: bool,
        read: Result<Option<Address>, String>,
    ) {
        let twice = |address: Address| {
            let other = self.accounts.iter().find(|account| account.address == Some(address))?;
            Some(format!("it has the same account as {}: remove one of the two", other.name))
        };
        let problem = match (&name, &read) {
            (_, Err(reason)) => Some(reason.clone()),
            (None, Ok(_)) => Some(AccountError::BadName.to_string()),
            (Some(_), Ok(Some(address))) => twice(*address),
            (Some(_), Ok(None)) if is_configured => None,
            (Some(_), Ok(None)) => Some("it names no address: import it with `accounts import`".to_owned()),
        };
        match (problem, name, read) {
            (None, Some(name), Ok(address)) => {
                self.accounts.push(Account { name, address, file, is_configured });
            }
            (problem, name, _) => {
                self.damaged.push(Damaged { name, file, reason: problem.unwrap_or_default() });
            }
        }
    }
}

/// Where a daemon's keys are.
#[derive(Clone, Debug)]
pub(crate) struct KeyDirectory {
    folder: PathBuf,
    configured: PathBuf,
}

impl KeyDirectory {
    pub(crate) fn of<C: Settings>(loaded: &Loaded<C>) -> Self {
        Self::new(&loaded.data_dir, &loaded.path(&loaded.settings.account().keystore))
    }

    pub(crate) fn new(data_dir: &Path, configured: &Path) -> Self {
        // Without the `.` of a relative data folder, as people are shown these paths.
        let plain = |path: &Path| path.components().collect();
        Self { folder: plain(&data_dir.join("keys")), configured: plain(configured) }
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The file with the address of the default account, where that is not the configured one.
    pub(crate) fn choice_file(&self) -> PathBuf {
        self.folder.join("default")
    }

    /// Everything that is there. What cannot be used is listed, and is in nobody's way.
    pub(crate) fn list(&self) -> Result<Listing, DaemonError> {
        let choice = self.choice();
        let mut found = Listing {
            accounts: Vec::new(),
            damaged: Vec::new(),
            choice: *choice.as_ref().unwrap_or(&Choice::Unreadable),
        };
        let keystores: Vec<PathBuf> = files::names_in(&self.folder)?
            .into_iter()
            .map(|name| self.folder.join(name))
            .filter(|path| path.extension() == Some(OsStr::new("json")))
            .collect();
        // It may be one of those in the folder, by whatever path.
        let real = |path: &Path| fs::canonicalize(path).ok();
        let configured = real(&self.configured);
        let inside = keystores.iter().find(|path| configured.is_some() && real(path) == configured);
        if let Some(path) = inside {
            let name = name_of(path).unwrap_or_else(AccountName::main);
            found.add(Some(name), path.clone(), true, read_address(path));
        } else if configured.is_some() || matches!(choice, Ok(Choice::Configured)) {
            let read = read_address(&self.configured);
            found.add(Some(AccountName::main()), self.configured.clone(), true, read);
        }
        for path in keystores.iter().filter(|path| Some(*path) != inside) {
            let name = name_of(path);
            let read = match &name {
                Some(name) if *name == AccountName::main() => {
                    Err("its name is that of the configured keystore: give it another one".to_owned())
                }
                _ => read_address(path),
            };
            found.add(name, path.clone(), false, read);
        }
        let choice_trouble = match choice {
            Err(error) => Some(error.to_string()),
            Ok(_) => self.missing_default(&found).map(|error| error.to_string()),
        };
        found.damaged.extend(choice_trouble.map(|reason| Damaged {
            name: None,
            file: self.choice_file(),
            reason,
        }));
        Ok(found)
    }

    /// The keystore of the account that the daemon signs with.
    pub(crate) fn default_keystore(&self) -> Result<PathBuf, DaemonError> {
        if self.choice()? == Choice::Configured {
            return Ok(self.configured.clone());
        }
        let listing = self.list()?;
        if let Some(error) = self.missing_default(&listing) {
            return Err(error.into());
        }
        Ok(listing.default_account().map_or_else(|| self.configured.clone(), |account| account.file.clone()))
    }

    fn missing_default(&self, listing: &Listing) -> Option<AccountError> {
        let Choice::Address(address) = listing.choice else { return None };
        let missing = listing.default_account().is_none();
        missing.then(|| AccountError::DefaultMissing { choice: self.choice_file(), address })
    }

    fn choice(&self) -> Result<Choice, DaemonError> {
        let file = self.choice_file();
        // A link that leads nowhere is a choice that cannot be read.
        if file.symlink_metadata().is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound) {
            return Ok(Choice::Configured);
        }
        let malformed = |reason: String| DaemonError::Malformed {
            path: file.clone(),
            expected: "the address of the default account",
            reason,
        };
        regular(&file).map_err(malformed)?;
        let text = files::read_text(&file)?;
        let address = text.trim().parse().map_err(|_| {
            malformed("it holds something else; `accounts set-default` writes it again".to_owned())
        })?;
        Ok(Choice::Address(address))
    }

    /// Writes the encrypted key of a new account, unless its name or address is in use. `elsewhere` holds addresses in use
    /// that no keystore of the listing names, and what has them.
    pub(crate) fn add(
        &self,
        name: &AccountName,
        address: Address,
        document: &str,
        elsewhere: &[(Address, String)],
    ) -> Result<Account, DaemonError> {
        let _lock = self.lock()?;
        self.check_new(name, address, elsewhere)?;
        let file = self.file_of(name);
        files::write_private(&file, document.as_bytes())?;
        Ok(Account { name: name.clone(), address: Some(address), file, is_configured: false })
    }

    /// Whether an account of this name and address can be added.
    pub(crate) fn check_new(
        &self,
        name: &AccountName,
        address: Address,
        elsewhere: &[(Address, String)],
    ) -> Result<(), DaemonError> {
        self.check_free(name)?;
        let listing = self.list()?;
        let named =
            listing.accounts.iter().filter_map(|account| Some((account.address?, account.name.as_str())));
        let elsewhere = elsewhere.iter().map(|(address, name)| (*address, name.as_str()));
        match named.chain(elsewhere).find(|(taken, _)| *taken == address) {
            Some((address, name)) => {
                Err(AccountError::AddressTaken { address, name: name.to_owned() }.into())
            }
            None => Ok(()),
        }
    }

    /// Gives an account another name.
    pub(crate) fn rename(
        &self,
        which: &Selector,
        to: &AccountName,
    ) -> Result<(Account, Account), DaemonError> {
        let _lock = self.lock()?;
        let listing = self.list()?;
        let former = listing.account(which)?.clone();
        if former.is_configured {
            return Err(AccountError::Configured { file: former.file }.into());
        }
        self.check_free(to)?;
        let file = self.file_of(to);
        files::rename(&former.file, &file)?;
        let renamed = Account { name: to.clone(), file, ..former.clone() };
        Ok((former, renamed))
    }

    /// Makes an account the default.
    pub(crate) fn set_default(&self, account: &Account) -> Result<(), DaemonError> {
        let _lock = self.lock()?;
        match account.address {
            Some(address) if !account.is_configured => {
                files::replace(&self.choice_file(), &format!("{address}\n"))
            }
            _ => files::remove(&self.choice_file()),
        }
    }

    /// Keeps other commands from changing the folder, and makes it if it is not there.
    fn lock(&self) -> Result<File, DaemonError> {
        files::create_folder(&self.folder)?;
        let lock = files::lock(&self.folder.join(".lock"))?;
        files::remove_temporary(&self.folder)?;
        Ok(lock)
    }

    fn file_of(&self, name: &AccountName) -> PathBuf {
        self.folder.join(format!("{name}.json"))
    }

    /// Whether nothing has this name. Damaged files have names too, and `Seller.json` is `seller.json` on some systems.
    pub(crate) fn check_free(&self, name: &AccountName) -> Result<(), DaemonError> {
        let taken = |file| Err(AccountError::NameTaken { name: name.to_string(), file }.into());
        if *name == AccountName::main() {
            return taken(self.configured.clone());
        }
        let file = self.file_of(name);
        let wanted = file.file_name().unwrap_or_default();
        let found =
            files::names_in(&self.folder)?.into_iter().find(|found| found.eq_ignore_ascii_case(wanted));
        found.map_or(Ok(()), |found| taken(self.folder.join(found)))
    }
}

fn name_of(path: &Path) -> Option<AccountName> {
    path.file_stem()?.to_str()?.parse().ok()
}

/// The address that a keystore names, or what is wrong with it.
pub(crate) fn read_address(path: &Path) -> Result<Option<Address>, String> {
    regular(path)?;
    let text = files::read_text(path).map_err(|error| error.to_string())?;
    let storage =
        SecretStorage::parse(&text).map_err(|error| format!("it is no usable keystore: {error}"))?;
    Ok(storage.address())
}

/// Reading a pipe would wait for whoever writes to it.
fn regular(path: &Path) -> Result<(), String> {
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_file() => Ok(()),
        Ok(_) => Err("it is not a regular file".to_owned()),
        Err(error) => Err(format!("it cannot be read: {error}")),
    }
}

#[cfg(test)]
mod tests;
