//! Asks a token what it is.

use alloy::network::TransactionBuilder as _;
use alloy::primitives::{Address, B256, Bytes, U256};
use alloy::providers::{DynProvider, Provider as _};
use alloy::rpc::types::TransactionRequest;
use alloy::rpc::types::state::{AccountOverride, StateOverride};
use alloy::signers::SignerSync as _;
use alloy::signers::local::PrivateKeySigner;
use alloy::sol_types::SolCall;
use alloy::transports::{RpcError, TransportError};
use privatix_chain::Fault;
use privatix_channel::{Amount, Domain};
use privatix_contracts::token::{
    Approvals, DepositWay, DomainClaims, NoPermit, PermitDomain, TokenRefusal, TrialTransfer, approvals,
    decimals, eip5267_domain, printable, returned_true, text,
};
use privatix_contracts::{DepositProbe, PTC, PermitRequest, PscError, call};

use crate::NodeError;

/// The token of a service contract, as it describes itself.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Token {
    /// Its address.
    pub address: Address,
    /// Its name, as it may be shown; `None` where it has none that can be.
    pub name: Option<String>,
    /// Its symbol, as it may be shown.
    pub symbol: Option<String>,
    /// The places of a whole token after the point, at most 77.
    pub decimals: Option<u8>,
    /// How it gets from a wallet into the service contract, in words; each payment asks again.
    pub way: String,
}

/// What the permits of a trial allow: a base unit of an account that nobody has.
const TRIAL_VALUE: Amount = Amount::new(1);

/// Asks the contract's token for its name, its decimals, and how it can be deposited.
///
/// # Errors
/// [`NodeError::Contract`] when the endpoint does not answer. A token that lacks a function, or answers with garbage, is no
/// error: what it says is left out.
pub(crate) async fn read(provider: &DynProvider, domain: &Domain) -> Result<Token, NodeError> {
    let asked = Asked { provider, token: domain.token() };
    let name = asked.view(&PTC::nameCall {}).await?.and_then(|answer| text(&answer));
    let symbol = asked.view(&PTC::symbolCall {}).await?.and_then(|answer| text(&answer));
    let decimals = asked.view(&PTC::decimalsCall {}).await?.and_then(|answer| decimals(&answer));
    Ok(Token {
        address: domain.token(),
        symbol: symbol.as_deref().and_then(printable),
        decimals,
        way: asked.way(domain, name.clone()).await?.to_string(),
        name: name.as_deref().and_then(printable),
    })
}

/// How the contract's token gets from a wallet into the contract, as the token is now: tokens can be exchanged behind their
/// address, so this is asked again for every payment.
pub(crate) async fn way(provider: &DynProvider, domain: &Domain) -> Result<DepositWay, NodeError> {
    let asked = Asked { provider, token: domain.token() };
    let name = asked.view(&PTC::nameCall {}).await?.and_then(|answer| text(&answer));
    asked.way(domain, name).await
}

/// The next permit nonce of an account.
pub(crate) async fn nonce(
    provider: &DynProvider,
    token: Address,
    owner: Address,
) -> Result<Option<U256>, NodeError> {
    Asked { provider, token }.word(&PTC::noncesCall { owner }).await
}

/// Which approvals a payment of `needed` out of `owner`'s wallet needs now.
pub(crate) async fn approvals_for(
    provider: &DynProvider,
    domain: &Domain,
    owner: Address,
    needed: Amount,
) -> Result<Approvals, NodeError> {
    let asked = Asked { provider, token: domain.token() };
    let spender = domain.contract();
    // A token without an answer has no allowance that could be used.
    let allowance = asked.word(&PTC::allowanceCall { owner, spender }).await?.unwrap_or_default();
    let trial = match asked.call(owner, &call::approve(spender, needed)).await? {
        Ok(answer) if returned_true(&answer) => Ok(()),
        Ok(_) => Err("it returned false".to_owned()),
        Err(reverted) => Err(reverted.to_string()),
    };
    Ok(approvals(domain.token(), allowance, needed, trial)?)
}

