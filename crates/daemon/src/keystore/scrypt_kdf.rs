//! scrypt (RFC 7914), for costs that the `scrypt` crate refuses.
//!
//! The RFC (section 2) wants N below 2^(16 r). Early wallets, and the definition of Web3 secret storage itself, use
//! N = 262144 with r = 1, which is above. What keeps to the RFC is computed by the crate, as it is faster.

use hmac::Hmac;
use sha2::Sha256;
use zeroize::Zeroizing;

/// Words of a Salsa20 block.
const WORDS: usize = 16;
type Block = [u32; WORDS];

/// N (as its binary logarithm), r and p. The caller bounds them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Params {
    pub(crate) log_n: u8,
    pub(crate) r: u32,
    pub(crate) p: u32,
}

/// Derives a key.
pub(crate) fn derive(password: &[u8], salt: &[u8], params: Params, output: &mut [u8; 32]) {
    let Params { log_n, r, p } = params;
    let by_crate = scrypt::Params::new(log_n, r, p)
        .is_ok_and(|params| scrypt::scrypt(password, salt, &params, output).is_ok());
    if !by_crate {
        derive_unbounded(password, salt, params, output);
    }
}

fn derive_unbounded(password: &[u8], salt: &[u8], params: Params, output: &mut [u8; 32]) {
    let (r, p) = (params.r as usize, params.p as usize);
    let mut blocks = Zeroizing::new(vec![0; 128 * r * p]);
    pbkdf2::pbkdf2::<Hmac<Sha256>>(password, salt, 1, &mut blocks);
    let mut mix = Mix::new(1 << params.log_n, r);
    for block in blocks.chunks_exact_mut(128 * r) {
        mix.apply(block);
    }
    pbkdf2::pbkdf2::<Hmac<Sha256>>(password, &blocks, 1, output);
}

/// scryptROMix (RFC 7914, section 5) with its memory.
///
/// The inner loops are `while` loops over fixed arrays: a debug build runs them several times faster.
struct Mix {
    n: usize,
    r: usize,
    /// V: N states, one after another.
    states: Zeroizing<Vec<Block>>,
    /// X.
    now: Zeroizing<Vec<Block>>,
    next: Zeroizing<Vec<Block>>,
}

impl Mix {
    fn new(n: usize, r: usize) -> Self {
        let blocks = |count| Zeroizing::new(vec![[0; WORDS]; count]);
        Self { n, r, states: blocks(n * r * 2), now: blocks(r * 2), next: blocks(r * 2) }
    }

    fn apply(&mut self, bytes: &mut [u8]) {
        let length = self.now.len();
        for (word, bytes) in self.now.as_flattened_mut().iter_mut().zip(bytes.as_chunks().0) {
            *word = u32::from_le_bytes(*bytes);
        }
        for index in 0..self.n {
            self.states[index * length..][..length].copy_from_slice(&self.now);
            self.mix_blocks();
        }
        for _ in 0..self.n {
            // Integerify modulo N, a power of two of at most 32 bits.
            let chosen = self.now[length - 1][0] as usize & (self.n - 1);
            for (block, state) in self.now.iter_mut().zip(&self.states[chosen * length..]) {
                xor(block, state);
            }
            self.mix_blocks();
        }
        for (word, bytes) in self.now.as_flattened().iter().zip(bytes.as_chunks_mut().0) {
            *bytes = word.to_le_bytes();
        }
    }

    /// scryptBlockMix (section 4).
    fn mix_blocks(&mut self) {
        let mut state = self.now[self.now.len() - 1];
        for (index, block) in self.now.iter().enumerate() {
            xor(&mut state, block);
            salsa20_8(&mut state);
            self.next[index / 2 + (index % 2) * self.r] = state;
        }
        std::mem::swap(&mut self.now, &mut self.next);
    }
}

fn xor(to: &mut Block, from: &Block) {
    let mut word = 0;
    while word < WORDS {
        to[word] ^= from[word];
        word += 1;
    }
}

/// The Salsa20/8 core (section 3): columns, then rows, four times.
fn salsa20_8(state: &mut Block) {
    let mut x = *state;
    macro_rules! quarters {
        ($($a:literal $b:literal $c:literal $d:literal),*) => {$(
            x[$b] ^= x[$a].wrapping_add(x[$d]).rotate_left(7);
            x[$c] ^= x[$b].wrapping_add(x[$a]).rotate_left(9);
            x[$d] ^= x[$c].wrapping_add(x[$b]).rotate_left(13);
            x[$a] ^= x[$d].wrapping_add(x[$c]).rotate_left(18);
        )*};
    }
    let mut round = 0;
    while round < 4 {
        quarters!(0 4 8 12, 5 9 13 1, 10 14 2 6, 15 3 7 11);
        quarters!(0 1 2 3, 5 6 7 4, 10 11 8 9, 15 12 13 14);
        round += 1;
    }
    let mut word = 0;
    while word < WORDS {
        state[word] = state[word].wrapping_add(x[word]);
        word += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_computes_what_the_crate_computes() {
        for (log_n, r, p) in [(1, 1, 1), (4, 1, 1), (10, 8, 2), (5, 3, 4), (15, 1, 1)] {
            let (mut own, mut other) = ([0; 32], [0; 32]);
            derive_unbounded(b"pleaseletmein", b"SodiumChloride", Params { log_n, r, p }, &mut own);
            let params = scrypt::Params::new(log_n, r, p).unwrap();
            scrypt::scrypt(b"pleaseletmein", b"SodiumChloride", &params, &mut other).unwrap();
            assert_eq!(own, other, "{log_n} {r} {p}");
        }
    }
}
