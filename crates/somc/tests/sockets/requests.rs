//! Every request, every refusal.

use std::{pin::Pin, sync::Arc, time::Duration};

use async_trait::async_trait;
use parking_lot::Mutex;
use privatix_channel::{Amount, OfferingHash, SignedVoucher};
use privatix_offering::{
    AccessRequest, DescribedAccessRequest, MAX_ACCESS_SIZE, MAX_OFFERING_SIZE, SealedAccess,
};
use privatix_somc::{CallerSession, ClientError, NumberedAccess, Paid, Refusal, Service, VersionRange};

use crate::common::{
    Running, Script, access_request, ask_for_access, channel, generous, offering, sealed, soon, voucher,
};

/// One of each that a service may give; those of the server itself are met in the other tests.
fn every_refusal() -> Vec<Refusal> {
    let retry_after = Duration::from_millis(1500);
    vec![
        Refusal::UnknownChannel { channel: channel(1) },
        Refusal::UnknownOffering { offering: offering(2) },
        Refusal::WrongSigner,
        Refusal::Stale { acknowledged: Amount::new(u128::MAX) },
        Refusal::Equal { acknowledged: Amount::ZERO },
        Refusal::AboveDeposit { deposit: Amount::new(5) },
        Refusal::Expired { away: Duration::from_mins(90) },
        Refusal::Replayed,
        Refusal::NoSigner,
        Refusal::ChannelClosing,
        Refusal::ServiceTerminated,
        Refusal::not_ready(retry_after),
        Refusal::RateLimited { retry_after },
        Refusal::Busy { retry_after },
        Refusal::Timeout,
        Refusal::TooLarge { size: 5000, limit: 4096 },
        Refusal::Malformed { reason: "it is not what it should be".into() },
        Refusal::UnknownMethod { method: "steal".into() },
        Refusal::UnsupportedVersion {
            client: VersionRange::new(7, 9).unwrap(),
            server: VersionRange::new(1, 1).unwrap(),
        },
        Refusal::TooSlow,
        Refusal::IdleTimeout,
        Refusal::ShuttingDown,
        Refusal::Internal,
        Refusal::Other { code: "moved".into(), message: "look elsewhere".into() },
    ]
}

#[tokio::test]
async fn every_request_reaches_the_service_whole_and_so_does_its_answer() {
    // The largest that there may be.
    let wire: Vec<u8> = (0..MAX_OFFERING_SIZE).map(|n| n.to_le_bytes()[0]).collect();
    let access = sealed(3, MAX_ACCESS_SIZE + 16);
    let asked = Arc::new(Mutex::new(Vec::new()));
    let service = Script::new()
        .offering({
            let (wire, asked) = (wire.clone(), Arc::clone(&asked));
            move |hash| {
                asked.lock().push(format!("{hash:?}"));
                let wire = wire.clone();
                async move { Ok(wire) }
            }
        })
        .access({
            let (access, asked) = (access.clone(), Arc::clone(&asked));
            move |request| {
                asked.lock().push(format!("{request:?}"));
                let access = access.clone();
                async move { Ok(access) }
            }
        })
        .pay({
            let asked = Arc::clone(&asked);
            move |voucher| {
                asked.lock().push(format!("{voucher:?}"));
                async move { Ok(Paid { cumulative: Amount::new(voucher.cumulative().get() + 1) }) }
            }
        });
    let running = Running::start(service, generous()).await;
    let client = running.client().await;
    assert_eq!(client.version(), crate::VERSION);

    soon(client.ping()).await.unwrap();
    assert_eq!(soon(client.offering(offering(2))).await.unwrap(), wire);
    assert_eq!(soon(ask_for_access(&client, 3)).await.unwrap(), access);
    // A whole 128-bit amount; and more may be acknowledged than this voucher says.
    let most = voucher(4, u128::MAX - 1);
    assert_eq!(soon(client.pay(most)).await.unwrap(), Paid { cumulative: Amount::new(u128::MAX) });
    let sent = [format!("{:?}", offering(2)), format!("{:?}", access_request(3)), format!("{most:?}")];
    assert_eq!(*asked.lock(), sent);

    let stats = running.server.stats();
    assert_eq!((stats.connections, stats.accepted, stats.requests, stats.payments), (1, 1, 4, 1));
    drop(client);
    running.stop().await;
}