/// Tries a deposit of `amount` and its withdrawal out of `owner`'s wallet, which holds that much, in a call that changes
/// nothing: refuses a token that keeps a part of what it moves, or does not move it.
///
/// Needs an endpoint that lets a call replace an account's code, which nearly all do; with another, nothing is refused.
///
/// # Errors
/// [`NodeError::Token`] for such a token; [`NodeError::Contract`] when the endpoint does not answer now.
pub(crate) async fn try_deposit(
    provider: &DynProvider,
    domain: &Domain,
    owner: Address,
    amount: Amount,
) -> Result<(), NodeError> {
    let token = domain.token();
    let probe = DepositProbe::tryDepositCall { token, service: domain.contract(), amount: amount.into() };
    let code = AccountOverride { code: Some(DepositProbe::DEPLOYED_BYTECODE.clone()), ..Default::default() };
    // Sent from elsewhere: some nodes refuse calls from an account that has code.
    let request =
        TransactionRequest::default().with_from(Address::ZERO).with_to(owner).with_input(probe.abi_encode());
    let overrides: StateOverride = std::iter::once((owner, code)).collect();
    match provider.call(request).overrides(overrides).await {
        Ok(answer) => {
            let Ok(moved) = DepositProbe::tryDepositCall::abi_decode_returns(&answer) else {
                tracing::debug!(%answer, "the endpoint ignored the replaced code; the deposit is not tried before");
                return Ok(());
            };
            Ok(TrialTransfer { sent: amount, arrived: moved.arrived, returned: moved.returned }
                .judge(token)?)
        }
        Err(error) => {
            if let Some(reverted) = Reverted::of(&error) {
                return Err(TokenRefusal::DepositReverts { token, reason: reverted.to_string() }.into());
            }
            let fault = Fault::of_call(&error);
            if !cannot_replace_code(&fault) {
                return Err(unreachable(&error));
            }
            tracing::debug!(%fault, "the endpoint does not try calls with replaced code; the deposit is not tried before");
            Ok(())
        }
    }
}

/// Whether the endpoint refused because it does not take calls with replaced code, rather than for a reason that may pass,
/// such as a rate limit or an internal error.
fn cannot_replace_code(fault: &Fault) -> bool {
    let Fault::Refused { code, message, .. } = fault else { return false };
    let message = message.to_ascii_lowercase();
    // -32601 and -32602 of JSON-RPC 2.0: no such method, wrong parameters; -32004 of EIP-1474: method not supported.
    matches!(code, -32_601 | -32_602 | -32_004)
        || ["override", "not supported", "unsupported", "not implemented", "argument", "params"]
            .iter()
            .any(|word| message.contains(word))
}

fn unreachable(error: &TransportError) -> NodeError {
    NodeError::Contract { what: "the token", reason: Fault::of_call(error).to_string() }
}

/// A call that reverted: its data, if any came along, and what the endpoint said.
struct Reverted(Option<Bytes>, String);

impl Reverted {
    /// `None` where the endpoint refused for a reason of its own.
    fn of(error: &TransportError) -> Option<Self> {
        let RpcError::ErrorResp(payload) = error else { return None };
        let data = payload.as_revert_data();
        let message = payload.message.to_ascii_lowercase();
        // Contracts of early compilers end with invalid instructions in place of reverts.
        let says = ["revert", "invalid opcode", "invalid jump", "bad instruction", "bad jump", "out of gas"];
        let reverted = payload.code == 3 || data.is_some() || says.iter().any(|word| message.contains(word));
        reverted.then(|| Self(data, payload.message.chars().take(200).collect()))
    }
}

impl std::fmt::Display for Reverted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.0 {
            Some(data) if !data.is_empty() => {
                let said = PscError::decode(data).to_string();
                f.write_str(&printable_line(&said))
            }
            _ => f.write_str(&printable_line(&self.1)),
        }
    }
}

/// What a contract said, on one line and of bounded length.
fn printable_line(said: &str) -> String {
    said.chars().filter(|c| !c.is_control()).take(300).collect()
}

/// A token to ask.
struct Asked<'a> {
    provider: &'a DynProvider,
    token: Address,
}

