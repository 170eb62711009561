//! Deployment at an address known in advance, and the known code, on a real node.

use alloy::{
    network::TransactionBuilder as _,
    primitives::Address,
    providers::{Provider as _, ext::AnvilApi as _},
    rpc::types::TransactionRequest,
};
use privatix_channel::{Amount, Terms};
use privatix_contracts::{
    CodeMismatch, DepositProbe, PSC, PscError,
    deploy::{
        DeployError, PROXY, PROXY_CODE, ServiceDeployment, TokenDeployment, place_service, place_token,
        preview_service, preview_token,
    },
    known_code,
};

use crate::{
    on_chain,
    world::{TERMS, World},
};

fn wanted(world: &World) -> ServiceDeployment {
    ServiceDeployment {
        token: world.deployed.token,
        fee_address: world.cast.fee_address.address(),
        terms: TERMS,
    }
}

async fn code(world: &World, contract: Address) -> Vec<u8> {
    world.provider.get_code_at(contract).await.expect("the node answers").to_vec()
}

#[test]
fn the_service_contract_is_placed_once_at_the_address_known_in_advance_whoever_deploys() {
    on_chain(async |world| {
        let wanted = wanted(&world);
        let address = wanted.address().unwrap();
        let before = preview_service(&world.provider, &wanted).await.unwrap();
        assert_eq!((before.address, before.is_there), (address, false));
        assert!(code(&world, address).await.is_empty(), "a preview sends nothing");

        let stranger = Some(world.cast.stranger.address());
        let (placed, known) = place_service(&world.provider, stranger, &wanted).await.unwrap();
        assert_eq!(placed.address, address);
        let receipt =
            world.provider.get_transaction_receipt(placed.created.unwrap().transaction).await.unwrap();
        assert_eq!(receipt.unwrap().from, world.cast.stranger.address());
        assert_eq!(known.terms, TERMS);
        assert!(known.has_known_origin(wanted.fee_address));
        assert!(!known.has_known_origin(world.cast.agent.address()));
        let psc = PSC::new(address, &world.provider);
        assert_eq!(psc.token().call().await.unwrap(), wanted.token);
        assert_eq!(psc.feeAddress().call().await.unwrap(), wanted.fee_address);

        let (again, _) = place_service(&world.provider, None, &wanted).await.unwrap();
        assert_eq!((again.address, again.created), (address, None));
        assert!(preview_service(&world.provider, &wanted).await.unwrap().is_there);
    });
}

#[test]
fn the_token_is_placed_once_at_the_address_known_in_advance() {
    on_chain(async |world| {
        let wanted = TokenDeployment { holder: world.cast.client.address(), supply: Amount::new(1_000) };
        assert!(!preview_token(&world.provider, &wanted).await.unwrap().is_there);
        let placed = place_token(&world.provider, None, &wanted).await.unwrap();
        assert_eq!(placed.address, wanted.address());
        let again = place_token(&world.provider, None, &wanted).await.unwrap();
        assert_eq!((again.address, again.created), (placed.address, None));
        // The service contract's creation can be tried before its token is there, too.
        let token = Address::repeat_byte(0x11);
        let later = ServiceDeployment { token, ..self::wanted(&world) };
        assert!(!preview_service(&world.provider, &later).await.unwrap().is_there);
    });
}

#[test]
fn a_chain_without_the_proxy_and_refused_terms_are_named_before_anything_is_sent() {
    on_chain(async |world| {
        let wanted = wanted(&world);
        let refused = async |wanted: ServiceDeployment| {
            place_service(&world.provider, None, &wanted).await.expect_err("refused")
        };
        let count = async || {
            world.provider.get_transaction_count(world.cast.holder.address()).await.expect("the node answers")
        };
        let before = count().await;
        let terms = Terms { min_stake: Amount::ZERO, ..TERMS };
        assert!(matches!(refused(ServiceDeployment { terms, ..wanted }).await, DeployError::Terms { .. }));
        let nobody = ServiceDeployment { fee_address: Address::ZERO, ..wanted };
        assert_eq!(refused(nobody).await.refusal(), Some(PscError::ZeroAddress));

        for found in [&[][..], &PROXY_CODE[1..]] {
            world.provider.anvil_set_code(PROXY, found.to_vec().into()).await.expect("anvil sets code");
            let error = refused(wanted).await;
            assert!(
                matches!(error, DeployError::NoProxy { found: bytes } if bytes == found.len()),
                "{error}"
            );
            assert!(error.to_string().contains("have the proxy deployed first"), "{error}");
        }
        assert_eq!(count().await, before);
    });
}

#[test]
fn other_code_at_the_contracts_address_is_not_taken_for_it() {
    on_chain(async |world| {
        let wanted = wanted(&world);
        let other = DepositProbe::DEPLOYED_BYTECODE.clone();
        world.provider.anvil_set_code(wanted.address().unwrap(), other).await.expect("anvil sets code");
        let error = place_service(&world.provider, None, &wanted).await.unwrap_err();
        assert!(
            matches!(error, DeployError::Unverified { source: CodeMismatch::Length { .. }, .. }),
            "{error}"
        );
    });
}

#[test]
fn the_code_of_a_plain_deployment_is_known_and_a_copy_of_it_elsewhere_is_not() {
    on_chain(async |world| {
        let contract = world.deployed.contract;
        let code = code(&world, contract).await;
        let known = known_code(contract, &code).unwrap();
        assert_eq!((known.domain, known.terms), (world.domain, TERMS));
        assert!(!known.has_known_origin(world.cast.fee_address.address()));

        // Creation code that returns a copy: PUSH2 size, DUP1, PUSH1 10, PUSH0, CODECOPY, PUSH0, RETURN.
        let size = u16::try_from(code.len()).unwrap().to_be_bytes();
        let copier = [&[0x61][..], &size, &[0x80, 0x60, 0x0a, 0x5f, 0x39, 0x5f, 0xf3], &code].concat();
        let create = TransactionRequest::default().with_deploy_code(copier);
        let receipt = world.provider.send_transaction(create).await.unwrap().get_receipt().await.unwrap();
        let copy = receipt.contract_address.unwrap();
        assert_eq!(self::code(&world, copy).await, code);
        assert_eq!(known_code(copy, &code), Err(CodeMismatch::Impossible { name: "DEPLOYED_SEPARATOR" }));
    });
}
