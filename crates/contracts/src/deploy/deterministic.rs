//! Deployment at an address that is known in advance.
//!
//! By CREATE2 (EIP-1014) through the deterministic deployment proxy that most chains have: the address follows from the
//! creation code, which ends with the constructor's arguments. So equal token, fee address and terms give equal addresses on
//! every chain, whoever sends the transaction, and a contract at that address was made by this constructor.

use std::time::Duration;

use alloy::{
    contract,
    network::TransactionBuilder as _,
    primitives::{Address, B256, Bytes, U256, address, b256, hex},
    providers::Provider,
    rpc::types::TransactionRequest,
    sol_types::SolConstructor as _,
};
use privatix_channel::{Amount, Terms};

use super::DeployError;
use crate::{AboveContractRange, CodeMismatch, KnownCode, PSC, PTC, known_code};

/// The deterministic deployment proxy: it takes a salt and creation code, and creates the contract.
pub const PROXY: Address = address!("4e59b44847b379578588920cA78FbF26c0B4956C");
/// Its whole code. Other code at its address would give other addresses.
pub const PROXY_CODE: [u8; 69] = hex!(
    "7fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffe03601600081602082378035828234f58015156039578182fd5b8082525050506014600cf3"
);
/// The salt of service contracts: the Keccak-256 hash of `privatix.psc.2`.
pub const SERVICE_SALT: B256 = b256!("23da982844179126b77da64bf0e2ab0833cfbc6add9c340d03848ae90509e8b9");
/// The salt of tokens: the Keccak-256 hash of `privatix.ptc.2`.
pub const TOKEN_SALT: B256 = b256!("d4730d9b655a2819519e00201aaa176fe017b4b1a0202b044837f8b8aba549c0");

/// For a transaction to be mined.
const MINED_WITHIN: Duration = Duration::from_mins(10);
const SERVICE: &str = "the service contract (PSC)";
const TOKEN: &str = "the token (PTC)";

/// A service contract to be placed. Its fields determine its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServiceDeployment {
    /// What everything is paid in.
    pub token: Address,
    /// Receives and sets the network fee at first.
    pub fee_address: Address,
    /// Periods and least stake, for ever.
    pub terms: Terms,
}

/// A token (PTC) to be placed. Its fields determine its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenDeployment {
    /// Receives the whole supply.
    pub holder: Address,
    /// In base units.
    pub supply: Amount,
}

/// A contract at the address that follows from its creation code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    /// Where it is.
    pub address: Address,
    /// How it was created; `None` if it was there already.
    pub created: Option<Created>,
}

/// The transaction that created a contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Created {
    /// Its hash.
    pub transaction: B256,
    /// The block that it is in.
    pub block: u64,
}

/// What would be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Preview {
    /// Where the contract is or would be.
    pub address: Address,
    /// Whether it is there.
    pub is_there: bool,
}

impl ServiceDeployment {
    /// The creation code with the constructor's arguments.
    ///
    /// # Errors
    /// [`AboveContractRange`] for a least stake that the contract cannot hold.
    pub fn init_code(&self) -> Result<Bytes, AboveContractRange> {
        let arguments = PSC::constructorCall {
            token_: self.token,
            feeAddress_: self.fee_address,
            terms: self.terms.try_into()?,
        };
        Ok(with_arguments(&PSC::BYTECODE, &arguments.abi_encode()))
    }

    /// Where the contract is on every chain once it is deployed.
    ///
    /// # Errors
    /// [`AboveContractRange`] for a least stake that the contract cannot hold.
    pub fn address(&self) -> Result<Address, AboveContractRange> {
        Ok(PROXY.create2_from_code(SERVICE_SALT, self.init_code()?))
    }

    fn creation(&self) -> Result<Creation, DeployError> {
        if !self.terms.are_valid() {
            return Err(DeployError::Terms { terms: self.terms });
        }
        Ok(Creation { contract: SERVICE, salt: SERVICE_SALT, init_code: self.init_code()? })
    }
}

