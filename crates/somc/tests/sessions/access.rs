//! Access in a session: asked for with the channel's descriptor, and waited for before the agent has seen its opening.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::{Duration, SystemTime},
};

use alloy::{
    primitives::{Address, B256, Bytes},
    signers::local::PrivateKeySigner,
};
use async_trait::async_trait;
use privatix_channel::{ChannelDescriptor, ChannelId, OfferingHash, SignedVoucher};
use privatix_offering::{AccessRequest, DescribedAccessRequest, MAX_ACCESS_DATA, RecipientKey, SealedAccess};
use privatix_somc::{CallerSession, Client, DirectTransport, NumberedAccess, Paid, Refusal, Service};
use tokio::sync::Notify;

use crate::common::{Running, access_request, agent, domain, generous, patient, sealed, soon, until};

fn client_key() -> PrivateKeySigner {
    PrivateKeySigner::from_bytes(&B256::repeat_byte(0xC1)).unwrap()
}

fn request(agent: Address, data: Bytes) -> DescribedAccessRequest {
    let client = client_key().address();
    let offering = B256::repeat_byte(0x0f).into();
    let descriptor = ChannelDescriptor { client, agent, offering, nonce: u64::MAX, signer: client };
    let recipient = RecipientKey::new(B256::repeat_byte(7));
    let now = SystemTime::now();
    DescribedAccessRequest::sign(&descriptor, &domain(), recipient, data, now, &client_key()).unwrap()
}

/// Has no access before its opening is seen.
#[derive(Default)]
struct Opening {
    seen: Notify,
    number: AtomicU32,
}

#[async_trait]
impl Service for Opening {
    async fn offering(&self, hash: OfferingHash) -> Result<Vec<u8>, Refusal> {
        Err(Refusal::UnknownOffering { offering: hash })
    }

    async fn access(&self, request: AccessRequest) -> Result<SealedAccess, Refusal> {
        Err(Refusal::UnknownChannel { channel: request.channel })
    }

    async fn access_described(
        &self,
        session: CallerSession,
        request: DescribedAccessRequest,
    ) -> Result<NumberedAccess, Refusal> {
        let channel = request.channel(&domain());
        if request.descriptor.agent != session.agent {
            return Err(Refusal::UnknownChannel { channel });
        }
        let checked = request.verify(&domain(), SystemTime::now(), Duration::from_mins(5));
        checked.map_err(|_| Refusal::WrongSigner)?;
        match self.number.load(Relaxed) {
            0 => Err(Refusal::not_ready(Duration::from_secs(1))),
            access => Ok(NumberedAccess { sealed: sealed(1, 64), access }),
        }
    }

    fn described(&self, request: &DescribedAccessRequest) -> Option<ChannelId> {
        Some(request.channel(&domain()))
    }

    async fn until_ready(&self, channel: ChannelId) -> bool {
        assert_eq!(channel, request(agent().address(), Bytes::new()).channel(&domain()));
        self.seen.notified().await;
        true
    }

    async fn pay(&self, voucher: SignedVoucher) -> Result<Paid, Refusal> {
        Err(Refusal::UnknownChannel { channel: voucher.channel() })
    }
}

#[tokio::test]
async fn access_is_waited_for_before_the_opening_was_seen_and_has_a_number() {
    let opening = Arc::<Opening>::default();
    let running = Running::start(Arc::clone(&opening), generous()).await;
    let client = running.client().await;
    // As long as a request can be.
    let asked = request(agent().address(), Bytes::from(vec![9; MAX_ACCESS_DATA]));
    let waiting = tokio::spawn({
        let client = client.clone();
        async move { client.access_described(asked).await }
    });
    until(|| running.server.stats().requests == 1).await;
    opening.number.store(3, Relaxed);
    opening.seen.notify_one();
    let given = soon(waiting).await.unwrap().unwrap();
    assert_eq!(given, NumberedAccess { sealed: sealed(1, 64), access: 3 });
    assert_eq!(running.server.stats().strangers, 0, "it has proved its channel");

    let stranger = soon(client.access_described(request(Address::repeat_byte(1), Bytes::new()))).await;
    let refused = stranger.unwrap_err();
    assert!(matches!(refused.refusal(), Some(Refusal::UnknownChannel { .. })), "{refused}");
}

#[tokio::test]
async fn neither_version_takes_the_others_request_for_access() {
    let running = Running::start(Opening::default(), generous()).await;
    let session = running.client().await;
    let refused = soon(session.access(access_request(1))).await.unwrap_err();
    assert!(matches!(refused.refusal(), Some(Refusal::Malformed { .. })), "{refused}");
    let in_clear =
        soon(Client::connect(&DirectTransport::anywhere(), &running.address(), patient())).await.unwrap();
    let refused =
        soon(in_clear.access_described(request(agent().address(), Bytes::new()))).await.unwrap_err();
    assert!(matches!(refused.refusal(), Some(Refusal::Malformed { .. })), "{refused}");
}
