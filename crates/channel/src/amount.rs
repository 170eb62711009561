//! Money: [`Amount`] and the network [`Fee`].

use std::{fmt, num::NonZeroU128, str::FromStr};

use alloy::primitives::U256;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// An amount of money in the token's base units.
///
/// There is no unchecked arithmetic: a sum that does not fit is an error of the caller, never a wrapped number.
/// As text, and in serde, an amount is its canonical decimal string (`"0"`, `"1500"`; no sign, no leading zero,
/// no blank), because JSON numbers lose digits above 2^53.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Amount(u128);

impl Amount {
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// The largest amount that a voucher can carry (`uint128`).
    pub const MAX: Self = Self(u128::MAX);
    /// The largest deposit, and so the largest payment, of a channel on chain (`uint96`).
    pub const MAX_ON_CHAIN: Self = Self((1 << 96) - 1);

    /// An amount of `base_units`.
    pub const fn new(base_units: u128) -> Self {
        Self(base_units)
    }

    /// The number of base units.
    pub const fn get(self) -> u128 {
        self.0
    }

    /// Whether this is nothing.
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// Whether the contract's `uint96` fields can hold this amount.
    pub const fn fits_on_chain(self) -> bool {
        self.0 <= Self::MAX_ON_CHAIN.0
    }

    /// The sum, or `None` when it does not fit.
    pub const fn checked_add(self, other: Self) -> Option<Self> {
        match self.0.checked_add(other.0) {
            Some(sum) => Some(Self(sum)),
            None => None,
        }
    }

    /// The difference, or `None` when `other` is larger.
    pub const fn checked_sub(self, other: Self) -> Option<Self> {
        match self.0.checked_sub(other.0) {
            Some(difference) => Some(Self(difference)),
            None => None,
        }
    }

    /// The difference, or nothing when `other` is larger: what is still missing to reach `self` from `other`.
    #[must_use]
    pub const fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// The sum, or [`Amount::MAX`] when it does not fit: for limits that no real amount reaches.
    #[must_use]
    pub const fn saturating_add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// This amount `factor` times, or `None` when it does not fit.
    pub const fn checked_mul(self, factor: u128) -> Option<Self> {
        match self.0.checked_mul(factor) {
            Some(product) => Some(Self(product)),
            None => None,
        }
    }

    /// The amount in whole tokens, for people: exact, with a point where base units are a part of one, without zeros at the
    /// end. A token has `10^decimals` base units.
    pub fn in_tokens(self, decimals: u8) -> String {
        let decimals = usize::from(decimals);
        // At least one digit in front of the point.
        let digits = format!("{:0>width$}", self.0, width = decimals.saturating_add(1));
        let (whole, part) = digits.split_at(digits.len().saturating_sub(decimals));
        let part = part.trim_end_matches('0');
        if part.is_empty() { whole.to_owned() } else { format!("{whole}.{part}") }
    }

    /// `self * factor / divisor` rounded down, exact in between (256 bits), or `None` when the result does not fit.
    pub fn checked_mul_div_floor(self, factor: u128, divisor: NonZeroU128) -> Option<Self> {
        // Almost every product fits into 128 bits, which are divided many times faster.
        if let Some(product) = self.0.checked_mul(factor) {
            return product.checked_div(divisor.get()).map(Self);
        }
        let product = U256::from(self.0).checked_mul(U256::from(factor))?;
        u128::try_from(product.checked_div(U256::from(divisor.get()))?).ok().map(Self)
    }

    /// `self * factor / divisor` rounded up, exact in between (256 bits), or `None` when the result does not fit.
    pub fn checked_mul_div_ceil(self, factor: u128, divisor: NonZeroU128) -> Option<Self> {
        if let Some(product) = self.0.checked_mul(factor) {
            return Some(Self(product.div_ceil(divisor.get())));
        }
        let product = U256::from(self.0).checked_mul(U256::from(factor))?;
        u128::try_from(product.div_ceil(U256::from(divisor.get()))).ok().map(Self)
    }
}

impl From<u128> for Amount {
    fn from(base_units: u128) -> Self {
        Self(base_units)
    }
}

impl From<u64> for Amount {
    fn from(base_units: u64) -> Self {
        Self(base_units.into())
    }
}

impl From<Amount> for u128 {
    fn from(amount: Amount) -> Self {
        amount.0
    }
}

