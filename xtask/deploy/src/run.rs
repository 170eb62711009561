//! Carries a plan out.

use std::time::Duration;

use alloy::network::EthereumWallet;
use alloy::primitives::Address;
use alloy::providers::{DynProvider, Provider as _, ProviderBuilder};
use alloy::signers::local::PrivateKeySigner;
use privatix_chain::{Endpoint, EndpointUrl};
use privatix_contracts::deploy::{
    DeployError, Placed, Preview, place_service, place_token, preview_service, preview_token,
};
use privatix_daemon::keystore;
use secrecy::{ExposeSecret as _, SecretString};

use crate::args::Args;
use crate::error::Error;
use crate::plan::Plan;
use crate::report::{Outcome, Report};

/// How often the receipt of a transaction is asked for.
const POLL: Duration = Duration::from_millis(500);

/// The key that pays, if a keystore is given. Asks for its password where no file has it, and takes a moment by intent.
///
/// # Errors
/// [`Error::Key`]; [`Error::NoKeystore`] where one must be given.
pub fn key(args: &Args) -> Result<Option<PrivateKeySigner>, Error> {
    let Some(path) = &args.keystore else {
        // Without a transaction, nobody has to pay.
        let needed = !args.dry_run && !args.network.takes_unlocked_accounts();
        return if needed { Err(Error::NoKeystore(args.network)) } else { Ok(None) };
    };
    let password =
        keystore::password(args.password_file.as_deref(), &format!("keystore {}", path.display()))?;
    Ok(Some(keystore::open(path, &password)?))
}

/// Places what is not there, verifies the code, and reports. `progress` gets each step before it is done.
///
/// # Errors
/// [`Error`].
pub async fn run(
    args: &Args,
    key: Option<PrivateKeySigner>,
    mut progress: impl FnMut(String),
) -> Result<Report, Error> {
    let endpoint = endpoint(args)?;
    let chain_id = privatix_chain::chain_id(&endpoint).await?;
    privatix_chain::check(&endpoint, args.chain_id.unwrap_or(chain_id), &[]).await?;
    if !args.network.suits(chain_id) {
        return Err(Error::Unsuitable { network: args.network, chain_id });
    }
    let deployer = match &key {
        Some(key) => Some(key.address()),
        None if args.network.takes_unlocked_accounts() => Some(unlocked(&endpoint).await?),
        None => None,
    };
    let plan = Plan::new(args.network, args.choices(), deployer)?;
    let failed = |error| Error::of_deployment(&endpoint, error);
    let (token_outcome, contract, outcome) = if args.dry_run {
        let provider = endpoint.provider();
        let token = match &plan.token {
            Some(token) => Some(previewed(preview_token(provider, token).await.map_err(failed)?)),
            None => None,
        };
        let service = preview_service(provider, &plan.service).await.map_err(failed)?;
        (token, service.address, previewed(service))
    } else {
        let provider = payer(&endpoint, key);
        let token = match &plan.token {
            Some(token) => {
                progress(format!("token: placing it at {}", token.address()));
                Some(placed(place_token(&provider, deployer, token).await.map_err(failed)?))
            }
            None => None,
        };
        let address = plan.service.address().map_err(|error| failed(DeployError::Stake(error)))?;
        progress(format!("service contract: placing it at {address}, verifying its code"));
        let (service, _) = place_service(&provider, deployer, &plan.service).await.map_err(failed)?;
        (token, service.address, placed(service))
    };
    Ok(Report {
        network: args.network,
        chain_id,
        deployer,
        token: plan.service.token,
        token_outcome,
        contract,
        outcome,
        fee_address: plan.service.fee_address,
        terms: plan.service.terms,
    })
}

fn endpoint(args: &Args) -> Result<Endpoint, Error> {
    let given = args.rpc.as_ref().map(SecretString::expose_secret);
    let url = given.or(args.network.usual_endpoint()).ok_or(Error::NoEndpoint(args.network))?;
    let url: EndpointUrl = url.parse()?;
    Ok(Endpoint::at(&url)?)
}

async fn unlocked(endpoint: &Endpoint) -> Result<Address, Error> {
    let accounts = endpoint
        .provider()
        .get_accounts()
        .await
        .map_err(|error| Error::Request { what: "the node's accounts", fault: endpoint.fault(&error) })?;
    accounts.first().copied().ok_or(Error::NoAccount)
}

/// A provider that signs with the key, or leaves that to the node.
fn payer(endpoint: &Endpoint, key: Option<PrivateKeySigner>) -> DynProvider {
    let provider = endpoint.provider().clone();
    provider.client().set_poll_interval(POLL);
    match key {
        None => provider,
        Some(key) => ProviderBuilder::default()
            .with_gas_estimation()
            .with_simple_nonce_management()
            .fetch_chain_id()
            .wallet(EthereumWallet::from(key))
            .connect_provider(provider)
            .erased(),
    }
}

fn previewed(preview: Preview) -> Outcome {
    if preview.is_there { Outcome::Present } else { Outcome::Absent }
}

fn placed(placed: Placed) -> Outcome {
    placed.created.map_or(Outcome::Present, Outcome::Created)
}