impl Asked<'_> {
    /// What a call returns, or that it reverted.
    async fn call(&self, from: Address, call: &impl SolCall) -> Result<Result<Bytes, Reverted>, NodeError> {
        let request =
            TransactionRequest::default().with_from(from).with_to(self.token).with_input(call.abi_encode());
        match self.provider.call(request).await {
            Ok(answer) => Ok(Ok(answer)),
            Err(error) => Reverted::of(&error).map(Err).ok_or_else(|| unreachable(&error)),
        }
    }

    /// What a view returns; `None` where the token has none that answers.
    async fn view(&self, call: &impl SolCall) -> Result<Option<Bytes>, NodeError> {
        Ok(self.call(Address::ZERO, call).await?.ok().filter(|answer| !answer.is_empty()))
    }

    /// A view's answer of one word.
    async fn word(&self, call: &impl SolCall) -> Result<Option<U256>, NodeError> {
        let answer = self.view(call).await?;
        Ok(answer.filter(|answer| answer.len() == 32).map(|answer| U256::from_be_slice(&answer)))
    }

    async fn way(&self, domain: &Domain, name: Option<String>) -> Result<DepositWay, NodeError> {
        Ok(match self.permit_domain(domain, name).await? {
            Ok(domain) => DepositWay::Permit { domain },
            Err(because) => DepositWay::Approve { because },
        })
    }

    /// The domain of the token's permits, once a trial has shown that it takes permits in it.
    async fn permit_domain(
        &self,
        domain: &Domain,
        name: Option<String>,
    ) -> Result<Result<PermitDomain, NoPermit>, NodeError> {
        let Some(separator) = self.word(&PTC::DOMAIN_SEPARATORCall {}).await? else {
            return Ok(Err(NoPermit::NoSeparator));
        };
        let claims = DomainClaims {
            name,
            version: self.view(&versionCall {}).await?.and_then(|answer| text(&answer)),
            eip5267: self.view(&PTC::eip712DomainCall {}).await?.and_then(|answer| eip5267_domain(&answer)),
        };
        let found = PermitDomain::find(domain.chain_id(), self.token, &claims, B256::from(separator));
        let Some(found) = found else { return Ok(Err(NoPermit::UnknownDomain)) };
        Ok(self.try_permit(domain, &found).await?.map(|()| found))
    }

    /// Calls `permit` for an account made up for it: a right signature must be accepted and a wrong one refused.
    async fn try_permit(
        &self,
        domain: &Domain,
        permits: &PermitDomain,
    ) -> Result<Result<(), NoPermit>, NodeError> {
        let (owner, other) = (PrivateKeySigner::random(), PrivateKeySigner::random());
        let Some(nonce) = self.word(&PTC::noncesCall { owner: owner.address() }).await? else {
            return Ok(Err(NoPermit::NoNonces));
        };
        let request = PermitRequest {
            owner: owner.address(),
            spender: domain.contract(),
            value: TRIAL_VALUE,
            nonce,
            deadline: u64::MAX,
        };
        if self.permit_call(&request, permits, &owner).await?.is_err() {
            return Ok(Err(NoPermit::OtherForm));
        }
        if self.permit_call(&request, permits, &other).await?.is_ok() {
            return Ok(Err(NoPermit::AcceptsAny));
        }
        Ok(Ok(()))
    }

    async fn permit_call(
        &self,
        request: &PermitRequest,
        permits: &PermitDomain,
        signer: &PrivateKeySigner,
    ) -> Result<Result<Bytes, Reverted>, NodeError> {
        let signature = signer
            .sign_hash_sync(&request.digest(permits))
            .map_err(|e| NodeError::Signing { what: "a trial permit", reason: e.to_string() })?;
        let permit = request.signed(&signature);
        let call = PTC::permitCall {
            owner: request.owner,
            spender: request.spender,
            value: permit.value,
            deadline: permit.deadline,
            v: permit.v,
            r: permit.r,
            s: permit.s,
        };
        self.call(Address::ZERO, &call).await
    }
}

alloy::sol! {
    /// The domain version of tokens without EIP-5267.
    function version() external view returns (string);
}

#[cfg(test)]
mod tests {
    use alloy::rpc::json_rpc::ErrorPayload;
    use alloy::transports::TransportErrorKind;

    use super::*;

    fn refusal(code: i64, message: &'static str) -> TransportError {
        RpcError::ErrorResp(ErrorPayload { code, message: message.into(), data: None })
    }

    #[test]
    fn only_an_endpoint_that_does_not_know_replaced_code_is_excused_from_the_trial() {
        for (code, message) in [
            (-32_601, "the method eth_call does not exist/is not available"),
            (-32_602, "too many arguments, want at most 2"),
            (-32_602, "invalid params"),
            (-32_004, "not here"),
            (-32_000, "state override is not enabled"),
            (-32_000, "State overrides are not supported"),
        ] {
            assert!(cannot_replace_code(&Fault::of_call(&refusal(code, message))), "{message}");
        }
        for (code, message) in [
            (429, "slow down"),
            (-32_005, "rate limit reached"),
            (-32_005, "limit exceeded"),
            (-32_603, "internal error"),
            (-32_000, "header not found"),
            (-32_000, "server is overloaded"),
        ] {
            assert!(!cannot_replace_code(&Fault::of_call(&refusal(code, message))), "{message}");
        }
        let broken = TransportErrorKind::http_error(502, "params not supported".to_owned());
        assert!(!cannot_replace_code(&Fault::of_call(&broken)));
    }

    #[test]
    fn an_answer_that_cannot_be_read_is_not_quoted() {
        let page = format!("<html>no GET /v3/PATHKEY {}", "x".repeat(100_000));
        let err = serde_json::from_str::<u8>(&page).unwrap_err();
        let shown = unreachable(&TransportError::deser_err(err, page)).to_string();
        assert!(!shown.contains("PATHKEY") && shown.len() < 1_000, "{shown}");
    }
}
