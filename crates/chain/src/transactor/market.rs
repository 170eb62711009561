//! What gas costs, as the endpoint reports it.

use super::Inner;
use super::price::Market;
use crate::ChainError;
use crate::rpc::{BlockHeader, Fault, FeeHistory};

/// Shares of recent transactions, in percent, whose tips are asked for.
const PERCENTILES: [f64; 3] = [50.0, 75.0, 90.0];
/// Blocks whose tips are asked for.
const BLOCKS: u64 = 10;

impl Inner {
    /// The market as of the head.
    pub(super) async fn market(&self, head: &BlockHeader) -> Result<Market, ChainError> {
        let Some(base_fee) = head.base_fee else {
            return Ok(Market { usual: self.rpc.gas_price().await?, ..Market::default() });
        };
        let tips = match opinion(self.rpc.fee_history(BLOCKS, &PERCENTILES).await)?.and_then(|h| tips(&h)) {
            Some(tips) => tips,
            // Nobody has paid anything lately, or the endpoint keeps no account of it.
            None => [opinion(self.rpc.suggested_tip().await)?.unwrap_or(0); 3],
        };
        Ok(Market { base_fee: Some(u128::from(base_fee)), tips, usual: 0 })
    }
}

/// Not every node has an opinion; the policy's least tip is ours then.
fn opinion<T>(answer: Result<T, crate::RpcError>) -> Result<Option<T>, ChainError> {
    match answer {
        Ok(opinion) => Ok(Some(opinion)),
        Err(error) if matches!(error.fault, Fault::Refused { .. } | Fault::Garbage(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The middle of what the blocks report for each share; blocks without transactions report nothing. In rising order,
/// whatever an endpoint makes of it.
fn tips(history: &FeeHistory) -> Option<[u128; 3]> {
    let mut tips = [0; 3];
    for (share, tip) in tips.iter_mut().enumerate() {
        let mut paid: Vec<u128> = history.tips.iter().filter_map(|block| block.get(share)).copied().collect();
        paid.retain(|paid| *paid > 0);
        paid.sort_unstable();
        *tip = *paid.get(paid.len() / 2)?;
    }
    tips.sort_unstable();
    Some(tips)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tips_are_those_of_the_middle_block_that_holds_transactions() {
        let history =
            |tips: &[&[u128]]| FeeHistory { tips: tips.iter().map(|block| block.to_vec()).collect() };
        let quiet = history(&[&[0, 0, 0], &[1, 2, 3], &[2, 4, 9], &[9, 90, 900], &[0, 0, 0]]);
        assert_eq!(tips(&quiet), Some([2, 4, 9]));
        assert_eq!(tips(&history(&[&[0, 0, 0]])), None);
        assert_eq!(tips(&history(&[&[1]])), None, "fewer shares than asked for");
        assert_eq!(tips(&history(&[])), None);
    }
}
