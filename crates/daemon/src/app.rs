//! A daemon's program: its command line, and what each part of it does.

use std::convert::Infallible;
use std::ffi::OsString;
use std::future::Future;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use alloy::primitives::Address;
use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use privatix_adapter::Role;
use privatix_api::ApiClient;
use privatix_tor::OnionKeys;
use tokio_util::sync::CancellationToken;

use crate::accounts::AccountsCommand;
use crate::backup::{self, BackupArgs, RestoreArgs};
use crate::check::{self, CheckArgs};
use crate::commands::NodeCommand;
use crate::config::{self, Loaded, Setting, Settings, Sources};
use crate::error::EXIT_CODES;
use crate::init::{self, InitArgs};
use crate::output::{self, Output};
use crate::run::{self, Parts};
use crate::{Announced, Connections, DaemonError, connect, files, logging};

/// For threads that are still busy when everything is done.
const LEFT_BEHIND: Duration = Duration::from_secs(1);

/// What makes one daemon differ from the other.
pub trait App: Send + Sync + 'static {
    /// The program's name, which its configuration file has too.
    const NAME: &'static str;
    /// What it is, for its help.
    const ABOUT: &'static str;
    /// What its environment variables begin with.
    const ENV_PREFIX: &'static str;
    /// The variable that names its configuration file.
    const ENV_CONFIG: &'static str;
    /// Defaults by key, where the two daemons differ.
    const DEFAULTS: &'static [(&'static str, &'static str)];
    /// Which side its plug-in serves.
    const ROLE: Role;
    /// Its settings.
    type Settings: Settings;
    /// Its own commands.
    type Command: Subcommand + Send;

    /// What its `init` takes beside what every `init` does.
    type Init: Args + Send;

    /// Its own part of a new configuration file, with comments.
    ///
    /// # Errors
    /// Arguments that do not fit each other.
    fn config_sections(init: &Self::Init) -> Result<String, DaemonError>;

    /// Checks the settings that only it has.
    ///
    /// # Errors
    /// What is wrong, by the setting's name.
    fn check(settings: &Self::Settings) -> Result<(), DaemonError>;

    /// What works, but probably not as meant, by the setting's name.
    fn doubts(settings: &Self::Settings) -> Vec<String> {
        let _ = settings;
        Vec::new()
    }

    /// The account that it acts for as an operator, if its key is not that account's own.
    fn acts_for(_: &Self::Settings) -> Option<Address> {
        None
    }

    /// Adds the connections that its own servers may have to those of the plug-in.
    fn connections(settings: &Self::Settings, plug_in: Connections) -> Connections {
        let _ = settings;
        plug_in
    }

    /// The names and addresses that it announces by itself, beside its plug-in.
    fn announced(_: &Self::Settings) -> Vec<Announced> {
        Vec::new()
    }

    /// Whether these settings ask for Tor in this process.
    fn uses_tor(settings: &Self::Settings) -> bool;

    /// What the daemon still does when that Tor cannot be used, for its operator. `None` when that is nothing: then it does
    /// not start.
    fn without_tor(settings: &Self::Settings) -> Option<&'static str>;

    /// Runs the daemon until shutdown.
    fn run(
        loaded: Loaded<Self::Settings>,
        parts: Parts,
        shutdown: CancellationToken,
    ) -> impl Future<Output = Result<(), DaemonError>> + Send;

    /// Carries out one of its own commands.
    fn command(
        command: Self::Command,
        context: &Context<'_, Self>,
    ) -> impl Future<Output = Result<(), DaemonError>>
    where
        Self: Sized;
}

/// Options that every command takes.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Options of all commands")]
pub struct Global {
    /// The configuration file
    #[arg(short, long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Overrides a setting, e.g. chain.confirmations=5; may be repeated
    #[arg(long, global = true, value_name = "KEY=VALUE", value_parser = setting)]
    set: Vec<Setting>,
    /// Prints JSON
    #[arg(long, global = true)]
    json: bool,
    /// The control API of the daemon to ask, instead of the configured one
    #[arg(long, global = true, value_name = "URL")]
    api_url: Option<String>,
    /// The file with the API's token, instead of the configured one
    #[arg(long, global = true, value_name = "FILE")]
    api_token_file: Option<PathBuf>,
}

/// Never an error: it would quote the argument.
#[expect(clippy::unnecessary_wraps, reason = "what the parser of arguments asks for")]
fn setting(text: &str) -> Result<Setting, Infallible> {
    Ok(Setting::new(text))
}

#[derive(Parser)]
#[command(version, after_help = EXIT_CODES, arg_required_else_help = true)]
struct Cli<C: Subcommand, I: Args> {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command<C, I>,
}

#[derive(Subcommand)]
enum Command<C: Subcommand, I: Args> {
    /// Makes a configuration file, a keystore and an API token in a new folder
    Init(InitArgs<I>),
    /// Runs the daemon until SIGINT, SIGTERM or SIGHUP
    Run,
    /// Looks at the configuration
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Lists, makes, imports, exports and renames the keys of accounts, whether the daemon runs or not
    #[command(subcommand)]
    Accounts(AccountsCommand),
    /// Copies the database to a new file, whether the daemon runs or not
    Backup(BackupArgs),
    /// Puts a copy that `backup` has made in the place of the database; the daemon must not run
    Restore(RestoreArgs),
    #[command(flatten)]
    Node(NodeCommand),
    #[command(flatten)]
    Own(C),
}