#[tokio::test]
async fn every_refusal_of_every_method_arrives_as_it_was_given_and_the_connection_goes_on() {
    let refusals = Arc::new(Mutex::new(Vec::new()));
    let next = {
        let refusals = Arc::clone(&refusals);
        move || refusals.lock().pop().unwrap()
    };
    let service = Script::new()
        .offering({
            let next = next.clone();
            move |_| std::future::ready(Err(next()))
        })
        .access({
            let next = next.clone();
            move |_| std::future::ready(Err(next()))
        })
        .pay(move |_| std::future::ready(Err(next())));
    let running = Running::start(service, generous()).await;
    let client = running.client().await;
    for refusal in every_refusal() {
        refusals.lock().extend(vec![refusal.clone(); 3]);
        let refused = [
            soon(client.offering(offering(1))).await.unwrap_err(),
            soon(ask_for_access(&client, 1)).await.unwrap_err(),
            soon(client.pay(voucher(1, 1))).await.unwrap_err(),
        ];
        for error in refused {
            assert!(matches!(&error, ClientError::Refused(told) if *told == refusal), "{error}");
            assert_eq!(error.is_transient(), refusal.is_transient());
        }
    }
    soon(client.ping()).await.unwrap();
    assert_eq!(running.server.stats().accepted, 1);
}

#[tokio::test]
async fn a_services_long_or_odd_text_is_cut_to_what_fits() {
    let reason = format!("\u{1b}[2J{}", "é".repeat(50_000));
    let service = Script::new().pay({
        move |_| {
            let reason = reason.clone();
            async move { Err(Refusal::Malformed { reason }) }
        }
    });
    let running = Running::start(service, generous()).await;
    let error = soon(running.client().await.pay(voucher(1, 1))).await.unwrap_err();
    let Some(Refusal::Malformed { reason }) = error.refusal() else { panic!("{error}") };
    assert!(reason.starts_with("\u{fffd}[2Jé") && reason.chars().count() == 256, "{reason}");
}

#[tokio::test]
async fn an_answer_that_is_too_large_to_send_is_an_internal_error() {
    let service = Script::new().offering(|_| async { Ok(vec![0; 3 * MAX_OFFERING_SIZE]) });
    let running = Running::start(service, generous()).await;
    let client = running.client().await;
    let error = soon(client.offering(offering(1))).await.unwrap_err();
    assert!(matches!(error, ClientError::Refused(Refusal::Internal)), "{error}");
    assert!(!error.is_unprocessed());
    soon(client.ping()).await.unwrap();
}

#[tokio::test]
async fn a_service_that_panics_costs_nobody_else_anything() {
    /// Panics while it makes the future, where `async fn` would panic inside it.
    struct Early;
    type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, Refusal>> + Send + 'a>>;
    #[async_trait]
    impl Service for Early {
        async fn offering(&self, _: OfferingHash) -> Result<Vec<u8>, Refusal> {
            panic!("late")
        }
        async fn access(&self, request: AccessRequest) -> Result<SealedAccess, Refusal> {
            Err(Refusal::UnknownChannel { channel: request.channel })
        }
        async fn access_described(
            &self,
            _: CallerSession,
            _: DescribedAccessRequest,
        ) -> Result<NumberedAccess, Refusal> {
            Err(Refusal::UnknownChannel { channel: channel(1) })
        }
        fn pay<'life0, 'async_trait>(&'life0 self, _: SignedVoucher) -> Answer<'async_trait, Paid>
        where
            'life0: 'async_trait,
            Self: 'async_trait,
        {
            panic!("early")
        }
    }
    let running = Running::start(Early, generous()).await;
    let client = running.client().await;
    for _ in 0..2 {
        // Twice: a panic must not leave the channel's lane shut.
        for error in [
            soon(client.offering(offering(1))).await.unwrap_err(),
            soon(client.pay(voucher(1, 1))).await.unwrap_err(),
        ] {
            assert!(matches!(error, ClientError::Refused(Refusal::Internal)), "{error}");
        }
    }
    let error = soon(ask_for_access(&client, 1)).await.unwrap_err();
    assert_eq!(error.refusal(), Some(&Refusal::UnknownChannel { channel: channel(1) }));
}