impl From<Amount> for U256 {
    fn from(amount: Amount) -> Self {
        Self::from(amount.0)
    }
}

impl TryFrom<U256> for Amount {
    type Error = AmountError;

    fn try_from(value: U256) -> Result<Self, Self::Error> {
        u128::try_from(value).map(Self).map_err(|_| AmountError::TooLarge)
    }
}

/// The decimal number of base units.
impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// Why a text or a number is not an [`Amount`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AmountError {
    /// Something else than decimal digits.
    #[error("an amount is a whole number of base units in decimal digits, without sign, blank or point")]
    NotDecimal,
    /// Digits in front that say nothing: `007`.
    #[error("an amount has no leading zeros")]
    LeadingZero,
    /// Above 2^128 - 1.
    #[error("the amount does not fit in 128 bits")]
    TooLarge,
}

impl FromStr for Amount {
    type Err = AmountError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(AmountError::NotDecimal);
        }
        if text.len() > 1 && text.starts_with('0') {
            return Err(AmountError::LeadingZero);
        }
        text.parse().map(Self).map_err(|_| AmountError::TooLarge)
    }
}

impl Serialize for Amount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        crate::text::deserialize(deserializer, "an amount as a decimal string")
    }
}

/// The network fee of a channel: a share of what the agent earns, in units of 1/100,000, fixed when the channel opens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Fee(u16);

impl Fee {
    /// No fee.
    pub const ZERO: Self = Self(0);
    /// The highest fee that the contract accepts: 10 %.
    pub const MAX: Self = Self(10_000);
    /// What a fee is counted in: a fee of 1 is this part of an amount.
    pub const UNITS: NonZeroU128 = match NonZeroU128::new(100_000) {
        Some(units) => units,
        None => NonZeroU128::MIN,
    };

    /// A fee of `hundred_thousandths`.
    pub const fn new(hundred_thousandths: u16) -> Result<Self, FeeError> {
        if hundred_thousandths > Self::MAX.0 {
            return Err(FeeError { fee: hundred_thousandths });
        }
        Ok(Self(hundred_thousandths))
    }

    /// The fee in 1/100,000.
    pub const fn get(self) -> u16 {
        self.0
    }

    /// The fee taken out of `amount`, rounded down as the contract does.
    #[must_use]
    pub fn of(self, amount: Amount) -> Amount {
        // A share of at most a tenth always fits.
        amount.checked_mul_div_floor(self.0.into(), Self::UNITS).unwrap_or(amount)
    }
}

impl TryFrom<u16> for Fee {
    type Error = FeeError;

    fn try_from(hundred_thousandths: u16) -> Result<Self, Self::Error> {
        Self::new(hundred_thousandths)
    }
}

impl<'de> Deserialize<'de> for Fee {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(u16::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

/// In percent, such as `0.25 %`.
impl fmt::Display for Fee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, thousandths) = (self.0 / 1_000, self.0 % 1_000);
        let digits = format!("{thousandths:03}");
        match digits.trim_end_matches('0') {
            "" => write!(f, "{whole} %"),
            digits => write!(f, "{whole}.{digits} %"),
        }
    }
}

/// A text that is no fee.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseFeeError {
    /// Not a number of percent with at most three decimals.
    #[error("{0:?} is no fee; write percent with at most three decimals, such as \"0.25 %\"")]
    Form(String),
    /// More than the contract takes.
    #[error("{0:?} is above the highest fee that the contract accepts, {max}", max = Fee::MAX)]
    TooHigh(String),
}

/// Percent, with or without the sign.
impl FromStr for Fee {
    type Err = ParseFeeError;

    fn from_str(text: &str) -> Result<Self, ParseFeeError> {
        let form = || ParseFeeError::Form(text.to_owned());
        let number = text.trim().trim_end_matches('%').trim_end();
        let (whole, decimals) = number.split_once('.').unwrap_or((number, ""));
        let is_number = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || decimals.len() > 3 || !is_number(whole) || !is_number(decimals) {
            return Err(form());
        }
        let number: u64 = format!("{whole}{decimals:0<3}").parse().map_err(|_| form())?;
        let fee = u16::try_from(number).ok().and_then(|number| Self::new(number).ok());
        fee.ok_or_else(|| ParseFeeError::TooHigh(text.to_owned()))
    }
}

