//! Names and numbers out of a token's answers.

use alloy::primitives::U256;
use alloy::sol_types::SolValue as _;

/// The longest name that is read, in bytes: a domain's name is hashed whole, so it is not cut.
const LONGEST: usize = 256;
/// The longest text that is shown, in characters.
const SHOWN: usize = 40;
/// Above this a base unit is less than what a 256-bit number can tell apart.
const MOST_DECIMALS: u8 = 77;

/// The text in an answer: a string as the ABI encodes it, or a word that is padded with zeros, as the names of early tokens
/// are (MKR). `None` for anything else, and for one above 256 bytes.
pub fn text(answer: &[u8]) -> Option<String> {
    if answer.len() == 32 {
        let end = answer.iter().rposition(|byte| *byte != 0)?;
        return String::from_utf8(answer[..=end].to_vec()).ok();
    }
    // Room for the offset, the length and the padding.
    if answer.len() > LONGEST + 96 {
        return None;
    }
    String::abi_decode(answer).ok().filter(|text| text.len() <= LONGEST)
}

/// A text of strangers as it may be shown: on one line, of bounded length, without control and formatting characters.
/// `None` when nothing is left.
pub fn printable(text: &str) -> Option<String> {
    // Beside controls: what is invisible, or turns the direction of the text around.
    let hidden = |c: &char| {
        matches!(*c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{fff0}'..='\u{fffb}')
            || u32::from(*c) >= 0xe_0000
    };
    let shown: String = text.chars().filter(|c| !c.is_control() && !hidden(c)).take(SHOWN).collect();
    let shown = shown.trim();
    (!shown.is_empty()).then(|| shown.to_owned())
}

/// The decimals in an answer: `None` unless it is one word with 0 to 77 in it.
pub fn decimals(answer: &[u8]) -> Option<u8> {
    if answer.len() != 32 {
        return None;
    }
    u8::try_from(U256::from_be_slice(answer)).ok().filter(|decimals| *decimals <= MOST_DECIMALS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_and_words_are_read_and_garbage_is_not() {
        assert_eq!(text(&"USD Coin".to_owned().abi_encode()).as_deref(), Some("USD Coin"));
        let mut word = [0; 32];
        word[..5].copy_from_slice(b"Maker");
        assert_eq!(text(&word).as_deref(), Some("Maker"));
        assert_eq!(text(&[b'x'; 32]).as_deref(), Some("x".repeat(32).as_str()));

        assert_eq!(text(&[]), None);
        assert_eq!(text(&[0; 32]), None);
        assert_eq!(text(&[0xff; 32]), None, "not UTF-8");
        assert_eq!(text(&[0xff; 64]), None, "an offset far outside");
        assert_eq!(text(&[0xff; 96]), None);
        assert_eq!(text(&vec![0x20; 1 << 20]), None);
        let mut cut = "a name of some length".to_owned().abi_encode();
        cut.truncate(70);
        assert_eq!(text(&cut), None);
        assert_eq!(text(&"a".repeat(LONGEST + 1).abi_encode()), None);
        assert_eq!(text(&"a".repeat(LONGEST).abi_encode()).map(|text| text.len()), Some(LONGEST));
    }

    #[test]
    fn nothing_that_steers_a_terminal_or_hides_is_shown() {
        assert_eq!(printable("USDC").as_deref(), Some("USDC"));
        assert_eq!(printable(" Tether\nUSD\u{1b}[31m ").as_deref(), Some("TetherUSD[31m"));
        assert_eq!(printable("\u{202e}CDSU\u{200b}\u{feff}").as_deref(), Some("CDSU"));
        assert_eq!(printable("\u{e0041}\u{0}\u{85}"), None);
        assert_eq!(printable(&"₿".repeat(1_000)).map(|shown| shown.chars().count()), Some(SHOWN));
    }

    #[test]
    fn decimals_that_no_amount_can_have_count_as_none() {
        let word = |value: u16| U256::from(value).to_be_bytes::<32>();
        assert_eq!(decimals(&word(0)), Some(0));
        assert_eq!(decimals(&word(77)), Some(77));
        assert_eq!(decimals(&word(78)), None);
        assert_eq!(decimals(&word(256)), None);
        assert_eq!(decimals(&[0xff; 32]), None);
        assert_eq!(decimals(&[]), None);
        assert_eq!(decimals(&[6]), None);
    }
}