#[derive(Subcommand)]
enum ConfigCommand {
    /// Checks the configuration, the keystore, the chain endpoint and the contract, and prints the settings in effect
    Check(CheckArgs),
}

/// What a command works with.
pub struct Context<'a, A: App + ?Sized> {
    /// Where answers go.
    pub output: Output,
    global: &'a Global,
    app: std::marker::PhantomData<A>,
}

impl<A: App + ?Sized> std::fmt::Debug for Context<'_, A> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context").field("output", &self.output).finish_non_exhaustive()
    }
}

impl<A: App> Context<'_, A> {
    /// The daemon's API, as configured or given on the command line.
    ///
    /// # Errors
    /// [`DaemonError::Config`], [`DaemonError::File`] for the token.
    pub fn api(&self) -> Result<ApiClient, DaemonError> {
        let given = (&self.global.api_url, &self.global.api_token_file);
        if let (Some(url), Some(token)) = given {
            return connect::at(url, token);
        }
        let loaded = load::<A>(self.global)?;
        let url = given.0.clone().map_or_else(|| connect::url(&loaded), Ok)?;
        let token = given.1.clone().unwrap_or_else(|| loaded.path(&loaded.settings.api().token_file));
        connect::at(&url, &token)
    }

    /// The account's keys on Tor. The keystore's password is asked for where no file has it.
    ///
    /// # Errors
    /// [`DaemonError::Config`], [`DaemonError::Keystore`].
    pub async fn onion_keys(&self) -> Result<OnionKeys, DaemonError> {
        let key = check::account_key(&load::<A>(self.global)?).await?;
        Ok(OnionKeys::of_account(key.to_bytes().0))
    }
}

/// Runs the program with the process's arguments.
pub fn main<A: App>() -> ExitCode {
    run_with::<A>(std::env::args_os())
}

fn run_with<A: App>(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    files::keep_private();
    let command = Cli::<A::Command, A::Init>::command().name(A::NAME).about(A::ABOUT);
    let parsed = command.try_get_matches_from(&arguments).and_then(|matches| Cli::from_arg_matches(&matches));
    let cli: Cli<A::Command, A::Init> = match parsed {
        Ok(cli) => cli,
        Err(error) => refuse(&error, &arguments), // help and version too
    };
    let json = cli.global.json;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let outcome = match runtime {
        Ok(runtime) => {
            let outcome = runtime.block_on(carry_out::<A>(cli));
            // What is still under way on its threads is nobody's any more, such as a slow look-up of a name.
            runtime.shutdown_timeout(LEFT_BEHIND);
            outcome.and_then(|()| output::outcome())
        }
        Err(error) => Err(DaemonError::Task { task: "runtime", reason: error.to_string() }),
    };
    let code = outcome.map_or_else(|error| error.report(json), |()| ExitCode::SUCCESS);
    logging::flush();
    code
}

/// Ends the program with what is wrong with its arguments. An address among them is not repeated: it may hold a key.
fn refuse(error: &clap::Error, arguments: &[OsString]) -> ! {
    let plain = error.render().to_string();
    let shown = arguments
        .iter()
        .filter_map(|argument| argument.to_str().filter(|text| text.contains("://")))
        .fold(plain.clone(), |shown, address| shown.replace(address, "(an address)"));
    if shown == plain {
        error.exit();
    }
    // A reader that has gone away is none of our business.
    let _ = write!(std::io::stderr(), "{shown}");
    std::process::exit(error.exit_code())
}

async fn carry_out<A: App>(cli: Cli<A::Command, A::Init>) -> Result<(), DaemonError> {
    let output = Output::of_process(cli.global.json);
    let context = Context::<A> { output, global: &cli.global, app: std::marker::PhantomData };
    match cli.command {
        Command::Init(arguments) => init::init::<A>(&arguments, output),
        Command::Run => Box::pin(run::run::<A>(load::<A>(&cli.global)?)).await,
        Command::Config(ConfigCommand::Check(arguments)) => {
            check::check::<A>(&load::<A>(&cli.global)?, &arguments, output).await
        }
        Command::Accounts(command) => command.carry_out::<A>(&load::<A>(&cli.global)?, output).await,
        Command::Backup(arguments) => backup::back_up::<A>(&load::<A>(&cli.global)?, arguments, output).await,
        Command::Restore(arguments) => {
            backup::restore::<A>(&load::<A>(&cli.global)?, arguments, output).await
        }
        Command::Node(command) => command.carry_out(&context.api()?, output).await,
        Command::Own(command) => A::command(command, &context).await,
    }
}

fn load<A: App>(global: &Global) -> Result<Loaded<A::Settings>, DaemonError> {
    let file = global.config.clone().unwrap_or_else(default_file::<A>);
    let sources = Sources {
        program: A::NAME,
        env_prefix: A::ENV_PREFIX,
        defaults: A::DEFAULTS,
        file: &file,
        overrides: &global.set,
    };
    Ok(config::load(&sources)?)
}

/// The file that the environment names, else that in the current folder, else that in the home folder.
fn default_file<A: App>() -> PathBuf {
    if let Some(file) = std::env::var_os(A::ENV_CONFIG) {
        return file.into();
    }
    let name = format!("{}.toml", A::NAME);
    let here = Path::new(&name);
    if here.is_file() { here.to_owned() } else { default_folder::<A>().join(name) }
}

/// `~/.privatix/<program>`
pub(crate) fn default_folder<A: App>() -> PathBuf {
    let home = std::env::var_os("HOME").map_or_else(|| PathBuf::from("."), PathBuf::from);
    home.join(".privatix").join(A::NAME)
}
