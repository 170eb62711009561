//! Access that an agent sealed for this side: opened, and checked who signed it.

use alloy::primitives::B256;
use privatix_channel::ChannelDescriptor;
use privatix_node::{Node, NodeError};
use privatix_offering::{AccessContext, AccessError, AccessKey, SealedAccess, SignatureProblem};
use privatix_store::channels::StoredAccess;

/// Opens sealed access that came for this key, and checks who signed it.
///
/// # Errors
/// [`NodeError`] where the agent's operator cannot be asked for, and within it [`AccessError`] for access that is none.
pub(crate) async fn open(
    node: &Node,
    descriptor: &ChannelDescriptor,
    offering_template: B256,
    sealed: &SealedAccess,
    key: &AccessKey,
) -> Result<Result<StoredAccess, AccessError>, NodeError> {
    let domain = *node.domain();
    let context = AccessContext { descriptor: *descriptor, domain, offering_template, operator: None };
    let opened = match sealed.open(key, &context, node.templates()) {
        // Not the agent itself: the chain is asked for its operator.
        Err(AccessError::Signature(SignatureProblem::WrongSigner { .. })) => {
            let operator = node.operator_of(descriptor.agent).await?;
            sealed.open(key, &AccessContext { operator, ..context }, node.templates())
        }
        opened => opened,
    };
    Ok(opened.map(|message| StoredAccess {
        username: message.username.clone(),
        password: message.password.expose().to_owned(),
        endpoint: message.endpoint.expose().clone(),
    }))
}
