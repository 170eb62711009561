//! What a role supplies to carry effects out: [`Runner`].

use async_trait::async_trait;
use privatix_chain::Intent;
use privatix_channel::SignedVoucher;
use privatix_db::Conn;
use privatix_market::{Effect, EffectId, Env, Fate, Input, Party, State, Verified};
use privatix_store::vouchers;

use super::Applied;
use crate::NodeError;

/// Carries out the effects of one input, with what the input came with, such as the signed voucher of a payment.
///
/// All is done in the transaction that stores the state, and undone with it: what leaves the database is left for after the
/// commit, or is a job that is stored with the state.
#[async_trait]
pub trait Runner<P: Party>: Send + Sync {
    /// The call of a transaction for this purpose. The signature of a voucher is read here, in the same transaction. The call's key,
    /// priority, deadline and stake are left to the shell.
    ///
    /// `Ok(Err(..))` where no such transaction can be made now: it is reported as that, and nothing is stored.
    ///
    /// # Errors
    /// [`NodeError`] rolls everything back.
    async fn call(
        &self,
        conn: &mut Conn,
        state: &State<P>,
        purpose: P::Purpose,
    ) -> Result<Result<Intent, Fate>, NodeError>;

    /// Carries out everything else than `Submit`, `Cancel` and `Notify`.
    ///
    /// # Errors
    /// [`NodeError`] rolls everything back.
    async fn run(&self, conn: &mut Conn, state: &State<P>, effect: &Effect<P>) -> Result<Ran<P>, NodeError>;

    /// Takes back what was prepared under this number and is no transaction yet: the offer to the next batch, the job that provides
    /// the money. Without such a thing nothing happens.
    ///
    /// # Errors
    /// [`NodeError`] rolls everything back.
    async fn take_back(&self, conn: &mut Conn, effect: EffectId) -> Result<(), NodeError>;

    /// Adds to the surroundings of a decision what is read in its transaction: what may still be spent, and the number of the next
    /// order. By default nothing is added.
    ///
    /// # Errors
    /// [`NodeError`]: nothing is decided.
    async fn fill(&self, conn: &mut Conn, state: &State<P>, env: &mut Env<'_, P>) -> Result<(), NodeError> {
        let _ = (conn, state, env);
        Ok(())
    }

    /// Shows people what a state comes to, in the transaction that stores it, after it was stored. `before` is what was loaded. By
    /// default nothing is shown.
    ///
    /// # Errors
    /// [`NodeError`] rolls everything back.
    async fn show(
        &self,
        conn: &mut Conn,
        before: &State<P>,
        state: &State<P>,
        env: &Env<'_, P>,
    ) -> Result<(), NodeError> {
        let _ = (conn, before, state, env);
        Ok(())
    }

    /// What was decided is committed: carries out the effects that were left for that, and gives the state to those who keep it in
    /// memory. It must not wait for anything. A crash may come before it, so the next look at the state does what matters again.
    fn committed(&self, applied: &Applied<P>);
}

/// What came of an effect.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ran<P: Party> {
    /// It is done.
    Done,
    /// It is stored as a job, so the job processor is to be woken after the commit.
    Queued,
    /// It is done, and this is to be decided after the other effects.
    Reports(Input<P>),
    /// It is to be done after the commit.
    AfterCommit,
}

/// Stores the voucher of a payment that a decision keeps. It takes the place of one over the same amount that cannot be read.
///
/// # Errors
/// [`NodeError::DamagedVoucher`] where a higher voucher is stored: what is not stored must not be acknowledged. [`NodeError::Store`].
pub async fn keep(conn: &mut Conn, signed: &SignedVoucher, kept: Verified) -> Result<(), NodeError> {
    let damaged =
        |reason: &str| NodeError::DamagedVoucher { channel: kept.channel(), reason: reason.to_owned() };
    if (signed.channel(), signed.cumulative()) != (kept.channel(), kept.cumulative()) {
        return Err(damaged("the voucher that came is not the one that was checked"));
    }
    if !vouchers::store(conn, signed).await? && !vouchers::mend(conn, signed).await? {
        return Err(damaged("its amount is above that of the voucher that came"));
    }
    Ok(())
}