impl TokenDeployment {
    /// The creation code with the constructor's arguments.
    pub fn init_code(&self) -> Bytes {
        let arguments = PTC::constructorCall { holder: self.holder, supply: U256::from(self.supply.get()) };
        with_arguments(&PTC::BYTECODE, &arguments.abi_encode())
    }

    /// Where the token is on every chain once it is deployed.
    pub fn address(&self) -> Address {
        PROXY.create2_from_code(TOKEN_SALT, self.init_code())
    }

    fn creation(&self) -> Creation {
        Creation { contract: TOKEN, salt: TOKEN_SALT, init_code: self.init_code() }
    }
}

fn with_arguments(code: &Bytes, arguments: &[u8]) -> Bytes {
    [code.as_ref(), arguments].concat().into()
}

/// Finds out what [`place_service`] would do, without a transaction. Where the contract is not there yet, its creation is tried
/// by `eth_call`, but for a token that is not there either.
///
/// # Errors
/// As those of [`place_service`].
pub async fn preview_service<P: Provider>(
    provider: P,
    wanted: &ServiceDeployment,
) -> Result<Preview, DeployError> {
    let creation = wanted.creation()?;
    let is_there = creation.is_there(&provider).await?;
    if is_there {
        read_known_code(&provider, creation.address()).await?;
    } else {
        require_proxy(&provider).await?;
        if !code_at(&provider, TOKEN, wanted.token).await?.is_empty() {
            creation.attempt(&provider).await?;
        }
    }
    Ok(Preview { address: creation.address(), is_there })
}

/// Finds out what [`place_token`] would do, without a transaction.
///
/// # Errors
/// As those of [`place_token`].
pub async fn preview_token<P: Provider>(
    provider: P,
    wanted: &TokenDeployment,
) -> Result<Preview, DeployError> {
    let creation = wanted.creation();
    let is_there = creation.is_there(&provider).await?;
    if !is_there {
        require_proxy(&provider).await?;
        creation.attempt(&provider).await?;
    }
    Ok(Preview { address: creation.address(), is_there })
}

/// Places a token whose whole supply `wanted.holder` receives, unless it is there already. Sends from `from`, or from the
/// provider's default account, and waits until the transaction is mined.
///
/// # Errors
/// [`DeployError`].
pub async fn place_token<P: Provider>(
    provider: P,
    from: Option<Address>,
    wanted: &TokenDeployment,
) -> Result<Placed, DeployError> {
    wanted.creation().place(&provider, from).await
}

/// Places a service contract, unless it is there already, and checks that its code is the known one. Sends from `from`, or from
/// the provider's default account, and waits until the transaction is mined.
///
/// # Errors
/// [`DeployError`].
pub async fn place_service<P: Provider>(
    provider: P,
    from: Option<Address>,
    wanted: &ServiceDeployment,
) -> Result<(Placed, KnownCode), DeployError> {
    let placed = wanted.creation()?.place(&provider, from).await?;
    let code = read_known_code(&provider, placed.address).await?;
    if (code.domain.token(), code.terms) != (wanted.token, wanted.terms) {
        return Err(DeployError::Unverified {
            contract: placed.address,
            source: CodeMismatch::Impossible { name: "its terms" },
        });
    }
    Ok((placed, code))
}

async fn read_known_code<P: Provider>(provider: P, contract: Address) -> Result<KnownCode, DeployError> {
    let code = code_at(&provider, SERVICE, contract).await?;
    known_code(contract, &code).map_err(|source| DeployError::Unverified { contract, source })
}

async fn require_proxy<P: Provider>(provider: P) -> Result<(), DeployError> {
    let code = code_at(&provider, "the deployment proxy", PROXY).await?;
    if code.as_ref() == PROXY_CODE.as_slice() {
        Ok(())
    } else {
        Err(DeployError::NoProxy { found: code.len() })
    }
}

async fn code_at<P: Provider>(
    provider: P,
    contract: &'static str,
    address: Address,
) -> Result<Bytes, DeployError> {
    let code = provider.get_code_at(address).await;
    code.map_err(|error| DeployError::Failed { contract, source: contract::Error::TransportError(error) })
}

/// A contract that is created by the proxy.
struct Creation {
    contract: &'static str,
    salt: B256,
    init_code: Bytes,
}

