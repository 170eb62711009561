//! What an agent answers to its clients.

use async_trait::async_trait;
use privatix_channel::{ChannelId, OfferingHash, OfferingStatus, SignedVoucher, Usage};
use privatix_node::NodeError;
use privatix_offering::{AccessRequest, ChannelProof, DescribedAccessRequest, SealedAccess, SignedReceipt};
use privatix_somc::{CallerSession, NumberedAccess, Paid, Refusal, Service, Standing};
use privatix_store::offerings;

use crate::agent::AgentHandle;

#[async_trait]
impl Service for AgentHandle {
    async fn offering(&self, hash: OfferingHash) -> Result<Vec<u8>, Refusal> {
        let stored = async {
            Ok::<_, NodeError>(
                offerings::get(&mut *self.node.db().read().await?, self.node.account(), hash).await?,
            )
        };
        match stored.await {
            // A draft is nobody's business yet.
            Ok(offering) if offering.status != OfferingStatus::Draft => {
                offering.message.ok_or(Refusal::UnknownOffering { offering: hash })
            }
            _ => Err(Refusal::UnknownOffering { offering: hash }),
        }
    }

    async fn access(&self, request: AccessRequest) -> Result<SealedAccess, Refusal> {
        self.access.answer(request).await
    }

    async fn access_described(
        &self,
        session: CallerSession,
        request: DescribedAccessRequest,
    ) -> Result<NumberedAccess, Refusal> {
        self.access.answer_described(session, request).await
    }

    fn described(&self, request: &DescribedAccessRequest) -> Option<ChannelId> {
        Some(self.access.described(request))
    }

    async fn until_ready(&self, channel: ChannelId) -> bool {
        self.access.until_ready(channel).await
    }

    async fn pay(&self, voucher: SignedVoucher) -> Result<Paid, Refusal> {
        let reply = self.payments.pay(&voucher).await?;
        crate::messaging::answer(voucher.channel(), voucher.cumulative(), reply)
    }

    async fn attach(&self, session: CallerSession, proof: ChannelProof) -> Result<(), Refusal> {
        self.payments.attach(session, &proof).await
    }

    async fn standing(&self, channel: ChannelId) -> Result<Standing, Refusal> {
        self.payments.standing(channel).await
    }

    async fn receipt(&self, channel: ChannelId) -> Result<SignedReceipt, Refusal> {
        self.payments.receipt(channel).await
    }

    async fn pay_attached(&self, voucher: SignedVoucher, used: Option<Usage>) -> Result<Standing, Refusal> {
        self.payments.pay_attached(&voucher, used).await
    }
}