/// A fee above [`Fee::MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a fee of {fee} hundred-thousandths is above the contract's maximum of 10000")]
pub struct FeeError {
    /// The refused fee.
    pub fee: u16,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fee_is_written_in_percent() {
        for (fee, text) in [(0, "0 %"), (1, "0.001 %"), (250, "0.25 %"), (1_000, "1 %"), (10_000, "10 %")] {
            let fee = Fee::new(fee).unwrap();
            assert_eq!(fee.to_string(), text);
            assert_eq!(text.parse(), Ok(fee));
            assert_eq!(text.trim_end_matches(" %").parse(), Ok(fee));
        }
        for wrong in ["", "%", "a", "-1", "+1", "1.2345", ".5", "1,5", "1.5.5"] {
            assert_eq!(wrong.parse::<Fee>(), Err(ParseFeeError::Form(wrong.into())), "{wrong}");
        }
        for too_high in ["10.001", "70000000", "99 %"] {
            assert!(matches!(too_high.parse::<Fee>(), Err(ParseFeeError::TooHigh(_))), "{too_high}");
        }
    }

    #[test]
    fn amounts_in_whole_tokens_are_exact() {
        let cases = [
            (0, 6, "0"),
            (1, 6, "0.000001"),
            (1_000, 6, "0.001"),
            (1_500_000, 6, "1.5"),
            (12_000_000, 6, "12"),
            (1_000, 0, "1000"),
            (u128::MAX, 18, "340282366920938463463.374607431768211455"),
            (10, 77, &format!("0.{}1", "0".repeat(75))),
        ];
        for (amount, decimals, expected) in cases {
            assert_eq!(Amount::new(amount).in_tokens(decimals), expected, "{amount} with {decimals}");
        }
        assert_eq!(Amount::new(1).in_tokens(u8::MAX).len(), 257);
    }

    #[test]
    fn an_amount_reads_back_what_it_writes() {
        for amount in [Amount::ZERO, Amount::new(1500), Amount::MAX_ON_CHAIN, Amount::MAX] {
            assert_eq!(amount.to_string().parse(), Ok(amount));
        }
    }

    #[test]
    fn an_amount_has_one_spelling_only() {
        for (text, error) in [
            ("", AmountError::NotDecimal),
            ("+5", AmountError::NotDecimal),
            ("-5", AmountError::NotDecimal),
            ("1.5", AmountError::NotDecimal),
            (" 5", AmountError::NotDecimal),
            ("0x5", AmountError::NotDecimal),
            ("٥", AmountError::NotDecimal),
            ("05", AmountError::LeadingZero),
            ("00", AmountError::LeadingZero),
            ("340282366920938463463374607431768211456", AmountError::TooLarge),
        ] {
            assert_eq!(text.parse::<Amount>(), Err(error), "{text:?}");
        }
    }

    #[test]
    fn products_are_exact_beyond_128_bits() {
        let thirds = NonZeroU128::new(3).unwrap();
        assert_eq!(Amount::MAX.checked_mul_div_floor(3, thirds), Some(Amount::MAX));
        assert_eq!(Amount::new(10).checked_mul_div_floor(1, thirds), Some(Amount::new(3)));
        assert_eq!(Amount::new(10).checked_mul_div_ceil(1, thirds), Some(Amount::new(4)));
        assert_eq!(Amount::new(9).checked_mul_div_ceil(1, thirds), Some(Amount::new(3)));
        assert_eq!(Amount::MAX.checked_mul_div_ceil(4, thirds), None);
    }

    #[test]
    fn arithmetic_never_wraps() {
        assert_eq!(Amount::MAX.checked_add(Amount::new(1)), None);
        assert_eq!(Amount::ZERO.checked_sub(Amount::new(1)), None);
        assert_eq!(Amount::MAX.checked_mul(2), None);
        assert_eq!(Amount::ZERO.saturating_sub(Amount::new(1)), Amount::ZERO);
        assert_eq!(Amount::MAX.saturating_add(Amount::new(1)), Amount::MAX);
        assert_eq!(Amount::try_from(U256::from(1) << 128), Err(AmountError::TooLarge));
    }

    #[test]
    fn a_fee_is_taken_from_small_amounts_too() {
        let fee = Fee::new(1_000).unwrap();
        assert_eq!(fee.of(Amount::new(99_999)), Amount::new(999));
        assert_eq!(Fee::MAX.of(Amount::MAX), Amount::new(u128::MAX / 10));
        assert_eq!(Fee::new(10_001), Err(FeeError { fee: 10_001 }));
    }
}