impl Creation {
    fn address(&self) -> Address {
        PROXY.create2_from_code(self.salt, &self.init_code)
    }

    async fn is_there(&self, provider: &impl Provider) -> Result<bool, DeployError> {
        Ok(!code_at(provider, self.contract, self.address()).await?.is_empty())
    }

    fn failed(&self) -> impl Fn(contract::Error) -> DeployError {
        let contract = self.contract;
        move |source| DeployError::Failed { contract, source }
    }

    /// Tries the constructor without a transaction: the proxy would not pass its error on.
    async fn attempt(&self, provider: &impl Provider) -> Result<(), DeployError> {
        let create = TransactionRequest::default().with_deploy_code(self.init_code.clone());
        let tried = provider.call(create).await;
        tried.map(drop).map_err(|error| self.failed()(contract::Error::TransportError(error)))
    }

    async fn place(&self, provider: &impl Provider, from: Option<Address>) -> Result<Placed, DeployError> {
        let address = self.address();
        if self.is_there(provider).await? {
            return Ok(Placed { address, created: None });
        }
        require_proxy(provider).await?;
        self.attempt(provider).await?;
        match self.send(provider, from).await {
            Ok(created) => Ok(Placed { address, created: Some(created) }),
            // Somebody else created the same contract meanwhile: a second creation fails.
            Err(error) => match self.is_there(provider).await {
                Ok(true) => Ok(Placed { address, created: None }),
                _ => Err(error),
            },
        }
    }

    async fn send(&self, provider: &impl Provider, from: Option<Address>) -> Result<Created, DeployError> {
        let input = [self.salt.as_slice(), self.init_code.as_ref()].concat();
        let mut request = TransactionRequest::default().with_to(PROXY).with_input(input);
        request.from = from;
        let pending = provider.send_transaction(request).await;
        let pending = pending.map_err(|error| self.failed()(contract::Error::TransportError(error)))?;
        let receipt = pending.with_timeout(Some(MINED_WITHIN)).get_receipt().await;
        let receipt =
            receipt.map_err(|error| self.failed()(contract::Error::PendingTransactionError(error)))?;
        let transaction = receipt.transaction_hash;
        match receipt.block_number {
            Some(block) if receipt.status() && self.is_there(provider).await? => {
                Ok(Created { transaction, block })
            }
            _ => Err(DeployError::NotCreated { contract: self.contract, transaction }),
        }
    }
}

#[cfg(test)]
mod tests {
    use alloy::primitives::keccak256;

    use super::*;

    const DEPLOYMENT: ServiceDeployment = ServiceDeployment {
        token: Address::repeat_byte(0x70),
        fee_address: Address::repeat_byte(0xfe),
        terms: Terms::standard(Amount::new(100)),
    };

    #[test]
    fn the_salts_are_the_hashes_of_their_names() {
        assert_eq!(SERVICE_SALT, keccak256("privatix.psc.2"));
        assert_eq!(TOKEN_SALT, keccak256("privatix.ptc.2"));
    }

    #[test]
    fn the_address_is_that_of_eip_1014_and_follows_from_token_fee_address_and_terms() {
        let address = |deployment: ServiceDeployment| deployment.address().unwrap();
        let preimage = [
            &[0xff][..],
            PROXY.as_slice(),
            SERVICE_SALT.as_slice(),
            keccak256(DEPLOYMENT.init_code().unwrap()).as_slice(),
        ]
        .concat();
        assert_eq!(address(DEPLOYMENT), Address::from_word(keccak256(preimage)));
        for other in [
            ServiceDeployment { token: Address::repeat_byte(1), ..DEPLOYMENT },
            ServiceDeployment { fee_address: Address::repeat_byte(1), ..DEPLOYMENT },
            ServiceDeployment { terms: Terms::TEST, ..DEPLOYMENT },
        ] {
            assert_ne!(address(other), address(DEPLOYMENT), "{other:?}");
        }
        let too_much = Terms::standard(Amount::new(1 << 96));
        assert!(ServiceDeployment { terms: too_much, ..DEPLOYMENT }.address().is_err());
    }
}
